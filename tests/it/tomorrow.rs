//! Existing programs still compile and run when the API document grows.

use std::{env, fs, path::Path, process::Command};

use serde_json::{Value, json};

use crate::{generator, support::document::DOCUMENT};

/// `openapi.yaml` with additions everywhere: enum values, fields, schemas, operations, statuses.
fn grown() -> Value {
    let mut document = DOCUMENT.clone();
    let schemas = document["components"]["schemas"].as_object_mut().unwrap();
    for schema in schemas.values_mut() {
        if let Some(values) = schema.get_mut("enum").and_then(Value::as_array_mut) {
            values.insert(0, json!("of_tomorrow"));
        }
        if let Some(fields) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            fields.insert("of_tomorrow".to_owned(), json!({ "type": "string", "nullable": true }));
            fields.insert("a_model_of_tomorrow".to_owned(), json!({ "$ref": "#/components/schemas/Model" }));
        }
    }
    schemas.insert("Usage".to_owned(), json!({ "type": "object", "properties": { "units": { "type": "integer" } } }));
    let response = json!({
        "description": "What was used.",
        "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Usage" } } },
    });
    let error = json!({ "$ref": "#/components/responses/Unauthorized" });
    document["paths"]["/usage"]["get"] =
        json!({ "operationId": "get_usage", "responses": { "200": response, "451": error } });
    for path in document["paths"].as_object_mut().unwrap().values_mut() {
        for operation in path.as_object_mut().unwrap().values_mut() {
            operation["responses"]["418"] = error.clone();
        }
    }
    generator::accepted(&mut document);
    document
}

/// Builds the crate from the grown document, and `tests/programs/yesterday.rs` on it.
///
/// It takes a minute: `cargo test --test it -- --ignored tomorrow`.
#[test]
#[ignore = "builds the crate again"]
fn an_existing_program_compiles_and_runs_with_a_document_that_has_grown() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tomorrow");
    let _ = fs::remove_dir_all(&copy);
    fs::create_dir_all(copy.join("examples")).unwrap();
    fs::create_dir_all(copy.join("crates")).unwrap();
    for file in ["Cargo.lock", "build.rs", "README.md", "crates/README.md"] {
        fs::copy(root.join(file), copy.join(file)).unwrap();
    }
    // With the same name and version, cargo would confuse the copy with the crate.
    let version = env!("CARGO_PKG_VERSION");
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let manifest = manifest.replacen(&format!("\nversion = \"{version}\""), "\nversion = \"999.0.0\"", 1);
    assert!(manifest.contains("999.0.0"));
    // The manifest names the examples and benchmarks, which are not copied.
    let (before, targets) = manifest.split_once("[[example]]").unwrap();
    let (_, after) = targets.split_once("[build-dependencies]").unwrap();
    // And the crates on top of it, which are not copied either.
    let before: String = before.split_inclusive('\n').filter(|line| !line.starts_with("default-members")).collect();
    let manifest = format!("{before}[build-dependencies]{after}");
    fs::write(copy.join("Cargo.toml"), manifest).unwrap();
    copy_folder(&root.join("src"), &copy.join("src"));
    copy_folder(&root.join("build"), &copy.join("build"));
    fs::copy(root.join("tests/programs/yesterday.rs"), copy.join("examples/yesterday.rs")).unwrap();
    // JSON is valid YAML.
    fs::write(copy.join("openapi.yaml"), grown().to_string()).unwrap();
    let run = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--offline", "--example", "yesterday"])
        .current_dir(&copy)
        // The dependencies of the crate are already built there.
        .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&run.stdout), "completed of_tomorrow\n", "{stderr}");
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_folder(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}
