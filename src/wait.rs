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
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep_until},
};

use uuid::Uuid;

use crate::{Error, Result, error::Refusal};

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How long the poll at the deadline may take.
const GRACE: Duration = Duration::from_millis(40);

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

    /// The delay after a look at a job of this age: the interval, or a 120th of the age once that
    /// is more, so that a job of an hour is not asked about 1,800 times.
    fn delay(&self, age: Duration) -> Duration {
        self.every.max(age / 120)
    }
}

/// What the caller chose instead of the defaults.
#[derive(Clone, Copy, Debug, Default)]
struct Chosen {
    first_after: Option<Duration>,
    every: Option<Duration>,
    timeout: Option<Duration>,
}

impl Chosen {
    fn over(&self, timing: Timing) -> Timing {
        Timing {
            first_after: self.first_after.unwrap_or(timing.first_after),
            every: self.every.unwrap_or(timing.every),
            timeout: self.timeout.unwrap_or(timing.timeout),
        }
    }
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
/// | file | 1 s | 2 s | 5 min |
///
/// A job known only by its id is looked at immediately. Age that the job already has shortens the
/// first delay; a job older than 120 times the interval is asked about less often.
///
/// A bad answer of any kind is one lost look, until the deadline; only 401, 403 and a 404 that lasts
/// ten seconds end the wait early. At the deadline the job is looked at once more, and the error
/// carries the id.
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
    chosen: Chosen,
    look: Look<J>,
    in_flight: Arc<Semaphore>,
}

#[expect(private_bounds, reason = "the jobs are this crate's: generations and files")]
impl<J: Job> Wait<J> {
    pub(crate) fn new(id: Result<Uuid>, known: Option<J>, look: Look<J>, in_flight: Arc<Semaphore>) -> Self {
        Self { id, known, chosen: Chosen::default(), look, in_flight }
    }
}

#[expect(private_bounds, reason = "the jobs are this crate's: generations and files")]
impl<J: Job> Wait<J> {
    /// How long to wait before the first look.
    pub fn first_after(mut self, delay: Duration) -> Self {
        self.chosen.first_after = Some(delay);
        self
    }

    /// How long to wait between looks.
    pub fn every(mut self, interval: Duration) -> Self {
        self.chosen.every = Some(interval);
        self
    }

    /// When to stop waiting, counted from the start of the wait.
    ///
    /// At least one look always happens. The wait never outlives its limit by more than 50 ms.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.chosen.timeout = Some(limit);
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

    /// The result, beside the id that it belongs to.
    pub(crate) async fn outcome(self, id: Uuid) -> (Uuid, Result<J>) {
        (id, self.await)
    }

    /// Every change of state as it is seen, the final one last.
    pub fn updates(self) -> Updates<J> {
        Updates::new(self)
    }
}

impl<J: Job> IntoFuture for Wait<J> {
    type Output = Result<J>;
    type IntoFuture = BoxFuture<Result<J>>;

    fn into_future(self) -> Self::IntoFuture {
        let mut updates = self.updates();
        Box::pin(async move {
            let mut last = None;
            while let Some(update) = updates.next().await {
                last = Some(update?);
            }
            // The stream ends with a terminal job or an error.
            last.ok_or_else(|| Error::invalid_input("this wait was over before it began"))
        })
    }
}

impl<J> fmt::Debug for Wait<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait").field("id", &self.id.as_ref().ok()).field("chosen", &self.chosen).finish_non_exhaustive()
    }
}

/// The states of a job, as they change. A [`Stream`] too.
///
/// It ends after the final state: a completed job, or the first error.
#[must_use = "updates do nothing until asked for"]
pub struct Updates<J> {
    id: Option<Uuid>,
    chosen: Chosen,
    look: Look<J>,
    in_flight: Arc<Semaphore>,
    started: Instant,
    /// How old the job was when the wait began, as far as known.
    age: Duration,
    step: Step<J>,
    /// When the step ends at the latest. One for all steps: most of a wait is timers.
    timer: Pin<Box<Sleep>>,
    /// The job as last seen.
    last: Option<J>,
    /// Whether `last` was given out.
    told: bool,
    polls: u32,
    missing_since: Option<Instant>,
    trouble: Option<Error>,
}

enum Step<J> {
    /// Ends at once with this error.
    Broken(Option<Error>),
    Sleeping,
    /// Waiting for a place among the requests in flight.
    Queued(BoxFuture<Option<OwnedSemaphorePermit>>),
    Looking {
        look: BoxFuture<Result<J>>,
        _place: Option<OwnedSemaphorePermit>,
    },
    Over,
}

