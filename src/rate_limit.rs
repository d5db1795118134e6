//! What the service tells of its limits, and the gate that shares it among the tasks of a client.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use http::HeaderMap;
use tokio::time::Instant;

use crate::error::Limit;

/// The limit on submitted generations per minute, as the service last told it (`X-RateLimit-*`).
///
/// The numbers are the account's, shared by all its programs, and may count weight instead of
/// requests: three units for one costly job have been seen. Do not compute capacity from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimit {
    /// Units allowed in a sliding window of 60 seconds.
    pub limit: u64,
    /// Units left in the window.
    pub remaining: u64,
    /// When the window has moved on.
    pub reset: Option<SystemTime>,
}

impl RateLimit {
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let number = |name| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
        Some(Self {
            limit: number("x-ratelimit-limit")?,
            remaining: number("x-ratelimit-remaining")?,
            reset: number("x-ratelimit-reset")
                .and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))),
        })
    }

    /// How far apart requests have to be so that the limit is kept.
    pub(crate) fn spacing(&self) -> Duration {
        Duration::from_mins(1) / u32::try_from(self.limit.clamp(1, 600)).unwrap_or(600)
    }
}

/// Holds all tasks of a client back once one of them was told to wait, and lets them go one after
/// the other, never all at once.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    hold: Mutex<Option<Hold>>,
}

#[derive(Clone, Copy, Debug)]
struct Hold {
    /// Nobody passes before.
    until: Instant,
    /// When the next one may pass.
    next: Instant,
    spacing: Duration,
    limit: Limit,
}

/// A place in the line: when to go, and which hold it was given for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) at: Instant,
    pub(crate) limit: Limit,
    until: Instant,
}

impl Gate {
    /// A place behind those who wait already, taken if `accept` agrees to the wait. `None`: the way
    /// is free.
    pub(crate) fn turn(&self, now: Instant, accept: impl FnOnce(Duration) -> bool) -> Option<Turn> {
        let mut hold = self.lock();
        match hold.as_mut() {
            Some(it) if now < it.next => {
                let turn = Turn { at: it.next, limit: it.limit, until: it.until };
                // A place that nobody stands in would only hold back the others.
                if accept(it.next - now) {
                    it.next += it.spacing;
                }
                Some(turn)
            }
            _ => {
                *hold = None;
                None
            }
        }
    }

    /// Whether the turn still stands when its time has come: no later answer moved the hold.
    pub(crate) fn stands(&self, turn: Turn) -> bool {
        self.lock().is_none_or(|hold| hold.until <= turn.until)
    }

    /// The service asked to wait until `until`; those who wait go `spacing` apart from then on.
    pub(crate) fn close(&self, until: Instant, spacing: Duration, limit: Limit) {
        let mut hold = self.lock();
        match hold.as_mut() {
            Some(it) if it.until >= until => {}
            _ => *hold = Some(Hold { until, next: until, spacing, limit }),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Hold>> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn an_open_gate_holds_nobody() {
        let gate = Gate::default();
        assert!(gate.turn(Instant::now(), |_| true).is_none());
        gate.close(Instant::now(), SECOND, Limit::Requests);
        assert!(gate.turn(Instant::now(), |_| true).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_go_one_after_the_other() {
        let gate = Gate::default();
        let now = Instant::now();
        gate.close(now + 10 * SECOND, 2 * SECOND, Limit::Requests);
        let turns: Vec<_> = (0..4).map(|_| gate.turn(now, |_| true).expect("a turn").at - now).collect();
        assert_eq!(turns, [10, 12, 14, 16].map(Duration::from_secs));
        assert!(gate.turn(now + 15 * SECOND, |_| true).is_some(), "a newcomer does not overtake");
        assert!(gate.turn(now + 60 * SECOND, |_| true).is_none(), "the line is gone");
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_wait_takes_no_place() {
        let gate = Gate::default();
        let now = Instant::now();
        gate.close(now + SECOND, SECOND, Limit::Requests);
        for _ in 0..100 {
            assert_eq!(gate.turn(now, |wait| wait < SECOND).expect("a turn").at - now, SECOND);
        }
        assert!(gate.turn(now + SECOND, |_| false).is_none(), "the way is free at the promised time");
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_refusal_moves_those_who_wait() {
        let gate = Gate::default();
        let now = Instant::now();
        gate.close(now + SECOND, SECOND, Limit::Requests);
        let turn = gate.turn(now, |_| true).expect("a turn");
        assert!(gate.stands(turn));
        gate.close(now + 5 * SECOND, SECOND, Limit::Requests);
        assert!(!gate.stands(turn));
        gate.close(now + 2 * SECOND, SECOND, Limit::Requests);
        assert_eq!(
            gate.turn(now, |_| true).expect("a turn").at - now,
            5 * SECOND,
            "a shorter hold does not cut a longer one"
        );
    }

    #[test]
    fn headers_are_read_or_left() {
        let mut headers = HeaderMap::new();
        assert_eq!(RateLimit::from_headers(&headers), None);
        headers.insert("x-ratelimit-limit", "30".parse().expect("a value"));
        headers.insert("x-ratelimit-remaining", "28".parse().expect("a value"));
        headers.insert("x-ratelimit-reset", "1712592060".parse().expect("a value"));
        let read = RateLimit::from_headers(&headers).expect("a limit");
        assert_eq!((read.limit, read.remaining), (30, 28));
        assert_eq!(read.reset, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_712_592_060)));
        assert_eq!(read.spacing(), 2 * SECOND);
        headers.insert("x-ratelimit-limit", "many".parse().expect("a value"));
        assert_eq!(RateLimit::from_headers(&headers), None);
    }
}
