//! How far a batch is: a snapshot that a bar or a dashboard draws.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::{ledger::Spent, quota::QuotaStatus, usd::Usd};

/// Of the mean duration, how much a new job counts.
const NEW: f64 = 0.1;

/// How far a batch is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// All jobs of the batch.
    pub total: u64,
    /// Jobs that wait to be submitted, also those that wait for a place within the account's limits.
    pub queued: u64,
    /// Jobs whose request was sent: they are being submitted, run, or are being saved.
    pub in_flight: u64,
    /// Jobs whose outputs are saved, by this run or an earlier one.
    pub done: u64,
    /// Jobs that failed or were rejected, and are not tried again.
    pub failed: u64,
    /// Jobs of which nobody knows whether they exist.
    pub in_doubt: u64,
    /// The least that was spent.
    pub spent_low: Usd,
    /// The most that can have been spent.
    pub spent_high: Usd,
    /// How long it will take, by the durations of the jobs so far and the quota. None before the first has ended.
    pub eta: Option<Duration>,
    /// For how long the limit on requests holds up the next job, as of this snapshot; a run emits one each second.
    /// `None` if it does not.
    pub rate_wait: Option<Duration>,
    /// Whether other programs hold the whole account, so that nothing goes on.
    pub held_by_others: bool,
}

/// How a job ended, for the progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// Its outputs are saved.
    Done,
    /// It failed or was rejected.
    Failed,
    /// Nobody knows whether it exists.
    InDoubt,
    /// It will be tried again.
    Queued,
}

/// Counts the jobs of a batch and emits the progress after each change.
#[derive(Debug)]
pub struct Tracker {
    progress: watch::Sender<Progress>,
    /// Means over the last jobs: seconds, units.
    means: Mutex<Option<Means>>,
}

#[derive(Clone, Copy, Debug)]
struct Means {
    seconds: f64,
    units: f64,
}

impl Tracker {
    /// Of a batch with this many jobs, all of them queued.
    #[must_use]
    pub fn new(total: u64) -> Self {
        let progress = Progress { total, queued: total, ..Progress::default() };
        Self { progress: watch::Sender::new(progress), means: Mutex::default() }
    }

    /// Receives the progress: always the latest.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Jobs that are in the batch though the input no longer has them.
    pub(crate) fn add(&self, jobs: u64) {
        self.progress.send_modify(|it| {
            it.total += jobs;
            it.queued += jobs;
        });
    }

    /// A job that an earlier run has ended.
    pub fn before(&self, ended: Ended) {
        self.progress.send_modify(|it| {
            it.queued = it.queued.saturating_sub(1);
            count(it, ended);
        });
    }

    /// A job is taken up. It stays queued until it is [`sent`](Begun::sent).
    pub fn begin(&self) -> Begun<'_> {
        Begun { tracker: self, since: Mutex::new(None), ended: Ended::Queued }
    }

    /// Takes what was spent and what the quota allows, and estimates how long it will take.
    pub fn update(&self, spent: &Spent, quota: &QuotaStatus) {
        let means = *self.means.lock().unwrap_or_else(PoisonError::into_inner);
        self.progress.send_modify(|it| {
            (it.spent_low, it.spent_high) = (spent.low, spent.high);
            (it.rate_wait, it.held_by_others) = (quota.rate_wait, quota.held_by_others);
            it.eta = means.map(|means| eta(it, means, quota));
        });
    }

    fn learn(&self, took: Duration, units: u32) {
        let (seconds, units) = (took.as_secs_f64(), f64::from(units));
        let mut means = self.means.lock().unwrap_or_else(PoisonError::into_inner);
        let old = means.unwrap_or(Means { seconds, units });
        let mean = |old: f64, new: f64| old + NEW * (new - old);
        *means = Some(Means { seconds: mean(old.seconds, seconds), units: mean(old.units, units) });
    }
}

fn count(progress: &mut Progress, ended: Ended) {
    match ended {
        Ended::Done => progress.done += 1,
        Ended::Failed => progress.failed += 1,
        Ended::InDoubt => progress.in_doubt += 1,
        Ended::Queued => progress.queued += 1,
    }
}

