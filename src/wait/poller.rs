//! The polling loop, the only one of the crate: [`Updates`] and its steps.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{Stream, StreamExt};
use tokio::{
    task::JoinHandle,
    time::{Instant, Sleep, sleep_until, timeout_at},
};
use tracing::{Instrument as _, instrument::WithSubscriber as _};
use uuid::Uuid;

use super::{
    experience::Polls,
    job::{Job, PollJob, TimedOut},
    schedule::{self, Pace, Timing, Window},
};
use crate::{
    error::{Error, Known, RejectionKind, Result},
    util::{clock, redact},
};

/// How long the service may deny that a job exists before the wait ends.
const NOT_FOUND_PATIENCE: Duration = Duration::from_secs(10);

/// The states of a job, as they change. A [`Stream`] too.
///
/// [`Stream`]: https://docs.rs/futures-core/latest/futures_core/stream/trait.Stream.html
///
/// It ends after the final state: a completed job, or the first error. It makes progress while it is
/// awaited; if it is not awaited until after its limit, it polls once more before it gives up.
///
/// # Cancel safety
///
/// Dropping it stops the waiting, not the job: the job goes on and is paid for.
///
/// # Panics
///
/// As a [`Wait`](super::Wait).
#[must_use = "updates do nothing until awaited"]
pub struct Updates<J> {
    id: Option<Uuid>,
    pace: Pace,
    poll: PollJob<J>,
    polls_of_all: Polls,
    /// When it was first awaited.
    started: Instant,
    /// How old the job was when the wait began, as far as known.
    age: Duration,
    step: Step<J>,
    /// Reused for every sleep: most of a wait is its timer.
    sleep: Option<Pin<Box<Sleep>>>,
    /// The job as last seen, by the caller or by a poll.
    last: Option<J>,
    /// Whether a poll has shown `last`.
    polled: bool,
    /// Whether `last` was emitted.
    emitted: bool,
    polls: u32,
    /// How old the job was at the last poll that showed it running; zero before.
    running_at: Duration,
    missing_since: Option<Instant>,
    last_error: Option<Error>,
}

enum Step<J> {
    New,
    /// Ends at once with this error.
    Invalid(Option<Error>),
    Sleeping,
    Polling(Task<Polled<J>>),
    Done,
}

/// How a poll ended.
enum Polled<J> {
    Response(Result<J>),
    /// It started, and its time was over before there was a response.
    CutOff,
    /// It got no permit in time.
    NotStarted,
}

impl<J> Polled<J> {
    /// A client that has met a limit fails without sending anything.
    fn was_sent(&self) -> bool {
        match self {
            Self::Response(Err(error)) => error.exchange().is_none_or(|exchange| exchange.attempts > 0),
            Self::Response(Ok(_)) | Self::CutOff => true,
            Self::NotStarted => false,
        }
    }
}

/// A poll runs as a task of its own: in a wait that nobody awaits for a while, it must not keep its
/// permit from others.
struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[expect(private_bounds, reason = "the jobs are this crate's: generations and files")]
impl<J: Job> Updates<J> {
    pub(super) fn new(id: Result<Uuid>, known: Option<J>, pace: Pace, poll: PollJob<J>, polls_of_all: Polls) -> Self {
        let (id, step) = match id {
            Ok(id) => (Some(id), Step::New),
            Err(error) => (None, Step::Invalid(Some(error))),
        };
        Self {
            id,
            pace,
            poll,
            started: Instant::now(),
            age: known.as_ref().map_or(Duration::ZERO, |job| polls_of_all.age_of(job)),
            polls_of_all,
            step,
            sleep: None,
            last: known,
            polled: false,
            emitted: true,
            polls: 0,
            running_at: Duration::ZERO,
            missing_since: None,
            last_error: None,
        }
    }

    /// The job that this is about, unless its id was malformed.
    pub(super) fn id(&self) -> Option<Uuid> {
        self.id
    }

