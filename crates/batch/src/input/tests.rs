//! Whole files: every problem at once, before anything is paid.

use std::{fs, io::Cursor};

use super::*;
use crate::{key::CustomId, output::Names};

fn input(text: &str) -> Input {
    Input::spool(Cursor::new(text.to_owned()), ".").unwrap()
}

fn check(text: &str) -> Result<Checked> {
    input(text).check().run(|_| Known::default())
}

fn problems(result: Result<Checked>) -> Vec<String> {
    match result {
        Err(Error::Input(problems)) => {
            let code = |it: &Problem| format!("{} {}", it.line.unwrap_or_default(), it.code);
            problems.problems.iter().map(code).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_good_input_is_counted_hashed_and_estimated() {
    let text =
        "\u{feff}{\"prompt\":\"a\"}\r\n\n  \n{\"custom_id\":\"b\",\"body\":{\"prompt\":\"b\",\"model\":\"uni-1-max\"}}";
    let checked = check(text).unwrap();
    assert_eq!((checked.lines, checked.sha256), (2, Sha256::of(text)));
    assert_eq!((checked.total.high.to_string(), checked.total.unknown), ("0.1404".to_owned(), 0));
    let lines: Vec<_> =
        input(text).lines(checked.sha256).unwrap().map(|it| it.unwrap().custom_id.to_string()).collect();
    assert_eq!(lines, ["line-000001", "b"]);
}

#[test]
fn all_problems_of_a_file_are_found_at_once_in_the_order_of_the_lines() {
    let text = r#"{"custom_id":"a","body":{"prompt":"a"}}
{"custom_id":"A","body":{"prompt":"a"}}
{"custom_id":"b","body":{"prompt":"","colour":1}}
nonsense
{"custom_id":"c","body":{"prompt":"a","source":{"path":"/none.png"}}}
{"custom_id":"a","body":{"prompt":"a"}}"#;
    let expected = [
        "2 duplicate_custom_id",
        "3 unknown_parameter",
        "3 invalid_value",
        "4 invalid_json_line",
        "5 invalid_media",
        "6 duplicate_custom_id",
    ];
    let (mut found, mut expected) = (problems(check(text)), expected.map(str::to_owned));
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    let message = check(text).unwrap_err().to_string();
    assert!(message.starts_with("the input cannot be used: line 2: duplicate_custom_id: custom_id: "), "{message}");
    assert!(message.ends_with("(and 5 more)") && !message.contains('\n'), "{message}");
}

#[test]
fn options_that_exclude_each_other_are_found_before_anything_is_paid() {
    let text = r#"{"prompt":"a","model":"ray-3.2","type":"video","video":{"loop":true,"hdr":true,"duration":"10s"}}"#;
    assert_eq!(problems(check(text)), ["1 invalid_value", "1 invalid_value", "1 invalid_value"]);
    let message = check(text).unwrap_err().to_string();
    assert!(message.contains("line 1: invalid_value: body: loop is not available for 10s"), "{message}");
}

#[test]
fn a_video_without_a_model_is_said_to_need_one() {
    for (body, suggests) in
        [(r#"{"prompt":"a","type":"video"}"#, true), (r#"{"prompt":"a","type":"video","model":"uni-1"}"#, false)]
    {
        let Err(Error::Input(problems)) = check(body) else { panic!("{body}") };
        let message = &problems.problems[0].message;
        assert_eq!(message.ends_with("; add \"model\": \"ray-3.2\""), suggests, "{message}");
    }
}

#[test]
fn problems_that_repeat_are_shown_once_with_their_number() {
    let text = "{\"prompt\":\"\"}\n{\"prompt\":\"\"}\n{\"prompt\":\"a\",\"colour\":1}\n{\"prompt\":\"\"}\n";
    let Err(Error::Input(problems)) = check(text) else { panic!() };
    let groups: Vec<_> = problems.grouped().iter().map(|(first, more)| (first.line, first.code, *more)).collect();
    assert_eq!(groups, [(Some(1), Code::InvalidValue, 2), (Some(3), Code::UnknownParameter, 0)]);
}

#[test]
fn an_input_without_a_request_is_empty() {
    for text in ["", "\n \r\n"] {
        assert_eq!(problems(check(text)), ["0 empty_file"]);
    }
}

#[test]
fn a_number_given_by_a_line_is_an_id_like_any_other() {
    let text = "{\"prompt\":\"a\"}\n{\"custom_id\":\"line-000001\",\"body\":{\"prompt\":\"b\"}}";
    assert_eq!(problems(check(text)), ["2 duplicate_custom_id"]);
}

#[test]
fn a_changed_request_is_an_error_while_a_job_for_the_earlier_one_may_exist() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.png"), b"\x89PNG\r\n\x1a\n00000000").unwrap();
    let path = folder.path().join("a.jsonl");
    let text = r#"{"custom_id":"a","body":{"prompt":"a","image_ref":[{"path":"a.png"}]}}"#;
    fs::write(&path, text).unwrap();
    let input = Input::open(&path).unwrap();
    let line = Line::parse(1, text.as_bytes()).unwrap();
    let content = |name: &str| Ok(Sha256::of(fs::read(folder.path().join(name)).unwrap()));
    let request = Some(line.fingerprint(content).unwrap());
    let known = |_: &CustomId| Known { request, ..Known::default() };
    assert!(input.check().run(known).is_ok());
    fs::write(folder.path().join("a.png"), b"\x89PNG\r\n\x1a\n00000001").unwrap();
    assert_eq!(problems(input.check().run(known)), ["1 changed_request"]);
    assert!(input.check().run(|_| Known::default()).is_ok(), "as the repair of a failed one it is welcome");
}

#[test]
fn a_file_at_the_name_of_a_job_that_is_yet_to_be_made_is_the_user_s() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.png"), "").unwrap();
    let existing = Names::new(folder.path()).existing().unwrap();
    let input = input(r#"{"custom_id":"a","body":{"prompt":"a"}}"#);
    let check = || input.check().existing(existing.clone());
    assert_eq!(problems(check().run(|_| Known::default())), ["1 file_exists"]);
    assert!(check().run(|_| Known { owns_files: true, ..Known::default() }).is_ok());
}

#[test]
fn a_file_that_changes_after_the_check_stops_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    fs::write(&path, "{\"prompt\":\"a\"}\n").unwrap();
    let input = Input::open(&path).unwrap();
    let checked = input.check().run(|_| Known::default()).unwrap();
    fs::write(&path, "{\"prompt\":\"a\"}\n{\"prompt\":\"b\"}\n").unwrap();
    let lines: Vec<_> = input.lines(checked.sha256).unwrap().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[2].as_ref().unwrap_err().to_string().contains("has changed since it was checked"));
}

#[test]
fn a_hopeless_file_does_not_fill_the_memory_with_problems() {
    let Err(Error::Input(problems)) = check(&"x\n".repeat(5000)) else { panic!("no problem found") };
    assert_eq!((problems.problems.len(), problems.total), (1000, 5000));
}
