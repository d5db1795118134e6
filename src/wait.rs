//! The only polling loop. It knows no HTTP: it is given a way to look at a job, and a job that
//! can tell how far it is.

use std::{
    fmt,
    future::IntoFuture,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{Stream, StreamExt};
use tokio::{
    sync::Semaphore,
    task::JoinHandle,
    time::{Instant, Sleep, sleep_until},
};

use uuid::Uuid;

use crate::{Error, Result, clock, error::Refusal};

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How long the look at the deadline may take.
const GRACE: Duration = Duration::from_millis(40);

/// How long before the deadline the last look begins that has time to be answered.
const LEAD: Duration = Duration::from_secs(1);

/// How long a look may take that could only begin after the deadline.
const LATE: Duration = Duration::from_secs(5);

/// How long the service may deny that a job exists before it is believed.
const NOT_FOUND_PATIENCE: Duration = Duration::from_secs(10);

/// When to look at a job, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    pub(crate) first_after: Duration,
    pub(crate) every: Duration,
    pub(crate) timeout: Duration,
}

impl Timing {
    /// Before anything is known of a job: patient.
    pub(crate) const UNKNOWN: Self = Self::seconds(30, 5, 600);

    pub(crate) const fn seconds(first_after: u64, every: u64, timeout: u64) -> Self {
        Self {
            first_after: Duration::from_secs(first_after),
            every: Duration::from_secs(every),
            timeout: Duration::from_secs(timeout),
        }
    }

    /// The delay after a look when `waited` have passed: the interval, or a 120th of that time once
    /// it is more, so that a job of an hour is not asked about 1,800 times.
    ///
    /// The job's own age would do as well, were it not told by another clock.
    fn delay(&self, waited: Duration) -> Duration {
        self.every.max(waited / 120)
    }
}

/// What was chosen instead of the pace of the kind of job.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    pub(crate) first_after: Option<Duration>,
    pub(crate) every: Option<Duration>,
    pub(crate) timeout: Option<Duration>,
}

/// Something that can be waited for.
pub(crate) trait Job: Clone + Send + Sync + Unpin + 'static {
    fn state(&self) -> &str;
    fn is_terminal(&self) -> bool;
    fn timing(&self) -> Timing;
    /// How old it is, by its own account.
    fn age(&self) -> Duration;
    /// The final word on a terminal job.
    fn verdict(self) -> Result<Self>;
    /// What to say when the deadline has passed.
    fn timed_out(timeout: TimedOut<Self>) -> Error;
}

/// A wait that came to its deadline.
pub(crate) struct TimedOut<J> {
    pub(crate) id: Uuid,
    pub(crate) last: Option<J>,
    pub(crate) elapsed: Duration,
    pub(crate) polls: u32,
    pub(crate) trouble: Option<Error>,
}

/// Looks at the job once.
type Look<J> = Arc<dyn Fn() -> BoxFuture<Result<J>> + Send + Sync>;

/// A wait that has not begun: `.await` it for the result, or ask for its [`updates`](Self::updates).
///
/// The service is asked at a pace that follows the kind of job and the service's own advice:
///
/// | | first look | then every | until |
/// | --- | --- | --- | --- |
/// | image, edit | 20 s | 2 s | 2 min |
/// | layering | 20 s | 2 s | 4 min |
/// | video, unknown kinds | 30 s | 5 s | 10 min |
/// | file | 0.5 s | 2 s | 5 min |
///
/// Every number can be set, here or for the whole client. A job known only by its id is looked at
/// immediately; the age that a job already has shortens the first delay. A wait longer than 120 times
/// the default interval (you have to ask for it) looks less often in the end.
///
/// A bad answer of any kind is one lost look, until the deadline; only 401, 403 and a 404 that lasts
/// ten seconds end the wait early. A last look begins a second before the deadline, one more at it,
/// and the error carries the id.
///
/// # Cancel safety
///
/// Dropping the wait stops the waiting, not the job: it goes on and is paid for. Wait again with
/// the same id to pick it up.
#[must_use = "a wait does nothing until awaited"]
pub struct Wait<J> {
    id: Result<Uuid>,
    /// A copy of the job that the caller had already.
    known: Option<J>,
    pace: Pace,
    look: Look<J>,
    in_flight: Arc<Semaphore>,
}

