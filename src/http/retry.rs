//! When to send again: the policy, the one classifier and the arithmetic. Pure: no clock, no I/O.

use std::time::Duration;

use http::StatusCode;

use super::retry_after::DAY;
use crate::error::{Effect, Fault};

/// How a call deals with faults and limits.
///
/// What is *safe* to send again is not a matter of policy: a request that may have created a job is
/// never sent a second time. The policy says how often and for how long to try what is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Retry {
    pub(crate) attempts: u32,
    pub(crate) first_delay: Duration,
    pub(crate) max_delay: Duration,
    pub(crate) budget: Duration,
    pub(crate) strict: bool,
}

impl Default for Retry {
    /// Three attempts, 0.5 s to 8 s apart, five minutes in all.
    fn default() -> Self {
        Self {
            attempts: 3,
            first_delay: Duration::from_millis(500),
            max_delay: Duration::from_secs(8),
            budget: Duration::from_secs(300),
            strict: false,
        }
    }
}

impl Retry {
    /// One call, one request: nothing is sent again, and a 429 is not waited out.
    ///
    /// A [`create`](crate::Generations::create) with it goes out at once, even while other calls of the
    /// client wait for a limit, and a 429 to it holds none of them back. It is for programs that keep
    /// the limits themselves.
    pub fn none() -> Self {
        Self { attempts: 1, ..Self::default() }
    }

    /// How many times a request is sent in all when it meets faults. At least 1; default 3.
    ///
    /// A 429 is not a fault: waiting for a limit uses up time, not attempts. With 1 nothing is waited
    /// out or sent again.
    pub fn attempts(self, attempts: u32) -> Self {
        Self { attempts: attempts.max(1), ..self }
    }

    /// Upper bound of the delay after the first fault; it doubles with each further one.
    /// Default 0.5 s. The delay itself is random between zero and the bound (full jitter).
    pub fn first_delay(self, first_delay: Duration) -> Self {
        Self { first_delay, ..self }
    }

    /// The largest value of that bound. Default 8 s.
    pub fn max_delay(self, max_delay: Duration) -> Self {
        Self { max_delay, ..self }
    }

    /// How long a call may take in all, waits included. Default five minutes.
    ///
    /// A wait that would outlive the budget (a long `Retry-After`) does not begin: the call ends at
    /// once with the error that carries it. A call that changes something keeps time for the response
    /// of its last attempt: its timeout, but at most half of the budget. With a budget of 12 s, such a
    /// call waits for a limit for less than 6 s.
    pub fn budget(self, budget: Duration) -> Self {
        Self { budget, ..self }
    }

    /// Takes a 502 or 503 to a submission as an unknown outcome, whoever wrote it.
    ///
    /// By default a submission is sent again after a 502 or 503 that the API itself wrote: its
    /// documentation says that nothing was created and that the request may be repeated. If that were
    /// wrong, two jobs would exist. With `strict` such a response ends the call with
    /// [`OutcomeUnknown`](crate::Error::OutcomeUnknown).
    pub fn strict(self) -> Self {
        Self { strict: true, ..self }
    }

    /// The delay after the `fault`-th fault (from 1); `jitter` in 0..=1.
    fn delay(&self, fault: u32, jitter: f64) -> Duration {
        let doubled = self.first_delay.saturating_mul(1_u32.checked_shl(fault - 1).unwrap_or(u32::MAX));
        doubled.min(self.max_delay).min(DAY).mul_f64(jitter.clamp(0.0, 1.0))
    }
}

/// Limits use up no attempts: without a pause a call would repeat as fast as it can.
const SHORTEST_LIMIT: Duration = Duration::from_millis(100);

/// How much of its policy a call has used.
#[derive(Debug)]
pub(crate) struct Backoff {
    policy: Retry,
    /// How much of the budget the next attempt needs for itself.
    reserve: Duration,
    faults: u32,
    limits: u32,
}

impl Backoff {
    pub(crate) fn new(policy: Retry, reserve: Duration) -> Self {
        Self { policy, reserve, faults: 0, limits: 0 }
    }

    /// A fault was met after `elapsed`: how long to wait before the next attempt, if there is one.
    pub(crate) fn after_fault(&mut self, elapsed: Duration, retry_after: Option<Duration>) -> Option<Duration> {
        self.faults += 1;
        if self.faults >= self.policy.attempts {
            return None;
        }
        let own = self.policy.delay(self.faults, fastrand::f64());
        let delay = retry_after.map_or(own, |asked| asked.max(own));
        self.fits(elapsed, delay).then_some(delay)
    }

