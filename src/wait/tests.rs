//! The polling loop by its schedule, in paused time.

use std::{
    sync::{Arc, Mutex},
    time::SystemTime,
};

use tokio::time::Instant;

use super::*;
use crate::{
    Client,
    error::{Exchange, Limit, RateLimited, Rejected, WaitTimeout},
    types::{Generation, GenerationState},
};

const ID: Uuid = Uuid::from_u128(7);

fn generation(state: &str) -> Generation {
    serde_json::from_value(serde_json::json!({
        "id": ID, "type": "image", "state": state, "model": "uni-1", "created_at": "not a date",
    }))
    .expect("a generation")
}

fn rejected(status: u16) -> Error {
    let status_code = http::StatusCode::from_u16(status).expect("a status");
    Error::Rejected(Box::new(Rejected {
        exchange: Exchange { status: Some(status_code), attempts: 1, ..Default::default() },
        status: status_code,
        code: None,
        detail: String::new(),
        retry_after: (status == 503).then_some(Duration::from_secs(7)),
    }))
}

/// A job that is polled by script: each poll takes a time and has an outcome; the last one repeats.
struct Script {
    begun: Instant,
    polls: Mutex<Vec<f64>>,
    responses: Vec<(f64, Result<&'static str, u16>)>,
}

impl Script {
    fn wait(known: Option<&str>, responses: &[(f64, Result<&'static str, u16>)]) -> (Arc<Self>, Wait<Generation>) {
        let script = Arc::new(Self { begun: Instant::now(), polls: Mutex::default(), responses: responses.to_vec() });
        let scripted = Arc::clone(&script);
        let poll = Arc::new(move |_| {
            let mut polls = scripted.polls.lock().expect("polls");
            let (takes, outcome) = scripted.responses[polls.len().min(scripted.responses.len() - 1)];
            polls.push(scripted.begun.elapsed().as_secs_f64());
            let future: BoxFuture<'static, Result<Generation>> = Box::pin(async move {
                tokio::time::sleep(Duration::from_secs_f64(takes)).await;
                outcome.map(generation).map_err(rejected)
            });
            future
        });
        let (known, polls) = (known.map(generation), Polls::new(64));
        let wait = Wait { id: Ok(ID), known, pace: Pace::default(), poll, polls };
        (script, wait)
    }

