//! What a wait has to know of a job: the [`Job`] trait and the way to poll it. No HTTP.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::schedule::Timing;
use crate::error::{Error, Known, Result};

/// Something that can be waited for.
pub(crate) trait Job: Clone + Send + Sync + Unpin + 'static {
    /// What it is called in the log.
    const KIND: &str;

    fn state(&self) -> &str;
    fn is_terminal(&self) -> bool;
    /// Why it failed, for programs, if it did and the service says so.
    fn failure_code(&self) -> Option<&str> {
        None
    }
    fn timing(&self) -> Timing;
    /// Jobs of one kind take about as long. `None` if that is not so.
    fn kind(&self) -> Option<String>;
    /// Since when it is under way, by the service's clock. `None` if the service does not say.
    fn created_at(&self) -> Option<SystemTime>;
    /// The result of a terminal job.
    fn into_result(self) -> Result<Self>;
    /// The error of a wait that reached its limit.
    fn timed_out(timeout: TimedOut<Self>) -> Error;
}

/// A wait that reached its limit.
pub(crate) struct TimedOut<J> {
    pub(crate) id: Uuid,
    /// Whether the caller or a poll has seen the job.
    pub(crate) known: Known,
    /// The job as the last successful poll showed it.
    pub(crate) last: Option<J>,
    pub(crate) elapsed: Duration,
    /// How many polls were sent.
    pub(crate) polls: u32,
    /// The error of the last poll, if it failed.
    pub(crate) last_error: Option<Error>,
}

/// Polls the job once, within the time that the caller chose for a poll.
pub(crate) type PollJob<J> = Arc<dyn Fn(Option<Duration>) -> BoxFuture<'static, Result<J>> + Send + Sync>;
