//! The service's limits on submissions, as a value without a clock or a socket: [`Quota`] and [`Limiter`].

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use luma_agents::{
    error::Limit,
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub(super) struct Quota {
    per_minute: Option<u32>,
    concurrency: Option<u32>,
    weights: Vec<(GenerationType, Model, u32)>,
}

impl Quota {
    /// No limits.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Units in any 60 seconds. The smallest plan has 30.
    pub(super) fn per_minute(self, units: u32) -> Self {
        Self { per_minute: Some(units), ..self }
    }

    /// Units of jobs that have not ended. The smallest plan has 10.
    pub(super) fn concurrency(self, units: u32) -> Self {
        Self { concurrency: Some(units), ..self }
    }

    /// How many units a job of this type on this model takes. The last call for a pair is used.
    pub(super) fn weight(mut self, kind: GenerationType, model: Model, units: u32) -> Self {
        self.weights.push((kind, model, units));
        self
    }

    pub(super) fn limit_per_minute(&self) -> u32 {
        self.per_minute.unwrap_or(u32::MAX)
    }

    /// The units of a job of this type on this model.
    #[must_use]
    pub(super) fn weight_of(&self, kind: &GenerationType, model: &Model) -> u32 {
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
#[derive(Clone, Debug)]
pub(super) struct Limiter {
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
pub(super) struct Place(u64);

/// A submission within the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(super) struct Admitted {
    /// Its place among the concurrent jobs.
    pub(super) place: Place,
    /// Units left in the window: `X-RateLimit-Remaining`. `None` without a limit on requests.
    pub(super) remaining: Option<u32>,
}

/// A submission that exceeds a limit: what the 429 says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(super) struct Exceeded {
    /// Which limit: [`Limit::Requests`] is checked first, then [`Limit::Concurrency`].
    pub(super) limit: Limit,
    /// Units of that limit.
    pub(super) units: u32,
    /// `Retry-After`: when the oldest request leaves the window, or always 60 s for concurrency.
    pub(super) retry_after: Duration,
}

impl Limiter {
    /// One that has admitted nothing yet.
    #[must_use]
    pub(super) fn new(quota: Quota) -> Self {
        Self { quota, now: Duration::ZERO, window: VecDeque::new(), places: BTreeMap::new(), next: 0 }
    }

    /// The limits.
    pub(super) fn quota(&self) -> &Quota {
        &self.quota
    }

    /// Takes `weight` units of each limit for a job that is submitted at `now`.
    ///
    /// # Errors
    ///
    /// The limit that has too few units left. A weight above a limit is always an error.
    pub(super) fn admit(&mut self, now: Duration, weight: u32) -> Result<Admitted, Exceeded> {
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
    pub(super) fn end(&mut self, place: Place) {
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
