//! How far a transfer is, and who wants to know.

use std::{fmt, sync::Arc, time::Duration};

/// How far a transfer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes so far. Falls back to zero if the object changed and is fetched anew.
    pub bytes: u64,
    /// Bytes in all, if known.
    pub total: Option<u64>,
}

pub(crate) type Watcher = Arc<dyn Fn(Progress) + Send + Sync>;

/// Tells a watcher a few times a second, and once at the end.
#[derive(Clone, Default)]
pub(crate) struct Meter {
    watcher: Option<Watcher>,
    told: Option<tokio::time::Instant>,
}

const EVERY: Duration = Duration::from_millis(200);

impl Meter {
    pub(crate) fn new(watcher: Option<Watcher>) -> Self {
        Self { watcher, told: None }
    }

    pub(crate) fn tell(&mut self, bytes: u64, total: Option<u64>, last: bool) {
        let Some(watcher) = &self.watcher else { return };
        let now = tokio::time::Instant::now();
        if last || self.told.is_none_or(|told| now - told >= EVERY) {
            self.told = Some(now);
            watcher(Progress { bytes, total });
        }
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").field("watched", &self.watcher.is_some()).finish_non_exhaustive()
    }
}
