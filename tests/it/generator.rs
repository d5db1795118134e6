//! Edits of `openapi.yaml`: each works, or `build.rs` refuses it in one sentence with its JSON pointer.
//!
//! The build script itself runs, on a copy of the document. That what it accepts also compiles is shown by
//! `tomorrow`, whose document has every accepted edit.

#![allow(clippy::needless_pass_by_value, reason = "a value is written where it is used")]

use std::{
    fs, iter,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use serde_json::{Value, json};

use crate::support::document::DOCUMENT;

/// What an edit ends in: nothing to complain about, or a sentence that begins with this pointer and has these
/// words.
enum End {
    Works,
    Refused(&'static str, &'static str),
}
use End::{Refused, Works};

type Edit = (&'static str, fn(&mut Value), End);

fn schema<'a>(document: &'a mut Value, name: &str) -> &'a mut Value {
    &mut document["components"]["schemas"][name]
}

fn add_value(document: &mut Value, value: &str) {
    schema(document, "Model")["enum"].as_array_mut().unwrap().push(json!(value));
}

fn query(document: &mut Value, name: &str, schema: Value) {
    let parameter = json!({ "name": name, "in": "query", "schema": schema });
    document["paths"]["/files"]["get"]["parameters"].as_array_mut().unwrap().push(parameter);
}

fn add_enum(document: &mut Value, name: &str) {
    *schema(document, name) = json!({ "type": "string", "enum": ["a", "b"] });
    add_field(
        document,
        &format!("of_{}", name.to_lowercase()),
        json!({ "$ref": format!("#/components/schemas/{name}") }),
    );
}

fn add_object(document: &mut Value, name: &str) {
    *schema(document, name) = json!({ "type": "object", "properties": { "a": { "type": "string" } } });
    add_field(
        document,
        &format!("of_{}", name.to_lowercase()),
        json!({ "$ref": format!("#/components/schemas/{name}") }),
    );
}

fn add_field(document: &mut Value, name: &str, field: Value) {
    schema(document, "CreateGeneration")["properties"][name] = field;
}

fn operation(document: &mut Value, id: &str, schema: Value) {
    document["paths"][format!("/usage/{id}")]["get"] = json!({
        "operationId": id,
        "responses": { "200": { "description": "It.", "content": { "application/json": { "schema": schema } } } },
    });
}