/// The slower of both limits for what is queued, and half a job for what runs.
#[allow(clippy::cast_precision_loss, reason = "an estimate")]
fn eta(progress: &Progress, means: Means, quota: &QuotaStatus) -> Duration {
    let queued = progress.queued as f64;
    let at_once = (f64::from(quota.capacity) / means.units).floor().max(1.0);
    let by_concurrency = queued * means.seconds / at_once;
    let by_rate = queued * means.units / f64::from(quota.per_minute.max(1)) * 60.0;
    let rest = match (progress.queued, progress.in_flight) {
        (0, 0) => 0.0,
        (0, _) => means.seconds / 2.0,
        _ => means.seconds,
    };
    let wait = quota.rate_wait.map_or(0.0, |wait| wait.as_secs_f64());
    Duration::try_from_secs_f64(by_concurrency.max(by_rate).max(wait) + rest).unwrap_or(Duration::MAX)
}

/// A job that was taken up. From [`Tracker::begin`]. It is queued again if this is dropped without an end.
#[derive(Debug)]
#[must_use = "the job is queued again when this is dropped"]
pub struct Begun<'a> {
    tracker: &'a Tracker,
    /// When it was sent, while it is in flight.
    since: Mutex<Option<Instant>>,
    ended: Ended,
}

impl Begun<'_> {
    /// Its request goes out, or went out in an earlier run: it is in flight, and its duration counts from now on.
    pub fn sent(&self) {
        self.fly(true);
    }

    /// It has no job after all, and waits to be sent again: it is queued.
    pub fn waits(&self) {
        self.fly(false);
    }

    fn fly(&self, flies: bool) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if since.is_some() == flies {
            return;
        }
        *since = flies.then(Instant::now);
        self.tracker.progress.send_modify(|it| {
            let (from, to) =
                if flies { (&mut it.queued, &mut it.in_flight) } else { (&mut it.in_flight, &mut it.queued) };
            *from = from.saturating_sub(1);
            *to += 1;
        });
    }

    /// The job ended in this way. `units` is its weight.
    pub fn end(mut self, ended: Ended, units: u32) {
        self.ended = ended;
        let since = *self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = since
            && ended == Ended::Done
        {
            self.tracker.learn(since.elapsed(), units);
        }
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let flies = self.since.get_mut().unwrap_or_else(PoisonError::into_inner).is_some();
        self.tracker.progress.send_modify(|it| {
            let from = if flies { &mut it.in_flight } else { &mut it.queued };
            *from = from.saturating_sub(1);
            count(it, self.ended);
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;
    use crate::quota::Quota;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn every_job_is_counted_once_and_in_one_place() {
        let tracker = Tracker::new(5);
        let progress = tracker.subscribe();
        tracker.before(Ended::Done);
        let (first, second, third) = (tracker.begin(), tracker.begin(), tracker.begin());
        first.end(Ended::Done, 1);
        second.end(Ended::InDoubt, 1);
        drop(third);
        tracker.begin().end(Ended::Failed, 1);
        let it = *progress.borrow();
        assert_eq!((it.total, it.queued, it.in_flight, it.done, it.failed, it.in_doubt), (5, 1, 0, 2, 1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_sent_is_not_in_flight() {
        let tracker = Tracker::new(3);
        let counts = || {
            let it = *tracker.subscribe().borrow();
            (it.queued, it.in_flight, it.done)
        };
        let (first, second) = (tracker.begin(), tracker.begin());
        assert_eq!(counts(), (3, 0, 0));
        first.sent();
        first.sent();
        assert_eq!(counts(), (2, 1, 0));
        first.waits();
        assert_eq!(counts(), (3, 0, 0));
        first.sent();
        first.end(Ended::Done, 1);
        // Saved by an earlier run.
        second.end(Ended::Done, 1);
        assert_eq!(counts(), (1, 0, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn the_rest_is_estimated_by_the_slower_limit() {
        let quota = Quota::new().status();
        for (seconds, units, expected) in [(45, 3, 999 * 15 + 45), (45, 1, 999 * 45 / 10 + 45), (5, 1, 999 * 2 + 5_u64)]
        {
            let tracker = Tracker::new(1000);
            tracker.update(&Spent::default(), &quota);
            assert_eq!(tracker.subscribe().borrow().eta, None);
            let job = tracker.begin();
            sleep(100 * SECOND).await;
            job.sent();
            sleep(seconds * SECOND).await;
            job.end(Ended::Done, units);
            tracker.update(&Spent::default(), &quota);
            assert_eq!(tracker.subscribe().borrow().eta.map(|it| it.as_secs()), Some(expected));
        }
    }
}
