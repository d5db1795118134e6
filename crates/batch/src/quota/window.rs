//! The first gate: the units of the last 60 seconds.

use std::{collections::VecDeque, time::Duration};

use super::{
    limited::Units,
    state::Time,
    weights::{Weight, Weights},
};

/// How long a unit counts.
pub(super) const LENGTH: Duration = Duration::from_secs(60);

/// However long the service asks to wait, one job tries again after this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Without a `Retry-After`; doubled with each refusal in a row, since it frees one unit only.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The units in the window, of us and of others on the account.
#[derive(Debug)]
pub(super) struct Window {
    limit: u32,
    /// The most that the caller allows, whatever the service says.
    most: Option<u32>,
    entries: VecDeque<Entry>,
    used: u32,
    /// Units of others, as the last response showed them.
    foreign: Option<(u32, Time)>,
    closed_until: Time,
    refusals_in_a_row: u32,
}

#[derive(Debug)]
struct Entry {
    sent: Time,
    responded: Time,
    weight: Weight,
    units: u32,
}

impl Window {
    pub(super) fn new(limit: u32, most: Option<u32>) -> Self {
        Self {
            limit: most.unwrap_or(limit).max(1),
            most,
            entries: VecDeque::new(),
            used: 0,
            foreign: None,
            closed_until: Duration::ZERO,
            refusals_in_a_row: 0,
        }
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// Units of ours.
    pub(super) fn used(&self) -> u32 {
        self.used
    }

    /// Removes what has left. Whether there was something.
    pub(super) fn advance(&mut self, now: Time) -> bool {
        let before = self.entries.len();
        while let Some(first) = self.entries.front()
            && first.responded + LENGTH <= now
        {
            self.used -= first.units;
            self.entries.pop_front();
        }
        self.foreign = self.foreign.filter(|(_, until)| *until > now);
        self.entries.len() < before
    }

    /// Whether a unit may have left at the service already, where it counts from a moment of its own.
    pub(super) fn may_have_left(&self, now: Time) -> bool {
        self.entries.iter().any(|it| it.sent + LENGTH <= now)
    }

    /// Whether a job fits beside `posting` units without a response yet; else when it is worth another try,
    /// if time alone can change that.
    pub(super) fn fits(&self, now: Time, posting: u32, units: u32) -> Result<(), Option<Time>> {
        if self.closed_until > now {
            return Err(Some(self.closed_until));
        }
        let ours = self.used + posting;
        let foreign = self.foreign.map_or(0, |(units, _)| units);
        // A job heavier than the limit goes alone.
        let is_alone = ours == 0 && foreign == 0;
        if is_alone || ours.saturating_add(foreign).saturating_add(units) <= self.limit {
            return Ok(());
        }
        let leaves = self.entries.front().map(|first| first.responded + LENGTH);
        let forgotten = self.foreign.map(|(_, until)| until);
        Err([leaves, forgotten].into_iter().flatten().min())
    }

    /// A job has its response, and counts from now.
    pub(super) fn add(&mut self, sent: Time, responded: Time, weight: Weight, units: u32) {
        let at = self.entries.partition_point(|it| it.responded <= responded);
        self.entries.insert(at, Entry { sent, responded, weight, units });
        self.used += units;
    }

    /// What the service says about the account, beside `posting` units of ours without a response.
    pub(super) fn learn(&mut self, now: Time, posting: u32, said: Units) {
        let limit = said.limit.max(1);
        self.limit = self.most.map_or(limit, |most| most.clamp(1, limit));
        let used = limit.saturating_sub(said.remaining);
        let foreign = used.saturating_sub(self.used + posting);
        // What others lack for a moment is not ours: the most of a minute counts.
        if foreign > 0 && self.foreign.is_none_or(|(most, _)| foreign >= most) {
            self.foreign = Some((foreign, now + LENGTH));
        }
    }

    pub(super) fn granted(&mut self) {
        self.refusals_in_a_row = 0;
    }

    /// The service refused a job because of its rate.
    pub(super) fn refused(&mut self, now: Time, retry_after: Option<Duration>) {
        let pause = FIRST_PAUSE * (1 << self.refusals_in_a_row.min(5));
        self.refusals_in_a_row += 1;
        self.closed_until = self.closed_until.max(now + retry_after.unwrap_or_default().clamp(pause, LONGEST_PAUSE));
    }

    /// A weight was learnt: what jobs have taken is counted anew.
    pub(super) fn reweigh(&mut self, weights: &Weights) {
        self.entries.iter_mut().for_each(|it| it.units = weights.units(&it.weight));
        self.used = self.entries.iter().map(|it| it.units).sum();
    }
}
