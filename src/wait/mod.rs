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

use futures_util::{Stream, StreamExt, future::BoxFuture};
use tokio::{
    sync::Semaphore,
    task::JoinHandle,
    time::{Instant, Sleep, sleep_until},
};

use uuid::Uuid;

use crate::{
    error::{Error, RejectionKind, Result},
    util::clock,
};

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
type Look<J> = Arc<dyn Fn() -> BoxFuture<'static, Result<J>> + Send + Sync>;

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
    type IntoFuture = BoxFuture<'static, Result<J>>;

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
    /// failed, [`WaitTimeout`](Error::WaitTimeout) at the deadline, [`Rejected`](Error::Rejected) if
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
            Error::Rejected(e) => match e.kind() {
                RejectionKind::Unauthorized | RejectionKind::Forbidden => true,
                RejectionKind::NotFound => now - *self.missing_since.get_or_insert(now) >= NOT_FOUND_PATIENCE,
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
mod tests;
