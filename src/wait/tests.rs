//! The schedule of the loop, in paused time.

use std::sync::Mutex;

use super::*;
use crate::types::{Generation, GenerationState};

const ID: Uuid = Uuid::from_u128(7);

fn generation(state: &str) -> Generation {
    serde_json::from_value(serde_json::json!({
        "id": ID, "type": "image", "state": state, "model": "uni-1", "created_at": "not a date",
    }))
    .expect("a generation")
}

fn refused(status: u16) -> Error {
    let status_code = http::StatusCode::from_u16(status).expect("a status");
    Error::Rejected(Box::new(crate::error::Rejected {
        exchange: crate::error::Exchange { status: Some(status_code), ..Default::default() },
        status: status_code,
        code: None,
        detail: String::new(),
        retry_after: (status == 503).then_some(Duration::from_secs(7)),
    }))
}

/// A job that is looked at by script: each look takes a time and has an outcome; the last one repeats.
struct Script {
    begun: Instant,
    looks: Mutex<Vec<f64>>,
    answers: Vec<(f64, Result<&'static str, u16>)>,
}

impl Script {
    fn wait(known: Option<&str>, answers: &[(f64, Result<&'static str, u16>)]) -> (Arc<Self>, Wait<Generation>) {
        let script = Arc::new(Self { begun: Instant::now(), looks: Mutex::default(), answers: answers.to_vec() });
        let on = Arc::clone(&script);
        let look = Arc::new(move || {
            let mut looks = on.looks.lock().expect("looks");
            let (takes, outcome) = on.answers[looks.len().min(on.answers.len() - 1)];
            looks.push(on.begun.elapsed().as_secs_f64());
            let future: BoxFuture<'static, Result<Generation>> = Box::pin(async move {
                tokio::time::sleep(Duration::from_secs_f64(takes)).await;
                outcome.map(generation).map_err(refused)
            });
            future
        });
        let wait = Wait::new(Ok(ID), known.map(generation), Pace::default(), look, Arc::new(Semaphore::new(64)));
        (script, wait)
    }

