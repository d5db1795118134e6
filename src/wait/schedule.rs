//! The schedule of a wait: when polls are due and how long they may take. Pure: every time is a
//! duration since the wait began, or the age of the job. The numbers of each kind of job are in `generations.rs` and
//! `files.rs`.

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

/// From how many jobs of a kind on the schedule follows what was seen instead of the advice.
const ENOUGH: usize = 5;

/// A poll is due when this part of the jobs still possible has ended: most jobs need fewer polls.
const PART: usize = 8;

/// The shortest delay between polls that follow what was seen: a second, or this part of the job's age, below
/// which nobody notices.
const SHORTEST_SEEN: Duration = Duration::from_secs(1);
const SHORTEST_PART: u32 = 16;

/// While fewer than this part of the jobs took longer, delays are at most that part of the job's age: what lasts
/// longer than most has no pattern.
const REST: usize = 4;
const LONGEST_PART: u32 = 8;

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
    /// last saw it; any other may have ended long ago. Jobs that were seen can only shorten it.
    pub(super) fn first_delay(self, timing: Timing, age: Option<Duration>, seen: &[Duration]) -> Duration {
        let by_kind = age.map_or(Duration::ZERO, |age| {
            let advised = timing.first_after.saturating_sub(age);
            seen_delay(timing, age, timing.every, seen).map_or(advised, |it| it.min(advised))
        });
        self.first_after.unwrap_or(by_kind)
    }

    /// The delay after the first poll of a job that was only an id: a young one gets the first delay
    /// of its kind now, unless the caller chose a pace.
    pub(super) fn second_delay(self, timing: Timing, age: Duration, now: Duration, seen: &[Duration]) -> Duration {
        let chosen = self.first_after.is_some() || self.every.is_some();
        let is_young = !chosen && age < timing.first_after;
        let delay = self.delay(timing, now, age, seen);
        if is_young && seen.len() < ENOUGH { delay.max(timing.first_after.saturating_sub(age)) } else { delay }
    }

    /// The delay after a poll at `now`. By default the interval, or a 120th of the time waited if that
    /// is longer, so that a job of an hour is not polled 1,800 times; where enough jobs were `seen`, what follows
    /// from them. `age` is that of the job when the wait began.
    pub(super) fn delay(self, timing: Timing, now: Duration, age: Duration, seen: &[Duration]) -> Duration {
        let advised = timing.every.max(now / 120);
        let by_kind = || seen_delay(timing, age.saturating_add(now), advised, seen).unwrap_or(advised);
        self.every.unwrap_or_else(by_kind).max(SHORTEST_INTERVAL)
    }
}

/// Whether what was seen of other jobs says something about a job of this age when its wait begins. An age comes
/// from the server's clock: an old job may be a wrong clock.
pub(super) fn is_young(timing: Timing, age: Duration) -> bool {
    age < timing.first_after
}

/// How long a job took that ended between two polls, by its age at each; `since` is zero without an earlier
/// poll. `None` if the first poll came so late that it says nothing.
pub(super) fn took(timing: Timing, since: Duration, until: Duration) -> Option<Duration> {
    let is_known = !since.is_zero() || until <= timing.first_after + LEAD;
    is_known.then(|| since + until.saturating_sub(since) / 2)
}

