//! The architecture test can fail: these tests add violations to the files of the crate, in memory.

use super::{SOURCES, VIOLATIONS, read, rules::violations, scan::scan};

/// The violations that appear when `texts` are added to files.
fn violations_with(texts: &[(&str, &str)]) -> Vec<String> {
    let mut sources = SOURCES.clone();
    for (file, text) in texts {
        sources.insert((*file).to_owned(), scan(&(read(file) + text)).unwrap());
    }
    violations(&sources).difference(&VIOLATIONS).cloned().collect()
}

/// `line`, added to `file`, is a violation: it uses `name`, which `other` defines or passes on.
#[track_caller]
fn assert_violation(file: &str, line: &str, name: &str, other: &str) {
    let found = violations_with(&[(file, line)]);
    let place = format!("{file}:{}", read(file).lines().count() + 1);
    let is_expected =
        |it: &String| it.starts_with(&place) && it.contains(&format!("`{name}`")) && it.contains(&format!(" {other} "));
    assert!(found.iter().any(is_expected), "expected {place} .. `{name}` .. {other}, found {found:#?}");
}

/// A file of the lowest layer.
const LOW: &str = "src/progress.rs";

#[test]
fn a_use_is_seen() {
    assert_violation(
        LOW,
        "use crate::{error::{self, Exchange as E}};",
        "crate::error::Exchange",
        "src/error/exchange.rs",
    );
}

#[test]
fn a_use_inside_a_function_is_seen() {
    assert_violation(
        LOW,
        "fn f() { use crate::error as e; e::Error::status; }",
        "e::Error::status",
        "src/error/mod.rs",
    );
}

#[test]
fn a_path_in_code_is_seen() {
    assert_violation(LOW, "fn f(_: Vec<crate::error::Error>) {}", "crate::error::Error", "src/error/mod.rs");
}

#[test]
fn a_path_in_an_attribute_is_seen() {
    let line = r#"#[derive(serde::Serialize)] struct S { #[serde(with = "crate::error::job")] field: u8 }"#;
    assert_violation(LOW, line, "crate::error::job", "src/error/job.rs");
}

#[test]
fn a_name_of_lib_is_seen() {
    assert_violation(LOW, "type R = crate::Result<()>;", "crate::Result", "src/lib.rs");
    assert_violation("src/upload/mod.rs", "type R = crate::Result<()>;", "crate::Result", "src/lib.rs");
}

#[test]
fn the_body_of_a_macro_is_seen() {
    assert_violation(LOW, "macro_rules! m { () => { $crate::error::f($x) } }", "crate::error::f", "src/error/mod.rs");
}

#[test]
fn the_arguments_of_a_macro_are_seen() {
    assert_violation(LOW, "fn f() { print!(\"{}\", crate::error::f()) }", "crate::error::f", "src/error/mod.rs");
}

#[test]
fn the_call_of_a_macro_is_seen() {
    assert_violation(LOW, "open_enum! { Weather { Sun = \"sun\" } }", "open_enum!", "src/types/open_enum.rs");
}

#[test]
fn a_path_from_the_parent_is_seen() {
    assert_violation(
        "src/util/redact.rs",
        "fn f() { super::super::error::f() }",
        "super::super::error::f",
        "src/error/mod.rs",
    );
    assert_violation(
        "src/util/redact.rs",
        "mod m { fn f() { super::super::super::wait::f() } }",
        "super::super::super::wait::f",
        "src/wait/mod.rs",
    );
}

#[test]
fn a_glob_is_seen() {
    assert_violation(LOW, "use crate::error::*;", "crate::error", "src/error/mod.rs");
}

#[test]
fn a_reexport_leads_to_the_file_of_the_name() {
    assert_violation(LOW, "use crate::error::Rejected;", "crate::error::Rejected", "src/error/rejected.rs");
}

#[test]
fn a_reexport_above_is_seen() {
    let found = violations_with(&[
        ("src/client/mod.rs", "pub(crate) use crate::util::redact;"),
        (LOW, "fn f() { crate::client::redact::url(\"\") }"),
    ]);
    assert!(found.len() == 1 && found[0].contains("passed on by src/client/mod.rs"), "{found:#?}");
}

#[test]
fn a_reexport_must_not_point_up() {
    assert_violation(
        "src/error/mod.rs",
        "pub use crate::upload::Upload;",
        "crate::upload::Upload",
        "src/upload/mod.rs",
    );
}

#[test]
fn generated_code_is_seen() {
    assert_violation("OUT_DIR/types.rs", "type T = crate::raw::Client;", "crate::raw::Client", "src/raw/client.rs");
    assert_violation("OUT_DIR/types.rs", "type T = crate::raw::Client;", "crate::raw::Client", "src/types/mod.rs");
}

#[test]
fn a_method_that_is_defined_above_is_seen() {
    for call in ["c.files()", "Client::files(c)", "<Client>::files(c)", "c.clone().files::<>()"] {
        let line = format!("fn f(c: &Client) {{ {call}; }}");
        assert_violation("src/client/mod.rs", &line, "Client::files", "src/files.rs");
    }
    assert_violation(
        "src/files.rs",
        "impl Files { fn f(&self) { Self::upload(self) } }",
        "Files::upload",
        "src/upload/mod.rs",
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
        (LOW, "#[cfg(test)] mod more { use crate::error::Error; }"),
    ]);
    assert!(found.is_empty(), "{found:#?}");
}
