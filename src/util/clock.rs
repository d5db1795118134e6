//! Deadlines: arithmetic that cannot overflow, and one timer for all steps before one.

use std::{pin::Pin, time::Duration};

use tokio::time::{Instant, Sleep};

/// Longer than any wait.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// `delay` after `start`, or 30 years after it where the clock would overflow.
pub(crate) fn after(start: Instant, delay: Duration) -> Instant {
    start.checked_add(delay).unwrap_or_else(|| start + FAR)
}

/// What `step` returns, or nothing if it does not return before the deadline. Steps that share one share its timer.
pub(crate) async fn before<F: Future>(deadline: Pin<&mut Sleep>, step: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = step => Some(output),
        () = deadline => None,
    }
}
