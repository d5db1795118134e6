//! The service's limits on submissions, as a value without a clock or a socket: [`Quota`] and [`Limiter`].

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::{
    rate_limit::Limit,
    types::{GenerationType, Model},
};

/// The window of the limit on requests.
const WINDOW: Duration = Duration::from_secs(60);

/// The service forgets a job that takes longer than this.
const LONGEST_JOB: Duration = Duration::from_secs(3600);

/// What the service sends as `Retry-After` with a concurrency 429, whatever is running.
const CONCURRENCY_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Limits on submissions, in units: a job of weight 3 takes three units of each limit. Default no limits.
///
/// An edit on `uni-1-max` weighs 3 units, as seen in production. All else weighs 1, which is a guess.
///
/// ```
/// use luma_agents::{mock::Quota, types::{GenerationType, Model}};
///
/// let quota = Quota::new().per_minute(30).concurrency(10).weight(GenerationType::Video, Model::Ray32, 2);
/// assert_eq!(quota.weight_of(&GenerationType::ImageEdit, &Model::Uni1Max), 3);
/// assert_eq!(quota.weight_of(&GenerationType::Video, &Model::Ray32), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Quota {
    pub(super) per_minute: Option<u32>,
    pub(super) concurrency: Option<u32>,
    weights: Vec<(GenerationType, Model, u32)>,
}

impl Quota {
    /// No limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Units in any 60 seconds. The smallest plan has 30.
    pub fn per_minute(self, units: u32) -> Self {
        Self { per_minute: Some(units), ..self }
    }

    /// Units of jobs that have not ended. The smallest plan has 10.
    pub fn concurrency(self, units: u32) -> Self {
        Self { concurrency: Some(units), ..self }
    }

    /// How many units a job of this type on this model takes. The last call for a pair is used.
    pub fn weight(mut self, kind: GenerationType, model: Model, units: u32) -> Self {
        self.weights.push((kind, model, units));
        self
    }

    /// The units of a job of this type on this model.
    #[must_use]
    pub fn weight_of(&self, kind: &GenerationType, model: &Model) -> u32 {
        let set = self.weights.iter().rev().find(|(of, on, _)| (of, on) == (kind, model));
        set.map_or(if (kind, model) == (&GenerationType::ImageEdit, &Model::Uni1Max) { 3 } else { 1 }, |it| it.2)
    }
}

/// Decides which submissions are within a [`Quota`], as the service does: by a sliding window of 60 seconds
/// and by the jobs that have not ended. A submission that exceeds a limit takes no units.
///
/// Every time is a duration since a start that the caller chooses. A time before an earlier one counts as
/// that earlier one.
///
/// ```
/// use std::time::Duration;
/// use luma_agents::{error::Limit, mock::{Limiter, Quota}};
///
/// let at = Duration::from_secs;
/// let mut limiter = Limiter::new(Quota::new().per_minute(4).concurrency(3));
/// let first = limiter.admit(at(0), 3).expect("within both limits");
/// assert_eq!(first.remaining, Some(1));
/// assert_eq!(limiter.admit(at(1), 1).unwrap_err().limit, Limit::Concurrency);
/// limiter.end(first.place);
/// assert_eq!(limiter.admit(at(2), 3).unwrap_err().retry_after, at(58));
/// assert!(limiter.admit(at(2), 1).is_ok());
/// ```
#[derive(Clone, Debug)]
pub struct Limiter {
    quota: Quota,
    now: Duration,
    /// When requests were admitted and how heavy they are, oldest first.
    window: VecDeque<(Duration, u32)>,
    /// The jobs that have not ended, oldest first.
    places: BTreeMap<Place, (Duration, u32)>,
    next: u64,
}

/// The place that a job holds among the concurrent ones, until it is given to [`Limiter::end`] or an hour is
/// over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(u64);

/// A submission within the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Admitted {
    /// Its place among the concurrent jobs.
    pub place: Place,
    /// Units left in the window: `X-RateLimit-Remaining`. `None` without a limit on requests.
    pub remaining: Option<u32>,
}

/// A submission that exceeds a limit: what the 429 says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exceeded {
    /// Which limit: [`Limit::Requests`] is checked first, then [`Limit::Concurrency`].
    pub limit: Limit,
    /// Units of that limit.
    pub units: u32,
    /// `Retry-After`: when the oldest request leaves the window, or always 60 s for concurrency.
    pub retry_after: Duration,
}

impl Limiter {
    /// One that has admitted nothing yet.
    #[must_use]
    pub fn new(quota: Quota) -> Self {
        Self { quota, now: Duration::ZERO, window: VecDeque::new(), places: BTreeMap::new(), next: 0 }
    }

    /// The limits.
    pub fn quota(&self) -> &Quota {
        &self.quota
    }

