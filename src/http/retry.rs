//! When to send again: the policy, the one classifier, the arithmetic, the one parser of
//! `Retry-After`. Pure: no clock, no I/O.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};

use crate::error::Fault;

/// How a call deals with faults and limits.
///
/// What is *safe* to send again is not a matter of policy: a request that may have created a job is
/// never sent a second time. The policy only says how often and for how long to try what is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Retry {
    pub(crate) attempts: u32,
    pub(crate) first_delay: Duration,
    pub(crate) max_delay: Duration,
    pub(crate) budget: Duration,
}

impl Default for Retry {
    /// Three attempts, 0.5 s to 8 s apart, five minutes in all.
    fn default() -> Self {
        Self {
            attempts: 3,
            first_delay: Duration::from_millis(500),
            max_delay: Duration::from_secs(8),
            budget: Duration::from_mins(5),
        }
    }
}

impl Retry {
    /// One attempt; a 429 is not waited out.
    pub fn none() -> Self {
        Self { attempts: 1, ..Self::default() }
    }

    /// How many times a request is sent in all when it meets faults. At least 1; default 3.
    ///
    /// A 429 is no fault: being told to wait uses up time, not attempts. With 1 nothing is waited
    /// out or sent again.
    pub fn attempts(self, attempts: u32) -> Self {
        Self { attempts: attempts.max(1), ..self }
    }

    /// Upper bound of the delay after the first fault; it doubles with each further one.
    /// Default 0.5 s. The delay itself is drawn evenly between zero and the bound (full jitter).
    pub fn first_delay(self, first_delay: Duration) -> Self {
        Self { first_delay, ..self }
    }

    /// What the bound of the delay does not grow beyond. Default 8 s.
    pub fn max_delay(self, max_delay: Duration) -> Self {
        Self { max_delay, ..self }
    }

    /// How long a call may take in all, waits included. Default five minutes.
    ///
    /// A wait that would outlive it (a long `Retry-After`) is not begun: the call ends at once with
    /// the error that carries it.
    pub fn budget(self, budget: Duration) -> Self {
        Self { budget, ..self }
    }

    /// The delay after the `fault`-th fault (from 1); `jitter` in 0..=1.
    fn delay(&self, fault: u32, jitter: f64) -> Duration {
        let doubled = self.first_delay.saturating_mul(1_u32.checked_shl(fault - 1).unwrap_or(u32::MAX));
        // A day at most, so that no sum of it can overflow.
        doubled.min(self.max_delay).min(Duration::from_hours(24)).mul_f64(jitter.clamp(0.0, 1.0))
    }
}

/// How far a call has come in spending its policy.
#[derive(Debug)]
pub(crate) struct Backoff {
    policy: Retry,
    /// How much of the budget the next attempt needs for itself.
    reserve: Duration,
    faults: u32,
}

impl Backoff {
    pub(crate) fn new(policy: Retry, reserve: Duration) -> Self {
        Self { policy, reserve, faults: 0 }
    }

    /// A fault was met after `elapsed`: how long to wait before the next attempt, if there is one.
    pub(crate) fn after_fault(&mut self, elapsed: Duration, retry_after: Option<Duration>) -> Option<Duration> {
        self.faults += 1;
        if self.faults >= self.policy.attempts {
            return None;
        }
        let own = self.policy.delay(self.faults, fastrand::f64());
        self.within_budget(elapsed, retry_after.map_or(own, |asked| asked.max(own)))
    }

    /// How long a limit holds: as long as asked, and up to a second more, as the service advises.
    ///
    /// Never less than the first delay: limits use up no attempts, and a zero would be asked for
    /// again and again without a pause.
    pub(crate) fn limit_delay(&self, retry_after: Option<Duration>) -> Duration {
        match retry_after.map(|asked| asked.max(self.policy.first_delay)) {
            Some(asked) => asked.saturating_add(Duration::from_secs(1).min(asked).mul_f64(fastrand::f64())),
            None => self.policy.max_delay,
        }
    }

    /// A limit was met after `elapsed` that holds for `delay`: whether it may be waited out.
    pub(crate) fn after_limit(&self, elapsed: Duration, delay: Duration) -> Option<Duration> {
        // One attempt means: no patience either.
        if self.policy.attempts == 1 { None } else { self.within_budget(elapsed, delay) }
    }

    /// Progress was made: earlier faults no longer count.
    pub(crate) fn reset(&mut self) {
        self.faults = 0;
    }

    fn within_budget(&self, elapsed: Duration, delay: Duration) -> Option<Duration> {
        (elapsed.saturating_add(delay).saturating_add(self.reserve) < self.policy.budget).then_some(delay)
    }
}

/// What one attempt led to, as far as it matters for what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// An answer, and whether the API itself wrote it (not a gateway in front of it).
    Answer { status: StatusCode, by_api: bool },
    /// No complete answer.
    Fault(Fault),
}