#[expect(private_bounds, reason = "the jobs are this crate's: generations and files")]
impl<J: Job> Wait<J> {
    pub(crate) fn new(
        id: Result<Uuid>,
        known: Option<J>,
        pace: Pace,
        look: Look<J>,
        in_flight: Arc<Semaphore>,
    ) -> Self {
        Self { id, known, pace, look, in_flight }
    }

    /// How long to wait before the first look.
    pub fn first_after(mut self, delay: Duration) -> Self {
        self.pace.first_after = Some(delay);
        self
    }

    /// How long to wait between looks. Kept exactly, however long the wait becomes.
    pub fn every(mut self, interval: Duration) -> Self {
        self.pace.every = Some(interval);
        self
    }

    /// When to stop waiting, counted from when the wait is first polled.
    ///
    /// At least one look always happens. The wait never outlives its limit by more than 50 ms, as
    /// long as it is polled: see [`Updates`].
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.pace.timeout = Some(limit);
        self
    }

    /// Looks this way instead: what it takes to simulate a schedule.
    #[doc(hidden)]
    pub fn looking<F>(mut self, look: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<J>> + Send + 'static,
    {
        self.look = Arc::new(move || Box::pin(look()));
        self
    }

    /// Every change of state as it is seen, the final one last.
    pub fn updates(self) -> Updates<J> {
        Updates::new(self)
    }

    pub(crate) fn outcome(self) -> Outcome<J> {
        Outcome { updates: self.updates(), last: None }
    }
}

impl<J: Job> IntoFuture for Wait<J> {
    type Output = Result<J>;
    type IntoFuture = BoxFuture<Result<J>>;

    fn into_future(self) -> Self::IntoFuture {
        let outcome = self.outcome();
        Box::pin(async { outcome.await.1 })
    }
}

impl<J> fmt::Debug for Wait<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait").field("id", &self.id.as_ref().ok()).field("pace", &self.pace).finish_non_exhaustive()
    }
}

/// The end of a wait, with the id that it is about (nil if that was malformed).
pub(crate) struct Outcome<J> {
    updates: Updates<J>,
    last: Option<J>,
}

impl<J: Job> Future for Outcome<J> {
    type Output = (Uuid, Result<J>);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let result = loop {
            match ready!(this.updates.poll_next_unpin(cx)) {
                Some(Ok(job)) => this.last = Some(job),
                Some(Err(error)) => break Err(error),
                // The updates end with a terminal job or an error.
                None => break this.last.take().ok_or_else(|| Error::invalid_input("this wait is over")),
            }
        };
        Poll::Ready((this.updates.id.unwrap_or_default(), result))
    }
}

/// The states of a job, as they change. A [`Stream`] too.
///
/// It ends after the final state: a completed job, or the first error. It makes progress while it is
/// asked for the next state; if it is not asked until after the deadline, it looks once more before
/// it gives up.
#[must_use = "updates do nothing until asked for"]
pub struct Updates<J> {
    id: Option<Uuid>,
    pace: Pace,
    look: Look<J>,
    in_flight: Arc<Semaphore>,
    /// When it was first polled.
    started: Instant,
    /// How old the job was when the wait began, as far as known.
    age: Duration,
    step: Step<J>,
    /// When the step ends at the latest. One for all steps: most of a wait is its timer.
    timer: Option<Pin<Box<Sleep>>>,
    /// The job as last seen.
    last: Option<J>,
    /// Whether `last` was given out.
    told: bool,
    polls: u32,
    missing_since: Option<Instant>,
    trouble: Option<Error>,
}

