//! stdout, stderr, pipes and terminals.

use std::{io::Read as _, process::Stdio};

use serde_json::json;

use crate::support::{Emulator, Ran, luma};

#[test]
fn a_reader_that_has_gone_ends_the_program_without_an_error() {
    for arguments in [&["completions", "bash"][..], &["--help"], &["man"]] {
        let mut child = luma(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn without_a_terminal_there_is_no_spinner_and_no_colour() {
    let emulator = Emulator::start();
    for arguments in [&["image", "a duck"][..], &["wait", "7"]] {
        let ran = emulator.run(arguments);
        assert!(!ran.stderr.contains('\u{1b}') && !ran.stdout.contains('\u{1b}'), "{ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    }
}

/// Runs on a terminal of its own, which gets stdout and stderr.
#[cfg(target_os = "linux")]
fn on_a_terminal(emulator: &Emulator, arguments: &[&str], no_color: bool) -> Ran {
    let quoted: Vec<_> = arguments.iter().map(|it| format!("'{it}'")).collect();
    let mut command = std::process::Command::new("script");
    command.args(["-qec", &format!("{} {}", env!("CARGO_BIN_EXE_luma"), quoted.join(" ")), "/dev/null"]);
    command.env("LUMA_BASE_URL", &emulator.base_url).env("LUMA_AGENTS_API_KEY", &emulator.key);
    command.env("TERM", "xterm").current_dir(emulator.folder.path()).stdin(Stdio::null());
    if no_color {
        command.env("NO_COLOR", "1");
    } else {
        command.env_remove("NO_COLOR");
    }
    Ran::of(&mut command)
}

#[cfg(target_os = "linux")]
#[test]
fn on_a_terminal_a_spinner_shows_the_state() {
    let emulator = Emulator::scripted(r#"{"default": {"takes": 1}}"#);
    let ran = on_a_terminal(&emulator, &["image", "a duck"], false);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains('\u{1b}') && ran.stdout.contains("processing"), "{ran:?}");
    assert!(ran.stdout.contains(".png\r\n"), "{ran:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn no_color_turns_colours_off() {
    let emulator = Emulator::start();
    let coloured = |no_color| on_a_terminal(&emulator, &["wait", "7"], no_color).stdout.contains("\u{1b}[31m");
    assert_eq!((coloured(false), coloured(true)), (true, false));
}

#[test]
fn json_is_one_object_a_job() {
    let emulator = Emulator::start();
    let ids: Vec<_> = (0..3).map(|_| emulator.run(&["image", "a duck", "--async"]).lines()[0].to_owned()).collect();
    let ran = emulator.run(&["wait", &ids[0], &ids[1], &ids[2], "--json"]);
    let mut found: Vec<_> = ran.objects().iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect();
    found.sort();
    let mut ids = ids;
    ids.sort();
    assert_eq!(found, ids);
    assert!(ran.objects().iter().all(|it| it["files"][0].as_str().unwrap().contains(".png")), "{ran:?}");
}

#[test]
fn with_json_a_job_that_failed_is_an_object_too() {
    let emulator = Emulator::scripted(r#"{"default": {"fails": "content_moderated"}}"#);
    let ran = emulator.run(&["image", "a duck", "--json"]);
    let job = &ran.objects()[0];
    assert_eq!((ran.code, &job["state"], &job["error"]["exit"]), (Some(5), &"failed".into(), &5.into()), "{ran:?}");
    let saved = emulator.run(&["save", job["id"].as_str().unwrap(), "--json"]);
    assert_eq!((saved.code, &saved.objects()[0]["id"]), (Some(5), &job["id"]), "{saved:?}");
}

#[test]
fn a_batch_whose_reader_has_gone_leaves_nothing_in_doubt() {
    let emulator = Emulator::start();
    emulator.write("b.jsonl", "{\"prompt\": \"a duck\"}\n".repeat(40));
    let arguments = ["batch", "run", "b.jsonl", "--yes", "--per-minute", "6000", "--concurrency", "4"];
    let mut child = emulator.luma(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(4), "jobs are left: {ran:?}");
    assert!(ran.stderr.contains(" not submitted; up to $"), "{ran:?}");
    assert!(ran.stderr.ends_with("nobody reads the results\nto go on: luma batch run b.jsonl\n"), "{ran:?}");
    let jobs = emulator.jobs().len();
    assert!(jobs < 40, "it stops: {jobs}");
    let doubts = emulator.run(&["batch", "doubt", "b.jsonl"]);
    assert_eq!((doubts.code, doubts.stdout.as_str()), (Some(0), ""), "{doubts:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn on_a_terminal_a_bar_shows_how_a_batch_goes() {
    let emulator = Emulator::scripted(r#"{"default": {"takes": 1}}"#);
    emulator.write("b.jsonl", "{\"prompt\": \"a duck\"}\n".repeat(3));
    let ran = on_a_terminal(&emulator, &["batch", "run", "b.jsonl", "--yes"], true);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for part in ["0/3", "3 in flight", "up to $0.1212 spent", "out/line-000003.png\r\n"] {
        assert!(ran.stdout.contains(part), "{part}: {ran:?}");
    }
}

/// What must reach no terminal as it is.
const STEERING: [char; 4] = ['\u{1b}', '\u{9b}', '\u{202e}', '\r'];

fn is_steering(text: &str) -> bool {
    text.contains(STEERING)
}

#[test]
fn the_reason_of_a_failure_is_short_and_without_secrets_whatever_command_shows_it() {
    let secret = "https://h/o.png?X-Amz-Signature=hush";
    let reason = format!("no \\u001b[31m picture\\n at {secret} {}", "x".repeat(1999));
    let script = format!(r#"{{"default": {{"fails": "new\\u001b\\u009b", "reason": "{reason}"}}}}"#);
    let emulator = Emulator::scripted(&script.replace("\\\\", "\\"));
    let id = emulator.run(&["image", "a duck", "--async"]).lines()[0].to_owned();
    emulator.run(&["wait", &id]);
    emulator.write("b.jsonl", "{\"prompt\": \"a duck\"}\n");
    for command in [&["wait", &id][..], &["save", &id], &["batch", "run", "b.jsonl", "--yes"]] {
        let ran = emulator.run(command);
        let shown = ran.stderr.lines().find(|line| line.contains("picture")).unwrap();
        assert!(!is_steering(&ran.stderr) && !ran.stderr.contains("hush"), "{ran:?}");
        assert!(shown.contains("https://h/o.png?… x") && shown.len() < 999, "{ran:?}");
    }
    let ran = emulator.run(&["save", &id, "--json"]);
    let error = &ran.objects()[0]["error"];
    assert_eq!((&error["code"], &error["failure_code"]), (&json!("generation_failed"), &json!("new\u{1b}\u{9b}")));
}

#[test]
fn what_the_service_says_stays_in_its_field_and_steers_no_terminal() {
    let evil = "a\\u001b\\u009b\\u202e\\tb\\r\\nc".replace("\\\\", "\\");
    let states = format!(r#"{{"default": {{"model": "{evil}", "type": "{evil}", "states": ["{evil}"]}}}}"#);
    let emulator = Emulator::scripted(&states);
    let id = emulator.run(&["image", "a duck", "--async"]).lines()[0].to_owned();
    let row = |ran: &Ran| {
        assert!(ran.lines().len() == 1 && !is_steering(&ran.stdout), "{ran:?}");
        ran.lines()[0].split('\t').map(str::to_owned).collect::<Vec<_>>()
    };
    emulator.run(&["get", &id]); // It is queued.
    let shown = "a\u{fffd}\u{fffd}\u{fffd} b c";
    assert_eq!(row(&emulator.run(&["get", &id]))[1..4], [shown, shown, shown]);
    assert_eq!(emulator.run(&["get", &id, "--json"]).objects()[0]["model"], "a\u{1b}\u{9b}\u{202e}\tb\r\nc", "exact");
    let open = emulator.run(&["save", &id]);
    assert!(!is_steering(&open.stderr) && open.stderr.contains(shown), "{open:?}");

    let name = "a\u{1b}\u{202e}\tb\nc.png";
    let file = json!({"id": id, "filename": name, "mime_type": "image/png", "size_bytes": 3, "state": "ready",
        "created_at": "2026-04-08T12:00:00Z"});
    let replies = json!([{"operation": "get_file", "status": 200, "times": 2, "body": file.to_string()}]);
    let emulator = Emulator::scripted(&json!({ "replies": replies }).to_string());
    assert_eq!(row(&emulator.run(&["files", "get", &id]))[4..], ["a\u{fffd}\u{fffd} b c.png"]);
    assert_eq!(emulator.run(&["files", "get", &id, "--json"]).objects()[0]["filename"], name, "exact");
}