/// What to make of it if it stays the last attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Success,
    Rejected,
    RateLimited,
    NoResponse,
    OutcomeUnknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) ending: Ending,
    /// Whether sending it again is safe and may help.
    pub(crate) again: bool,
}

/// The one place that decides what an attempt means.
///
/// `repeatable` is true for requests that change nothing when sent twice (GET, DELETE, PUT). For
/// all others only what certainly had no effect may be sent again: no connection, 429, and a 502
/// or 503 written by the API itself, which never charges for them (its document says so).
pub(crate) fn classify(repeatable: bool, outcome: Outcome) -> Verdict {
    let (ending, again) = match outcome {
        Outcome::Fault(Fault::Connect) => (Ending::NoResponse, true),
        Outcome::Fault(fault) if repeatable => (Ending::NoResponse, fault != Fault::TooLarge),
        Outcome::Fault(_) => (Ending::OutcomeUnknown, false),
        Outcome::Answer { status, by_api } => match status.as_u16() {
            200..=299 => (Ending::Success, false),
            429 => (Ending::RateLimited, true),
            502 | 503 if by_api => (Ending::Rejected, true),
            408 | 500.. if repeatable => (Ending::Rejected, true),
            409 if repeatable || by_api => (Ending::Rejected, false),
            // Neither says that nothing was done; 303 says where the result of it is.
            100..=199 | 303 if !repeatable => (Ending::OutcomeUnknown, false),
            408 | 409 | 500.. => (Ending::OutcomeUnknown, false),
            _ => (Ending::Rejected, false),
        },
    };
    Verdict { ending, again }
}

/// How long the service asks to wait: `Retry-After-Ms`, else `Retry-After` in seconds (whole or
/// fractional) or as an HTTP date. What is past or negative is zero; what is none of these is nothing.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(ms) =
        text("retry-after-ms").and_then(|text| text.parse::<f64>().ok()).and_then(|ms| seconds(ms / 1000.0))
    {
        return Some(ms);
    }
    let text = text("retry-after")?;
    if let Ok(number) = text.parse::<f64>() {
        return seconds(number);
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO).min(DAY))
}

/// At most: nobody waits longer, and sums of it cannot overflow.
const DAY: Duration = Duration::from_hours(24);

fn seconds(number: f64) -> Option<Duration> {
    (!number.is_nan()).then(|| Duration::from_secs_f64(number.clamp(0.0, DAY.as_secs_f64())))
}

