//! A batch through the command line: killed, stopped, capped, repaired, and never paid for twice.

use std::{
    collections::HashSet,
    fs,
    io::{BufRead as _, BufReader},
    process::Stdio,
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{Emulator, Ran, signal, until};

/// A batch in which one prompt is moderated.
fn catalogue(emulator: &Emulator, jobs: usize) {
    let line = |number: usize| {
        let prompt = if number == 7 { "forbidden".to_owned() } else { format!("a duck number {number}") };
        json!({"custom_id": format!("sku-{number:03}"), "body": {"prompt": prompt}}).to_string() + "\n"
    };
    emulator.write("catalogue.jsonl", (1..=jobs).map(line).collect::<String>());
}

fn moderated(more: &str) -> String {
    format!(r#"{{"prompts": [{{"contains": "forbidden", "then": {{"fails": "content_moderated"}}}}]{more}}}"#)
}

const RUN: [&str; 4] = ["batch", "run", "catalogue.jsonl", "--yes"];
/// Without waiting for the rate of a small plan.
const FAST: [&str; 8] = ["batch", "run", "catalogue.jsonl", "--yes", "--per-minute", "6000", "--concurrency", "100"];

fn lines(emulator: &Emulator, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(emulator.path(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_batch_is_checked_estimated_run_and_reported() {
    let emulator = Emulator::scripted(&moderated(""));
    catalogue(&emulator, 10);
    let checked = emulator.run(&["batch", "check", "catalogue.jsonl", "--json"]);
    assert_eq!(checked.objects()[0]["usd"]["high"], "0.4040", "{checked:?}");
    let ran = emulator.run(&FAST);
    assert_eq!((ran.code, ran.lines().len()), (Some(8), 9), "{ran:?}");
    let moderated = ran.stderr.lines().find(|line| line.starts_with("sku-007: generation ")).unwrap();
    assert!(moderated.contains(" failed: content_moderated: "), "{moderated}");
    for path in ran.lines() {
        assert!(emulator.path(path).is_file(), "{path}");
    }
    assert_eq!(lines(&emulator, "catalogue.results.jsonl").len(), 10);
    assert_eq!(lines(&emulator, "catalogue.errors.jsonl").len(), 1);
    let status = emulator.run(&["batch", "status", "catalogue.jsonl", "--json"]);
    assert_eq!(status.objects()[0]["states"], json!({"saved": 9, "failed": 1}));
    let again = emulator.run(&FAST);
    assert_eq!((again.code, emulator.jobs().len()), (Some(8), 10), "nothing is sent again: {again:?}");
}

#[test]
fn all_problems_of_an_input_are_listed_and_nothing_is_sent() {
    let emulator = Emulator::start();
    emulator.write("catalogue.jsonl", "{\"prompt\": \"\"}\n{\"promt\": \"x\"}\nnonsense\n");
    let ran = emulator.run(&RUN);
    assert_eq!(ran.code, Some(2));
    for line in ["line 1: ", "line 2: ", "line 3: "] {
        assert!(ran.stderr.contains(line), "{}", ran.stderr);
    }
    assert!(!emulator.path("catalogue.journal.jsonl").exists());
    assert_eq!(emulator.jobs().len(), 0);
}

#[cfg(unix)]
#[test]
fn a_killed_batch_goes_on_and_pays_for_nothing_twice() {
    let emulator = Emulator::scripted(&moderated(r#", "default": {"takes": 1}"#));
    catalogue(&emulator, 30);
    for round in 1..=2 {
        let mut child = emulator.luma(&FAST).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // It ends by itself if all that the first kill left is in doubt.
        until("jobs", || emulator.jobs().len() >= 8 * round || child.try_wait().unwrap().is_some());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let ran = emulator.run(&FAST);
    let doubts = emulator.run(&["batch", "doubt", "catalogue.jsonl", "--json"]).objects();
    assert_eq!(ran.code, Some(if doubts.is_empty() { 8 } else { 6 }), "{ran:?}");

    let jobs = emulator.jobs();
    let prompts: HashSet<_> = jobs.iter().map(|job| job["request"]["prompt"].as_str().unwrap()).collect();
    assert_eq!(prompts.len(), jobs.len(), "no job is there twice");
    let results = lines(&emulator, "catalogue.results.jsonl");
    let count = |state: &str| results.iter().filter(|it| it["state"] == state).count();
    let (saved, failed, in_doubt) = (count("saved"), count("failed"), count("in_doubt"));
    assert_eq!((saved + failed + in_doubt, in_doubt), (30, doubts.len()), "{results:?}");
    assert!(jobs.len() <= 30 && jobs.len() >= saved + failed, "{} jobs", jobs.len());
    assert_eq!(fs::read_dir(emulator.path("out")).unwrap().filter(|it| is_png(it.as_ref().unwrap())).count(), saved);
}

fn is_png(entry: &fs::DirEntry) -> bool {
    entry.path().extension().is_some_and(|it| it == "png")
}

#[cfg(unix)]
#[test]
fn the_first_signal_stops_and_the_next_run_goes_on() {
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let emulator = Emulator::scripted(r#"{"default": {"takes": 1}}"#);
        catalogue(&emulator, 12);
        let slow = ["batch", "run", "catalogue.jsonl", "--yes", "--per-minute", "6000", "--concurrency", "3"];
        let child = emulator.luma(&slow).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        until("jobs", || emulator.jobs().len() >= 3);
        signal(child.id(), name);
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(ran.stderr.contains("luma batch run catalogue.jsonl"), "{}", ran.stderr);
        let not_submitted = 12 - emulator.jobs().len();
        assert!(not_submitted > 0 && ran.stderr.contains(&format!(" open, {not_submitted} not submitted")), "{ran:?}");
        assert_eq!(emulator.run(&FAST).code, Some(0));
        assert_eq!(emulator.jobs().len(), 12);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_that_goes_away_stops_a_batch_unless_nohup_keeps_it() {
    for (command, code) in [("exec", Some(129)), ("exec nohup", Some(0))] {
        let emulator =
            Emulator::scripted(r#"{"replies": [{"operation": "create_generation", "delay": 1, "times": 2}]}"#);
        catalogue(&emulator, 2);
        let mut shell = std::process::Command::new("bash");
        shell.args(["-c", &format!("{command} {} {}", env!("CARGO_BIN_EXE_luma"), FAST.join(" "))]);
        shell.current_dir(emulator.folder.path());
        shell.env("LUMA_BASE_URL", &emulator.base_url).env("LUMA_AGENTS_API_KEY", &emulator.key);
        let child = shell.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let journal = || fs::read_to_string(emulator.path("catalogue.journal.jsonl")).unwrap_or_default();
        until("intents", || journal().matches(r#""e":"intent""#).count() == 2);
        signal(child.id(), "HUP");
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!(ran.code, code, "{ran:?}");
        assert_eq!(journal().matches(r#""e":"accepted""#).count(), 2, "nothing is in doubt: {ran:?}");
    }
}

#[cfg(unix)]
#[test]
fn the_second_signal_ends_at_once_and_says_what_is_in_doubt() {
    let script = r#"{"replies": [{"operation": "create_generation", "delay": 20, "times": 9}]}"#;
    let emulator = Emulator::scripted(script);
    catalogue(&emulator, 2);
    let child = emulator.luma(&FAST).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let journal = || fs::read_to_string(emulator.path("catalogue.journal.jsonl")).unwrap_or_default();
    until("intents", || journal().matches(r#""e":"intent""#).count() == 2);
    signal(child.id(), "INT");
    thread::sleep(Duration::from_millis(300));
    signal(child.id(), "INT");
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(130), "{ran:?}");
    assert!(ran.stderr.contains("2 may be in doubt"), "{}", ran.stderr);

    let doubts = emulator.run(&["batch", "doubt", "catalogue.jsonl"]);
    assert_eq!((doubts.code, doubts.lines().len()), (Some(6), 2), "{doubts:?}");
    let early = emulator.run(&["batch", "doubt", "catalogue.jsonl", "--none", "sku-001"]);
    assert!(early.code != Some(0) && early.stderr.contains("may still be under way"), "{early:?}");
}

#[test]
fn the_first_jobs_are_a_sample() {
    let emulator = Emulator::start();
    catalogue(&emulator, 6);
    let ran = emulator.run(&[&FAST[..], &["--first", "3"]].concat());
    assert_eq!((ran.code, emulator.jobs().len()), (Some(0), 3), "{ran:?}");
    assert!(ran.stderr.contains("for the rest: luma batch run catalogue.jsonl"), "{}", ran.stderr);
    assert_eq!(emulator.run(&FAST).code, Some(0));
    assert_eq!(emulator.jobs().len(), 6);
}

#[test]
fn what_failed_is_sent_once_more() {
    let script = r#"{"generations": [{"fails": "content_moderated", "times": 2}, {"fails": "new_code"}]}"#;
    let emulator = Emulator::scripted(script);
    catalogue(&emulator, 5);
    let one = [&FAST[..6], &["--concurrency", "1"]].concat();
    assert_eq!(emulator.run(&one).code, Some(8));
    assert_eq!(emulator.jobs().len(), 5);
    let retry = |code: &str| emulator.run(&["batch", "retry", "catalogue.jsonl", "--yes", "--code", code]);
    let ran = retry("new_code");
    assert_eq!((ran.code, emulator.jobs().len()), (Some(8), 6), "{ran:?}");
    let ran = emulator.run(&["batch", "retry", "catalogue.jsonl", "--yes"]);
    assert_eq!((ran.code, emulator.jobs().len()), (Some(0), 8), "{ran:?}");
}

#[test]
fn a_damaged_journal_is_repaired_by_the_command_that_the_error_names() {
    let emulator = Emulator::start();
    catalogue(&emulator, 3);
    assert_eq!(emulator.run(&FAST).code, Some(0));
    let mut journal = fs::read(emulator.path("catalogue.journal.jsonl")).unwrap();
    let at = journal.windows(8).position(|it| it == b"accepted").unwrap();
    journal[at] = b'A';
    emulator.write("catalogue.journal.jsonl", journal);
    let ran = emulator.run(&FAST);
    assert!(ran.code == Some(2) && ran.stderr.contains("luma batch repair catalogue.journal.jsonl"), "{ran:?}");
    let repaired = emulator.run(&["batch", "repair", "catalogue.journal.jsonl", "--json"]);
    assert_eq!(repaired.objects()[0]["lost"], 1, "{repaired:?}");
    emulator.run(&FAST);
    assert_eq!(emulator.jobs().len(), 3, "nothing is paid for twice");
}

#[test]
fn after_a_repair_the_status_does_not_say_that_all_else_was_never_sent() {
    let emulator = Emulator::start();
    catalogue(&emulator, 3);
    assert_eq!(emulator.run(&[&FAST[..], &["--first", "2"]].concat()).code, Some(0));
    let status = || emulator.run(&["batch", "status", "catalogue.jsonl"]);
    assert!(!status().stderr.contains("may be in doubt"), "{:?}", status());
    let journal = fs::read_to_string(emulator.path("catalogue.journal.jsonl")).unwrap();
    emulator.write("catalogue.journal.jsonl", journal.replacen("accepted", "Accepted", 1));
    assert_eq!(emulator.run(&["batch", "repair", "catalogue.jsonl"]).code, Some(6));
    assert!(status().stderr.contains("what is not submitted may be in doubt"), "{:?}", status());
}

#[test]
fn a_journal_has_a_name_by_which_it_is_found() {
    let emulator = Emulator::start();
    catalogue(&emulator, 1);
    let input = fs::read(emulator.path("catalogue.jsonl")).unwrap();
    for (verb, name) in [("run", "state.log"), ("run", "catalogue.jsonl"), ("repair", "catalogue.jsonl")] {
        let ran = emulator.run(&["batch", verb, "catalogue.jsonl", "--journal", name]);
        assert!(ran.code == Some(2) && ran.stderr.contains(".journal.jsonl"), "{verb} {name}: {ran:?}");
    }
    assert_eq!(fs::read(emulator.path("catalogue.jsonl")).unwrap(), input);
    assert_eq!(emulator.jobs().len(), 0);
}

#[test]
fn a_command_that_is_named_can_be_pasted_into_a_shell_and_keeps_the_cap() {
    let emulator = Emulator::start();
    catalogue(&emulator, 2);
    fs::rename(emulator.path("catalogue.jsonl"), emulator.path("my duck's.jsonl")).unwrap();
    let run = ["batch", "run", "my duck's.jsonl", "--yes", "--first", "1", "--out", "far", "--max-usd", "5"];
    let ran = emulator.run(&run);
    let rest = r"for the rest: luma batch run 'my duck'\''s.jsonl' --out far --max-usd 5.0000";
    assert!(ran.code == Some(0) && ran.stderr.contains(rest), "{ran:?}");
}

#[test]
fn uploads_are_deleted_when_the_batch_is_done() {
    let emulator = Emulator::start();
    emulator.write("photo.png", crate::jobs::picture());
    let body = json!({"type": "image_edit", "prompt": "warmer", "source": {"path": "photo.png"}});
    emulator.write("catalogue.jsonl", json!({"custom_id": "a", "body": body}).to_string());
    assert_eq!(emulator.run(&FAST).code, Some(0));
    let ready = || emulator.run(&["files", "list", "--state", "ready"]).lines().len();
    assert_eq!(ready(), 1);
    assert_eq!(emulator.run(&["batch", "clean", "catalogue.jsonl"]).stdout, "1 file deleted\n");
    assert_eq!(ready(), 0);
}

#[test]
fn an_input_from_stdin_needs_a_journal() {
    let emulator = Emulator::start();
    emulator.write("input", "{\"prompt\": \"a duck\"}\n");
    let run = |arguments: &[&str]| {
        let input = fs::File::open(emulator.path("input")).unwrap();
        Ran::of(emulator.luma(&[&["batch", "run", "-", "--yes"], arguments].concat()).stdin(input))
    };
    assert_eq!(run(&[]).code, Some(2));
    let ran = run(&["--journal", "b.journal.jsonl"]);
    assert_eq!((ran.code, ran.lines()), (Some(0), vec!["out/line-000001.png"]), "{ran:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_full_disk_keeps_from_the_journal_can_be_appended() {
    let emulator = Emulator::start();
    catalogue(&emulator, 30);
    let mut command = std::process::Command::new("bash");
    let run = format!("trap '' XFSZ; ulimit -f 8; exec {} {} --json", env!("CARGO_BIN_EXE_luma"), FAST.join(" "));
    command.args(["-c", &run]).current_dir(emulator.folder.path());
    command.env("LUMA_BASE_URL", &emulator.base_url).env("LUMA_AGENTS_API_KEY", &emulator.key);
    let ran = Ran::of(&mut command);
    assert_eq!(ran.code, Some(6), "paid ids are not on disk: {ran:?}");
    let errors = ran.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let errors: Vec<_> = errors.map(|it| it["error"].clone()).collect();
    assert!(errors.iter().all(|it| it["exit"] == 6), "as the program: {errors:?}");
    let lost: Vec<_> = errors.iter().filter(|it| it["code"] == "not_recorded").collect();
    assert!(!lost.is_empty() && !ran.stderr.contains("\ncatalogue.journal"), "all of them are objects: {ran:?}");

    let mut journal = fs::read_to_string(emulator.path("catalogue.journal.jsonl")).unwrap();
    journal.truncate(journal.rfind('\n').unwrap() + 1);
    for line in lost {
        assert!(line["generation_id"].is_string() && line["custom_id"].is_string(), "{line}");
        journal += line["line"].as_str().unwrap();
        journal += "\n";
    }
    emulator.write("catalogue.journal.jsonl", journal);
    let again = emulator.run(&FAST);
    assert_eq!((again.code, emulator.jobs().len()), (Some(0), 30), "nothing is paid for twice: {again:?}");
}

#[test]
fn a_long_wait_for_the_rate_limit_is_on_stderr() {
    let emulator = Emulator::scripted(r#"{"default": {"takes": 600}}"#);
    catalogue(&emulator, 4);
    let mut child = emulator.luma(&[&RUN[..], &["--per-minute", "2"]].concat()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.find(|line| line.contains("rate limit")).unwrap();
    let seconds: u64 =
        line.strip_prefix("waiting for the rate limit, ").unwrap().strip_suffix(" s").unwrap().parse().unwrap();
    assert!((50..=60).contains(&seconds), "{line}");
    until("both jobs of the limit", || emulator.jobs().len() == 2);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_check_says_that_the_outputs_of_another_batch_are_in_the_way() {
    let emulator = Emulator::start();
    emulator.write("a.jsonl", "{\"prompt\": \"a duck\"}\n");
    assert_eq!(emulator.run(&["batch", "run", "a.jsonl", "--yes"]).code, Some(0));
    emulator.write("b.jsonl", "{\"prompt\": \"a swan\"}\n");
    let checked = emulator.run(&["batch", "check", "b.jsonl"]);
    assert!(checked.code == Some(2) && checked.stderr.contains("belongs to the batch of"), "{checked:?}");
    assert_eq!(emulator.run(&["batch", "check", "a.jsonl"]).code, Some(0));
}
