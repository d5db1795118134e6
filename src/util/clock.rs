use std::time::Duration;

use tokio::time::Instant;

/// Later than anybody waits.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// `start` and `delay` later; a delay that is longer than time itself is merely far away.
pub(crate) fn after(start: Instant, delay: Duration) -> Instant {
    start.checked_add(delay).unwrap_or_else(|| start + FAR)
}
