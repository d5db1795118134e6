//! The exit codes, each provoked.

use std::fs;

use crate::support::{Emulator, Ran, luma};

const ID: &str = "7e57ab1e-0000-4000-8000-000000000000";

fn code(script: &str, arguments: &[&str]) -> Option<i32> {
    let ran = Emulator::scripted(script).run(arguments);
    assert!(ran.code == Some(0) || !ran.stderr.is_empty(), "{ran:?}");
    ran.code
}

fn reply(name: &str) -> String {
    format!(r#"{{"replies": [{{"operation": "create_generation", "reply": "{name}", "times": 9}}]}}"#)
}

#[test]
fn one_job_ends_with_the_code_of_what_stopped_it() {
    let image = ["image", "a duck"];
    assert_eq!(code("{}", &image), Some(0));
    // The API.
    assert_eq!(code(&reply("unusable_media"), &image), Some(1));
    assert_eq!(code("{}", &["get", ID]), Some(1));
    // Usage.
    assert_eq!(code("{}", &["image"]), Some(2));
    // The account.
    for name in ["unauthorized", "insufficient_credits", "forbidden"] {
        assert_eq!(code(&reply(name), &image), Some(3), "{name}");
    }
    assert_eq!(Ran::of(&mut luma(&image)).code, Some(3));
    // Time.
    let slow = Emulator::scripted(r#"{"default": {"takes": 600}}"#).run(&["image", "a duck", "--timeout", "1"]);
    let id = slow.stderr.lines().next().and_then(|it| it.strip_prefix("submitted ")).unwrap();
    assert!(slow.code == Some(4) && slow.stderr.contains(&format!("it goes on: luma wait {id}")), "{slow:?}");
    // The generation.
    assert_eq!(code(r#"{"generations": [{"fails": "content_moderated"}]}"#, &image), Some(5));
    // In doubt.
    let lost =
        r#"{"replies": [{"operation": "create_generation", "status": 500, "detail": "oops", "after_effect": true}]}"#;
    assert_eq!(code(lost, &image), Some(6));
}

#[test]
fn the_network_and_local_files_are_failures() {
    let closed = ["check", "--base-url", "http://127.0.0.1:9"];
    assert_eq!(Ran::of(luma(&closed).env("LUMA_AGENTS_API_KEY", "luma-api-x")).code, Some(1));
    assert_eq!(code("{}", &["edit", "warmer", "--source", "none.png"]), Some(1));
}

#[test]
fn of_several_jobs_some_failed() {
    let emulator = Emulator::scripted(r#"{"prompts": [{"contains": "bad", "then": {"fails": "content_moderated"}}]}"#);
    let id = |prompt| emulator.run(&["image", prompt, "--async"]).lines()[0].to_owned();
    let (good, bad) = (id("good"), id("bad"));
    let ran = emulator.run(&["wait", &good, &bad]);
    assert_eq!((ran.code, ran.lines().len()), (Some(8), 1), "{ran:?}");
    assert_eq!(emulator.run(&["wait", &bad]).code, Some(5));
    assert_eq!(emulator.run(&["save", &good, &bad, "--overwrite"]).code, Some(8));
}

/// Runs a batch of two and returns its exit code.
fn batch(script: &str, more: &[&str]) -> Option<i32> {
    let emulator = Emulator::scripted(script);
    emulator.write("b.jsonl", "{\"prompt\": \"good\"}\n{\"prompt\": \"bad\"}\n");
    let ran = emulator.run(&[&["batch", "run", "b.jsonl", "--yes"], more].concat());
    assert!(!ran.stderr.is_empty());
    ran.code
}

#[test]
fn a_batch_ends_with_the_first_code_that_applies() {
    assert_eq!(batch("{}", &[]), Some(0));
    assert_eq!(batch(&reply("insufficient_credits"), &[]), Some(3));
    assert_eq!(batch("{}", &["--max-usd", "0.05"]), Some(7));
    assert_eq!(batch("{}", &["--max-jobs", "1"]), Some(7));
    let fails = r#"{"prompts": [{"contains": "bad", "then": {"fails": "content_moderated"}}]}"#;
    assert_eq!(batch(fails, &[]), Some(8));
    let lost = r#"{"replies": [{"operation": "create_generation", "status": 500, "detail": "oops", "after_effect": true}],
        "prompts": [{"contains": "bad", "then": {"fails": "content_moderated"}}]}"#;
    assert_eq!(batch(lost, &[]), Some(6));
}

#[test]
fn a_batch_that_cannot_begin_is_wrong_usage() {
    let emulator = Emulator::start();
    emulator.write("b.jsonl", "{\"prompt\": \"good\"}\n");
    let run = |arguments: &[&str]| emulator.run(&[&["batch", "run"], arguments].concat()).code;
    assert_eq!(run(&["b.jsonl"]), Some(2), "nobody can be asked");
    emulator.write("wrong.jsonl", "{\"promt\": 1}\n");
    assert_eq!(run(&["wrong.jsonl", "--yes"]), Some(2));
    assert_eq!(run(&["b.jsonl", "--yes"]), Some(0));
    let mut journal = fs::read(emulator.path("b.journal.jsonl")).unwrap();
    journal[20] ^= 1;
    emulator.write("b.journal.jsonl", journal);
    assert_eq!(run(&["b.jsonl", "--yes"]), Some(2), "a damaged journal");
    assert_eq!(emulator.jobs().len(), 1);
}
