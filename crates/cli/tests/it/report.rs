//! The contact sheet: everything in one file, and nothing in it runs that a user wrote.

use std::fs;

use serde_json::json;

use crate::support::Emulator;

#[test]
fn the_report_has_every_job_and_names_are_text() {
    let emulator = Emulator::scripted(
        r#"{"prompts": [{"contains": "bad", "then":
        {"fails": "content_moderated", "reason": "ducks are <b>not</b> allowed"}}]}"#,
    );
    let line = |id: &str, prompt: &str| json!({"custom_id": id, "body": {"prompt": prompt}}).to_string() + "\n";
    let evil = "<script>alert(1)</script>\"{cards}";
    emulator.write("b.jsonl", line("evil", evil) + &line("good", "a duck") + &line("bad", "bad"));
    emulator.run(&["batch", "run", "b.jsonl", "--yes"]);
    let ran = emulator.run(&["batch", "report", "b.jsonl"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "b.report.html\n"), "{ran:?}");
    let page = fs::read_to_string(emulator.path("b.report.html")).unwrap();
    assert_eq!(page.matches("<script>").count(), 1, "only that of the page");
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#123;cards}"));
    assert_eq!(page.matches("<li class=\"card\"").count(), 3);
    assert_eq!(page.matches("src=\"data:image/jpeg;base64,").count(), 2);
    assert!(page.contains("href=\"out/good.png\""));
    assert!(page.contains("content_moderated (1)") && page.contains("refunded"));
    // In the list of failures, and on the card.
    assert_eq!(page.matches("ducks are &lt;b&gt;not&lt;/b&gt; allowed").count(), 2, "{page}");
    for link in ["http:", "https:", "src=\"out", "@import", "url("] {
        assert!(!page.contains(link), "{link}");
    }
}

#[test]
fn a_job_in_doubt_has_its_request_id() {
    let emulator = Emulator::scripted(
        r#"{"replies": [{"operation": "create_generation", "status": 500, "detail": "oops", "after_effect": true}]}"#,
    );
    emulator.write("b.jsonl", "{\"prompt\": \"a duck\"}\n");
    assert_eq!(emulator.run(&["batch", "run", "b.jsonl", "--yes"]).code, Some(6));
    emulator.run(&["batch", "report", "b.jsonl"]);
    let page = fs::read_to_string(emulator.path("b.report.html")).unwrap();
    let request_id = emulator.jobs()[0]["x_request_id"].as_str().unwrap().to_owned();
    assert!(page.contains(&format!("request id {request_id}")), "{page}");
}

#[test]
fn a_report_replaces_a_report_and_no_other_file() {
    let emulator = Emulator::start();
    emulator.write("b.jsonl", "{\"prompt\": \"a duck\"}\n");
    emulator.run(&["batch", "run", "b.jsonl", "--yes"]);
    let report = |out: &str| emulator.run(&["batch", "report", "b.jsonl", "--out", out]);
    for taken in ["b.jsonl", "b.journal.jsonl", "out/line-000001.png"] {
        let before = fs::read(emulator.path(taken)).unwrap();
        let ran = report(taken);
        assert!(ran.code == Some(2) && ran.stderr.contains(&format!("{taken} exists")), "{ran:?}");
        assert!(fs::read(emulator.path(taken)).unwrap() == before, "{taken} stays as it is");
    }
    assert_eq!(["new", "x.html", "x.html"].map(|out| report(out).code), [Some(0); 3]);
}