    /// How long a limit holds: as long as the service asks and up to a second more, as it advises.
    /// Without advice a second, then twice as long each time, up to the longest delay.
    ///
    /// Never less than the first delay, nor than a tenth of a second.
    pub(crate) fn limit_delay(&mut self, retry_after: Option<Duration>) -> Duration {
        self.limits += 1;
        let floor = self.policy.first_delay.max(SHORTEST_LIMIT);
        let Some(asked) = retry_after else {
            let doubled = Duration::from_secs(1).saturating_mul(1_u32.checked_shl(self.limits - 1).unwrap_or(u32::MAX));
            return doubled.min(self.policy.max_delay).max(floor);
        };
        let asked = asked.max(floor);
        asked.saturating_add(Duration::from_secs(1).min(asked).mul_f64(fastrand::f64()))
    }

    /// Whether a limit that holds for `delay` may be waited out. One attempt means: it may not.
    pub(crate) fn waits_for_limit(&self, elapsed: Duration, delay: Duration) -> bool {
        self.policy.attempts > 1 && self.fits(elapsed, delay)
    }

    /// Progress was made: earlier faults no longer count.
    pub(crate) fn reset(&mut self) {
        self.faults = 0;
    }

    fn fits(&self, elapsed: Duration, delay: Duration) -> bool {
        elapsed.saturating_add(delay).saturating_add(self.reserve) < self.policy.budget
    }
}

/// Who wrote a response, by its headers and body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Author {
    Api,
    Storage,
    /// A gateway in front of either, or nobody knows.
    Unknown,
}

/// What one attempt led to, as far as it matters for what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Response {
        status: StatusCode,
        author: Author,
    },
    /// No complete response.
    Fault(Fault),
}

/// What a call ends with if this was its last attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    Success,
    Rejected,
    RateLimited,
    NoResponse,
    OutcomeUnknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) disposition: Disposition,
    /// Whether sending it again is safe and may help.
    pub(crate) retry: bool,
}

