//! Waiting for a job: the [`Wait`] builder and the futures that run its loop.

mod experience;
mod job;
mod poller;
mod schedule;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    future::IntoFuture,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{StreamExt, future::BoxFuture};
use uuid::Uuid;

use crate::error::{Error, Result};

pub(crate) use self::{
    experience::Polls,
    job::{Job, PollJob, TimedOut},
    schedule::{POLL_TIMEOUT, Pace, Timing},
};
pub use poller::Updates;

/// A wait that has not begun: `.await` it for the result, or take its [`updates`](Self::updates).
///
/// Each setter below is optional. A failed poll does not end the wait, except 401, 403, and a 404 that persists for ten
/// seconds. When the limit is reached, the error carries the id of the job, so that another wait can go on.
///
/// # Pace
///
/// When polls are sent depends on the kind of job, as the service advises:
///
/// | | first poll | then every | until |
/// | --- | --- | --- | --- |
/// | image, edit | 20 s | 2 s | 2 min |
/// | layering | 20 s | 2 s | 4 min |
/// | video, unknown kinds | 30 s | 5 s | 10 min |
/// | file | 0.5 s | 2 s | 5 min |
///
/// Every number can be set, here or for the whole client, and a delay that was set is never changed. A job known only by
/// its id is polled at once; otherwise the age of the job counts towards the first delay. Once a wait has lasted 120 times
/// the interval, which needs a longer [`timeout`](Self::timeout), the interval grows with it. The last polls start one
/// second before the limit and at the limit.
///
/// A client remembers how long the last 32 generations of each type and model took. Once it knows five, it polls a new
/// job at the ages at which those have ended, so that most jobs need fewer polls. The first poll then comes after one
/// second at the earliest, and never later than the table says. The delay between two polls is at least one second, and
/// at most one and a half times the age of the job.
///
/// # Cancel safety
///
/// Dropping the wait stops the waiting, not the job: the job goes on and is paid for. Wait again
/// with the same id to resume.
///
/// # Panics
///
/// Awaiting a wait outside a tokio runtime panics, as awaiting tokio's own timers does; so does a
/// wait that began in a runtime which has been shut down.
#[must_use = "a wait does nothing until awaited"]
pub struct Wait<J> {
    pub(crate) id: Result<Uuid>,
    /// A copy of the job that the caller had already.
    pub(crate) known: Option<J>,
    pub(crate) pace: Pace,
    pub(crate) poll: PollJob<J>,
    pub(crate) polls: Polls,
}

#[expect(private_bounds, reason = "the jobs are this crate's: generations and files")]
impl<J: Job> Wait<J> {
    /// The delay before the first poll.
    pub fn first_after(mut self, delay: Duration) -> Self {
        self.pace.first_after = Some(delay);
        self
    }

    /// The delay between polls, at least 10 ms. It does not grow, however long the wait becomes.
    pub fn every(mut self, interval: Duration) -> Self {
        self.pace.every = Some(interval);
        self
    }

    /// The limit of the wait, counted from when it is first awaited.
    ///
    /// A poll under way at the limit has 50 ms to finish. A job that could not be polled before its
    /// limit (a limit of zero, thousands of waits at once) is still polled once: the poll starts at
    /// most 10 s after the limit and takes at most 5 s. Where that fails too, or while the service asks
    /// this client to wait, the error says that the job was never polled.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.pace.timeout = Some(limit);
        self
    }

    /// The limit of one poll. Default 10 s, or the limit of the client's calls if that is shorter.
    pub fn poll_timeout(mut self, limit: Duration) -> Self {
        self.pace.poll_timeout = Some(limit);
        self
    }

    /// The job after each change of its state, as soon as a poll sees it; the final state comes last.
    pub fn updates(self) -> Updates<J> {
        Updates::new(self.id, self.known, self.pace, self.poll, self.polls)
    }

    pub(crate) fn outcome(self) -> Outcome<J> {
        Outcome { updates: self.updates(), last: None, on_update: None }
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

/// What is called with each change of state.
pub(crate) type OnUpdate<J> = Box<dyn FnMut(&J) + Send>;

/// The result of a wait, with the id that it is about (nil if that was malformed).
pub(crate) struct Outcome<J> {
    updates: Updates<J>,
    last: Option<J>,
    pub(crate) on_update: Option<OnUpdate<J>>,
}

impl<J: Job> Future for Outcome<J> {
    type Output = (Uuid, Result<J>);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let result = loop {
            match ready!(this.updates.poll_next_unpin(cx)) {
                Some(Ok(job)) => {
                    if let Some(on_update) = &mut this.on_update {
                        on_update(&job);
                    }
                    this.last = Some(job);
                }
                Some(Err(error)) => break Err(error),
                // The updates end with a terminal job or an error.
                None => break this.last.take().ok_or_else(|| Error::invalid_input("this wait is over")),
            }
        };
        Poll::Ready((this.updates.id().unwrap_or_default(), result))
    }
}