    /// The next change of state, or `None` after the final one.
    ///
    /// # Errors
    ///
    /// [`GenerationFailed`](Error::GenerationFailed) or [`FileFailed`](Error::FileFailed) if the job
    /// failed, [`WaitTimeout`](Error::WaitTimeout) at the limit, [`Rejected`](Error::Rejected) if
    /// the service does not show the job.
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
        self.pace.timeout(self.timing())
    }

    fn first_delay(&self) -> Duration {
        let running = self.last.as_ref().is_some_and(|job| !job.is_terminal());
        self.pace.first_delay(self.timing(), running.then_some(self.age), &self.seen())
    }

    /// How long other jobs of the kind took, as far as that says something about this one.
    fn seen(&self) -> Vec<Duration> {
        let kind = self.last.as_ref().filter(|job| schedule::is_young(job.timing(), self.age)).and_then(Job::kind);
        kind.map(|kind| self.polls_of_all.experience.of(&kind)).unwrap_or_default()
    }

    /// Takes note of how long the job took, if it was waited for from its beginning.
    fn remember(&self, job: &J, now: Duration) {
        let timing = job.timing();
        if self.last.is_none() || !schedule::is_young(timing, self.age) {
            return;
        }
        let took = schedule::took(timing, self.running_at, self.age.saturating_add(now));
        if let (Some(kind), Some(took)) = (job.kind(), took) {
            self.polls_of_all.experience.add(&kind, took);
        }
    }

    fn start_sleep(&mut self, delay: Duration) {
        let due = schedule::due(self.started.elapsed(), delay, self.timeout());
        let due = clock::after(self.started, due);
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(due),
            None => self.sleep = Some(Box::pin(sleep_until(due))),
        }
        self.step = Step::Sleeping;
    }

    fn start_poll(&mut self) {
        let (started, poll_timeout) = (self.started, self.pace.poll_timeout);
        let window = Window::new(started.elapsed(), self.timeout(), self.polls == 0);
        let (poll, in_flight) = (Arc::clone(&self.poll), Arc::clone(&self.polls_of_all.in_flight));
        let polled = async move {
            let latest_start = clock::after(started, window.latest_start());
            let Ok(_permit) = timeout_at(latest_start, in_flight.acquire_owned()).await else {
                return Polled::NotStarted;
            };
            let end = clock::after(started, window.end(started.elapsed()));
            timeout_at(end, poll(poll_timeout)).await.map_or(Polled::CutOff, Polled::Response)
        };
        // A new task has neither the span nor the subscriber of the one that spawns it.
        let polled = polled.in_current_span().with_current_subscriber();
        self.step = Step::Polling(Task(tokio::spawn(polled)));
    }

    /// Takes the end of a poll: the next step, and perhaps an item to emit.
    fn finish_poll(&mut self, polled: Polled<J>) -> Option<Result<J>> {
        self.polls = self.polls.saturating_add(u32::from(polled.was_sent()));
        let Polled::Response(response) = polled else { return Some(Err(self.give_up())) };
        let now = self.started.elapsed();
        let delay = match response {
            Ok(job) => {
                self.last_error = None;
                self.missing_since = None;
                let was_only_an_id = self.last.is_none();
                if was_only_an_id {
                    self.age = self.polls_of_all.age_of(&job);
                }
                let is_news = self.last.as_ref().is_none_or(|last| last.state() != job.state());
                self.emitted &= !is_news;
                if is_news || job.is_terminal() {
                    self.log(&job);
                }
                if job.is_terminal() {
                    self.step = Step::Done;
                    let result = job.into_result();
                    if let Ok(job) = &result {
                        self.remember(job, now);
                    }
                    return Some(result);
                }
                let timing = job.timing();
                self.last = Some(job);
                self.polled = true;
                self.running_at = self.age.saturating_add(now);
                let seen = self.seen();
                if was_only_an_id {
                    self.pace.second_delay(timing, self.age, now, &seen)
                } else {
                    self.pace.delay(timing, now, self.age, &seen)
                }
            }
            Err(error) => {
                if self.is_final(&error) {
                    self.step = Step::Done;
                    self.log_end(&error.type_for_log());
                    return Some(Err(error.about_known(self.known())));
                }
                let (id, error_type) = (self.id.unwrap_or_default(), error.type_for_log());
                tracing::warn!(%id, "error.type" = error_type, "a poll failed: the wait goes on");
                let delay = self.pace.delay(self.timing(), now, self.age, &self.seen());
                let retry_after = error.retry_after();
                self.last_error = Some(error);
                retry_after.map_or(delay, |it| schedule::resume_delay(delay, it, fastrand::f64()))
            }
        };
        if now >= self.timeout() {
            return Some(Err(self.give_up()));
        }
        self.start_sleep(delay);
        let job = self.last.clone().filter(|_| !self.emitted)?;
        self.emitted = true;
        Some(Ok(job))
    }

    fn log(&self, job: &J) {
        let (id, state) = (self.id.unwrap_or_default(), redact::excerpt(job.state()));
        let (polls, seconds) = (self.polls, self.started.elapsed().as_secs_f64());
        let step = if job.is_terminal() { "has ended" } else { "is under way" };
        let code = job.failure_code().map(redact::excerpt);
        tracing::info!(%id, %state, code, polls, seconds, "{} {step}", J::KIND);
    }

    fn log_end(&self, error_type: &str) {
        let (id, polls, seconds) = (self.id.unwrap_or_default(), self.polls, self.started.elapsed().as_secs_f64());
        tracing::warn!(%id, "error.type" = error_type, polls, seconds, "the wait has ended before the {}", J::KIND);
    }

    /// Whether another poll cannot help.
    fn is_final(&mut self, error: &Error) -> bool {
        match error {
            Error::InvalidInput(_) => true,
            Error::Rejected(e) => match e.kind() {
                RejectionKind::Unauthorized | RejectionKind::Forbidden => true,
                RejectionKind::NotFound => {
                    self.missing_since.get_or_insert_with(Instant::now).elapsed() >= NOT_FOUND_PATIENCE
                }
                _ => false,
            },
            _ => false,
        }
    }

    fn known(&self) -> Known {
        if self.last.is_some() { Known::Exists } else { Known::Nothing }
    }

    fn give_up(&mut self) -> Error {
        self.step = Step::Done;
        self.log_end("timeout");
        J::timed_out(TimedOut {
            id: self.id.unwrap_or_default(),
            known: self.known(),
            last: self.last.take().filter(|_| self.polled),
            elapsed: self.started.elapsed(),
            polls: self.polls,
            last_error: self.last_error.take(),
        })
    }
}

impl<J: Job> Stream for Updates<J> {
    type Item = Result<J>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            match &mut this.step {
                Step::Done => return Poll::Ready(None),
                Step::Invalid(error) => {
                    let error = error.take();
                    this.step = Step::Done;
                    return Poll::Ready(error.map(Err));
                }
                Step::New => {
                    this.started = Instant::now();
                    this.start_sleep(this.first_delay());
                }
                Step::Sleeping => {
                    if let Some(sleep) = &mut this.sleep {
                        ready!(sleep.as_mut().poll(cx));
                    }
                    this.start_poll();
                }
                Step::Polling(task) => {
                    let polled = ready!(Pin::new(&mut task.0).poll(cx)).unwrap_or_else(|e| match e.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        // The runtime is shutting down.
                        Err(_) => Polled::CutOff,
                    });
                    if let Some(item) = this.finish_poll(polled) {
                        return Poll::Ready(Some(item));
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
