//! Errors of the command line: one line each, with what to do next.

use crate::support::{Ran, luma, snapshot};

#[test]
fn every_error_is_one_line_and_the_one_in_the_snapshot() {
    let mut text = String::new();
    for arguments in [
        &["image"][..],
        &["image", ""],
        &["image", "a duck"],
        &["image", "a duck", "--modle", "uni-1"],
        &["imag"],
        &["image", "a duck", "--set", "seed"],
        &["image", "a duck", "--set", "prompt.x=1"],
        &["image", "a duck", "--ref", "file:7"],
        &["image", "a duck", "--ref", "none.png"],
        &["image", "a duck", "--json-request", "/nonexistent"],
        &["image", "a duck", "--timeout", "soon"],
        &["image", "a duck", "--async", "--out", "x"],
        &["edit", "warmer"],
        &["wait"],
        &["wait", "7"],
        &["wait", "7e57ab1e-0000-4000-8000-000000000000", "--no-download", "--out", "x"],
        &["check"],
        &["check", "--key-file", "/nonexistent"],
        &["batch", "check", "none.jsonl"],
        &["batch", "status", "none.jsonl"],
        &["batch", "status", "-"],
        &["batch", "run", "none.jsonl", "--max-usd", "-1"],
        &["batch", "doubt", "a.jsonl", "--found", "a"],
        &["batch", "doubt", "a.jsonl", "--none", "a", "--resend", "1"],
        &["emulator", "--quota", "per-hour=3"],
        &["emulator", "--speed", "0"],
        &["emulator", "--script", "/nonexistent"],
        &["completions", "tcsh"],
    ] {
        let ran = Ran::of(&mut luma(arguments));
        assert_eq!(ran.stdout, "", "{arguments:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{arguments:?}: {}", ran.stderr);
        text += &format!("$ luma {}\n{}exit {}\n\n", arguments.join(" "), ran.stderr, ran.code.unwrap());
    }
    snapshot("errors.txt", &text);
}

#[test]
fn with_json_an_error_is_one_object() {
    for arguments in [&["image", "--json"][..], &["image", "a duck", "--json"], &["wait", "7", "--json"]] {
        let ran = Ran::of(&mut luma(arguments));
        let error: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
        assert_eq!(error["error"]["exit"], ran.code.unwrap(), "{error}");
        assert!(error["error"]["message"].is_string() && error["error"]["code"].is_string(), "{error}");
    }
}

#[test]
fn without_a_command_the_help_goes_to_stderr() {
    let ran = Ran::of(&mut luma(&[]));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
    assert!(ran.stderr.contains("Usage: luma"), "{}", ran.stderr);
}