/// The delay until the next poll of a job of this age, by how long others took. `None` if they are too few.
///
/// Each poll is due when one in eight of the jobs that took longer than this age has ended. So the polls are where
/// jobs end, and few where none does.
fn seen_delay(timing: Timing, age: Duration, advised: Duration, seen: &[Duration]) -> Option<Duration> {
    if seen.len() < ENOUGH {
        return None;
    }
    let shortest = SHORTEST_SEEN.max(age / SHORTEST_PART);
    let mut longer: Vec<_> = seen.iter().copied().filter(|took| *took > age).collect();
    longer.sort_unstable();
    let Some(next) = longer.get(longer.len().div_ceil(PART).saturating_sub(1)) else {
        return Some(advised.max(shortest));
    };
    // Between two groups the age grows two and a half times at most: a job may end where none did before.
    let longest = if longer.len() * REST < seen.len() { age / LONGEST_PART } else { age.saturating_add(age / 2) };
    let longest = longest.max(timing.first_after.saturating_sub(age));
    Some(next.saturating_sub(age).min(longest).max(shortest))
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
            assert_eq!(Pace::default().delay(IMAGE, now, Duration::ZERO, &[]).as_secs(), delay, "{now:?}");
            let chosen = Pace { every: Some(seconds(3.0)), ..Pace::default() };
            assert_eq!(chosen.delay(IMAGE, now, Duration::ZERO, &[]), seconds(3.0), "a chosen interval does not grow");
        }
    }

    #[test]
    fn the_first_delay_follows_the_kind_and_the_age_unless_chosen() {
        let chosen = Pace { first_after: Some(seconds(7.0)), ..Pace::default() };
        for (age, by_kind) in [(None, 0.0), (Some(0.0), 20.0), (Some(15.0), 5.0), (Some(3600.0), 0.0)] {
            let age = age.map(seconds);
            assert_eq!(Pace::default().first_delay(IMAGE, age, &[]), seconds(by_kind), "{age:?}");
            assert_eq!(chosen.first_delay(IMAGE, age, &[]), seconds(7.0), "{age:?}");
        }
    }

    #[test]
    fn a_young_job_known_by_its_id_gets_its_first_delay_after_the_first_poll() {
        let chosen = Pace { every: Some(seconds(1.0)), ..Pace::default() };
        for (age, by_kind) in [(0.0, 20.0), (15.0, 5.0), (19.0, 2.0), (3600.0, 2.0)] {
            assert_eq!(
                Pace::default().second_delay(IMAGE, seconds(age), Duration::ZERO, &[]),
                seconds(by_kind),
                "{age}"
            );
            assert_eq!(chosen.second_delay(IMAGE, seconds(age), Duration::ZERO, &[]), seconds(1.0), "{age}");
        }
    }

    /// So many jobs, evenly between two durations.
    fn jobs(count: u32, from: f64, to: f64) -> Vec<Duration> {
        (0..count).map(|n| seconds(from + (to - from) * f64::from(n) / f64::from(count - 1))).collect()
    }

    #[test]
    fn the_first_poll_comes_when_one_in_eight_jobs_has_ended() {
        let first = |age, seen: &[Duration]| Pace::default().first_delay(IMAGE, Some(seconds(age)), seen);
        let seen = jobs(24, 9.0, 11.3);
        assert_eq!(first(0.0, &seen), seconds(9.2));
        assert_eq!(first(4.0, &seen), seconds(5.2), "a job that is older already is polled earlier");
        assert_eq!(first(0.0, &seen[..4]), seconds(20.0), "four jobs say nothing yet");
        assert_eq!(first(0.0, &seen[..5]), seconds(9.0), "five do");
        assert_eq!(Pace::default().second_delay(IMAGE, Duration::ZERO, Duration::ZERO, &seen[..5]), seconds(9.0));
        assert!(is_young(IMAGE, seconds(19.9)) && !is_young(IMAGE, seconds(20.0)));
        assert_eq!(first(0.0, &jobs(24, 300.0, 320.0)), seconds(20.0), "it is never later than advised");
        assert_eq!(first(0.0, &jobs(24, 0.1, 0.2)), seconds(1.0), "nor earlier than a second");
        assert_eq!(first(3600.0, &seen), Duration::ZERO);
        assert_eq!(Pace::default().first_delay(IMAGE, None, &seen), Duration::ZERO);
    }

    #[test]
    fn polls_are_where_jobs_end() {
        let seen = [jobs(16, 9.0, 10.5), jobs(16, 60.0, 75.0)].concat();
        let at = |age: f64| seconds(age) + Pace::default().delay(IMAGE, seconds(age), Duration::ZERO, &seen);
        assert_eq!(at(10.0), seconds(11.0), "a second is the least");
        assert_eq!(at(11.0), seconds(27.5), "between two groups the age grows two and a half times");
        assert_eq!(at(27.5), seconds(61.0), "until jobs end again");
        assert_eq!(at(61.0), seconds(61.0 + 61.0 / 16.0), "a sixteenth of the age is the least");
        assert_eq!(at(100.0), seconds(106.25), "after the longest job the polls go on");
        assert_eq!(at(14_400.0), seconds(14_400.0 + 900.0));
    }

    #[test]
    fn a_job_that_lasts_longer_than_most_is_polled_every_eighth_of_its_age() {
        let seen = [jobs(25, 10.0, 12.0), jobs(7, 500.0, 600.0)].concat();
        let at = |age: f64, seen: &[Duration]| {
            seconds(age) + Pace::default().delay(IMAGE, seconds(age), Duration::ZERO, seen)
        };
        assert_eq!(at(40.0, &seen), seconds(45.0));
        assert_eq!(at(480.0, &seen), seconds(510.0), "but no closer than a sixteenth");
        assert_eq!(
            at(40.0, &[&seen[..], &jobs(2, 500.0, 600.0)].concat()),
            seconds(100.0),
            "more than a quarter is a group"
        );
        let quarter = [jobs(24, 10.0, 12.0), jobs(8, 500.0, 600.0)].concat();
        assert_eq!(at(40.0, &quarter), seconds(100.0), "and so is a quarter");
    }

    #[test]
    fn what_the_caller_chose_is_never_changed_by_what_was_seen() {
        let seen = jobs(24, 9.0, 11.0);
        let every = Pace { every: Some(seconds(3.0)), ..Pace::default() };
        let first = Pace { first_after: Some(seconds(7.0)), ..Pace::default() };
        for age in [0.0, 8.0, 10.0, 50.0].map(seconds) {
            assert_eq!(every.delay(IMAGE, age, Duration::ZERO, &seen), seconds(3.0));
            assert_eq!(every.second_delay(IMAGE, age, Duration::ZERO, &seen), seconds(3.0));
            assert_eq!(first.first_delay(IMAGE, Some(age), &seen), seconds(7.0));
        }
    }

    #[test]
    fn a_job_took_until_the_middle_between_two_polls() {
        for (since, until, expected) in [(9.0, 11.0, Some(10.0)), (0.0, 20.0, Some(10.0)), (0.0, 30.0, None)] {
            assert_eq!(took(IMAGE, seconds(since), seconds(until)), expected.map(seconds), "{since} {until}");
        }
    }

    #[test]
    fn times_that_make_no_sense_do_not_overflow() {
        for seen in [[Duration::ZERO; 5], [Duration::MAX; 5]] {
            for age in [Duration::ZERO, Duration::MAX] {
                Pace::default().first_delay(IMAGE, Some(age), &seen);
                Pace::default().delay(IMAGE, age, age, &seen);
            }
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
            assert_eq!(chosen.delay(IMAGE, Duration::ZERO, Duration::ZERO, &[]), seconds(delay), "{every}");
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