enum Step<J> {
    Fresh,
    /// Ends at once with this error.
    Broken(Option<Error>),
    Sleeping,
    Looking(Task<Result<J>>),
    Over,
}

/// A look runs by itself: one that nobody polls for a while must not keep its place among the
/// requests in flight from others.
struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[expect(private_bounds, reason = "the jobs are this crate's: generations and files")]
impl<J: Job> Updates<J> {
    fn new(wait: Wait<J>) -> Self {
        let Wait { id, known, pace, look, in_flight } = wait;
        let (id, step) = match id {
            Ok(id) => (Some(id), Step::Fresh),
            Err(error) => (None, Step::Broken(Some(error))),
        };
        Self {
            id,
            pace,
            look,
            in_flight,
            started: Instant::now(),
            age: known.as_ref().map_or(Duration::ZERO, Job::age),
            step,
            timer: None,
            last: known,
            told: true,
            polls: 0,
            missing_since: None,
            trouble: None,
        }
    }

    /// The next change of state, or `None` after the final one.
    ///
    /// # Errors
    ///
    /// [`GenerationFailed`](Error::GenerationFailed) or [`FileFailed`](Error::FileFailed) if the job
    /// failed, [`WaitTimeout`](Error::WaitTimeout) at the deadline, [`Refused`](Error::Refused) if
    /// the service will not show the job.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a dropped `next` loses no state and costs no extra request.
    pub async fn next(&mut self) -> Option<Result<J>> {
        StreamExt::next(self).await
    }

    fn timing(&self) -> Timing {
        self.last.as_ref().map_or(Timing::UNKNOWN, Job::timing)
    }

    fn timeout(&self) -> Duration {
        self.pace.timeout.unwrap_or_else(|| self.timing().timeout)
    }

    fn deadline(&self) -> Instant {
        clock::after(self.started, self.timeout())
    }

    /// How long before the first look. Nothing is known of a job that is only an id: it may have
    /// ended long ago.
    fn first_after(&self) -> Duration {
        self.pace.first_after.unwrap_or_else(|| match &self.last {
            Some(job) if !job.is_terminal() => job.timing().first_after.saturating_sub(self.age),
            _ => Duration::ZERO,
        })
    }

    /// Until `delay` has passed. What would be past the deadline is drawn before it, so that an
    /// answer can come in time, and then to it.
    fn sleep(&mut self, delay: Duration) {
        let (now, deadline) = (Instant::now(), self.deadline());
        let due = clock::after(now, delay);
        let early = deadline.checked_sub(LEAD.min(self.timeout() / 4)).filter(|early| now < *early);
        self.set_timer(if due > deadline { early.unwrap_or(deadline) } else { due });
        self.step = Step::Sleeping;
    }

    /// A look that ends with the deadline, or shortly after if it was begun there.
    fn look(&mut self) {
        let (now, end) = (Instant::now(), self.deadline() + GRACE);
        // Nobody asked in time: what happened meanwhile is still worth a look.
        self.set_timer(if now >= end { now + LATE } else { end });
        let (look, in_flight) = (Arc::clone(&self.look), Arc::clone(&self.in_flight));
        self.step = Step::Looking(Task(tokio::spawn(async move {
            let _place = in_flight.acquire_owned().await;
            look().await
        })));
    }

    fn set_timer(&mut self, at: Instant) {
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(at),
            None => self.timer = Some(Box::pin(sleep_until(at))),
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.as_mut().map_or(Poll::Ready(()), |timer| timer.as_mut().poll(cx))
    }

