//! What can be decided about a doubt, and what can not.

use std::time::Duration;

use luma_agents::mock::{Reply, Script};
use luma_agents_batch::{CustomId, Doubts, Error, Journal, Ledger as _, State, Submitted, repair};
use uuid::Uuid;

use crate::support::{Bench, key, submission};

/// A journal with one doubt, whose job is the emulator's first one.
async fn in_doubt(bench: &Bench) -> Journal {
    let journal = bench.journal().await;
    bench.emulator.next_create(Reply::raw(504, "").after_effect());
    let submitted = bench.submitter(&journal).submit_once(&key(&journal, "a"), &submission()).await.unwrap();
    assert!(matches!(submitted, Submitted::InDoubt(_)), "{submitted:?}");
    journal
}

fn message(refused: luma_agents_batch::Result<()>) -> String {
    match refused {
        Err(Error::Doubt(message)) => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_job_that_support_has_found_is_taken_over_and_nothing_is_sent() {
    let bench = Bench::new().await;
    let journal = in_doubt(&bench).await;
    let (client, key) = (bench.emulator.client(), key(&journal, "a"));
    let id = bench.emulator.jobs()[0].id;
    let doubts = Doubts::of(&journal);
    assert_eq!(doubts.list().await.unwrap()[0].request_id.unwrap().to_string(), bench.request_ids()[0]);
    doubts.found(&client, &key, id).await.unwrap();
    assert_eq!(doubts.list().await.unwrap(), []);
    let submitted = bench.submitter(&journal).submit_once(&key, &submission()).await.unwrap();
    assert!(matches!(submitted, Submitted::Accepted(accepted) if accepted.id == id));
    assert_eq!(bench.emulator.jobs().len(), 1);
    assert!(message(doubts.found(&client, &key, id).await).contains("not in doubt"));
}

#[tokio::test]
async fn a_job_of_something_else_is_not_taken_for_it() {
    let bench = Bench::new().await;
    let journal = in_doubt(&bench).await;
    let (client, key) = (bench.emulator.client(), key(&journal, "a"));
    let doubts = Doubts::of(&journal);
    // One that stands in the journal.
    let known = bench.submitter(&journal).submit_once(&self::key(&journal, "b"), &submission()).await.unwrap();
    let Submitted::Accepted(known) = known else { panic!("{known:?}") };
    assert!(message(doubts.found(&client, &key, known.id).await).contains("under b"));
    // One of another type or model.
    for script in [Script::new().generation_type("image_edit"), Script::new().model("uni-1-max")] {
        bench.emulator.next(script);
        let other = client.generations().create(crate::support::request()).await.unwrap();
        assert!(message(doubts.found(&client, &key, other.id).await).contains("and the request was"));
    }
    // One that does not exist.
    assert!(matches!(doubts.found(&client, &key, Uuid::new_v4()).await, Err(Error::Api(_))));
    assert_eq!(doubts.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_job_of_another_time_is_not_taken_for_it() {
    let bench = Bench::new().await;
    let journal = in_doubt(&bench).await;
    let key = key(&journal, "a");
    // Read by a clock that is a day ahead, the doubt is of tomorrow.
    drop(journal);
    let text = bench.text();
    let date = &text[text.find("\"t\":\"").unwrap() + 5..][..10];
    let other_day = if date.ends_with("15") { date.replace("-15", "-16") } else { format!("{}15", &date[..8]) };
    let lines: Vec<_> = text.lines().map(|line| with_checksum(&line.replace(date, &other_day))).collect();
    std::fs::write(bench.path(), lines.join("\n") + "\n").unwrap();
    let journal = bench.journal().await;
    let id = bench.emulator.jobs()[0].id;
    let refused = Doubts::of(&journal).found(&bench.emulator.client(), &key, id).await;
    assert!(message(refused).contains("it is another job"));
}

fn with_checksum(line: &str) -> String {
    let text = &line[..line.find(",\"crc\"").unwrap()];
    format!("{text},\"crc\":\"{:08x}\"}}", crc32fast::hash(text.as_bytes()))
}

#[tokio::test]
async fn none_and_resend_wait_until_the_request_cannot_be_under_way() {
    let bench = Bench::new().await;
    let journal = in_doubt(&bench).await;
    let key = key(&journal, "a");
    let doubts = Doubts::of(&journal);
    assert!(message(doubts.none(&key).await).contains("may still be under way"));
    assert!(message(doubts.resend(1).await).contains("may still be under way"));
    assert!(message(doubts.resend(2).await).contains("1 are in doubt, not 2"));
    assert_eq!(doubts.list().await.unwrap().len(), 1);
    let last = journal.get(&key).await.unwrap().unwrap();
    assert!(matches!(last.attempt.state, State::InDoubt { .. }));
}

#[tokio::test]
async fn after_the_time_a_decision_lets_it_be_sent_again() {
    for decide_none in [true, false] {
        let bench = Bench::new().await;
        let journal = in_doubt(&bench).await;
        let key = key(&journal, "a");
        drop(journal);
        // As if it were an hour ago.
        let lines: Vec<_> = bench.text().lines().map(|line| with_checksum(&an_hour_earlier(line))).collect();
        std::fs::write(bench.path(), lines.join("\n") + "\n").unwrap();
        let journal = bench.journal().await;
        let doubts = Doubts::of(&journal).submit_timeout(Duration::from_secs(180));
        if decide_none {
            doubts.none(&key).await.unwrap();
        } else {
            doubts.resend(1).await.unwrap();
        }
        assert_eq!(doubts.list().await.unwrap(), []);
        let submitted = bench.submitter(&journal).submit_once(&key, &submission().after(1)).await.unwrap();
        assert!(matches!(submitted, Submitted::Accepted(_)), "{submitted:?}");
        let spent = journal.spent().await.unwrap();
        // What was resent at a risk still counts.
        assert_eq!(spent.jobs, if decide_none { 1 } else { 2 });
    }
}

fn an_hour_earlier(line: &str) -> String {
    let at = line.find("\"t\":\"").unwrap() + 5;
    let time: chrono::DateTime<chrono::Utc> = line[at..at + 24].parse().unwrap();
    let earlier = (time - chrono::TimeDelta::hours(1)).to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    line.replacen(&line[at..at + 24], &earlier, 1)
}

#[tokio::test]
async fn after_a_repair_the_lines_of_the_input_are_in_doubt_too() {
    let bench = Bench::new().await;
    let journal = in_doubt(&bench).await;
    drop(journal);
    let text = bench.text();
    std::fs::write(bench.path(), text.replacen("\"try\":1", "\"try\":2", 1)).unwrap();
    assert_eq!(repair(bench.path()).await.unwrap().lost, 1);
    let journal = bench.journal().await;
    let names = ["a", "b", "c"].map(|name| CustomId::new(name).unwrap());
    let doubts = Doubts::of(&journal).lines(names);
    let listed: Vec<_> = doubts.list().await.unwrap().iter().map(|doubt| doubt.key.custom_id.to_string()).collect();
    assert_eq!(listed, ["a", "b", "c"]);
    for name in ["a", "b", "c"] {
        let submitted = bench.submitter(&journal).submit_once(&key(&journal, name), &submission()).await.unwrap();
        assert!(matches!(submitted, Submitted::InDoubt(_)), "{submitted:?}");
    }
    // Support names the job of the one that was lost.
    let id = bench.emulator.jobs()[0].id;
    doubts.found(&bench.emulator.client(), &key(&journal, "b"), id).await.unwrap();
    let submitted = bench.submitter(&journal).submit_once(&key(&journal, "b"), &submission()).await.unwrap();
    assert!(matches!(submitted, Submitted::Accepted(accepted) if accepted.id == id));
    assert_eq!(doubts.list().await.unwrap().len(), 2);
}
