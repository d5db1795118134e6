//! One intent, one POST, one id.

use std::{pin::pin, sync::Arc, time::Duration};

use luma_agents::mock::Reply;
use luma_agents_batch::{Error, Event, Ledger as _, NoJob, Quota, State, Submission, Submitted, Submitter, Ticket};

use crate::support::{Bench, field, key, request, submission};

#[tokio::test]
async fn the_intent_is_written_before_the_request_goes_out_and_bears_its_id() {
    let bench = Bench::new().await;
    let journal = bench.journal().await;
    let sender = bench.submitter(&journal);
    let submitted = sender.submit_once(&key(&journal, "a"), &submission()).await.unwrap();
    let Submitted::Accepted(accepted) = submitted else { panic!("{submitted:?}") };
    assert!(accepted.new.is_some());
    assert_eq!(accepted.generation.unwrap().id, accepted.id);
    assert_eq!(field(&bench.text(), "intent", "x_request_id"), bench.request_ids());
    assert_eq!(field(&bench.text(), "accepted", "id"), [accepted.id.to_string()]);
    let events: Vec<_> =
        bench.text().lines().map(|line| line.split("\"e\":\"").nth(1).unwrap()[..6].to_owned()).collect();
    assert_eq!(events, ["run\",\"", "intent", "accept"]);
}

#[tokio::test]
async fn a_known_key_is_neither_sent_nor_waits_for_a_place() {
    let bench = Bench::new().await;
    let journal = bench.journal().await;
    let quota = Quota::builder().concurrency(1).build();
    let sender = Submitter::new(bench.emulator.client(), Arc::new(journal.clone()), quota);
    let first = sender.submit_once(&key(&journal, "a"), &submission()).await.unwrap();
    // The only place is taken by the first job.
    let again = sender.submit_once(&key(&journal, "a"), &submission()).await.unwrap();
    let (Submitted::Accepted(first), Submitted::Accepted(again)) = (first, again) else { panic!("no job") };
    assert_eq!(first.id, again.id);
    assert!(again.new.is_none());
    assert_eq!(bench.emulator.jobs().len(), 1);
}