    /// What a look has shown: the next step, and perhaps something to tell.
    fn see(&mut self, outcome: Result<J>) -> Option<Result<J>> {
        self.polls += 1;
        let now = Instant::now();
        let asked = match outcome {
            Ok(job) => {
                self.trouble = None;
                self.missing_since = None;
                let first_sight = self.last.is_none();
                if first_sight {
                    self.age = job.age();
                }
                self.told &= self.last.as_ref().is_some_and(|last| last.state() == job.state());
                if job.is_terminal() {
                    self.step = Step::Over;
                    return Some(job.verdict());
                }
                let first_after = job.timing().first_after;
                self.last = Some(job);
                // A young job that was only an id gets the first delay of its kind now.
                let own_pace = self.pace.first_after.is_some() || self.pace.every.is_some();
                Some(first_after.saturating_sub(self.age)).filter(|_| first_sight && !own_pace)
            }
            Err(error) => {
                if self.is_final(&error, now) {
                    self.step = Step::Over;
                    return Some(Err(error));
                }
                tracing::debug!(%error, "a look at the job failed");
                let asked = error.retry_after();
                self.trouble = Some(error);
                asked
            }
        };
        if now >= self.deadline() {
            return Some(Err(self.give_up()));
        }
        let delay = self.pace.every.unwrap_or_else(|| self.timing().delay(now - self.started));
        self.sleep(asked.map_or(delay, |asked| asked.max(delay)));
        let untold = self.last.clone().filter(|_| !self.told)?;
        self.told = true;
        Some(Ok(untold))
    }

    /// Whether asking again cannot help.
    fn is_final(&mut self, error: &Error, now: Instant) -> bool {
        match error {
            Error::InvalidInput(_) => true,
            Error::Refused(e) => match e.kind() {
                Refusal::Unauthorized | Refusal::Forbidden => true,
                Refusal::NotFound => now - *self.missing_since.get_or_insert(now) >= NOT_FOUND_PATIENCE,
                _ => false,
            },
            _ => false,
        }
    }

    fn give_up(&mut self) -> Error {
        self.step = Step::Over;
        J::timed_out(TimedOut {
            id: self.id.unwrap_or_default(),
            last: self.last.take(),
            elapsed: self.started.elapsed(),
            polls: self.polls,
            trouble: self.trouble.take(),
        })
    }
}

impl<J: Job> Stream for Updates<J> {
    type Item = Result<J>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            match &mut this.step {
                Step::Over => return Poll::Ready(None),
                Step::Broken(error) => {
                    let error = error.take();
                    this.step = Step::Over;
                    return Poll::Ready(error.map(Err));
                }
                Step::Fresh => {
                    this.started = Instant::now();
                    this.sleep(this.first_after());
                }
                Step::Sleeping => {
                    ready!(this.poll_timer(cx));
                    this.look();
                }
                Step::Looking(look) => {
                    if let Poll::Ready(outcome) = Pin::new(&mut look.0).poll(cx) {
                        let outcome = outcome.unwrap_or_else(|e| match e.try_into_panic() {
                            Ok(panic) => std::panic::resume_unwind(panic),
                            Err(_) => Err(Error::invalid_input("the runtime is shutting down")),
                        });
                        if let Some(told) = this.see(outcome) {
                            return Poll::Ready(Some(told));
                        }
                    } else {
                        ready!(this.poll_timer(cx));
                        return Poll::Ready(Some(Err(this.give_up())));
                    }
                }
            }
        }
    }
}

impl<J> fmt::Debug for Updates<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Updates").field("id", &self.id).field("polls", &self.polls).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
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
        Error::Refused(Box::new(crate::error::Refused {
            exchange: crate::error::Exchange { status: Some(status_code), ..Default::default() },
            status: status_code,
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
                let future: BoxFuture<Result<Generation>> = Box::pin(async move {
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
        let answers =
            [(SOON, Ok("queued")), (SOON, Ok("processing")), (SOON, Ok("processing")), (SOON, Ok("completed"))];
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
            format!(
                "generation {ID} was still processing after 120.0 s and 51 polls; it goes on: wait again with this id"
            )
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
        tokio::time::sleep(Duration::from_mins(10)).await;
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
        let (script, wait) =
            Script::wait(None, &[(SOON, Ok("paused")), (SOON, Ok("cancelled")), (SOON, Ok("completed"))]);
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
}
