//! Holds all tasks of a client back while the service asks to wait, then lets them go one by one. How
//! long is decided in `retry.rs`.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep_until, timeout_at};

use crate::{rate_limit::Limit, util::clock};

/// However long the service asks to wait, one request probes the limit after this time.
const LONGEST_HOLD: Duration = Duration::from_secs(300);

/// A wait that an operator wants to see in the log.
const NOTICEABLE: Duration = Duration::from_secs(1);

/// The limits of submissions apart from those of all other calls: a full queue of jobs stops neither
/// polls nor uploads.
#[derive(Debug, Default)]
pub(crate) struct Throttles {
    pub(crate) submit: Throttle,
    pub(crate) rest: Throttle,
}

/// Open until one task learns of a limit; then all tasks wait for it.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    hold: Mutex<Option<Hold>>,
    /// FIFO; a cancelled waiter frees its slot.
    queue: tokio::sync::Mutex<()>,
    waiting: AtomicU32,
}

#[derive(Clone, Copy, Debug)]
struct Hold {
    /// What the service asked for.
    until: Instant,
    /// When the next request may pass.
    next: Instant,
    spacing: Duration,
    limit: Limit,
}

/// The throttle is closed for longer than the caller accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    /// How long the limit still holds for the next caller.
    pub(crate) wait: Duration,
    pub(crate) limit: Limit,
}

/// Counts one waiter for as long as it lives.
struct Waiter<'a>(&'a AtomicU32);