const EDITS: &[Edit] = &[
    // Values of enums.
    ("a value `unknown`", |d| add_value(d, "unknown"), Works),
    ("a value `self`", |d| add_value(d, "self"), Works),
    ("a value `Self`", |d| schema(d, "Style")["enum"].as_array_mut().unwrap().push(json!("Self")), Works),
    ("a value `err`", |d| add_value(d, "err"), Works),
    ("a value `ok`", |d| add_value(d, "ok"), Works),
    ("a value `none`", |d| add_value(d, "none"), Works),
    ("a value `as_str`", |d| add_value(d, "as_str"), Works),
    ("a value that is a number", |d| add_value(d, "4"), Works),
    ("a value with signs", |d| add_value(d, "21:9+"), Works),
    ("a value of another script", |d| add_value(d, "高"), Works),
    ("an empty value", |d| add_value(d, ""), Works),
    (
        "a state that is named is gone",
        |d| schema(d, "GenerationState")["enum"] = json!(["queued", "completed", "failed"]),
        Refused("/components/schemas/GenerationState/enum", "put it back, or remove it there"),
    ),
    (
        "a field that is named is gone",
        |d| _ = schema(d, "Generation")["properties"].as_object_mut().unwrap().remove("failure_reason"),
        Refused("/components/schemas/Generation/properties", "put it back, or remove it there"),
    ),
    (
        "a schema that is named is gone",
        |d| {
            d["components"]["schemas"].as_object_mut().unwrap().remove("Layer");
            schema(d, "GenerationOutput")["properties"].as_object_mut().unwrap().remove("layer");
        },
        Refused("/components/schemas/GenerationOutput/properties", "put it back, or remove it there"),
    ),
    (
        "an operation that has a method is gone",
        |d| _ = d["paths"]["/files/{file_id}"].as_object_mut().unwrap().remove("delete"),
        Refused("/paths", "put it back, or remove that"),
    ),
    (
        "an operation has another name",
        |d| d["paths"]["/generations/{generation_id}"]["get"]["operationId"] = json!("fetch_generation"),
        Refused("/paths", "put it back, or remove that"),
    ),
    ("a value that nobody names is gone", |d| schema(d, "Style")["enum"] = json!(["auto"]), Works),
    ("a value twice", |d| add_value(d, "uni-1"), Refused("/components/schemas/Model/enum/3", "remove one of them")),
    (
        "two values with one name",
        |d| add_value(d, "UNI_1"),
        Refused("/components/schemas/Model/enum/3", "remove one of them"),
    ),
    (
        "an empty enum",
        |d| schema(d, "Model")["enum"] = json!([]),
        Refused("/components/schemas/Model/enum", "list at least one, or remove `enum`"),
    ),
    (
        "an enum of numbers",
        |d| schema(d, "Model")["enum"] = json!([1, 2]),
        Refused("/components/schemas/Model/enum/0", "quote it or remove it"),
    ),
    (
        "a null in an enum",
        |d| schema(d, "Model")["enum"].as_array_mut().unwrap().push(Value::Null),
        Refused("/components/schemas/Model/enum/3", "quote it or remove it"),
    ),
    // Names of schemas.
    ("an enum `Option`", |d| add_enum(d, "Option"), Refused("/components/schemas/Option", "choose another name")),
    ("an enum `Result`", |d| add_enum(d, "Result"), Refused("/components/schemas/Result", "choose another name")),
    ("an enum `String`", |d| add_enum(d, "String"), Refused("/components/schemas/String", "choose another name")),
    ("an enum `Vec`", |d| add_enum(d, "Vec"), Refused("/components/schemas/Vec", "choose another name")),
    ("an enum `Box`", |d| add_enum(d, "Box"), Refused("/components/schemas/Box", "choose another name")),
    ("an enum `Some`", |d| add_enum(d, "Some"), Works),
    ("an enum `Text`", |d| add_enum(d, "Text"), Works),
    ("an enum `Client`", |d| add_enum(d, "Client"), Works),
    ("an enum `Value`", |d| add_enum(d, "Value"), Works),
    ("an enum `Formatter`", |d| add_enum(d, "Formatter"), Works),
    ("an object `Option`", |d| add_object(d, "Option"), Refused("/components/schemas/Option", "choose another name")),
    ("an object `Result`", |d| add_object(d, "Result"), Refused("/components/schemas/Result", "choose another name")),
    (
        "an object `Default`",
        |d| add_object(d, "Default"),
        Refused("/components/schemas/Default", "choose another name"),
    ),
    ("an object `ConversionError`", |d| add_object(d, "ConversionError"), Works),
    ("an object `Debug`", |d| add_object(d, "Debug"), Refused("/components/schemas/Debug", "choose another name")),
    ("an object `Self`", |d| add_object(d, "Self"), Refused("/components/schemas/Self", "write it as in `MySelf`")),
    (
        "an object `builder`",
        |d| add_object(d, "builder"),
        Refused("/components/schemas/builder", "write it as in `MyBuilder`"),
    ),
    ("an enum `Url`", |d| add_enum(d, "Url"), Refused("/components/schemas/Url", "choose another name")),
    // Names of fields.
    ("a field `self`", |d| add_field(d, "self", json!({ "type": "string" })), Works),
    (
        "a field `type`",
        |d| add_field(d, "type_", json!({ "type": "string" })),
        Refused("/components/schemas/CreateGeneration/properties/type_", "rename one of them"),
    ),
    (
        "a field `createdAt` beside `created_at`",
        |d| {
            schema(d, "Generation")["properties"]["createdAt"] = json!({ "type": "string" });
        },
        Refused("/components/schemas/Generation/properties/created_at", "rename one of them"),
    ),
    ("a field `build`", |d| add_field(d, "build", json!({ "type": "string" })), Works),
    ("a field `extra`", |d| add_field(d, "extra", json!({ "type": "string" })), Works),
    ("a field `builder`", |d| add_field(d, "builder", json!({ "type": "string" })), Works),
    ("a field without a letter", |d| add_field(d, "$", json!({ "type": "string" })), Works),
    ("a field that begins with a digit", |d| add_field(d, "3d", json!({ "type": "string", "nullable": true })), Works),
    // Kinds of fields.
    ("a pattern", |d| add_field(d, "tag_1", json!({ "type": "string", "pattern": "^[a-z]+$" })), Works),
    ("a limit of length", |d| add_field(d, "tag_2", json!({ "type": "string", "maxLength": 5 })), Works),
    (
        "an enum in a property",
        |d| add_field(d, "tag", json!({ "type": "string", "enum": ["a"] })),
        Refused(
            "/components/schemas/CreateGeneration/properties/tag/enum",
            "define it in /components/schemas and refer to it",
        ),
    ),
    (
        "an object in a property",
        |d| add_field(d, "tag", json!({ "type": "object", "properties": { "a": { "type": "string" } } })),
        Refused(
            "/components/schemas/CreateGeneration/properties/tag/properties",
            "define it in /components/schemas and refer to it",
        ),
    ),
    (
        "a list of objects in a property",
        |d| {
            add_field(
                d,
                "tag",
                json!({ "type": "array", "items": { "type": "object", "properties": { "a": { "type": "string" } } } }),
            );
        },
        Refused(
            "/components/schemas/CreateGeneration/properties/tag/items/properties",
            "define it in /components/schemas and refer to it",
        ),
    ),
    (
        "a list with limits",
        |d| {
            add_field(
                d,
                "tags_6",
                json!({ "type": "array", "items": { "type": "string" }, "maxItems": 3, "minItems": 1 }),
            );
        },
        Works,
    ),
    (
        "a list of limited texts",
        |d| add_field(d, "tags_7", json!({ "type": "array", "items": { "type": "string", "maxLength": 3 } })),
        Works,
    ),
    (
        "a set",
        |d| add_field(d, "tags_8", json!({ "type": "array", "items": { "type": "string" }, "uniqueItems": true })),
        Works,
    ),
    (
        "a set of enums",
        |d| {
            add_field(
                d,
                "tags_9",
                json!({ "type": "array", "items": { "$ref": "#/components/schemas/Model" }, "uniqueItems": true }),
            );
        },
        Works,
    ),
    (
        "a map",
        |d| add_field(d, "tags_10", json!({ "type": "object", "additionalProperties": { "type": "string" } })),
        Works,
    ),
    (
        "a number with limits",
        |d| add_field(d, "scale_11", json!({ "type": "number", "minimum": 0.5, "maximum": 2 })),
        Works,
    ),
    (
        "an integer with limits",
        |d| add_field(d, "seed_12", json!({ "type": "integer", "minimum": 0, "maximum": 4_294_967_295_u32 })),
        Works,
    ),
    (
        "an integer of another format",
        |d| add_field(d, "seed_13", json!({ "type": "integer", "format": "int32" })),
        Works,
    ),
    (
        "a text of an unknown format",
        |d| add_field(d, "tag_14", json!({ "type": "string", "format": "duration" })),
        Works,
    ),
    ("an address as a text", |d| add_field(d, "tag_15", json!({ "type": "string", "format": "ipv4" })), Works),
    ("a date", |d| add_field(d, "tag_16", json!({ "type": "string", "format": "date" })), Works),
    (
        "bytes",
        |d| add_field(d, "tag", json!({ "type": "string", "format": "binary" })),
        Refused("/paths/~1generations/post/requestBody/content/application~1json/schema/$ref", "use another"),
    ),
    ("a default", |d| add_field(d, "tag_18", json!({ "type": "string", "default": "a" })), Works),
    ("a default of another type", |d| add_field(d, "tag_19", json!({ "type": "integer", "default": "a" })), Works),
    (
        "a reference to nothing",
        |d| add_field(d, "tag", json!({ "$ref": "#/components/schemas/Nothing" })),
        Refused(
            "/components/schemas/CreateGeneration/properties/tag/$ref",
            "define /components/schemas/Nothing or correct the name",
        ),
    ),
    (
        "a reference to another file",
        |d| add_field(d, "tag", json!({ "$ref": "other.yaml#/Nothing" })),
        Refused("/components/schemas/CreateGeneration/properties/tag/$ref", "write `#/components/schemas/<name>`"),
    ),
    ("anything", |d| add_field(d, "tag_22", json!({})), Works),
    (
        "a type of 3.1",
        |d| add_field(d, "tag", json!({ "type": ["string", "null"] })),
        Refused(
            "/components/schemas/CreateGeneration/properties/tag/type",
            "write one type, and `nullable: true` if it may be null",
        ),
    ),
    (
        "alternatives in a property",
        |d| add_field(d, "tag", json!({ "oneOf": [{ "type": "string" }] })),
        Refused(
            "/components/schemas/CreateGeneration/properties/tag/oneOf",
            "define it in /components/schemas and refer to it",
        ),
    ),
    (
        "a combination",
        |d| {
            add_field(
                d,
                "tag",
                json!({ "allOf": [{ "$ref": "#/components/schemas/Model" }, { "$ref": "#/components/schemas/Style" }] }),
            );
        },
        Refused(
            "/components/schemas/CreateGeneration/properties/tag/allOf",
            "define the combination in /components/schemas",
        ),
    ),
    (
        "an object that holds itself",
        |d| add_field(d, "next_26", json!({ "$ref": "#/components/schemas/CreateGeneration" })),
        Works,
    ),
    (
        "a list that is a schema",
        |d| {
            schema(d, "Models")
                .clone_from(&json!({ "type": "array", "items": { "$ref": "#/components/schemas/Model" } }));
        },
        Works,
    ),
    ("a text that is a schema", |d| schema(d, "Tag").clone_from(&json!({ "type": "string", "maxLength": 5 })), Works),
    ("a number that is a schema", |d| schema(d, "Count").clone_from(&json!({ "type": "integer" })), Works),
    (
        "a new required field of a response",
        |d| {
            let generation = schema(d, "Generation");
            generation["properties"]["units"] = json!({ "type": "integer" });
            generation["required"].as_array_mut().unwrap().push(json!("units"));
            generation["example"]["units"] = json!(1);
        },
        Works,
    ),
    (
        "a new required field that no example has",
        |d| {
            let generation = schema(d, "Generation");
            generation["properties"]["units"] = json!({ "type": "integer" });
            generation["required"].as_array_mut().unwrap().push(json!("units"));
        },
        Refused("/components/schemas/Generation/example", "add it"),
    ),
    (
        "a new required field of a request",
        |d| {
            let request = schema(d, "FileRef");
            request["properties"]["units"] = json!({ "type": "integer" });
            request["required"].as_array_mut().unwrap().push(json!("units"));
            request["example"]["units"] = json!(1);
        },
        Refused("/components/schemas/FileRef/required/1", "make it optional, or write it there"),
    ),
    (
        "a required field that is not there",
        |d| schema(d, "Generation")["required"].as_array_mut().unwrap().push(json!("units")),
        Refused("/components/schemas/Generation/required/5", "define it or remove it from the list"),
    ),
    (
        "a schema less",
        |d| {
            d["components"]["schemas"].as_object_mut().unwrap().remove("Style");
        },
        Refused(
            "/components/schemas/CreateGeneration/properties/style/$ref",
            "define /components/schemas/Style or correct the name",
        ),
    ),
    // Operations.
    ("a query of texts", |d| query(d, "kinds_1", json!({ "type": "array", "items": { "type": "string" } })), Works),
    (
        "a query of enums",
        |d| query(d, "kinds_2", json!({ "type": "array", "items": { "$ref": "#/components/schemas/FileState" } })),
        Works,
    ),
    ("a query of one enum", |d| query(d, "kinds_3", json!({ "$ref": "#/components/schemas/FileState" })), Works),
    (
        "a query of an enum written there",
        |d| query(d, "kinds", json!({ "type": "string", "enum": ["a"] })),
        Refused("/paths/~1files/get/parameters/4/schema/enum", "define it in /components/schemas and refer to it"),
    ),
    (
        "a query of an object",
        |d| query(d, "kinds", json!({ "$ref": "#/components/schemas/File" })),
        Refused("/paths/~1files/get/parameters/4/schema", "use a text, a number or a boolean"),
    ),
    ("a query of numbers", |d| query(d, "kinds_6", json!({ "type": "array", "items": { "type": "integer" } })), Works),
    (
        "an operation of a new path",
        |d| operation(d, "get_usage_1", json!({ "type": "object", "additionalProperties": { "type": "integer" } })),
        Works,
    ),
    (
        "an operation that returns a list",
        |d| operation(d, "get_usage_2", json!({ "type": "array", "items": { "$ref": "#/components/schemas/File" } })),
        Works,
    ),
    ("an operation that returns a text", |d| operation(d, "get_usage_3", json!({ "type": "string" })), Works),
    (
        "an operation that returns an enum",
        |d| operation(d, "get_usage_4", json!({ "$ref": "#/components/schemas/Model" })),
        Works,
    ),
    (
        "an enum in a response",
        |d| operation(d, "get_usage", json!({ "type": "string", "enum": ["a"] })),
        Refused(
            "/paths/~1usage~1get_usage/get/responses/200/content/application~1json/schema/enum",
            "define it in /components/schemas and refer to it",
        ),
    ),
    (
        "an object in a response",
        |d| operation(d, "get_usage", json!({ "type": "object", "properties": { "a": { "type": "string" } } })),
        Refused(
            "/paths/~1usage~1get_usage/get/responses/200/content/application~1json/schema/properties",
            "define it in /components/schemas and refer to it",
        ),
    ),
    ("an operation with a keyword as its name", |d| operation(d, "move", json!({ "type": "string" })), Works),
    ("an operation named `new`", |d| operation(d, "new", json!({ "type": "string" })), Works),
    ("an operation named `clone`", |d| operation(d, "clone", json!({ "type": "string" })), Works),
    ("an operation named `baseurl`", |d| operation(d, "baseurl", json!({ "type": "string" })), Works),
    ("an operation named `inner`", |d| operation(d, "inner", json!({ "type": "string" })), Works),
    ("an operation named `Get-Costs`", |d| operation(d, "Get-Costs", json!({ "type": "string" })), Works),
    (
        "two operations with one name",
        |d| operation(d, "getGeneration", json!({ "type": "string" })),
        Refused("/paths/~1usage~1getGeneration/get/operationId", "rename one of them"),
    ),
    (
        "an operation without a name",
        |d| operation(d, "", json!({ "type": "string" })),
        Refused("/paths/~1usage~1/get/operationId", "name the operation, as in `get_generation`"),
    ),
    ("an operation named like a type", |d| operation(d, "client", json!({ "type": "string" })), Works),
    (
        "a path without its parameter",
        |d| d["paths"]["/usage/{id}"] = d["paths"]["/files"].clone(),
        Refused("/paths/~1usage~1{id}/get", "define it"),
    ),
    ("another version", |d| d["openapi"] = json!("3.1.0"), Refused("/openapi", "write OpenAPI 3.0, such as \"3.0.3\"")),
    ("a version that is a number", |d| d["info"]["version"] = json!(1.0), Refused("/info/version", "put it in quotes")),
];

