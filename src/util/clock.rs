//! Deadlines: arithmetic that cannot overflow, and one timer for all steps before one.

use std::{future::poll_fn, pin::Pin, task::Poll, time::Duration};

use tokio::time::{Instant, Sleep};

/// Longer than any wait.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// `delay` after `start`, or 30 years after it where the clock would overflow.
pub(crate) fn after(start: Instant, delay: Duration) -> Instant {
    start.checked_add(delay).unwrap_or_else(|| start + FAR)
}

/// What `step` returns, or nothing if it does not return before the deadline. Steps that share one share its timer.
///
/// The step is pinned by the caller: moving a large future costs more than polling it.
pub(crate) async fn before<F: Future>(mut deadline: Pin<&mut Sleep>, mut step: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|cx| match step.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => deadline.as_mut().poll(cx).map(|()| None),
    })
    .await
}
