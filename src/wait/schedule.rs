//! The schedule of a wait: when polls are due and how long they may take. Pure: every time is a
//! duration since the wait began. The numbers of each kind of job are in `generations.rs` and `files.rs`.

use std::time::Duration;

/// The shortest interval: below it the loop would be as fast as the network allows.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// How long a poll may take by default. Its response is small, and the next poll is due soon.
pub(crate) const POLL_TIMEOUT: Duration = Duration::from_secs(10);

/// A poll starts this long before the limit, so that its response has time to arrive.
const LEAD: Duration = Duration::from_secs(1);

/// How long a poll that is under way at the limit may go on.
const GRACE: Duration = Duration::from_millis(50);

/// How long after the limit the first poll of a job may still wait for its permit.
const LATE_START: Duration = Duration::from_secs(10);

/// How long a poll may take that could only start after the limit.
const LATE_POLL: Duration = Duration::from_secs(5);

/// The longest time over which waits that a limit held back together resume.
const LONGEST_SPREAD: Duration = Duration::from_secs(60);

/// When to poll a job, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    pub(crate) first_after: Duration,
    pub(crate) every: Duration,
    pub(crate) timeout: Duration,
}

impl Timing {
    /// Of a job whose kind is not known: patient.
    pub(crate) const UNKNOWN: Self = Self::seconds(30, 5, 600);

    pub(crate) const fn seconds(first_after: u64, every: u64, timeout: u64) -> Self {
        Self {
            first_after: Duration::from_secs(first_after),
            every: Duration::from_secs(every),
            timeout: Duration::from_secs(timeout),
        }
    }
}

/// What the caller chose instead of the timing of the kind of job.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    pub(crate) first_after: Option<Duration>,
    pub(crate) every: Option<Duration>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) poll_timeout: Option<Duration>,
}

impl Pace {
    /// The limit of the whole wait.
    pub(super) fn timeout(self, timing: Timing) -> Duration {
        self.timeout.unwrap_or(timing.timeout)
    }

    /// The delay before the first poll. `age` is that of a job that was not over when the caller
    /// last saw it; any other may have ended long ago.
    pub(super) fn first_delay(self, timing: Timing, age: Option<Duration>) -> Duration {
        let by_kind = age.map_or(Duration::ZERO, |age| timing.first_after.saturating_sub(age));
        self.first_after.unwrap_or(by_kind)
    }

    /// The delay after the first poll of a job that was only an id: a young one gets the first delay
    /// of its kind now, unless the caller chose a pace.
    pub(super) fn second_delay(self, timing: Timing, age: Duration, now: Duration) -> Duration {
        let chosen = self.first_after.is_some() || self.every.is_some();
        let young = if chosen { Duration::ZERO } else { timing.first_after.saturating_sub(age) };
        self.delay(timing, now).max(young)
    }

    /// The delay after a poll at `now`. By default the interval, or a 120th of the time waited if that
    /// is longer, so that a job of an hour is not polled 1,800 times.
    ///
    /// The age of the job is not used: it comes from the server's clock.
    pub(super) fn delay(self, timing: Timing, now: Duration) -> Duration {
        self.every.unwrap_or_else(|| timing.every.max(now / 120)).max(SHORTEST_INTERVAL)
    }
}

/// When a poll is due that should come `delay` after `now`. One due after the limit moves to one
/// second before it, so that a response can arrive in time, then to the limit itself.
pub(super) fn due(now: Duration, delay: Duration, timeout: Duration) -> Duration {
    let due = now.saturating_add(delay);
    if due <= timeout {
        return due;
    }
    let early = timeout.saturating_sub(LEAD.min(timeout / 4));
    if now < early { early } else { timeout }
}

/// The delay after an error with a `Retry-After`, which can only lengthen `delay`.
///
/// A limit holds back all waits of a client until the same moment. They resume spread over one
/// interval, as they were before, but over at least a second; `jitter` in 0..=1 is the place of this one.
pub(super) fn resume_delay(delay: Duration, retry_after: Duration, jitter: f64) -> Duration {
    let spread = delay.max(retry_after.min(Duration::from_secs(1))).min(LONGEST_SPREAD);
    delay.max(retry_after).saturating_add(spread.mul_f64(jitter))
}

/// The time that one poll has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    due: Duration,
    timeout: Duration,
    /// The job was never polled, or the wait was not awaited in time: it gets one poll in any case.
    late: bool,
}

impl Window {
    pub(super) fn new(due: Duration, timeout: Duration, is_first: bool) -> Self {
        Self { due, timeout, late: is_first || due >= timeout.saturating_add(GRACE) }
    }

    /// Until when the poll may wait for its permit.
    pub(super) fn latest_start(self) -> Duration {
        if self.late {
            self.due.max(self.timeout).saturating_add(LATE_START)
        } else {
            self.timeout.saturating_add(GRACE)
        }
    }