    /// When the polls started, in seconds.
    fn polls(&self) -> Vec<f64> {
        self.polls.lock().expect("polls").iter().map(|at| (at * 1000.0).round() / 1000.0).collect()
    }
}

const SOON: f64 = 0.0;

#[tokio::test(start_paused = true)]
async fn an_image_is_polled_after_20_seconds_and_then_every_2() {
    let responses = [(SOON, Ok("queued")), (SOON, Ok("processing")), (SOON, Ok("processing")), (SOON, Ok("completed"))];
    let (script, wait) = Script::wait(Some("queued"), &responses);
    assert_eq!(wait.await.expect("done").state, GenerationState::Completed);
    assert_eq!(script.polls(), [20.0, 22.0, 24.0, 26.0]);
}

#[tokio::test(start_paused = true)]
async fn a_job_known_by_its_id_is_polled_at_once_and_then_as_its_kind_asks() {
    let (script, wait) = Script::wait(None, &[(SOON, Ok("queued")), (SOON, Ok("queued")), (SOON, Ok("completed"))]);
    wait.await.expect("done");
    assert_eq!(script.polls(), [0.0, 20.0, 22.0]);
}

#[tokio::test(start_paused = true)]
async fn a_chosen_interval_also_holds_after_the_first_poll() {
    let (script, wait) = Script::wait(None, &[(SOON, Ok("queued")), (SOON, Ok("queued")), (SOON, Ok("completed"))]);
    wait.every(Duration::from_secs(1)).await.expect("done");
    assert_eq!(script.polls(), [0.0, 1.0, 2.0]);
}

#[tokio::test(start_paused = true)]
async fn one_poll_is_enough_for_a_job_that_has_ended() {
    for known in [None, Some("completed")] {
        let (script, wait) = Script::wait(known, &[(SOON, Ok("completed"))]);
        wait.await.expect("done");
        assert_eq!(script.polls(), [0.0]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_an_image_is_120_seconds_and_the_last_poll_is_at_it() {
    let (script, wait) = Script::wait(Some("queued"), &[(SOON, Ok("processing"))]);
    let error = wait.await.expect_err("too late");
    let polls = script.polls();
    assert_eq!((polls.len(), polls.last()), (51, Some(&120.0)));
    assert_eq!(error.generation_id(), Some(ID));
    assert!(error.is_timeout() && error.is_retryable());
    assert_eq!(
        error.to_string(),
        format!("generation {ID} was still processing after 120.0 s and 51 polls; it goes on: wait again with this id")
    );
}

#[tokio::test(start_paused = true)]
async fn every_number_can_be_set() {
    let (script, wait) = Script::wait(Some("queued"), &[(SOON, Ok("queued"))]);
    let second = Duration::from_secs(1);
    wait.first_after(second).every(3 * second).timeout(9 * second).await.expect_err("too late");
    assert_eq!(script.polls(), [1.0, 4.0, 7.0, 8.0, 9.0]);
}

#[tokio::test(start_paused = true)]
async fn one_poll_always_happens() {
    let (script, wait) = Script::wait(Some("queued"), &[(SOON, Ok("completed"))]);
    wait.timeout(Duration::ZERO).await.expect("done");
    assert_eq!(script.polls(), [0.0]);
}

#[tokio::test(start_paused = true)]
async fn a_hung_poll_cannot_outlive_the_limit() {
    let (script, wait) = Script::wait(Some("queued"), &[(1e6, Ok("completed"))]);
    let begun = Instant::now();
    let error = wait.timeout(Duration::from_secs(30)).await.expect_err("too late");
    assert!(begun.elapsed() <= Duration::from_millis(30_051), "{:?}", begun.elapsed());
    assert_eq!(script.polls(), [20.0]);
    assert!(matches!(error, Error::WaitTimeout(_)));
}

#[tokio::test(start_paused = true)]
async fn a_limit_before_the_first_poll_leaves_time_for_a_response() {
    let (script, wait) = Script::wait(Some("queued"), &[(0.5, Ok("completed"))]);
    wait.timeout(Duration::from_secs(10)).await.expect("done");
    assert_eq!(script.polls(), [9.0]);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_awaited_again_after_its_limit_polls_once_more() {
    let (script, wait) = Script::wait(Some("queued"), &[(SOON, Ok("processing")), (0.5, Ok("completed"))]);
    let mut updates = wait.timeout(Duration::from_secs(30)).updates();
    updates.next().await.expect("one").expect("seen");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(updates.next().await.expect("one").expect("done").state, GenerationState::Completed);
    assert_eq!(script.polls(), [20.0, 620.0]);
}

#[tokio::test(start_paused = true)]
async fn updates_that_nobody_awaits_keep_no_permit_from_others() {
    let polls = Polls::new(1);
    let (_, mut parked) = Script::wait(None, &[(1.0, Ok("queued"))]);
    let (_, mut other) = Script::wait(None, &[(1.0, Ok("completed"))]);
    (parked.polls, other.polls) = (polls.clone(), polls);
    let mut parked = parked.updates();
    tokio::time::timeout(Duration::from_millis(1), parked.next()).await.expect_err("it takes a second");
    other.await.expect("done");
}

#[tokio::test(start_paused = true)]
async fn no_duration_is_too_long() {
    let forever = Duration::MAX;
    let (script, wait) = Script::wait(None, &[(SOON, Ok("queued")), (SOON, Ok("completed"))]);
    wait.every(Duration::from_secs(1)).timeout(forever).await.expect("done");
    assert_eq!(script.polls(), [0.0, 1.0]);
    let (script, wait) = Script::wait(Some("queued"), &[(SOON, Ok("completed"))]);
    wait.first_after(forever).every(forever).await.expect("done");
    assert_eq!(script.polls(), [119.0]);
}

#[tokio::test(start_paused = true)]
async fn bad_responses_are_lost_polls_and_the_last_one_is_the_source() {
    let bad: Vec<_> = [500, 502, 429, 408, 400, 404].map(|status| (SOON, Err(status))).into();
    let (script, wait) = Script::wait(Some("queued"), &[bad.clone(), vec![(SOON, Ok("completed"))]].concat());
    wait.await.expect("done");
    assert_eq!(script.polls(), [20.0, 22.0, 24.0, 26.0, 28.0, 30.0, 32.0]);

    let (_, wait) = Script::wait(Some("queued"), &bad[..1]);
    let error = wait.await.expect_err("too late");
    assert_eq!(error.status().map(|status| status.as_u16()), Some(500));
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_only_lengthens_a_delay() {
    let (script, wait) = Script::wait(Some("queued"), &[(SOON, Err(503)), (SOON, Ok("completed"))]);
    wait.await.expect("done");
    assert!((27.0..29.01).contains(&script.polls()[1]), "{:?}", script.polls());
    let (script, wait) = Script::wait(Some("queued"), &[(SOON, Err(503)), (SOON, Ok("completed"))]);
    wait.every(Duration::from_secs(10)).await.expect("done");
    assert!((30.0..40.01).contains(&script.polls()[1]), "{:?}", script.polls());
}

#[tokio::test(start_paused = true)]
async fn a_chosen_interval_holds_however_old_the_job_is() {
    let queued = (SOON, Ok("queued"));
    let (script, mut wait) = Script::wait(Some("queued"), &[queued, queued, (SOON, Ok("completed"))]);
    if let Some(known) = &mut wait.known {
        known.created_at = "2020-01-01T00:00:00Z".to_owned();
    }
    wait.every(Duration::from_secs(3)).await.expect("done");
    assert_eq!(script.polls(), [0.0, 3.0, 6.0]);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_key_ends_the_wait_and_so_does_a_lasting_404() {
    for status in [401, 403] {
        let (script, wait) = Script::wait(None, &[(SOON, Err(status))]);
        let error = wait.await.expect_err("rejected");
        assert_eq!(error.status().map(|it| it.as_u16()), Some(status));
        assert_eq!(script.polls(), [0.0]);
    }
    let (script, wait) = Script::wait(None, &[(SOON, Err(404))]);
    let error = wait.every(Duration::from_secs(2)).await.expect_err("rejected");
    assert_eq!(error.status().map(|it| it.as_u16()), Some(404));
    assert_eq!(script.polls(), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_state_is_not_the_end() {
    let (script, wait) = Script::wait(None, &[(SOON, Ok("paused")), (SOON, Ok("cancelled")), (SOON, Ok("completed"))]);
    wait.await.expect("done");
    assert_eq!(script.polls().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn updates_emit_each_state_once_as_soon_as_it_is_seen() {
    let responses = ["queued", "queued", "processing", "paused", "processing", "completed"].map(|it| (SOON, Ok(it)));
    let (script, wait) = Script::wait(None, &responses);
    let mut updates = wait.every(Duration::from_secs(1)).first_after(Duration::ZERO).updates();
    let mut seen = Vec::new();
    while let Some(update) = updates.next().await {
        seen.push((update.expect("a state").state.to_string(), script.begun.elapsed().as_secs()));
    }
    let expected = [("queued", 0), ("processing", 2), ("paused", 3), ("processing", 4), ("completed", 5)];
    assert_eq!(seen, expected.map(|(state, at)| (state.to_owned(), at)));
    assert!(updates.next().await.is_none(), "it stays over");
}

#[tokio::test(start_paused = true)]
async fn a_failed_job_is_a_typed_error() {
    let (_, wait) = Script::wait(None, &[(SOON, Ok("failed"))]);
    let error = wait.await.expect_err("failed");
    assert!(matches!(error, Error::GenerationFailed(_)));
    assert_eq!(error.generation_id(), Some(ID));
}

#[tokio::test(start_paused = true)]
async fn dropped_futures_of_next_cost_no_poll() {
    let (script, wait) = Script::wait(Some("queued"), &[(3.0, Ok("processing")), (SOON, Ok("completed"))]);
    let mut updates = wait.updates();
    for _ in 0..11 {
        let short = tokio::time::timeout(Duration::from_secs(2), updates.next()).await;
        assert!(short.is_err(), "the first poll ends after 23 s");
    }
    assert_eq!(updates.next().await.expect("one").expect("seen").state, GenerationState::Processing);
    assert_eq!(script.polls(), [20.0]);
}

fn timed_out(error: Error) -> WaitTimeout {
    let Error::WaitTimeout(timeout) = error else { panic!("{error}") };
    *timeout
}

/// A 429, or an error of a client that sent nothing because of an earlier one.
fn limited(attempts: u32, retry_after: Duration) -> Error {
    Error::RateLimited(Box::new(RateLimited {
        exchange: Exchange { attempts, ..Exchange::default() },
        limit: Limit::Unknown,
        retry_after: Some(retry_after),
        rate_limit: None,
        detail: String::new(),
    }))
}

#[tokio::test(start_paused = true)]
async fn an_interval_of_zero_does_not_spin() {
    let (script, wait) = Script::wait(Some("queued"), &[(SOON, Ok("queued"))]);
    wait.first_after(Duration::ZERO).every(Duration::ZERO).timeout(Duration::from_secs(1)).await.expect_err("too late");
    assert!((90..=102).contains(&script.polls().len()), "{} polls", script.polls().len());
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_zero_leaves_time_for_one_response() {
    let (script, wait) = Script::wait(Some("queued"), &[(0.3, Ok("completed"))]);
    wait.timeout(Duration::ZERO).await.expect("done");
    assert_eq!(script.polls(), [0.0]);

    let (script, wait) = Script::wait(None, &[(0.3, Ok("processing"))]);
    let error = wait.timeout(Duration::ZERO).await.expect_err("not done");
    assert_eq!(script.polls(), [0.0]);
    assert_eq!(timed_out(error).polls, 1);

    let (script, wait) = Script::wait(None, &[(1e6, Ok("completed"))]);
    let error = wait.timeout(Duration::ZERO).await.expect_err("hung");
    assert_eq!(script.begun.elapsed().as_secs(), 5, "nothing waits for ever");
    assert_eq!(timed_out(error).polls, 1);
}

#[tokio::test(start_paused = true)]
async fn each_of_thousands_of_jobs_is_polled_however_short_the_limit() {
    for limit in [0, 1, 500, 1000] {
        let polls = Polls::new(64);
        let (scripts, waits): (Vec<_>, Vec<_>) = (0..2000)
            .map(|_| {
                let (script, mut wait) = Script::wait(None, &[(0.1, Ok("completed"))]);
                wait.polls = polls.clone();
                (script, wait.timeout(Duration::from_millis(limit)).into_future())
            })
            .unzip();
        let outcomes = futures_util::future::join_all(waits).await;
        let unpolled = scripts.iter().filter(|script| script.polls().is_empty()).count();
        assert_eq!(unpolled, 0, "limit of {limit} ms");
        // Those whose poll was under way at the limit.
        let errors = outcomes.iter().filter(|outcome| outcome.is_err()).count();
        assert!(errors <= if limit == 0 { 0 } else { 64 }, "limit of {limit} ms: {errors} errors");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_was_never_polled_is_said_to_be_so_after_ten_more_seconds() {
    for limit in [0, 120] {
        let (script, mut wait) = Script::wait(None, &[(SOON, Ok("completed"))]);
        wait.polls = Polls::new(0);
        let error = wait.timeout(Duration::from_secs(limit)).await.expect_err("no permit");
        assert_eq!(script.begun.elapsed().as_secs(), limit + 10);
        assert!(script.polls().is_empty());
        let text = error.to_string();
        assert!(text.contains("was never polled") && text.contains("its state is unknown"), "{text}");
        assert_eq!(timed_out(error).polls, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_was_polled_waits_for_no_permit_beyond_its_limit() {
    let polls = Polls::new(1);
    let (script, mut wait) = Script::wait(None, &[(SOON, Ok("queued"))]);
    wait.polls = polls.clone();
    let mut updates = wait.timeout(Duration::from_secs(30)).updates();
    updates.next().await.expect("one").expect("queued");
    let _all = polls.in_flight.acquire().await.expect("a permit");
    updates.next().await.expect("one").expect_err("no permit");
    assert!(script.begun.elapsed() < Duration::from_millis(30_060), "{:?}", script.begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_poll_at_the_limit_has_the_promised_grace() {
    let (_, wait) = Script::wait(Some("queued"), &[(0.048, Ok("completed"))]);
    wait.first_after(Duration::from_secs(10)).timeout(Duration::from_secs(10)).await.expect("done");
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_the_client_did_not_send_does_not_count() {
    let (_, mut wait) = Script::wait(None, &[(SOON, Ok("completed"))]);
    wait.poll = Arc::new(|_| Box::pin(std::future::ready(Err(limited(0, Duration::from_secs(60))))));
    let error = wait.timeout(Duration::from_secs(5)).await.expect_err("too late");
    assert!(error.to_string().contains("was never polled"), "{error}");
    assert_eq!(timed_out(error).polls, 0);

    let (_, mut wait) = Script::wait(None, &[(SOON, Ok("completed"))]);
    wait.poll = Arc::new(|_| Box::pin(std::future::ready(Err(limited(1, Duration::from_secs(60))))));
    let error = wait.timeout(Duration::from_secs(5)).await.expect_err("too late");
    assert!(timed_out(error).polls > 0, "one that met the limit itself was sent");
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_cannot_be_sent_ends_the_wait() {
    let (_, mut wait) = Script::wait(None, &[(SOON, Ok("completed"))]);
    wait.poll = Arc::new(|_| Box::pin(std::future::ready(Err(Error::invalid_input("no key")))));
    assert_eq!(wait.await.expect_err("never").to_string(), "no key (nothing was sent)");
}

#[tokio::test(start_paused = true)]
async fn a_wait_can_be_printed() {
    let (_, wait) = Script::wait(None, &[(SOON, Ok("completed"))]);
    let wait = wait.timeout(Duration::from_secs(7));
    let text = format!("{wait:?}") + &format!("{:?}", wait.updates());
    assert_eq!(text.matches(&ID.to_string()).count(), 2, "{text}");
    assert!(text.contains("7s") && text.contains("polls: 0"), "{text}");
}

#[test]
fn only_generations_have_a_code_of_failure_and_a_usual_time() {
    let file = serde_json::json!({
        "id": ID, "created_at": "2026-06-23T11:00:00Z", "mime_type": "image/png", "purpose": "input",
        "size_bytes": 3, "state": "failed",
    });
    let file: crate::types::File = serde_json::from_value(file).expect("a file");
    assert_eq!((file.failure_code(), file.kind()), (None, None));
    let failed = serde_json::json!({
        "id": ID, "type": "image", "state": "failed", "model": "uni-1", "created_at": "",
        "failure_code": "content_moderated",
    });
    let failed: Generation = serde_json::from_value(failed).expect("a generation");
    assert_eq!((failed.failure_code(), failed.kind().as_deref()), (Some("content_moderated"), Some("image uni-1")));
}

#[tokio::test(start_paused = true)]
async fn waits_that_one_limit_held_back_do_not_resume_at_once() {
    fastrand::seed(7);
    let begun = Instant::now();
    let resumed = Arc::new(Mutex::new(Vec::new()));
    let waits = (0..300).map(|_| {
        let (_, mut wait) = Script::wait(None, &[(SOON, Ok("completed"))]);
        let (resumed, open) = (Arc::clone(&resumed), begun + Duration::from_secs(8));
        wait.poll = Arc::new(move |_| {
            let hold = open.saturating_duration_since(Instant::now());
            let outcome = if hold.is_zero() {
                resumed.lock().expect("times").push(begun.elapsed());
                Ok(generation("completed"))
            } else {
                Err(limited(1, hold))
            };
            Box::pin(std::future::ready(outcome))
        });
        wait.timeout(Duration::from_secs(60)).into_future()
    });
    for outcome in futures_util::future::join_all(waits).await {
        outcome.expect("done");
    }
    let resumed = resumed.lock().expect("times");
    assert_eq!(resumed.len(), 300);
    for from in (0..600).map(|tenth| Duration::from_millis(100 * tenth)) {
        let together = resumed.iter().filter(|at| (from..from + Duration::from_millis(100)).contains(*at)).count();
        assert!(together < 30, "{together} within 100 ms after {from:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_saw_no_usable_response_does_not_claim_that_the_job_goes_on() {
    for known in [None, Some("queued")] {
        let (_, wait) = Script::wait(known, &[(SOON, Err(500))]);
        let error = wait.await.expect_err("too late");
        let text = error.to_string();
        assert!(text.contains("its state is unknown") && !text.contains("goes on"), "{text}");
        assert_eq!(error.generation_id(), Some(ID));
    }
    let (_, wait) = Script::wait(None, &[(SOON, Ok("queued")), (SOON, Err(500))]);
    let text = wait.await.expect_err("too late").to_string();
    assert!(text.contains("was still queued") && text.contains("it goes on"), "{text}");
}

#[test]
fn a_poll_runs_in_the_span_and_with_the_subscriber_of_the_caller() {
    use tracing::{Instrument as _, instrument::WithSubscriber as _};

    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (_, mut wait) = Script::wait(None, &[(SOON, Ok("completed"))]);
    let names = Arc::clone(&seen);
    wait.poll = Arc::new(move |_| {
        let names = Arc::clone(&names);
        Box::pin(async move {
            names.lock().expect("names").push(tracing::Span::current().metadata().map(tracing::Metadata::name));
            Ok(generation("completed"))
        })
    });
    let caller = async { wait.into_future().instrument(tracing::info_span!("caller")).await };
    runtime.block_on(caller.with_subscriber(tracing_subscriber::registry())).expect("done");
    assert_eq!(*seen.lock().expect("names"), [Some("caller")]);
}

/// A client that has seen ten images of about ten seconds.
async fn experienced() -> Polls {
    let polls = Polls::new(64);
    for _ in 0..10 {
        let (_, mut wait) = Script::wait(Some("queued"), &[(SOON, Ok("queued")), (SOON, Ok("completed"))]);
        wait.polls = polls.clone();
        let (first, every) = (Duration::from_secs(9), Duration::from_secs(2));
        wait.first_after(first).every(every).await.expect("done");
    }
    polls
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_seen_such_jobs_polls_when_they_end_and_then_as_advised() {
    let responses = [(SOON, Ok("queued")), (SOON, Ok("processing")), (SOON, Ok("completed"))];
    for (known, expected) in [(Some("queued"), [10.0, 12.0, 14.0]), (None, [0.0, 10.0, 12.0])] {
        let (script, mut wait) = Script::wait(known, &responses);
        wait.polls = experienced().await;
        let begun = script.begun.elapsed().as_secs_f64();
        wait.await.expect("done");
        assert_eq!(script.polls().iter().map(|at| (at - begun).round()).collect::<Vec<_>>(), expected, "{known:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_failed_says_nothing_about_the_others() {
    let polls = Polls::new(64);
    for _ in 0..10 {
        let (_, mut wait) = Script::wait(Some("queued"), &[(SOON, Ok("failed"))]);
        wait.polls = polls.clone();
        wait.await.expect_err("it failed");
    }
    assert!(polls.experience.of("image uni-1").is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_old_job_is_polled_as_advised_and_not_remembered() {
    let created = chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now() - Duration::from_secs(100));
    let polls = experienced().await;
    let seen = polls.experience.of("image uni-1").len();
    let (script, mut wait) = Script::wait(Some("queued"), &[(SOON, Ok("queued")), (SOON, Ok("completed"))]);
    wait.known.as_mut().expect("a job").created_at = created.to_rfc3339();
    let begun = script.begun.elapsed().as_secs_f64();
    wait.polls = polls.clone();
    wait.await.expect("done");
    assert_eq!(script.polls().iter().map(|at| (at - begun).round()).collect::<Vec<_>>(), [0.0, 2.0]);
    assert_eq!(polls.experience.of("image uni-1").len(), seen);
}

/// A service that gives every request the same job, and a client of it.
async fn service(created: SystemTime, date: Option<&str>) -> Client {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let body = serde_json::json!({
        "id": ID, "type": "image", "state": "queued", "model": "uni-1",
        "created_at": chrono::DateTime::<chrono::Utc>::from(created).to_rfc3339(),
    });
    let (body, date) = (body.to_string(), date.map(|date| format!("date: {date}\r\n")).unwrap_or_default());
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\n{date}content-length: {length}\r\nconnection: close\r\n\r\n");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            connection.read_buf(&mut Vec::with_capacity(4096)).await.expect("a request");
            connection.write_all((head.clone() + &body).as_bytes()).await.expect("a client");
            // What is not read before the end would reset the connection.
            let _ = connection.read_to_end(&mut Vec::new()).await;
        }
    });
    let key = crate::ApiKey::new("key").expect("a key");
    Client::builder(key).base_url(format!("http://{address}")).build().expect("a client")
}

async fn submitted(luma: &Client) -> Generation {
    luma.generations().create(crate::types::CreateGeneration::builder().prompt("a duck")).await.expect("a job")
}

/// When a wait for this job polls, in whole seconds; time is paused from here on.
async fn polls_for(luma: &Client, job: Generation) -> Vec<f64> {
    let (script, scripted) = Script::wait(None, &[(SOON, Ok("queued")), (SOON, Ok("queued")), (SOON, Ok("completed"))]);
    tokio::time::pause();
    let begun = script.begun.elapsed().as_secs_f64();
    let outcome = Wait { poll: scripted.poll, ..luma.generations().wait(job) }.await;
    tokio::time::resume();
    outcome.expect("done");
    script.polls().iter().map(|at| (at - begun).round()).collect()
}

/// The `Date` at a time, and the last millisecond that has it.
fn second_of(time: SystemTime) -> (String, SystemTime) {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    (httpdate::fmt_http_date(time), SystemTime::UNIX_EPOCH + Duration::from_millis(1000 * seconds + 999))
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_wrong_clock_of_this_machine_changes_no_poll_and_the_client_learns() {
    let now = SystemTime::now();
    for (clock, old, expected) in [
        (now - MINUTE, Duration::ZERO, [20.0, 22.0, 24.0]),
        (now + MINUTE, Duration::ZERO, [20.0, 22.0, 24.0]),
        (now + 3 * MINUTE, 2 * MINUTE, [0.0, 2.0, 4.0]),
    ] {
        let (date, clock) = second_of(clock);
        for is_new in [true, false] {
            let luma = service(clock - old, Some(&date)).await;
            let job = if is_new { submitted(&luma).await } else { luma.generations().get(ID).await.expect("a job") };
            assert_eq!(polls_for(&luma, job).await, expected, "{date}, new: {is_new}");
            let learnt = luma.polls().experience.of("image uni-1").len();
            assert_eq!(learnt, usize::from(old.is_zero()), "{date}, new: {is_new}");
        }
    }
}

#[tokio::test]
async fn without_a_readable_date_the_clock_of_this_machine_counts() {
    for date in [None, Some("yesterday"), Some("")] {
        let luma = service(SystemTime::now() - Duration::from_secs(5), date).await;
        let job = submitted(&luma).await;
        assert_eq!(polls_for(&luma, job).await, [15.0, 17.0, 19.0], "{date:?}");
    }
}

#[tokio::test]
async fn what_is_known_of_the_clock_is_corrected_after_a_minute() {
    let (date, clock) = second_of(SystemTime::now());
    let luma = service(clock, Some(&date)).await;
    luma.polls().server_clock.set(clock + 60 * MINUTE, clock);
    let job = submitted(&luma).await;
    assert_eq!(polls_for(&luma, job).await, [0.0, 2.0, 4.0]);
    tokio::time::pause();
    tokio::time::advance(MINUTE).await;
    tokio::time::resume();
    let job = luma.generations().get(ID).await.expect("a job");
    assert_eq!(polls_for(&luma, job).await, [20.0, 22.0, 24.0]);
}