impl<'a> Waiter<'a> {
    fn new(waiting: &'a AtomicU32) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Throttle {
    /// Waits for its turn, as long as `accept` agrees to the time that it will take, and not beyond `deadline`.
    pub(crate) async fn pass(&self, deadline: Instant, accept: impl Fn(Duration) -> bool) -> Result<(), Closed> {
        let Some((closed, turn)) = self.closed() else { return Ok(()) };
        if !accept(turn) {
            return Err(closed);
        }
        let _waiter = Waiter::new(&self.waiting);
        let Ok(_first) = timeout_at(deadline, self.queue.lock()).await else { return Err(closed) };
        // A later response may move the time while a task waits for it.
        while let Some(hold) = self.hold().filter(|hold| Instant::now() < hold.next) {
            let turn = hold.next - Instant::now();
            if !accept(turn) || hold.next > deadline {
                return Err(hold.closed(Instant::now(), 0));
            }
            let seconds = turn.as_secs_f64();
            if turn < NOTICEABLE {
                tracing::debug!(seconds, "waiting for a limit");
            } else {
                tracing::info!(seconds, "waiting for a limit");
            }
            sleep_until(hold.next).await;
        }
        if let Some(hold) = self.lock().as_mut() {
            hold.next = clock::after(Instant::now(), hold.spacing);
        }
        Ok(())
    }

    /// The service asked to wait for `delay`; waiters go `spacing` apart from then on.
    pub(crate) fn close(&self, delay: Duration, spacing: Duration, limit: Limit) {
        let now = Instant::now();
        let until = clock::after(now, delay);
        let next = until.min(now + LONGEST_HOLD);
        let mut hold = self.lock();
        // An end that comes sooner counts, too, where it stops the queue: the probe of a long limit knows better.
        if hold.is_none_or(|it| it.until < until || it.next < next) {
            *hold = Some(Hold { until, next, spacing, limit });
        }
    }

    /// How long the limit holds, and how long until a new caller's turn.
    fn closed(&self) -> Option<(Closed, Duration)> {
        let mut hold = self.lock();
        let it = (*hold)?;
        let now = Instant::now();
        let ahead = self.waiting.load(Ordering::Relaxed);
        if ahead == 0 && now >= it.next {
            *hold = None;
            return None;
        }
        let queue = it.spacing.saturating_mul(ahead);
        let turn = it.next.saturating_duration_since(now).saturating_add(queue);
        Some((it.closed(now, ahead), turn))
    }

    fn hold(&self) -> Option<Hold> {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Hold>> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold {
    fn closed(&self, now: Instant, ahead: u32) -> Closed {
        let end = self.until.max(self.next);
        let wait = end.saturating_duration_since(now).saturating_add(self.spacing.saturating_mul(ahead));
        Closed { wait, limit: self.limit }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn never() -> Instant {
        clock::after(Instant::now(), Duration::MAX)
    }

    /// When each of `tasks` passes, in whole seconds from now.
    async fn times(throttle: &Arc<Throttle>, tasks: usize) -> Vec<u64> {
        let begun = Instant::now();
        let tasks: Vec<_> = (0..tasks)
            .map(|_| {
                let throttle = Arc::clone(throttle);
                tokio::spawn(async move {
                    throttle.pass(never(), |_| true).await.expect("accepted");
                    begun.elapsed().as_secs()
                })
            })
            .collect();
        let mut times = Vec::new();
        for task in tasks {
            times.push(task.await.expect("passed"));
        }
        times
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_throttle_holds_nobody() {
        let throttle = Arc::new(Throttle::default());
        assert_eq!(times(&throttle, 3).await, [0, 0, 0]);
        throttle.close(Duration::ZERO, SECOND, Limit::Requests);
        assert_eq!(times(&throttle, 1).await, [0]);
    }

    #[tokio::test(start_paused = true)]
    async fn waiters_go_one_after_the_other() {
        let throttle = Arc::new(Throttle::default());
        throttle.close(10 * SECOND, 2 * SECOND, Limit::Requests);
        assert_eq!(times(&throttle, 4).await, [10, 12, 14, 16]);
        assert_eq!(times(&throttle, 2).await, [2, 4], "a newcomer does not overtake");
        tokio::time::sleep(60 * SECOND).await;
        assert_eq!(times(&throttle, 3).await, [0, 0, 0], "the queue is gone");
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_does_not_wait_takes_no_slot() {
        let throttle = Arc::new(Throttle::default());
        throttle.close(SECOND, SECOND, Limit::Requests);
        for _ in 0..100 {
            let closed = throttle.pass(never(), |wait| wait < SECOND).await.expect_err("too long");
            assert_eq!(closed, Closed { wait: SECOND, limit: Limit::Requests });
            let dropped = tokio::time::timeout(Duration::ZERO, throttle.pass(never(), |_| true)).await;
            assert!(dropped.is_err(), "it has to wait");
        }
        assert_eq!(times(&throttle, 1).await, [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_limit_moves_the_waiters() {
        let throttle = Arc::new(Throttle::default());
        throttle.close(SECOND, SECOND, Limit::Requests);
        let late = Arc::clone(&throttle);
        tokio::spawn(async move {
            tokio::time::sleep(SECOND / 2).await;
            late.close(5 * SECOND, SECOND, Limit::Requests);
            late.close(2 * SECOND, SECOND, Limit::Requests);
        });
        assert_eq!(times(&throttle, 2).await, [5, 6], "and a shorter hold does not cut a longer one");
    }

    #[tokio::test(start_paused = true)]
    async fn a_shorter_limit_that_the_probe_of_a_long_one_meets_holds_the_queue() {
        let throttle = Arc::new(Throttle::default());
        throttle.close(600 * SECOND, SECOND, Limit::Requests);
        let probe = Arc::clone(&throttle);
        tokio::spawn(async move {
            probe.pass(never(), |_| true).await.expect("accepted");
            probe.close(30 * SECOND, SECOND, Limit::Requests);
        });
        tokio::task::yield_now().await;
        assert_eq!(times(&throttle, 2).await, [330, 331]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_holds_in_the_queue() {
        let throttle = Arc::new(Throttle::default());
        throttle.close(3 * SECOND, 3 * SECOND, Limit::Requests);
        let begun = Instant::now();
        let first = Arc::clone(&throttle);
        tokio::spawn(async move { first.pass(never(), |_| true).await });
        tokio::task::yield_now().await;
        // A limit that grows while others are ahead: the turn comes later than was accepted.
        let late = Arc::clone(&throttle);
        tokio::spawn(async move {
            tokio::time::sleep(SECOND).await;
            late.close(20 * SECOND, SECOND, Limit::Requests);
        });
        throttle.pass(begun + 7 * SECOND, |_| true).await.expect_err("too late");
        assert_eq!(begun.elapsed().as_secs(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_limit_is_probed_after_five_minutes_and_reported_in_full() {
        let throttle = Arc::new(Throttle::default());
        throttle.close(3600 * SECOND, SECOND, Limit::Requests);
        let closed = throttle.pass(never(), |_| false).await.expect_err("too long");
        assert_eq!(closed.wait, 3600 * SECOND);
        assert_eq!(times(&throttle, 1).await, [300]);
    }
}
