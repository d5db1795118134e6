//! Holds all tasks of a client back while the service asks to wait.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::{rate_limit::Limit, util::clock};

/// Holds all tasks of a client back once one of them was told to wait, and lets them go one after
/// the other, never all at once.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    hold: Mutex<Option<Hold>>,
    /// Those who wait: first come, first served. Who stops waiting leaves no gap.
    line: tokio::sync::Mutex<()>,
    waiting: AtomicU32,
}

#[derive(Clone, Copy, Debug)]
struct Hold {
    /// What the service asked for.
    until: Instant,
    /// When the next one may pass.
    next: Instant,
    spacing: Duration,
    limit: Limit,
}

/// Why nobody passes for now, and how long that will last for who comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) wait: Duration,
    pub(crate) limit: Limit,
}

/// Counts one who waits, for as long as it lives.
struct Place<'a>(&'a AtomicU32);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicU32) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    /// Waits for its turn, as long as `accept` agrees to the time that it will take.
    pub(crate) async fn pass(&self, accept: impl Fn(Duration) -> bool) -> Result<(), Closed> {
        let Some(closed) = self.closed(Instant::now()) else { return Ok(()) };
        if !accept(closed.wait) {
            return Err(closed);
        }
        let _place = Place::take(&self.waiting);
        let _first = self.line.lock().await;
        // A later answer may move the time while it is waited for.
        while let Some(Hold { next, limit, .. }) = self.hold().filter(|hold| Instant::now() < hold.next) {
            let wait = next - Instant::now();
            if !accept(wait) {
                return Err(Closed { wait, limit });
            }
            tracing::debug!(delay_ms = wait.as_secs_f64() * 1000.0, "waiting at the gate");
            sleep_until(next).await;
        }
        if let Some(hold) = self.lock().as_mut() {
            hold.next = clock::after(Instant::now(), hold.spacing);
        }
        Ok(())
    }

    /// The service asked to wait until `until`; those who wait go `spacing` apart from then on.
    pub(crate) fn close(&self, until: Instant, spacing: Duration, limit: Limit) {
        let mut hold = self.lock();
        if hold.is_none_or(|it| it.until < until) {
            *hold = Some(Hold { until, next: until, spacing, limit });
        }
    }

    fn closed(&self, now: Instant) -> Option<Closed> {
        let mut hold = self.lock();
        let it = (*hold)?;
        let ahead = self.waiting.load(Ordering::Relaxed);
        if ahead == 0 && now >= it.next {
            *hold = None;
            return None;
        }
        let wait = it.next.saturating_duration_since(now).saturating_add(it.spacing.saturating_mul(ahead));
        Some(Closed { wait, limit: it.limit })
    }

    fn hold(&self) -> Option<Hold> {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Hold>> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// When each of `tasks` passes, in whole seconds from now.
    async fn times(gate: &Arc<Gate>, tasks: usize) -> Vec<u64> {
        let begun = Instant::now();
        let tasks: Vec<_> = (0..tasks)
            .map(|_| {
                let gate = Arc::clone(gate);
                tokio::spawn(async move {
                    gate.pass(|_| true).await.expect("accepted");
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
    async fn an_open_gate_holds_nobody() {
        let gate = Arc::new(Gate::default());
        assert_eq!(times(&gate, 3).await, [0, 0, 0]);
        gate.close(Instant::now(), SECOND, Limit::Requests);
        assert_eq!(times(&gate, 1).await, [0]);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_go_one_after_the_other() {
        let gate = Arc::new(Gate::default());
        gate.close(Instant::now() + 10 * SECOND, 2 * SECOND, Limit::Requests);
        assert_eq!(times(&gate, 4).await, [10, 12, 14, 16]);
        assert_eq!(times(&gate, 2).await, [2, 4], "a newcomer does not overtake");
        tokio::time::sleep(60 * SECOND).await;
        assert_eq!(times(&gate, 3).await, [0, 0, 0], "the line is gone");
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_wait_takes_no_place() {
        let gate = Arc::new(Gate::default());
        gate.close(Instant::now() + SECOND, SECOND, Limit::Requests);
        for _ in 0..100 {
            let closed = gate.pass(|wait| wait < SECOND).await.expect_err("too long");
            assert_eq!(closed, Closed { wait: SECOND, limit: Limit::Requests });
            let dropped = tokio::time::timeout(Duration::ZERO, gate.pass(|_| true)).await;
            assert!(dropped.is_err(), "it has to wait");
        }
        assert_eq!(times(&gate, 1).await, [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_refusal_moves_those_who_wait() {
        let gate = Arc::new(Gate::default());
        gate.close(Instant::now() + SECOND, SECOND, Limit::Requests);
        let late = Arc::clone(&gate);
        tokio::spawn(async move {
            tokio::time::sleep(SECOND / 2).await;
            late.close(Instant::now() + 5 * SECOND, SECOND, Limit::Requests);
            late.close(Instant::now() + 2 * SECOND, SECOND, Limit::Requests);
        });
        assert_eq!(times(&gate, 2).await, [5, 6], "and a shorter hold does not cut a longer one");
    }
}