#[tokio::test]
async fn callers_with_one_key_at_once_make_one_job() {
    let bench = Bench::new().await;
    let journal = bench.journal().await;
    let sender = bench.submitter(&journal);
    bench.emulator.next_create(Reply::normal().delay(Duration::from_millis(50)));
    let key = key(&journal, "a");
    let submission = submission();
    let all = futures_util::future::join_all((0..8).map(|_| sender.submit_once(&key, &submission))).await;
    let ids: std::collections::BTreeSet<_> = all
        .into_iter()
        .map(|submitted| match submitted.unwrap() {
            Submitted::Accepted(accepted) => accepted.id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(bench.emulator.jobs().len(), 1);
}

#[tokio::test]
async fn dropping_the_caller_stops_the_waiting_only() {
    let bench = Bench::new().await;
    let journal = bench.journal().await;
    let sender = bench.submitter(&journal);
    bench.emulator.next_create(Reply::normal().delay(Duration::from_millis(100)));
    let key = key(&journal, "a");
    let submission = submission();
    {
        let mut submitting = pin!(sender.submit_once(&key, &submission));
        while bench.request_ids().is_empty() {
            assert!(tokio::time::timeout(Duration::from_millis(5), &mut submitting).await.is_err(), "it ended");
        }
    }
    sender.drain().await;
    let last = journal.get(&key).await.unwrap().unwrap();
    assert_eq!(last.attempt.state, State::Accepted { id: bench.emulator.jobs()[0].id });
}

#[tokio::test]
async fn a_refused_place_is_recorded_and_the_next_try_has_a_new_id() {
    let bench = Bench::new().await;
    let journal = bench.journal().await;
    let sender = bench.submitter(&journal);
    let limits = [("X-RateLimit-Limit", "30"), ("X-RateLimit-Remaining", "29"), ("Retry-After", "0")];
    let refused = limits
        .into_iter()
        .fold(Reply::rejected(429, "Rate limit exceeded"), |it, (name, value)| it.header(name, value));
    bench.emulator.next_create(refused);
    let submitted = sender.submit_once(&key(&journal, "a"), &submission()).await.unwrap();
    assert!(matches!(submitted, Submitted::Accepted(_)), "{submitted:?}");
    let text = bench.text();
    assert_eq!(field(&text, "intent", "try"), ["1", "2"]);
    assert_eq!(field(&text, "rejected", "kind"), ["rate_limited"]);
    let ids = bench.request_ids();
    assert_eq!(field(&text, "intent", "x_request_id"), ids);
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_refusal_stands_in_the_journal_before_anything_is_waited_for() {
    let bench = Bench::new().await;
    let journal = bench.journal().await;
    let sender = bench.submitter(&journal);
    bench.emulator.next_create(Reply::too_many_jobs());
    let (key, submission) = (key(&journal, "a"), submission());
    let mut submitting = pin!(sender.submit_once(&key, &submission));
    while field(&bench.text(), "rejected", "kind") != ["concurrency"] {
        assert!(tokio::time::timeout(Duration::from_millis(5), &mut submitting).await.is_err(), "it ended");
    }
}

#[tokio::test]
async fn a_rejected_request_can_be_repaired_and_goes_out_as_the_next_try() {
    let bench = Bench::new().await;
    let journal = bench.journal().await;
    let sender = bench.submitter(&journal);
    let key = key(&journal, "a");
    bench.emulator.next_create(Reply::rejected(400, "no"));
    let submitted = sender.submit_once(&key, &submission()).await.unwrap();
    let Submitted::Rejected { after: 1, reason: NoJob::Rejected { status: 400, kind }, error: Some(_) } = submitted
    else {
        panic!("{submitted:?}")
    };
    assert_eq!(kind, "invalid_request");
    // Nothing goes out unasked.
    let known = sender.submit_once(&key, &submission()).await.unwrap();
    assert!(matches!(known, Submitted::Rejected { after: 1, error: None, .. }), "{known:?}");
    let repaired = Submission::new(request(), luma_agents_batch::Sha256::of("another")).after(1);
    let submitted = sender.submit_once(&key, &repaired).await.unwrap();
    assert!(matches!(submitted, Submitted::Accepted(_)), "{submitted:?}");
    let changed = sender.submit_once(&key, &submission()).await;
    assert!(matches!(changed, Err(Error::ChangedRequest(_))), "{changed:?}");
}

#[tokio::test]
async fn a_job_whose_response_is_lost_is_in_doubt_and_not_sent_again() {
    let bench = Bench::new().await;
    let journal = bench.journal().await;
    let sender = bench.submitter(&journal);
    let key = key(&journal, "a");
    bench.emulator.next_create(Reply::raw(504, "").after_effect());
    for _ in 0..2 {
        let submitted = sender.submit_once(&key, &submission()).await.unwrap();
        let Submitted::InDoubt(doubt) = submitted else { panic!("{submitted:?}") };
        assert_eq!(doubt.request_id.unwrap().to_string(), bench.request_ids()[0]);
    }
    assert_eq!(bench.request_ids().len(), 1);
    assert_eq!(bench.emulator.jobs().len(), 1);
}

#[tokio::test]
async fn a_request_that_cannot_be_sent_costs_nothing() {
    let bench = Bench::new().await;
    let journal = bench.journal().await;
    let nowhere = luma_agents::Client::builder(luma_agents::ApiKey::new(bench.emulator.api_key()).unwrap())
        .base_url("http://127.0.0.1:1/v1")
        .build()
        .unwrap();
    let sender = Submitter::new(nowhere, Arc::new(journal.clone()), Quota::new());
    let submitted = sender.submit_once(&key(&journal, "a"), &submission()).await.unwrap();
    assert!(matches!(submitted, Submitted::Rejected { after: 1, reason: NoJob::NotSent, .. }), "{submitted:?}");
    let submitted = bench.submitter(&journal).submit_once(&key(&journal, "a"), &submission().after(1)).await.unwrap();
    assert!(matches!(submitted, Submitted::Accepted(_)), "{submitted:?}");
    assert_eq!(field(&bench.text(), "not_sent", "fault"), ["no connection could be made"]);
}

#[tokio::test]
async fn no_line_holds_prompt_or_key() {
    let bench = Bench::new().await;
    let journal = bench.journal().await;
    let sender = bench.submitter(&journal);
    bench.emulator.next_create(Reply::rejected(400, "a lighthouse at dusk is not allowed"));
    sender.submit_once(&key(&journal, "a"), &submission()).await.unwrap();
    sender.submit_once(&key(&journal, "b"), &submission()).await.unwrap();
    let text = bench.text();
    assert!(!text.contains("lighthouse") && !text.contains(bench.emulator.api_key()), "{text}");
}

#[tokio::test]
async fn when_an_id_cannot_be_written_the_caller_gets_it_and_nothing_more_is_sent() {
    let bench = Bench::new().await;
    let journal = bench.journal().await;
    let sender = bench.submitter(&journal);
    bench.emulator.next_create(Reply::normal().delay(Duration::from_millis(100)));
    let (a, b) = (key(&journal, "a"), key(&journal, "b"));
    let task = tokio::spawn({
        let (sender, a) = (sender.clone(), a.clone());
        async move { sender.submit_once(&a, &submission()).await }
    });
    while bench.request_ids().is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // Somebody else writes.
    let mut text = bench.text();
    text.push_str("x\n");
    std::fs::write(bench.path(), &text).unwrap();
    let Submitted::Accepted(accepted) = task.await.unwrap().unwrap() else { panic!("no job") };
    let not_recorded = accepted.not_recorded.unwrap();
    assert_eq!(not_recorded.id, Some(bench.emulator.jobs()[0].id));
    let refused = sender.submit_once(&b, &submission()).await;
    assert!(matches!(refused, Err(Error::LedgerFailed)), "{refused:?}");
    drop((sender, journal));
    // The line that was handed out is the very one to append.
    let text = text.trim_end_matches("x\n").to_owned() + &not_recorded.line + "\n";
    std::fs::write(bench.path(), text).unwrap();
    let journal = bench.journal().await;
    assert_eq!(journal.get(&a).await.unwrap().unwrap().attempt.state, State::Accepted { id: accepted.id });
}

#[tokio::test]
async fn a_late_job_of_an_earlier_try_is_kept_beside_the_later_one() {
    let bench = Bench::new().await;
    let journal = bench.journal().await;
    let sender = bench.submitter(&journal);
    let key = key(&journal, "a");
    bench.emulator.next_create(Reply::raw(504, "").after_effect());
    sender.submit_once(&key, &submission()).await.unwrap();
    let late = bench.emulator.jobs()[0].id;
    let first = Ticket::new(key.clone(), 1);
    journal.record(&first, &Event::Resend).await.unwrap();
    let Submitted::Accepted(second) = sender.submit_once(&key, &submission().after(1)).await.unwrap() else {
        panic!("no job")
    };
    journal.record(&first, &Event::Accepted { id: late }).await.unwrap();
    let last = journal.get(&key).await.unwrap().unwrap();
    assert_eq!(last.attempt.state.id(), Some(late));
    assert_eq!(last.others[0].state.id(), Some(second.id));
    assert_eq!(journal.spent().await.unwrap().jobs, 2);
}