    fn looks(&self) -> Vec<f64> {
        self.looks.lock().expect("looks").iter().map(|at| (at * 1000.0).round() / 1000.0).collect()
    }
}

const SOON: f64 = 0.0;

#[tokio::test(start_paused = true)]
async fn an_image_is_looked_at_after_20_seconds_and_then_every_2() {
    let answers = [(SOON, Ok("queued")), (SOON, Ok("processing")), (SOON, Ok("processing")), (SOON, Ok("completed"))];
    let (script, wait) = Script::wait(Some("queued"), &answers);
    assert_eq!(wait.await.expect("done").state, GenerationState::Completed);
    assert_eq!(script.looks(), [20.0, 22.0, 24.0, 26.0]);
}

#[tokio::test(start_paused = true)]
async fn a_job_known_by_its_id_is_looked_at_at_once_and_then_as_its_kind_asks() {
    let (script, wait) = Script::wait(None, &[(SOON, Ok("queued")), (SOON, Ok("queued")), (SOON, Ok("completed"))]);
    wait.await.expect("done");
    assert_eq!(script.looks(), [0.0, 20.0, 22.0]);
}

#[tokio::test(start_paused = true)]
async fn a_chosen_interval_also_holds_after_the_first_look() {
    let (script, wait) = Script::wait(None, &[(SOON, Ok("queued")), (SOON, Ok("queued")), (SOON, Ok("completed"))]);
    wait.every(Duration::from_secs(1)).await.expect("done");
    assert_eq!(script.looks(), [0.0, 1.0, 2.0]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_has_ended_is_known_after_one_look() {
    for known in [None, Some("completed")] {
        let (script, wait) = Script::wait(known, &[(SOON, Ok("completed"))]);
        wait.await.expect("done");
        assert_eq!(script.looks(), [0.0]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_120_seconds_and_the_last_look_is_at_it() {
    let (script, wait) = Script::wait(Some("queued"), &[(SOON, Ok("processing"))]);
    let error = wait.await.expect_err("too late");
    let looks = script.looks();
    assert_eq!((looks.len(), looks.last()), (51, Some(&120.0)));
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
    assert_eq!(script.looks(), [1.0, 4.0, 7.0, 8.0, 9.0]);
}

#[tokio::test(start_paused = true)]
async fn one_look_always_happens() {
    let (script, wait) = Script::wait(Some("queued"), &[(SOON, Ok("completed"))]);
    wait.timeout(Duration::ZERO).await.expect("done");
    assert_eq!(script.looks(), [0.0]);
}

#[tokio::test(start_paused = true)]
async fn a_hung_look_cannot_outlive_the_deadline() {
    let (script, wait) = Script::wait(Some("queued"), &[(1e6, Ok("completed"))]);
    let begun = Instant::now();
    let error = wait.timeout(Duration::from_secs(30)).await.expect_err("too late");
    assert!(begun.elapsed() < Duration::from_millis(30_050), "{:?}", begun.elapsed());
    assert_eq!(script.looks(), [20.0]);
    assert!(matches!(error, Error::WaitTimeout(_)));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_before_the_first_look_leaves_time_for_an_answer() {
    let (script, wait) = Script::wait(Some("queued"), &[(0.5, Ok("completed"))]);
    wait.timeout(Duration::from_secs(10)).await.expect("done");
    assert_eq!(script.looks(), [9.0]);
}

#[tokio::test(start_paused = true)]
async fn who_asks_after_the_deadline_still_gets_a_look() {
    let (script, wait) = Script::wait(Some("queued"), &[(SOON, Ok("processing")), (0.5, Ok("completed"))]);
    let mut updates = wait.timeout(Duration::from_secs(30)).updates();
    updates.next().await.expect("one").expect("seen");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(updates.next().await.expect("one").expect("done").state, GenerationState::Completed);
    assert_eq!(script.looks(), [20.0, 620.0]);
}

#[tokio::test(start_paused = true)]
async fn updates_that_nobody_asks_keep_no_place_from_others() {
    let in_flight = Arc::new(Semaphore::new(1));
    let (_, mut parked) = Script::wait(None, &[(1.0, Ok("queued"))]);
    let (_, mut other) = Script::wait(None, &[(1.0, Ok("completed"))]);
    (parked.in_flight, other.in_flight) = (Arc::clone(&in_flight), in_flight);
    let mut parked = parked.updates();
    tokio::time::timeout(Duration::from_millis(1), parked.next()).await.expect_err("it takes a second");
    other.await.expect("done");
}

#[tokio::test(start_paused = true)]
async fn no_duration_is_too_long() {
    let forever = Duration::MAX;
    let (script, wait) = Script::wait(None, &[(SOON, Ok("queued")), (SOON, Ok("completed"))]);
    wait.every(Duration::from_secs(1)).timeout(forever).await.expect("done");
    assert_eq!(script.looks(), [0.0, 1.0]);
    let (script, wait) = Script::wait(Some("queued"), &[(SOON, Ok("completed"))]);
    wait.first_after(forever).every(forever).await.expect("done");
    assert_eq!(script.looks(), [119.0]);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_place_cannot_outlive_the_deadline() {
    let (script, mut wait) = Script::wait(Some("queued"), &[(SOON, Ok("completed"))]);
    wait.in_flight = Arc::new(Semaphore::new(0));
    let begun = Instant::now();
    wait.await.expect_err("too late");
    assert!(begun.elapsed() < Duration::from_millis(120_050));
    assert!(script.looks().is_empty());
}

#[tokio::test(start_paused = true)]
async fn bad_answers_are_lost_looks_and_the_last_one_is_told() {
    let bad: Vec<_> = [500, 502, 429, 408, 400, 404].map(|status| (SOON, Err(status))).into();
    let (script, wait) = Script::wait(Some("queued"), &[bad.clone(), vec![(SOON, Ok("completed"))]].concat());
    wait.await.expect("done");
    assert_eq!(script.looks(), [20.0, 22.0, 24.0, 26.0, 28.0, 30.0, 32.0]);

    let (_, wait) = Script::wait(Some("queued"), &bad[..1]);
    let error = wait.await.expect_err("too late");
    assert_eq!(error.status().map(|status| status.as_u16()), Some(500));
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_only_lengthens_a_delay() {
    let (script, wait) = Script::wait(Some("queued"), &[(SOON, Err(503)), (SOON, Ok("completed"))]);
    wait.await.expect("done");
    assert_eq!(script.looks(), [20.0, 27.0]);
    let (script, wait) = Script::wait(Some("queued"), &[(SOON, Err(503)), (SOON, Ok("completed"))]);
    wait.every(Duration::from_secs(10)).await.expect("done");
    assert_eq!(script.looks(), [20.0, 30.0]);
}

#[tokio::test(start_paused = true)]
async fn a_chosen_interval_holds_however_old_the_job_is() {
    let queued = (SOON, Ok("queued"));
    let (script, mut wait) = Script::wait(Some("queued"), &[queued, queued, (SOON, Ok("completed"))]);
    if let Some(known) = &mut wait.known {
        known.created_at = "2020-01-01T00:00:00Z".to_owned();
    }
    wait.every(Duration::from_secs(3)).await.expect("done");
    assert_eq!(script.looks(), [0.0, 3.0, 6.0]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_key_ends_the_wait_and_so_does_a_lasting_404() {
    for status in [401, 403] {
        let (script, wait) = Script::wait(None, &[(SOON, Err(status))]);
        let error = wait.await.expect_err("refused");
        assert_eq!(error.status().map(|it| it.as_u16()), Some(status));
        assert_eq!(script.looks(), [0.0]);
    }
    let (script, wait) = Script::wait(None, &[(SOON, Err(404))]);
    let error = wait.every(Duration::from_secs(2)).await.expect_err("refused");
    assert_eq!(error.status().map(|it| it.as_u16()), Some(404));
    assert_eq!(script.looks(), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_state_is_not_the_end() {
    let (script, wait) = Script::wait(None, &[(SOON, Ok("paused")), (SOON, Ok("cancelled")), (SOON, Ok("completed"))]);
    wait.await.expect("done");
    assert_eq!(script.looks().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn updates_tell_each_state_once_as_soon_as_it_is_seen() {
    let answers = ["queued", "queued", "processing", "paused", "processing", "completed"].map(|it| (SOON, Ok(it)));
    let (script, wait) = Script::wait(None, &answers);
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
async fn dropped_futures_of_next_cost_no_look() {
    let (script, wait) = Script::wait(Some("queued"), &[(3.0, Ok("processing")), (SOON, Ok("completed"))]);
    let mut updates = wait.updates();
    for _ in 0..11 {
        let short = tokio::time::timeout(Duration::from_secs(2), updates.next()).await;
        assert!(short.is_err(), "the first look ends after 23 s");
    }
    assert_eq!(updates.next().await.expect("one").expect("seen").state, GenerationState::Processing);
    assert_eq!(script.looks(), [20.0]);
}

#[test]
fn a_long_wait_looks_less_often() {
    let image = Timing::seconds(20, 2, 120);
    for (waited, delay) in [(0, 2), (120, 2), (240, 2), (480, 4), (3600, 30)] {
        assert_eq!(image.delay(Duration::from_secs(waited)).as_secs(), delay, "{waited}");
    }
}