    /// When the poll is cut off if it starts at `start`.
    pub(super) fn end(self, start: Duration) -> Duration {
        if self.late && start >= self.timeout {
            start.saturating_add(LATE_POLL)
        } else {
            self.timeout.saturating_add(GRACE)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: Timing = Timing::seconds(20, 2, 120);

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_long_wait_polls_less_often() {
        for (now, delay) in [(0, 2), (120, 2), (240, 2), (480, 4), (3600, 30)] {
            let now = Duration::from_secs(now);
            assert_eq!(Pace::default().delay(IMAGE, now).as_secs(), delay, "{now:?}");
            let chosen = Pace { every: Some(seconds(3.0)), ..Pace::default() };
            assert_eq!(chosen.delay(IMAGE, now), seconds(3.0), "a chosen interval does not grow");
        }
    }

    #[test]
    fn the_first_delay_follows_the_kind_and_the_age_unless_chosen() {
        let chosen = Pace { first_after: Some(seconds(7.0)), ..Pace::default() };
        for (age, by_kind) in [(None, 0.0), (Some(0.0), 20.0), (Some(15.0), 5.0), (Some(3600.0), 0.0)] {
            let age = age.map(seconds);
            assert_eq!(Pace::default().first_delay(IMAGE, age), seconds(by_kind), "{age:?}");
            assert_eq!(chosen.first_delay(IMAGE, age), seconds(7.0), "{age:?}");
        }
    }

    #[test]
    fn a_young_job_known_by_its_id_gets_its_first_delay_after_the_first_poll() {
        let chosen = Pace { every: Some(seconds(1.0)), ..Pace::default() };
        for (age, by_kind) in [(0.0, 20.0), (15.0, 5.0), (19.0, 2.0), (3600.0, 2.0)] {
            assert_eq!(Pace::default().second_delay(IMAGE, seconds(age), Duration::ZERO), seconds(by_kind), "{age}");
            assert_eq!(chosen.second_delay(IMAGE, seconds(age), Duration::ZERO), seconds(1.0), "{age}");
        }
    }

    #[test]
    fn a_poll_due_after_the_limit_moves_before_it_and_then_to_it() {
        for (now, delay, timeout, expected) in [
            (0.0, 20.0, 120.0, 20.0),
            (100.0, 20.0, 120.0, 120.0),
            (110.0, 20.0, 120.0, 119.0),
            (119.0, 2.0, 120.0, 120.0),
            (119.5, 2.0, 120.0, 120.0),
            (0.0, 20.0, 2.0, 1.5),
            (0.0, 20.0, 0.0, 0.0),
        ] {
            assert_eq!(
                due(seconds(now), seconds(delay), seconds(timeout)),
                seconds(expected),
                "{now} {delay} {timeout}"
            );
        }
        assert_eq!(due(Duration::ZERO, Duration::MAX, seconds(120.0)), seconds(119.0));
        assert_eq!(due(Duration::MAX, Duration::MAX, Duration::MAX), Duration::MAX);
    }

    #[test]
    fn the_interval_has_a_floor() {
        for (every, delay) in [(0.0, 0.01), (0.001, 0.01), (0.01, 0.01), (0.011, 0.011)] {
            let chosen = Pace { every: Some(seconds(every)), ..Pace::default() };
            assert_eq!(chosen.delay(IMAGE, Duration::ZERO), seconds(delay), "{every}");
        }
    }

    #[test]
    fn a_retry_after_only_lengthens_a_delay_and_spreads_the_waits() {
        for (delay, retry_after, earliest, latest) in [
            (2.0, 8.0, 8.0, 10.0),
            (2.0, 0.0, 2.0, 4.0),
            (10.0, 7.0, 10.0, 20.0),
            (0.01, 8.0, 8.0, 9.0),
            (0.01, 0.2, 0.2, 0.4),
            (3600.0, 1.0, 3600.0, 3660.0),
        ] {
            let (delay, retry_after) = (seconds(delay), seconds(retry_after));
            assert_eq!(resume_delay(delay, retry_after, 0.0), seconds(earliest), "{delay:?} {retry_after:?}");
            assert_eq!(resume_delay(delay, retry_after, 1.0), seconds(latest), "{delay:?} {retry_after:?}");
        }
        assert_eq!(resume_delay(Duration::MAX, Duration::MAX, 1.0), Duration::MAX);
    }

    #[test]
    fn a_poll_has_time_until_the_limit_and_a_late_one_a_time_of_its_own() {
        for (due, start, timeout, is_first, latest_start, end) in [
            (20.0, 20.0, 120.0, false, 120.05, 120.05),
            (120.0, 120.0, 120.0, false, 120.05, 120.05),
            // The first poll of a job.
            (0.0, 0.5, 1.0, true, 11.0, 1.05),
            (0.0, 1.0, 1.0, true, 11.0, 6.0),
            (0.0, 9.0, 1.0, true, 11.0, 14.0),
            (0.0, 0.0, 0.0, true, 10.0, 5.0),
            // A wait that was not awaited in time.
            (600.0, 601.0, 120.0, false, 610.0, 606.0),
        ] {
            let window = Window::new(seconds(due), seconds(timeout), is_first);
            assert_eq!(window.latest_start(), seconds(latest_start), "{window:?}");
            assert_eq!(window.end(seconds(start)), seconds(end), "{window:?} {start}");
        }
        let endless = Window::new(Duration::ZERO, Duration::MAX, true);
        assert_eq!((endless.latest_start(), endless.end(Duration::ZERO)), (Duration::MAX, Duration::MAX));
    }
}
