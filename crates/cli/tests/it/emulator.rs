//! `luma emulator`, as another program uses it.

use serde_json::json;

use crate::support::Emulator;
#[cfg(unix)]
use crate::support::signal;

#[cfg(unix)]
#[test]
fn it_ends_well_when_it_is_asked_to() {
    for name in ["TERM", "INT"] {
        let mut emulator = Emulator::start();
        assert_eq!(emulator.run(&["check"]).code, Some(0));
        signal(emulator.id(), name);
        assert_eq!(emulator.wait(), Some(0), "{name}");
    }
}

#[test]
fn it_lists_what_would_have_been_paid_for() {
    let emulator = Emulator::start();
    let ran = emulator.run(&["image", "a duck", "--async"]);
    let jobs = emulator.jobs();
    assert_eq!(jobs[0]["id"], ran.lines()[0]);
    assert_eq!(jobs[0]["request"]["prompt"], "a duck");
    assert!(jobs[0]["x_request_id"].is_string() && jobs[0]["state"].is_string(), "{}", jobs[0]);
}

#[test]
fn it_has_no_limits_unless_they_are_asked_for() {
    let all =
        |emulator: &Emulator| (0..4).map(|_| emulator.run(&["image", "a duck", "--async"]).code).collect::<Vec<_>>();
    assert_eq!(all(&Emulator::start()), [Some(0); 4]);
    let limited = Emulator::with(&["--quota", "per-minute=600,concurrency=1", "--speed", "1000"]);
    let first = limited.run(&["image", "a duck", "--async"]);
    assert_eq!(first.code, Some(0), "{first:?}");
    assert_eq!(limited.jobs().len(), 1);
}

#[test]
fn it_plays_a_script() {
    let emulator = Emulator::scripted(r#"{"generations": [{"fails": "content_moderated", "reason": "not this"}]}"#);
    let ran = emulator.run(&["image", "a duck"]);
    assert!(ran.stderr.contains("content_moderated"), "{ran:?}");
    assert_eq!(emulator.run(&["image", "a duck"]).code, Some(0), "once");
}

#[test]
fn it_logs_requests_as_json() {
    use std::{
        io::{BufRead as _, BufReader},
        process::Stdio,
    };

    let mut child = crate::support::luma(&["emulator", "--log", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = BufReader::new(child.stdout.take().unwrap()).lines();
    let (url, key) = (ready.next().unwrap().unwrap(), ready.next().unwrap().unwrap());
    let value = |line: &str| line.split_once('=').unwrap().1.to_owned();
    let mut check = crate::support::luma(&["check", "--base-url", &value(&url)]);
    assert!(check.env("LUMA_AGENTS_API_KEY", value(&key)).output().unwrap().status.success());
    let line = BufReader::new(child.stderr.take().unwrap()).lines().next().unwrap().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["method"], &line["path"], &line["status"]), (&json!("GET"), &json!("/v1/files"), &json!(200)));
}
