//! Jobs in doubt, and what is decided about them.

use std::fs;

use serde_json::json;

use crate::support::Emulator;

const RUN: [&str; 4] = ["batch", "run", "b.jsonl", "--yes"];

/// A batch of so many lines, of which nobody knows whether they became jobs.
fn in_doubt(lines: usize, after_effect: bool) -> Emulator {
    let emulator = Emulator::scripted(&format!(
        r#"{{"replies": [{{"operation": "create_generation", "status": 500, "detail": "oops",
            "times": {lines}, "after_effect": {after_effect}}}]}}"#,
    ));
    emulator.write("b.jsonl", "{\"prompt\": \"a duck\"}\n".repeat(lines));
    assert_eq!(emulator.run(&RUN).code, Some(6));
    emulator
}

/// Makes the journal one of last year: what is young may still be under way.
fn age(emulator: &Emulator) {
    let path = emulator.path("b.journal.jsonl");
    let mut aged = String::new();
    for line in fs::read_to_string(&path).unwrap().lines() {
        let (before, _) = line.split_once(",\"crc\":").unwrap();
        let at = before.find("\"t\":\"").unwrap() + 5;
        let body = format!("{}2025-01-01T00:00:00.000Z{}", &before[..at], &before[at + 24..]);
        aged += &format!("{body},\"crc\":\"{:08x}\"}}\n", crc32(body.as_bytes()));
    }
    fs::write(path, aged).unwrap();
}

/// CRC-32 (IEEE).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 * (crc & 1)))
    })
}

#[test]
fn a_job_that_support_has_found_is_saved_and_not_paid_for_again() {
    let emulator = in_doubt(1, true);
    let id = emulator.jobs()[0]["id"].as_str().unwrap().to_owned();
    let doubts = emulator.run(&["batch", "doubt", "b.jsonl", "--json"]);
    assert_eq!(doubts.objects()[0]["x_request_id"], emulator.jobs()[0]["x_request_id"], "{doubts:?}");

    let other = "line-000001=7e57ab1e-0000-4000-8000-000000000000";
    assert_eq!(emulator.run(&["batch", "doubt", "b.jsonl", "--found", other]).code, Some(1), "there is no such job");
    let found = emulator.run(&["batch", "doubt", "b.jsonl", "--found", &format!("line-000001={id}")]);
    assert_eq!((found.code, found.stdout.as_str()), (Some(0), ""), "{found:?}");
    assert!(found.stderr.contains("line-000001: found; the next run saves it"), "{found:?}");
    let ran = emulator.run(&RUN);
    assert_eq!((ran.code, ran.lines()), (Some(0), vec!["out/line-000001.png"]), "{ran:?}");
    assert_eq!(emulator.jobs().len(), 1);
}

#[test]
fn what_does_not_exist_is_sent_and_the_rest_stays_in_doubt() {
    let emulator = in_doubt(2, false);
    age(&emulator);
    let none = emulator.run(&["batch", "doubt", "b.jsonl", "--none", "line-000001"]);
    assert_eq!((none.code, none.lines().len()), (Some(6), 1), "{none:?}");
    assert!(none.stderr.contains("line-000001: the next run sends it"), "{none:?}");
    assert_eq!(emulator.run(&RUN).code, Some(6));
    assert_eq!(emulator.jobs().len(), 1);

    let wrong = emulator.run(&["batch", "doubt", "b.jsonl", "--resend", "2"]);
    assert!(wrong.code != Some(0) && wrong.stderr.contains("1 are in doubt, not 2"), "{wrong:?}");
    assert_eq!(emulator.run(&["batch", "doubt", "b.jsonl", "--resend", "1"]).code, Some(0));
    assert_eq!((emulator.run(&RUN).code, emulator.jobs().len()), (Some(0), 2));
}

#[test]
fn the_job_of_a_sidecar_is_listed_with_the_doubt() {
    let emulator = in_doubt(1, true);
    let id = emulator.jobs()[0]["id"].clone();
    emulator.write("out/line-000001.json", json!({"custom_id": "line-000001", "id": id}).to_string());
    let doubts = emulator.run(&["batch", "doubt", "b.jsonl", "--json"]);
    assert_eq!(doubts.objects()[0]["generation_id"], id, "{doubts:?}");
    let shown = emulator.run(&["batch", "doubt", "b.jsonl"]);
    assert!(shown.stderr.contains(&format!("--found line-000001={}", id.as_str().unwrap())), "{shown:?}");
}