#[cfg(test)]
mod tests {
    use proptest::strategy::Strategy as _;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().expect("a header value")))
            .collect()
    }

    #[test]
    fn retry_after_is_read_in_every_form() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (value, expected) in [
            ("0", Some(0.0)),
            ("12", Some(12.0)),
            (" 1.5 ", Some(1.5)),
            ("-5", Some(0.0)),
            ("3600", Some(3600.0)),
            ("1e30", Some(86_400.0)),
            ("inf", Some(86_400.0)),
            ("NaN", None),
            ("abc", None),
            ("", None),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10.0)),
            ("Sun, 06 Nov 1994 08:49:27 GMT", Some(0.0)),
            ("Sunday, 06-Nov-94 08:49:47 GMT", Some(10.0)),
            ("Sat, 06 Nov 2094 08:49:37 GMT", Some(86_400.0)),
        ] {
            let read = retry_after(&headers(&[("retry-after", value)]), now);
            assert_eq!(read, expected.map(Duration::from_secs_f64), "{value}");
        }
    }

    #[test]
    fn milliseconds_win_over_seconds() {
        let both = headers(&[("retry-after", "7"), ("retry-after-ms", "700")]);
        assert_eq!(retry_after(&both, SystemTime::UNIX_EPOCH), Some(Duration::from_millis(700)));
        let broken = headers(&[("retry-after", "7"), ("retry-after-ms", "soon")]);
        assert_eq!(retry_after(&broken, SystemTime::UNIX_EPOCH), Some(Duration::from_secs(7)));
        assert_eq!(retry_after(&HeaderMap::new(), SystemTime::UNIX_EPOCH), None);
    }

    #[test]
    fn the_bound_of_the_delay_doubles_up_to_its_maximum() {
        let policy = Retry::default();
        let bounds: Vec<_> = (1..=7).map(|fault| policy.delay(fault, 1.0).as_secs_f64()).collect();
        assert_eq!(bounds, [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]);
        assert_eq!(policy.delay(u32::MAX, 1.0), policy.max_delay);
        assert_eq!(policy.delay(3, 0.0), Duration::ZERO);
        let endless = policy.first_delay(Duration::MAX).max_delay(Duration::MAX).budget(Duration::MAX);
        assert_eq!(endless.delay(u32::MAX, 1.0), Duration::from_hours(24));
        let limit = Backoff::new(endless, Duration::MAX).limit_delay(None);
        assert_eq!(limit, Duration::MAX);
    }

    #[test]
    fn a_longer_retry_after_wins_and_never_outlives_the_budget() {
        let policy = Retry::default().budget(Duration::from_secs(60));
        let mut backoff = Backoff::new(policy, Duration::ZERO);
        let asked = Duration::from_secs(20);
        assert_eq!(backoff.after_fault(Duration::ZERO, Some(asked)), Some(asked));
        assert_eq!(backoff.after_fault(Duration::from_secs(41), Some(asked)), None);
        assert_eq!(backoff.after_limit(Duration::ZERO, asked), Some(asked));
        assert_eq!(backoff.after_limit(Duration::ZERO, Duration::from_hours(1)), None);
        let paid = Backoff::new(policy, Duration::from_secs(30));
        assert_eq!(paid.after_limit(Duration::from_secs(5), asked), Some(asked));
        assert_eq!(paid.after_limit(Duration::from_secs(15), asked), None);
    }

    #[test]
    fn a_limit_holds_as_long_as_asked_and_up_to_a_second_more() {
        let backoff = Backoff::new(Retry::default(), Duration::ZERO);
        for (asked, at_least) in [(0.0, 0.5), (0.2, 0.5), (1.0, 1.0), (60.0, 60.0)] {
            let delay = backoff.limit_delay(Some(Duration::from_secs_f64(asked))).as_secs_f64();
            assert!(delay >= at_least && delay <= at_least + at_least.min(1.0), "{delay} for {asked}");
        }
        assert_eq!(backoff.limit_delay(None), Duration::from_secs(8));
    }

    #[test]
    fn faults_use_up_attempts_and_limits_do_not() {
        let mut backoff = Backoff::new(Retry::default(), Duration::ZERO);
        for _ in 0..10 {
            assert!(backoff.after_limit(Duration::ZERO, Duration::from_secs(1)).is_some());
        }
        assert!(backoff.after_fault(Duration::ZERO, None).is_some());
        assert!(backoff.after_fault(Duration::ZERO, None).is_some());
        assert!(backoff.after_fault(Duration::ZERO, None).is_none());
        let impatient = Backoff::new(Retry::none(), Duration::ZERO);
        assert!(impatient.after_limit(Duration::ZERO, Duration::ZERO).is_none());
    }

    #[test]
    fn every_status_and_fault_has_one_meaning() {
        use Ending::{NoResponse, OutcomeUnknown, RateLimited, Rejected};
        for status in (100..=199).chain(300..=999) {
            for by_api in [false, true] {
                for repeatable in [false, true] {
                    let expected = match (status, repeatable, by_api) {
                        (429, _, _) => (RateLimited, true),
                        (408 | 500..=999, true, _) | (502 | 503, false, true) => (Rejected, true),
                        (100..=199 | 303 | 408 | 500..=999, false, _) | (409, false, false) => (OutcomeUnknown, false),
                        _ => (Rejected, false),
                    };
                    let status = StatusCode::from_u16(status).expect("a status");
                    let verdict = classify(repeatable, Outcome::Answer { status, by_api });
                    assert_eq!((verdict.ending, verdict.again), expected, "{status} {by_api} {repeatable}");
                }
            }
        }
        for (fault, read, write) in [
            (Fault::Connect, (NoResponse, true), (NoResponse, true)),
            (Fault::Timeout, (NoResponse, true), (OutcomeUnknown, false)),
            (Fault::Interrupted, (NoResponse, true), (OutcomeUnknown, false)),
            (Fault::Protocol, (NoResponse, true), (OutcomeUnknown, false)),
            (Fault::TooLarge, (NoResponse, false), (OutcomeUnknown, false)),
        ] {
            for (repeatable, expected) in [(true, read), (false, write)] {
                let verdict = classify(repeatable, Outcome::Fault(fault));
                assert_eq!((verdict.ending, verdict.again), expected, "{fault:?} {repeatable}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn a_retry_after_is_at_most_a_day(
            value in proptest::prop_oneof![
                proptest::collection::vec(proptest::num::u8::ANY, 0..40),
                "[-+]?[0-9.]{0,20}(e[-+]?[0-9]{0,4})?".prop_map(String::into_bytes),
                "(Mon|Sun), [0-9]{2} (Jan|Nov|Feb) [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT".prop_map(String::into_bytes),
            ],
        ) {
            if let Ok(value) = http::HeaderValue::from_bytes(&value) {
                for name in ["retry-after", "retry-after-ms"] {
                    let headers = HeaderMap::from_iter([(http::HeaderName::from_static(name), value.clone())]);
                    let read = retry_after(&headers, SystemTime::UNIX_EPOCH);
                    proptest::prop_assert!(read.is_none_or(|it| it <= DAY));
                }
            }
        }
    }
}
