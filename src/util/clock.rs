//! Arithmetic of deadlines that cannot overflow.

use std::time::Duration;

use tokio::time::Instant;

/// Longer than any wait.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// `delay` after `start`, or 30 years after it where the clock would overflow.
pub(crate) fn after(start: Instant, delay: Duration) -> Instant {
    start.checked_add(delay).unwrap_or_else(|| start + FAR)
}