    /// Takes `weight` units of each limit for a job that is submitted at `now`.
    ///
    /// # Errors
    ///
    /// The limit that has too few units left. A weight above a limit is always an error.
    pub fn admit(&mut self, now: Duration, weight: u32) -> Result<Admitted, Exceeded> {
        self.now = self.now.max(now);
        self.forget();
        let fits = |limit: u32, used: u32| used.checked_add(weight).is_some_and(|units| units <= limit);
        if let Some(units) = self.quota.per_minute.filter(|limit| !fits(*limit, self.used())) {
            let retry_after = self.window.front().map_or(WINDOW, |(at, _)| *at + WINDOW - self.now);
            return Err(Exceeded { limit: Limit::Requests, units, retry_after });
        }
        if let Some(units) = self.quota.concurrency.filter(|limit| !fits(*limit, self.running())) {
            return Err(Exceeded { limit: Limit::Concurrency, units, retry_after: CONCURRENCY_RETRY_AFTER });
        }
        let place = Place(self.next);
        self.next += 1;
        if self.quota.concurrency.is_some() {
            self.places.insert(place, (self.now, weight));
        }
        if self.quota.per_minute.is_some() {
            self.window.push_back((self.now, weight));
        }
        Ok(Admitted { place, remaining: self.quota.per_minute.map(|limit| limit.saturating_sub(self.used())) })
    }

    /// Gives the units of a job back that has completed or failed. Ending it twice has no effect.
    pub fn end(&mut self, place: Place) {
        self.places.remove(&place);
    }

    /// Drops what has left the window, and the jobs that the service no longer counts.
    fn forget(&mut self) {
        let is_over = |since: Duration, after: Duration| self.now.saturating_sub(since) >= after;
        while self.window.front().is_some_and(|(at, _)| is_over(*at, WINDOW)) {
            self.window.pop_front();
        }
        while self.places.first_key_value().is_some_and(|(_, (at, _))| is_over(*at, LONGEST_JOB)) {
            self.places.pop_first();
        }
    }

    fn used(&self) -> u32 {
        self.window.iter().map(|(_, weight)| weight).sum()
    }

    fn running(&self) -> u32 {
        self.places.values().map(|(_, weight)| weight).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn without_a_quota_everything_is_admitted() {
        let mut limiter = Limiter::new(Quota::new());
        assert!((0..1000).all(|_| limiter.admit(at(0), u32::MAX).is_ok_and(|it| it.remaining.is_none())));
        assert!(limiter.window.is_empty() && limiter.places.is_empty(), "and nothing is kept");
    }

    #[test]
    fn units_return_sixty_seconds_after_their_request_and_not_before() {
        let mut limiter = Limiter::new(Quota::new().per_minute(3));
        for second in [0, 10, 20] {
            assert!(limiter.admit(at(second), 1).is_ok());
        }
        let exceeded = Exceeded { limit: Limit::Requests, units: 3, retry_after: at(30) };
        assert_eq!(limiter.admit(at(30), 1), Err(exceeded), "the oldest leaves at 60");
        assert!(limiter.admit(Duration::from_millis(59_999), 1).is_err());
        assert_eq!(limiter.admit(at(60), 1).map(|it| it.remaining), Ok(Some(0)));
        assert_eq!(limiter.admit(at(60), 1).map_err(|it| it.retry_after), Err(at(10)));
        assert_eq!(limiter.admit(at(500), 1).map(|it| it.remaining), Ok(Some(2)), "all have left");
    }

    #[test]
    fn three_edits_of_weight_three_fill_ten_units() {
        let quota = Quota::new().per_minute(30).concurrency(10);
        let weight = quota.weight_of(&GenerationType::ImageEdit, &Model::Uni1Max);
        let mut limiter = Limiter::new(quota);
        let places: Vec<_> = (0..3).map(|_| limiter.admit(at(0), weight).expect("it fits")).collect();
        assert_eq!(places.iter().map(|it| it.remaining).collect::<Vec<_>>(), [Some(27), Some(24), Some(21)]);
        let exceeded = Exceeded { limit: Limit::Concurrency, units: 10, retry_after: at(60) };
        assert_eq!(limiter.admit(at(1), weight), Err(exceeded));
        assert_eq!(limiter.admit(at(1), 1).map(|it| it.remaining), Ok(Some(20)), "the 429 took no units");
        limiter.end(places[0].place);
        limiter.end(places[0].place);
        assert!(limiter.admit(at(2), weight).is_ok());
        assert!(limiter.admit(at(2), 1).is_err(), "a job that ends twice gives its units back once");
    }

    #[test]
    fn a_job_that_never_ends_is_forgotten_after_an_hour() {
        let mut limiter = Limiter::new(Quota::new().concurrency(1));
        assert!(limiter.admit(at(5), 1).is_ok());
        assert!(limiter.admit(at(3604), 1).is_err());
        assert!(limiter.admit(at(3605), 1).is_ok());
    }

    #[test]
    fn a_weight_above_a_limit_is_never_admitted() {
        for quota in [Quota::new().concurrency(2), Quota::new().per_minute(2)] {
            let mut limiter = Limiter::new(quota);
            assert_eq!(limiter.admit(at(0), 3).map_err(|it| it.retry_after), Err(at(60)));
            assert!(limiter.admit(at(0), u32::MAX).is_err());
            assert!(limiter.admit(at(0), 2).is_ok());
        }
    }

    #[test]
    fn a_clock_that_goes_back_stands_still() {
        let mut limiter = Limiter::new(Quota::new().per_minute(1));
        assert!(limiter.admit(at(100), 1).is_ok());
        assert_eq!(limiter.admit(at(40), 1).map_err(|it| it.retry_after), Err(at(60)));
    }
}
