//! Generates the wire types, the client and the typed mocks from `openapi.yaml`: the steps, in order.
//!
//! progenitor cannot carry all of `OpenAPI`, and has no setting for all that we want. So the document is
//! checked first, progenitor gets a lean copy of it, and its output is completed.

#[path = "build/builders.rs"]
mod builders;
#[path = "build/check/mod.rs"]
mod check;
#[path = "build/client.rs"]
mod client;
#[path = "build/enums.rs"]
mod enums;
#[path = "build/lean.rs"]
mod lean;
#[path = "build/mocks.rs"]
mod mocks;
#[path = "build/names.rs"]
mod names;
#[path = "build/node.rs"]
mod node;
#[path = "build/one_of.rs"]
mod one_of;
#[path = "build/parse.rs"]
mod parse;
#[path = "build/progenitor.rs"]
mod progenitor;
#[path = "build/requests.rs"]
mod requests;
#[path = "build/types.rs"]
mod types;
#[path = "build/walk.rs"]
mod walk;

use std::{env, fs, path::Path, process::ExitCode};

use node::Node;

/// The error is one line that names the place in the document and what to do there.
type Result<T, E = String> = std::result::Result<T, E>;

/// The features of the crate that the output depends on.
#[derive(Clone, Copy)]
pub(crate) struct Features {
    emulator: bool,
    mock: bool,
    schemars: bool,
}

/// A file of the output directory.
type Output = (&'static str, String);

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed={}", node::FILE);
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");

    let has = |feature| env::var_os(format!("CARGO_FEATURE_{feature}")).is_some();
    let features = Features { emulator: has("EMULATOR"), mock: has("MOCK"), schemars: has("SCHEMARS") };
    match read().and_then(|text| generate(&text, features)).and_then(write) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo::error={error}");
            ExitCode::FAILURE
        }
    }
}

fn read() -> Result<String> {
    fs::read_to_string(node::FILE).map_err(|e| format!("{} cannot be read: {e}", node::FILE))
}

fn generate(text: &str, features: Features) -> Result<Vec<Output>> {
    let document = parse::parse(text)?;
    let document = Node::root(&document);
    check::check(&document)?;
    let lean = lean::copy(&document)?;

    let (types, client) = progenitor::types_and_client(&document, &lean)?;
    let mut files = vec![
        ("enums.rs", enums::enums(&document)?),
        ("types.rs", types::complete(types, &document, features)?),
        ("client.rs", client::complete(client, &document)?),
        ("schemas.json", document.get("components").get("schemas").value.to_string()),
    ];
    if features.emulator {
        files.push(("document.json", document.value.to_string()));
    }
    if features.mock {
        files.push(("mock.rs", mocks::complete(progenitor::mocks(&document, &lean)?, &document)));
    }
    Ok(files)
}

fn write(files: Vec<Output>) -> Result<()> {
    let directory = env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?;
    for (name, content) in files {
        let path = Path::new(&directory).join(name);
        fs::write(&path, content).map_err(|e| format!("{} cannot be written: {e}", path.display()))?;
    }
    Ok(())
}
