//! The architecture of the crate: a file uses its own layer and those below, and there are no cycles.
//!
//! `layers.rs` is the table. `scan.rs` reads one file, `modules.rs` finds what its paths name, `dependencies.rs`
//! lists which file uses which, and `rules.rs` says what is not allowed. Not seen is an `impl` of a trait on a higher layer: it is used
//! without being named.

mod dependencies;
mod layers;
mod modules;
mod rules;
mod scan;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use layers::{LAYERS, entries, with_layers};
use modules::{Modules, Sources};
use rules::violations;
use scan::scan;

use crate::support::snapshot::assert_snapshot;

/// The files of this crate, as they are.
static SOURCES: LazyLock<Sources> = LazyLock::new(|| {
    let mut sources = Sources::new();
    let mut folders = vec!["src".to_owned(), "OUT_DIR".to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(on_disk(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{folder}/{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                folders.push(name);
            } else if name.ends_with(".rs") {
                sources.insert(name.clone(), scan(&read(&name)).unwrap());
            }
        }
    }
    sources
});

static VIOLATIONS: LazyLock<BTreeSet<String>> = LazyLock::new(|| violations(&SOURCES));

fn on_disk(name: &str) -> PathBuf {
    let generated = name.strip_prefix("OUT_DIR").map(|rest| format!("{}{rest}", env!("OUT_DIR")));
    generated.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(name), PathBuf::from)
}

fn read(name: &str) -> String {
    fs::read_to_string(on_disk(name)).unwrap()
}

#[test]
fn dependencies_point_down_and_never_in_a_cycle() {
    let found: Vec<_> = VIOLATIONS.iter().map(String::as_str).collect();
    assert!(found.is_empty(), "{} violations:\n{}", found.len(), found.join("\n"));
}

#[test]
fn every_file_is_part_of_the_crate_and_in_one_entry_of_the_table() {
    let modules = Modules::of(&SOURCES);
    for file in SOURCES.keys().filter(|file| file.starts_with("src/")) {
        assert!(modules.files.contains(file.as_str()), "{file} is in no module");
        let entries: Vec<_> = entries(file).collect();
        assert!(entries.len() == 1, "{file} is in {} entries of layers.rs: {entries:?}", entries.len());
    }
}

#[test]
fn every_entry_of_the_table_is_there() {
    for (_, entry, _) in LAYERS {
        let file = |file: &String| entries(file).any(|(_, it)| it == *entry);
        assert!(SOURCES.keys().any(file), "there is no src/{entry}");
    }
}

#[test]
fn lib_only_gives_names() {
    let lib = &SOURCES["src/lib.rs"];
    let defined = [&lib.types, &lib.values, &lib.macros].map(|names| names.join(" ")).join("");
    assert!(defined.is_empty() && lib.inherent.is_empty(), "lib.rs defines {defined}");
}

#[test]
fn contributing_shows_the_layers() {
    assert_snapshot("CONTRIBUTING.md", &with_layers(&read("CONTRIBUTING.md")));
}

/// What is wrong once `texts` are added to files, and was not before.
fn violations_with(texts: &[(&str, &str)]) -> Vec<String> {
    let mut sources = SOURCES.clone();
    for (file, text) in texts {
        sources.insert((*file).to_owned(), scan(&(read(file) + text)).unwrap());
    }
    violations(&sources).difference(&VIOLATIONS).cloned().collect()
}

/// `line`, added to `file`, is a violation. The message begins with file and line, and has `parts` in it.
#[track_caller]
fn assert_violation(file: &str, line: &str, parts: &[&str]) {
    let found = violations_with(&[(file, line)]);
    let place = format!("{file}:{}", read(file).lines().count() + 1);
    let is_told = |it: &String| it.starts_with(&place) && parts.iter().all(|part| it.contains(part));
    assert!(found.iter().any(is_told), "expected {place} .. {parts:?}, found {found:#?}");
}

#[test]
fn a_use_is_seen() {
    assert_violation(
        "src/progress.rs",
        "use crate::{error::{self, Exchange as E}};",
        &["`crate::error::Exchange`", "src/error/exchange.rs"],
    );
}

#[test]
fn a_use_inside_a_function_is_seen() {
    assert_violation(
        "src/progress.rs",
        "fn f() { use crate::error as e; e::Error::status; }",
        &["`e::Error::status`", "src/error/mod.rs"],
    );
}

#[test]
fn a_path_in_code_is_seen() {
    assert_violation(
        "src/progress.rs",
        "fn f(_: Vec<crate::error::Error>) {}",
        &["`crate::error::Error`", "src/error/mod.rs"],
    );
}

#[test]
fn a_path_in_an_attribute_is_seen() {
    let line = r#"#[derive(serde::Serialize)] struct S { #[serde(with = "crate::error::job")] field: u8 }"#;
    assert_violation("src/progress.rs", line, &["`crate::error::job`", "src/error/job.rs"]);
}