/// The one place that decides what an attempt means, for the API and for storage.
///
/// What is not idempotent is sent again only where it certainly had no effect: no connection, not
/// processed by the server's own word (RFC 9113, 8.7), 429, and, unless `strict`, a 502 or 503
/// written by the API itself, which never charges for them (its documentation says so).
pub(crate) fn classify(effect: Effect, strict: bool, outcome: Outcome) -> Verdict {
    use Disposition::{NoResponse, OutcomeUnknown, RateLimited, Rejected, Success};
    let idempotent = effect == Effect::Idempotent;
    let (disposition, retry) = match outcome {
        Outcome::Fault(Fault::Connect | Fault::NotProcessed) => (NoResponse, true),
        Outcome::Fault(fault) if idempotent => (NoResponse, fault != Fault::TooLarge),
        Outcome::Fault(_) => (OutcomeUnknown, false),
        Outcome::Response { status, author } => match status.as_u16() {
            200..=299 => (Success, false),
            // Storage has no limit of the account: it asks to slow down.
            429 if author == Author::Storage => (Rejected, true),
            429 => (RateLimited, true),
            408 | 499 | 500.. if idempotent => (Rejected, true),
            502 | 503 if author == Author::Api && !strict => (Rejected, true),
            409 if author == Author::Api && effect == Effect::Changes => (Rejected, false),
            // None of them says that nothing was done; a redirect may lead to the result of it. With 499 a
            // gateway says that it did not wait for the response.
            100..=199 | 300..=399 | 408 | 409 | 499 | 500.. if !idempotent => (OutcomeUnknown, false),
            _ => (Rejected, false),
        },
    };
    Verdict { disposition, retry }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_of_the_delay_doubles_up_to_its_maximum() {
        let policy = Retry::default();
        let bounds: Vec<_> = (1..=7).map(|fault| policy.delay(fault, 1.0).as_secs_f64()).collect();
        assert_eq!(bounds, [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]);
        assert_eq!(policy.delay(u32::MAX, 1.0), policy.max_delay);
        assert_eq!(policy.delay(3, 0.0), Duration::ZERO);
        let endless = policy.first_delay(Duration::MAX).max_delay(Duration::MAX).budget(Duration::MAX);
        assert_eq!(endless.delay(u32::MAX, 1.0), DAY);
        assert_eq!(Backoff::new(endless, Duration::MAX).limit_delay(None), Duration::MAX);
    }

    #[test]
    fn a_longer_retry_after_wins_and_never_outlives_the_budget() {
        let policy = Retry::default().budget(Duration::from_secs(60));
        let mut backoff = Backoff::new(policy, Duration::ZERO);
        let asked = Duration::from_secs(20);
        assert_eq!(backoff.after_fault(Duration::ZERO, Some(asked)), Some(asked));
        assert_eq!(backoff.after_fault(Duration::from_secs(41), Some(asked)), None);
        assert!(backoff.waits_for_limit(Duration::ZERO, asked));
        assert!(!backoff.waits_for_limit(Duration::ZERO, Duration::from_secs(3600)));
        // What would fill the budget leaves no time for the attempt.
        assert_eq!(backoff.after_fault(Duration::from_secs(40), Some(asked)), None);
        assert!(!backoff.waits_for_limit(Duration::from_secs(40), asked));
        assert!(backoff.waits_for_limit(Duration::from_millis(39_999), asked));
        let paid = Backoff::new(policy, Duration::from_secs(30));
        assert!(paid.waits_for_limit(Duration::from_secs(5), asked));
        assert!(!paid.waits_for_limit(Duration::from_secs(15), asked));
    }

    #[test]
    fn a_policy_keeps_what_is_set_beside() {
        let policy = Retry::default().attempts(0).first_delay(DAY).max_delay(DAY).budget(DAY).strict();
        assert_eq!(policy, Retry { attempts: 1, first_delay: DAY, max_delay: DAY, budget: DAY, strict: true });
        assert!(!Retry::default().strict && !Retry::none().strict);
    }

    #[test]
    fn a_limit_holds_as_long_as_asked_and_up_to_a_second_more() {
        let mut backoff = Backoff::new(Retry::default(), Duration::ZERO);
        for (asked, at_least) in [(0.0, 0.5), (0.2, 0.5), (1.0, 1.0), (60.0, 60.0)] {
            let delay = backoff.limit_delay(Some(Duration::from_secs_f64(asked))).as_secs_f64();
            assert!(delay >= at_least && delay <= at_least + at_least.min(1.0), "{delay} for {asked}");
        }
    }

    #[test]
    fn a_limit_without_advice_holds_twice_as_long_each_time() {
        let mut backoff = Backoff::new(Retry::default(), Duration::ZERO);
        let delays: Vec<_> = (0..6).map(|_| backoff.limit_delay(None).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 8, 8]);
    }

    #[test]
    fn a_limit_is_never_waited_out_without_a_pause() {
        let policy = Retry::default().first_delay(Duration::ZERO).max_delay(Duration::ZERO);
        let mut backoff = Backoff::new(policy, Duration::ZERO);
        for asked in [None, Some(Duration::ZERO), Some(Duration::from_millis(3))] {
            let delay = backoff.limit_delay(asked);
            assert!(delay >= Duration::from_millis(100) && delay <= Duration::from_millis(200), "{delay:?}");
        }
    }

    #[test]
    fn faults_use_up_attempts_and_limits_do_not() {
        let mut backoff = Backoff::new(Retry::default(), Duration::ZERO);
        for _ in 0..10 {
            assert!(backoff.waits_for_limit(Duration::ZERO, Duration::from_secs(1)));
        }
        assert!(backoff.after_fault(Duration::ZERO, None).is_some());
        assert!(backoff.after_fault(Duration::ZERO, None).is_some());
        assert!(backoff.after_fault(Duration::ZERO, None).is_none());
        let impatient = Backoff::new(Retry::none(), Duration::ZERO);
        assert!(!impatient.waits_for_limit(Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn every_status_and_fault_has_one_meaning() {
        use Author::{Api, Storage, Unknown};
        use Disposition::{NoResponse, OutcomeUnknown, RateLimited, Rejected, Success};
        use Effect::{Changes, Idempotent, Pays};
        for status in 100..=999 {
            for author in [Api, Storage, Unknown] {
                for effect in [Idempotent, Changes, Pays] {
                    for strict in [false, true] {
                        let expected = match (status, effect, author) {
                            (200..=299, ..) => (Success, false),
                            (429, _, Storage) | (408 | 499 | 500..=999, Idempotent, _) => (Rejected, true),
                            (429, ..) => (RateLimited, true),
                            (502 | 503, _, Api) if !strict => (Rejected, true),
                            (409, Changes, Api) | (_, Idempotent, _) => (Rejected, false),
                            (100..=199 | 300..=399 | 408 | 409 | 499 | 500..=999, ..) => (OutcomeUnknown, false),
                            _ => (Rejected, false),
                        };
                        let response =
                            Outcome::Response { status: StatusCode::from_u16(status).expect("a status"), author };
                        let verdict = classify(effect, strict, response);
                        assert_eq!(
                            (verdict.disposition, verdict.retry),
                            expected,
                            "{status} {author:?} {effect:?} {strict}"
                        );
                    }
                }
            }
        }
        for (fault, read, write) in [
            (Fault::Connect, (NoResponse, true), (NoResponse, true)),
            (Fault::NotProcessed, (NoResponse, true), (NoResponse, true)),
            (Fault::Timeout, (NoResponse, true), (OutcomeUnknown, false)),
            (Fault::Interrupted, (NoResponse, true), (OutcomeUnknown, false)),
            (Fault::Protocol, (NoResponse, true), (OutcomeUnknown, false)),
            (Fault::TooLarge, (NoResponse, false), (OutcomeUnknown, false)),
        ] {
            for (effect, expected) in [(Idempotent, read), (Changes, write), (Pays, write)] {
                let verdict = classify(effect, true, Outcome::Fault(fault));
                assert_eq!((verdict.disposition, verdict.retry), expected, "{fault:?} {effect:?}");
            }
        }
    }
}