#[expect(private_bounds, reason = "the jobs are this crate's: generations and files")]
impl<J: Job> Updates<J> {
    fn new(wait: Wait<J>) -> Self {
        let Wait { id, known, chosen, look, in_flight } = wait;
        let started = Instant::now();
        let (id, step) = match id {
            Ok(id) => (Some(id), None),
            Err(error) => (None, Some(Step::Broken(Some(error)))),
        };
        let mut updates = Self {
            id,
            chosen,
            look,
            in_flight,
            started,
            age: known.as_ref().map_or(Duration::ZERO, Job::age),
            step: Step::Over,
            timer: Box::pin(sleep_until(started)),
            last: known,
            told: true,
            polls: 0,
            missing_since: None,
            trouble: None,
        };
        // Nothing is known of a job that is only an id: it may have ended long ago.
        let first = match (&updates.last, chosen.first_after) {
            (_, Some(chosen)) => chosen,
            (Some(job), None) if job.is_terminal() => Duration::ZERO,
            (Some(job), None) => job.timing().first_after.saturating_sub(updates.age),
            (None, None) => Duration::ZERO,
        };
        match step {
            Some(step) => updates.step = step,
            None => updates.sleep(first),
        }
        updates
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
        self.chosen.over(self.last.as_ref().map_or(Timing::UNKNOWN, Job::timing))
    }

    fn deadline(&self) -> Instant {
        self.started + self.timing().timeout
    }

    /// Until `delay` has passed, or the deadline.
    fn sleep(&mut self, delay: Duration) {
        let due = (Instant::now() + delay).min(self.deadline());
        self.timer.as_mut().reset(due);
        self.step = Step::Sleeping;
    }

    /// A look that must end with the deadline, or shortly after if it was begun there.
    fn queue(&mut self) {
        let end = self.deadline() + GRACE;
        self.timer.as_mut().reset(end);
        let in_flight = Arc::clone(&self.in_flight);
        match Arc::clone(&in_flight).try_acquire_owned() {
            Ok(place) => self.look(Some(place)),
            Err(_) => self.step = Step::Queued(Box::pin(async move { in_flight.acquire_owned().await.ok() })),
        }
    }

    fn look(&mut self, place: Option<OwnedSemaphorePermit>) {
        self.step = Step::Looking { look: (self.look)(), _place: place };
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
                Some(first_after.saturating_sub(self.age)).filter(|_| first_sight && self.chosen.first_after.is_none())
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
        let delay = self.timing().delay(self.age + (now - self.started));
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
                Step::Sleeping => {
                    ready!(this.timer.as_mut().poll(cx));
                    this.queue();
                }
                Step::Queued(place) => match place.as_mut().poll(cx) {
                    Poll::Ready(place) => this.look(place),
                    Poll::Pending => {
                        ready!(this.timer.as_mut().poll(cx));
                        return Poll::Ready(Some(Err(this.give_up())));
                    }
                },
                Step::Looking { look, .. } => match look.as_mut().poll(cx) {
                    Poll::Ready(outcome) => {
                        if let Some(told) = this.see(outcome) {
                            return Poll::Ready(Some(told));
                        }
                    }
                    Poll::Pending => {
                        ready!(this.timer.as_mut().poll(cx));
                        return Poll::Ready(Some(Err(this.give_up())));
                    }
                },
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
            let wait = Wait::new(Ok(ID), known.map(generation), look, Arc::new(Semaphore::new(64)));
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
        assert_eq!(script.looks(), [1.0, 4.0, 7.0, 9.0]);
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
        assert!(begun.elapsed() - Duration::from_secs(30) < Duration::from_millis(50), "{:?}", begun.elapsed());
        assert_eq!(script.looks(), [20.0]);
        assert!(matches!(error, Error::WaitTimeout(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_a_place_cannot_outlive_the_deadline() {
        let (script, mut wait) = Script::wait(Some("queued"), &[(SOON, Ok("completed"))]);
        wait.in_flight = Arc::new(Semaphore::new(0));
        let begun = Instant::now();
        wait.await.expect_err("too late");
        assert!(begun.elapsed() - Duration::from_secs(120) < Duration::from_millis(50));
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
    fn an_old_job_is_asked_about_less_often() {
        let image = Timing::seconds(20, 2, 120);
        for (age, delay) in [(0, 2.0), (120, 2.0), (240, 2.0), (480, 4.0), (3600, 30.0)] {
            assert_eq!(image.delay(Duration::from_secs(age)).as_secs_f64(), delay, "{age}");
        }
    }
}
