//! The service's clock, as the `Date` of its responses shows it: that of this machine may be wrong.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, SystemTime},
};

/// In place of a difference that no response has shown yet.
const UNKNOWN: i64 = i64::MIN;

/// By how many milliseconds the service's clock is ahead of this machine's.
#[derive(Debug)]
pub(crate) struct ServerClock(AtomicI64);

impl Default for ServerClock {
    fn default() -> Self {
        Self(AtomicI64::new(UNKNOWN))
    }
}

impl ServerClock {
    pub(crate) fn is_known(&self) -> bool {
        self.0.load(Ordering::Relaxed) != UNKNOWN
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
        self.0.store(ahead, Ordering::Relaxed);
    }

    /// How long ago a time of the service's clock was, or zero.
    pub(crate) fn since(&self, time: SystemTime) -> Duration {
        self.at(SystemTime::now()).duration_since(time).unwrap_or_default()
    }

    /// What it shows at `now`; that itself where nothing is known.
    fn at(&self, now: SystemTime) -> SystemTime {
        let ahead = self.0.load(Ordering::Relaxed);
        let difference = Duration::from_millis(ahead.unsigned_abs());
        let server = match ahead {
            UNKNOWN => None,
            0.. => now.checked_add(difference),
            _ => now.checked_sub(difference),
        };
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
        assert_eq!((clock.is_known(), clock.at(at(7))), (false, at(7)));
        for (date, now, expected) in [
            (50_000, 50_000, 50_000),
            (50_000, 50_700, 50_700),
            (50_000, 51_000, 51_000),
            (50_000, 80_300, 51_000),
            (50_000, 20_300, 50_000),
        ] {
            clock.set(at(date), at(now));
            assert!(clock.is_known());
            assert_eq!(clock.at(at(now)), at(expected), "{date} {now}");
            assert_eq!(clock.at(at(now + 5)), at(expected + 5), "{date} {now}");
        }
    }
}
