//! The emulator's clock: the machine's, at a rate.

use std::time::Duration;

use tokio::time::Instant;

/// The time of the emulated service, as a duration since its start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
    rate: f64,
}

impl Clock {
    /// A clock that runs `rate` times as fast as the machine's. `None` if `rate` is not a positive number.
    pub(super) fn new(rate: f64) -> Option<Self> {
        (rate.is_finite() && rate > 0.0).then(|| Self { start: Instant::now(), rate })
    }

    pub(super) fn now(&self) -> Duration {
        times(self.start.elapsed(), self.rate)
    }

    /// How long a time of the service takes for its caller.
    pub(super) fn for_caller(&self, time: Duration) -> Duration {
        times(time, 1.0 / self.rate)
    }

    /// The same in whole seconds, as headers have it: rounded up, at least one.
    pub(super) fn seconds_for_caller(&self, time: Duration) -> u64 {
        let time = self.for_caller(time);
        (time.as_secs() + u64::from(time.subsec_nanos() > 0)).max(1)
    }
}

fn times(time: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(time.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_hundred_seconds_pass_in_one() {
        let clock = Clock::new(100.0).expect("a clock");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(clock.now(), Duration::from_secs(100));
        for (service, caller) in [(60, 1), (100, 1), (101, 2), (3600, 36), (0, 1)] {
            assert_eq!(clock.seconds_for_caller(Duration::from_secs(service)), caller, "{service}");
        }
    }

    #[test]
    fn a_rate_is_a_positive_number() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Clock::new(rate).is_none(), "{rate}");
        }
        assert_eq!(Clock::new(1e-300).expect("a clock").for_caller(Duration::from_secs(1)), Duration::MAX);
    }
}
