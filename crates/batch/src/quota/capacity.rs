//! The second gate: the units of jobs that run at the same time, and how many of them are to be had.

use std::time::Duration;

use super::state::Time;

/// After this many ends of jobs of ours more capacity is tried: at first, and at most.
const ENDS: std::ops::RangeInclusive<u32> = 5..=160;
/// After this time more capacity is tried, however few jobs have ended.
const LONGEST: Duration = Duration::from_secs(600);
/// Between tries with nothing in flight, if the service does not say: at first. It doubles up to [`LONGEST`].
const FIRST_DISTANCE: Duration = Duration::from_secs(60);

/// A weighted semaphore whose size follows what the service grants.
///
/// A *probe* is a job that takes our units above the highest sum granted since the last refusal. Only the
/// refusal of a probe says that it came too early: a place that just became free may be lost to anybody.
#[derive(Debug)]
pub(super) struct Capacity {
    /// The account's limit, or the caller's.
    limit: u32,
    now: u32,
    /// The highest sum granted since the last refusal.
    highest: u32,
    /// Jobs of ours that have ended since the capacity changed.
    ends: u32,
    ends_needed: u32,
    changed: Time,
    /// A probe without a response: more is not tried meanwhile.
    probing: bool,
    refusals: u32,
    /// With nothing in flight: when the next job goes, and how long after the last.
    alone: Option<(Time, Duration)>,
}

/// A job as this gate sees it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Entry {
    is_probe: bool,
    /// The refusals before it was sent: a later one makes its own refusal no news.
    refusals: u32,
}

impl Capacity {
    pub(super) fn new(limit: u32) -> Self {
        let limit = limit.max(1);
        Self {
            limit,
            now: limit,
            highest: limit,
            ends: 0,
            ends_needed: *ENDS.start(),
            changed: Duration::ZERO,
            probing: false,
            refusals: 0,
            alone: None,
        }
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// Units to be had now.
    pub(super) fn now(&self) -> u32 {
        self.now
    }

    /// Whether the last job was refused while nothing of ours was in flight: others hold the account.
    pub(super) fn is_held_by_others(&self) -> bool {
        self.alone.is_some()
    }

    /// Lets a job of `units` in beside `held` ones, if it fits; else says when it is worth another try, if
    /// time alone can change that.
    pub(super) fn enter(&mut self, now: Time, held: u32, units: u32) -> Result<Entry, Option<Time>> {
        if held == 0 {
            // Also a job heavier than the limit, or than what others leave: else it would never go.
            if let Some((next, _)) = self.alone.filter(|(next, _)| *next > now) {
                return Err(Some(next));
            }
            return Ok(self.entry(held + units));
        }
        let can_grow = self.now < self.limit && !self.probing;
        if can_grow && held + units > self.now && (self.ends >= self.ends_needed || now >= self.changed + LONGEST) {
            self.now = self.limit.min(self.now.max(held).saturating_add(units));
            self.changed_at(now);
        }
        if held + units <= self.now {
            Ok(self.entry(held + units))
        } else {
            Err(can_grow.then(|| self.changed + LONGEST))
        }
    }

    fn entry(&mut self, sum: u32) -> Entry {
        let is_probe = sum > self.highest;
        self.probing |= is_probe;
        Entry { is_probe, refusals: self.refusals }
    }

    /// A job was granted; `granted` are the units of all that are, with it.
    pub(super) fn granted(&mut self, now: Time, entry: Entry, granted: u32) {
        self.alone = None;
        self.highest = self.highest.max(granted);
        self.now = self.now.max(self.highest.min(self.limit));
        if entry.is_probe {
            self.probing = false;
            self.ends_needed = *ENDS.start();
            self.changed_at(now);
        }
    }

    /// A job was refused because others run; `held` are the units of those of ours.
    pub(super) fn refused(&mut self, now: Time, entry: Entry, held: u32, retry_after: Option<Duration>) {
        if entry.is_probe && entry.refusals == self.refusals {
            self.ends_needed = (self.ends_needed * 2).min(*ENDS.end());
        }
        self.refusals = self.refusals.wrapping_add(1);
        self.probing = false;
        self.now = held.min(self.limit);
        self.highest = self.now;
        self.changed_at(now);
        if held == 0 {
            let distance = match self.alone {
                Some((_, distance)) => (distance * 2).min(LONGEST),
                None => FIRST_DISTANCE,
            };
            let distance = retry_after.unwrap_or_default().clamp(distance, LONGEST);
            self.alone = Some((now + distance, distance));
        }
    }

    /// A job left without a response that says something about the capacity.
    pub(super) fn abandoned(&mut self, entry: Entry) {
        self.probing &= !entry.is_probe;
    }

    /// A job of ours has ended.
    pub(super) fn ended(&mut self) {
        self.ends = self.ends.saturating_add(1);
    }

    /// The service named its limit. The caller's stays where it is lower, and what was granted is possible.
    pub(super) fn learn_limit(&mut self, limit: u32, held: u32) {
        self.limit = self.limit.min(limit.max(held).max(1));
        self.now = self.now.min(self.limit);
    }

    /// A weight was learnt: `held` units are granted, whatever was counted so far.
    pub(super) fn reweigh(&mut self, held: u32) {
        self.now = self.now.max(held.min(self.limit));
        self.highest = self.highest.max(held);
    }

    fn changed_at(&mut self, now: Time) {
        self.ends = 0;
        self.changed = now;
    }
}
