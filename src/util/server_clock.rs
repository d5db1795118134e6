//! The service's clock, as the `Date` of its responses shows it: that of this machine may be wrong.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

/// How long what is known counts, in milliseconds: a local clock may be set anew.
const COUNTS: u64 = 60_000;

/// The difference between the service's clock and this machine's.
#[derive(Debug)]
pub(crate) struct ServerClock {
    /// By how many milliseconds the service's is ahead. Zero as long as no response has shown it.
    ahead: AtomicI64,
    started: Instant,
    /// When to read it again, in milliseconds after the start.
    due: AtomicU64,
}

impl Default for ServerClock {
    fn default() -> Self {
        Self { ahead: AtomicI64::new(0), started: Instant::now(), due: AtomicU64::new(0) }
    }
}

impl ServerClock {
    /// Whether the next response should be read: once a minute, since calls are many.
    pub(crate) fn is_due(&self) -> bool {
        self.elapsed() >= self.due.load(Ordering::Relaxed)
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Takes the `Date` of a response that came at `now`. A date has whole seconds: within its second, the clocks
    /// agree.
    pub(crate) fn set(&self, date: SystemTime, now: SystemTime) {
        let server = now.clamp(date, date + Duration::from_secs(1));
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let ahead = match server.duration_since(now) {
            Ok(ahead) => millis(ahead),
            Err(behind) => -millis(behind.duration()),
        };
        self.ahead.store(ahead, Ordering::Relaxed);
        self.due.store(self.elapsed().saturating_add(COUNTS), Ordering::Relaxed);
    }

    /// How long ago a time of the service's clock was, or zero.
    pub(crate) fn since(&self, time: SystemTime) -> Duration {
        self.at(SystemTime::now()).duration_since(time).unwrap_or_default()
    }

    /// What it shows at `now`; that itself where nothing is known.
    fn at(&self, now: SystemTime) -> SystemTime {
        let ahead = self.ahead.load(Ordering::Relaxed);
        let difference = Duration::from_millis(ahead.unsigned_abs());
        let server = if ahead < 0 { now.checked_sub(difference) } else { now.checked_add(difference) };
        server.unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_tells_clocks_apart_that_differ_by_more_than_its_second() {
        let at = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        let clock = ServerClock::default();
        assert_eq!((clock.is_due(), clock.at(at(7))), (true, at(7)));
        for (date, now, expected) in [
            (50_000, 50_000, 50_000),
            (50_000, 50_700, 50_700),
            (50_000, 51_000, 51_000),
            (50_000, 80_300, 51_000),
            (50_000, 20_300, 50_000),
        ] {
            clock.set(at(date), at(now));
            assert!(!clock.is_due());
            assert_eq!(clock.at(at(now)), at(expected), "{date} {now}");
            assert_eq!(clock.at(at(now + 5)), at(expected + 5), "{date} {now}");
        }
    }
}
