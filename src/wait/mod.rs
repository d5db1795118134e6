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
/// Each setter below is optional. A bad response of any kind is one lost poll; only 401, 403 and a 404 that lasts ten
/// seconds end the wait early. At its limit the error carries the id, with which another wait goes on.
///
/// # Pace
///
/// Polls follow the kind of job and the advice of the service:
///
/// | | first poll | then every | until |
/// | --- | --- | --- | --- |
/// | image, edit | 20 s | 2 s | 2 min |
/// | layering | 20 s | 2 s | 4 min |
/// | video, unknown kinds | 30 s | 5 s | 10 min |
/// | file | 0.5 s | 2 s | 5 min |
///
/// Every number can be set, here or for the whole client. A job known only by its id is polled at
/// once; the age of a job shortens the first delay. A wait longer than 120 times the default
/// interval (which takes a longer [`timeout`](Self::timeout)) polls less often towards its end.
///
/// A client remembers how long the last 32 generations of each type and model took. From five on, the polls of
/// a wait that begins with the job come where such jobs have ended: the first one as early as a second, never
/// later than the table says; the others between a second and one and a half of the job's age apart. A delay that
/// was set is never changed. The last polls start one second before the limit and at the limit.
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

    /// Every change of state as soon as it is seen, the final one last.
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