/// All edits that work, for the test that compiles them.
pub(crate) fn accepted(document: &mut Value) {
    EDITS.iter().filter(|(.., end)| matches!(end, Works)).for_each(|(_, edit, _)| edit(document));
}

#[test]
fn an_edit_that_works_is_accepted_beside_all_others() {
    let mut document = DOCUMENT.clone();
    accepted(&mut document);
    assert_eq!(generate("accepted", &document), Ok(()));
}

#[test]
fn an_edit_that_cannot_work_is_refused_in_one_sentence_with_its_place() {
    let next = AtomicUsize::new(0);
    let wrong = |(name, edit, end): &Edit| {
        let Refused(pointer, advice) = end else { return None };
        let mut document = DOCUMENT.clone();
        edit(&mut document);
        let outcome = generate(name, &document);
        let is_expected = outcome
            .as_ref()
            .is_err_and(|error| error.starts_with(&format!("openapi.yaml: {pointer}: ")) && error.ends_with(advice));
        (!is_expected).then(|| format!("{name}: {outcome:?}"))
    };
    let wrong: Vec<_> = thread::scope(|scope| {
        let worker = || iter::from_fn(|| EDITS.get(next.fetch_add(1, Ordering::Relaxed))).filter_map(wrong).collect();
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|it| it.join().unwrap_or_else(|_| vec!["a panic".to_owned()])).collect()
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What the build script says of the document.
fn generate(name: &str, document: &Value) -> Result<(), String> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join("generator")
        .join(name.replace(|c: char| !c.is_alphanumeric(), "-"));
    fs::create_dir_all(&folder).unwrap();
    // JSON is valid YAML.
    fs::write(folder.join("openapi.yaml"), document.to_string()).unwrap();
    let output = Command::new(script())
        .current_dir(&folder)
        .env("OUT_DIR", &folder)
        .env("CARGO_FEATURE_MOCK", "1")
        .env("CARGO_FEATURE_EMULATOR", "1")
        .env("CARGO_FEATURE_SCHEMARS", "1")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    match text.lines().find_map(|line| line.strip_prefix("cargo::error=")) {
        Some(error) => Err(error.to_owned()),
        None if output.status.success() => Ok(()),
        None => panic!("{name}: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// The build script as cargo has compiled it, which is the newest one.
fn script() -> PathBuf {
    let builds = PathBuf::from(env!("OUT_DIR")).join("../..");
    let scripts = fs::read_dir(builds).unwrap().filter_map(|entry| {
        let folder = entry.unwrap();
        let script = folder.path().join(format!("build-script-build{}", std::env::consts::EXE_SUFFIX));
        let is_ours = folder.file_name().to_string_lossy().starts_with(concat!(env!("CARGO_PKG_NAME"), "-"));
        Some((fs::metadata(&script).ok().filter(|_| is_ours)?.modified().unwrap(), script))
    });
    scripts.max().expect("the build script").1
}