#[test]
fn a_name_of_lib_is_seen() {
    assert_violation("src/progress.rs", "type R = crate::Result<()>;", &["`crate::Result`", "src/lib.rs"]);
    assert_violation("src/upload/mod.rs", "type R = crate::Result<()>;", &["`crate::Result`", "src/lib.rs"]);
}

#[test]
fn the_body_of_a_macro_is_seen() {
    assert_violation(
        "src/progress.rs",
        "macro_rules! m { () => { $crate::error::f($x) } }",
        &["`crate::error::f`", "src/error/mod.rs"],
    );
}

#[test]
fn the_arguments_of_a_macro_are_seen() {
    assert_violation(
        "src/progress.rs",
        "fn f() { print!(\"{}\", crate::error::f()) }",
        &["`crate::error::f`", "src/error/mod.rs"],
    );
}

#[test]
fn the_call_of_a_macro_is_seen() {
    assert_violation(
        "src/progress.rs",
        "open_enum! { Weather { Sun = \"sun\" } }",
        &["`open_enum!`", "src/types/open_enum.rs"],
    );
}

#[test]
fn a_path_from_the_parent_is_seen() {
    assert_violation(
        "src/util/redact.rs",
        "fn f() { super::super::error::f() }",
        &["`super::super::error::f`", "src/error/mod.rs"],
    );
    assert_violation("src/util/redact.rs", "mod m { fn f() { super::super::super::wait::f() } }", &["src/wait/mod.rs"]);
}

#[test]
fn a_glob_is_seen() {
    assert_violation("src/progress.rs", "use crate::error::*;", &["`crate::error`", "src/error/mod.rs"]);
}

#[test]
fn a_reexport_leads_to_the_file_of_the_name() {
    assert_violation(
        "src/progress.rs",
        "use crate::error::Rejected;",
        &["`crate::error::Rejected`", "src/error/rejected.rs"],
    );
}

#[test]
fn a_reexport_above_is_seen() {
    let found = violations_with(&[
        ("src/client/mod.rs", "pub(crate) use crate::util::redact;"),
        ("src/progress.rs", "fn f() { crate::client::redact::url(\"\") }"),
    ]);
    assert!(found.len() == 1 && found[0].contains("passed on by src/client/mod.rs"), "{found:#?}");
}

#[test]
fn a_reexport_must_not_point_up() {
    assert_violation(
        "src/error/mod.rs",
        "pub use crate::upload::Upload;",
        &["`crate::upload::Upload`", "src/upload/mod.rs"],
    );
}

#[test]
fn generated_code_is_seen() {
    assert_violation(
        "OUT_DIR/types.rs",
        "type T = crate::raw::Client;",
        &["included by src/types/mod.rs", "src/raw/client.rs"],
    );
}

#[test]
fn a_method_that_is_defined_above_is_seen() {
    for call in ["c.files()", "Client::files(c)", "<Client>::files(c)", "c.clone().files::<>()"] {
        let line = format!("fn f(c: &Client) {{ {call}; }}");
        assert_violation("src/client/mod.rs", &line, &["`Client::files`", "src/files.rs"]);
    }
    assert_violation(
        "src/files.rs",
        "impl Files { fn f(&self) { Self::upload(self) } }",
        &["`Files::upload`", "src/upload/mod.rs"],
    );
}

#[test]
fn a_cycle_on_one_layer_is_seen() {
    let found = violations_with(&[
        ("src/util/redact.rs", "use crate::util::clock;"),
        ("src/util/clock.rs", "use super::media_type::f;"),
        ("src/util/media_type.rs", "fn f() { super::redact::url(\"\") }"),
    ]);
    assert_eq!(found.len(), 1, "{found:#?}");
    let steps = [
        "src/util/clock.rs -> src/util/media_type.rs (uses `super::media_type::f`",
        " -> src/util/redact.rs (uses",
        " -> src/util/clock.rs",
    ];
    assert!(steps.iter().all(|step| found[0].contains(step)), "{found:#?}");
}

#[test]
fn a_cycle_through_a_used_reexport_is_seen() {
    let found = violations_with(&[
        ("src/util/mod.rs", "pub(crate) use redact::url; fn f() { url(\"\") }"),
        ("src/util/redact.rs", "fn g() { super::f() }"),
    ]);
    assert!(found.len() == 1 && found[0].contains("src/util/mod.rs -> src/util/redact.rs (uses `url`"), "{found:#?}");
}

#[test]
fn what_goes_down_is_allowed() {
    let found = violations_with(&[
        (
            "src/upload/mod.rs",
            "fn f(c: &Client) { c.files(); crate::error::f(); super::util::redact::url(); http::Method::GET; ::http::f() }",
        ),
        ("src/util/mod.rs", "pub(crate) use redact::url;"),
        ("src/util/redact.rs", "fn g() { super::f() }"),
        ("src/progress.rs", "#[cfg(test)] mod more { use crate::error::Error; }"),
    ]);
    assert!(found.is_empty(), "{found:#?}");
}
