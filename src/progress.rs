//! Progress of a transfer, and how often the caller hears of it.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

/// How far a transfer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes transferred so far. Goes back to zero if the transfer has to begin again.
    pub bytes: u64,
    /// Bytes in all, if known.
    pub total: Option<u64>,
}

pub(crate) type ProgressCallback = Arc<dyn Fn(Progress) + Send + Sync>;

/// Calls the callback at most five times a second, and once at the end.
#[derive(Clone, Default)]
pub(crate) struct ProgressReporter {
    callback: Option<ProgressCallback>,
    reported: Option<Instant>,
}

const INTERVAL: Duration = Duration::from_millis(200);

impl ProgressReporter {
    pub(crate) fn new(callback: Option<ProgressCallback>) -> Self {
        Self { callback, reported: None }
    }

    pub(crate) fn report(&mut self, bytes: u64, total: Option<u64>, is_last: bool) {
        let Some(callback) = &self.callback else { return };
        let now = Instant::now();
        if is_last || self.reported.is_none_or(|reported| now - reported >= INTERVAL) {
            self.reported = Some(now);
            callback(Progress { bytes, total });
        }
    }
}

impl fmt::Debug for ProgressReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgressReporter").field("has_callback", &self.callback.is_some()).finish_non_exhaustive()
    }
}
