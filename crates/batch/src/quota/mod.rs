//! Places for jobs under the account's two limits: units a minute, and units at the same time.

mod capacity;
mod limited;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod simulation;
mod state;
#[cfg(test)]
mod tests;
mod weights;
mod window;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use luma_agents::RateLimit;
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use self::{
    capacity::Capacity,
    limited::Units,
    state::{LONGEST_JOB, State},
    window::Window,
};
pub use self::{
    limited::Limited,
    state::QuotaStatus,
    weights::{Class, Weight},
};

/// What accounts have had so far. The service's own number replaces the first.
const PER_MINUTE: u32 = 30;
const CONCURRENCY: u32 = 10;

/// Keeps the jobs of a program within the account's limits, so that the service rejects none of them.
///
/// Two gates stand before each job: the units submitted in the last 60 seconds, and the units of the jobs that
/// run at the same time. A job takes one unit or more, by its [`Weight`]. Jobs get their places in the order in
/// which they ask, whatever they weigh; one that is heavier than a limit goes alone.
///
/// Other programs on the same account are noticed by what the service rejects and by the units that it says
/// remain. The quota then takes less, and tries for more after some of its own jobs have ended, or ten minutes.
///
/// A clone is another handle on the same quota. It is for one process.
///
/// ```no_run
/// # use luma_agents::{Client, Error, Retry, types::CreateGeneration};
/// # use luma_agents_batch::Quota;
/// # async fn example(luma: Client, quota: Quota, request: CreateGeneration) -> luma_agents::Result<()> {
/// let mut place = quota.acquire(&request).await;
/// let created = loop {
///     let call = luma.generations().create(request.clone()).retry(Retry::none());
///     match call.response().await {
///         Err(Error::RateLimited(limited)) => place = place.limited(&*limited).await,
///         result => break result?,
///     }
/// };
/// place.accepted(created.rate_limit);
/// let generation = luma.generations().wait(&created.value).await?;
/// drop(place); // the job has ended: the next one gets its place
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Quota {
    shared: Arc<Shared>,
}

struct Shared {
    epoch: Instant,
    inner: Mutex<Inner>,
}

struct Inner {
    state: State,
    /// Who waits, by the order in which they asked.
    waiting: BTreeMap<u64, (Arc<Notify>, Weight)>,
    next: u64,
}

/// Settings of a [`Quota`].
#[derive(Clone, Copy, Debug, Default)]
#[must_use = "nothing is built until `build` is called"]
pub struct QuotaBuilder {
    per_minute: Option<u32>,
    concurrency: Option<u32>,
}

impl QuotaBuilder {
    /// The most units in 60 seconds; at least 1. The service's own limit (`X-RateLimit-Limit`) holds where it
    /// is lower. Default: 30 until the service says what it is.
    pub fn per_minute(mut self, units: u32) -> Self {
        self.per_minute = Some(units);
        self
    }

    /// The most units of jobs that run at the same time; at least 1. Default: 10.
    pub fn concurrency(mut self, units: u32) -> Self {
        self.concurrency = Some(units);
        self
    }

    /// Makes the quota.
    #[must_use]
    pub fn build(self) -> Quota {
        let window = Window::new(PER_MINUTE, self.per_minute);
        let state = State::new(window, Capacity::new(self.concurrency.unwrap_or(CONCURRENCY)));
        let inner = Mutex::new(Inner { state, waiting: BTreeMap::new(), next: 0 });
        Quota { shared: Arc::new(Shared { epoch: Instant::now(), inner }) }
    }
}

impl Quota {
    /// A quota with the default limits.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// A quota that lets every job in at once, for a ledger that shares out the account's limits itself. It learns
    /// weights from the words of refusals only, since between its own responses lie those of other processes.
    #[must_use]
    pub fn unlimited() -> Self {
        let quota = Self::new();
        quota.shared.lock().state.is_open = true;
        quota
    }

    /// A quota with other limits.
    pub fn builder() -> QuotaBuilder {
        QuotaBuilder::default()
    }

    /// Waits for a place for a job. Submit exactly one job with it, and say how that went.
    ///
    /// The weight is a number of units, or a request, whose weight is learnt from the service's responses.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future leaves the line, which it joins when it is first polled.
    pub async fn acquire(&self, weight: impl Into<Weight>) -> Place {
        let turn = self.shared.turn();
        self.shared.acquire(turn, weight.into(), |_, _| ()).await
    }

    /// The place of a job that an earlier process submitted, and that was accepted this long ago. It counts in
    /// both gates at once, without waiting.
    #[must_use = "the job counts as ended when its place is dropped"]
    pub fn resume(&self, weight: impl Into<Weight>, accepted: Duration) -> Place {
        let (turn, weight) = (self.shared.turn(), weight.into());
        let id = self.shared.lock().state.resume(self.shared.now(), weight.clone(), accepted);
        Place { shared: Arc::clone(&self.shared), id: Some(id), turn, weight }
    }

    /// What the quota does at the moment.
    #[must_use]
    pub fn status(&self) -> QuotaStatus {
        let mut inner = self.shared.lock();
        let Inner { state, waiting, .. } = &mut *inner;
        let first = waiting.first_key_value().map(|(_, (_, weight))| weight);
        state.status(self.shared.now(), waiting.len(), first)
    }

    /// The units that a job of this weight takes, as far as learnt.
    #[must_use]
    pub fn units(&self, weight: impl Into<Weight>) -> u32 {
        self.shared.lock().state.units(&weight.into())
    }
}

impl Default for Quota {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Quota").field(&self.status()).finish()
    }
}

impl Shared {
    /// Begins above zero, so that a job can be older than the quota.
    fn now(&self) -> Duration {
        self.epoch.elapsed() + LONGEST_JOB
    }

    /// A panic while the lock is held leaves the counts as they were before or after a whole step.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self) -> u64 {
        let mut inner = self.lock();
        inner.next += 1;
        inner.next
    }

    /// Gets in line, then makes a change, then waits.
    async fn acquire(self: &Arc<Self>, turn: u64, weight: Weight, change: impl FnOnce(&mut State, Duration)) -> Place {
        let notify = Arc::new(Notify::new());
        self.lock().waiting.insert(turn, (Arc::clone(&notify), weight.clone()));
        let _waiter = Waiter { shared: self, turn };
        self.change(change);
        loop {
            let entered = self.lock().enter(self.now(), turn, &weight);
            match entered {
                Ok(id) => return Place { shared: Arc::clone(self), id: Some(id), turn, weight },
                Err(Some(next)) => _ = timeout(next.saturating_sub(self.now()), notify.notified()).await,
                Err(None) => notify.notified().await,
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut State, Duration)) {
        let mut inner = self.lock();
        change(&mut inner.state, self.now());
        inner.wake_first();
    }
}

impl Inner {
    fn enter(&mut self, now: Duration, turn: u64, weight: &Weight) -> Result<u64, Option<Duration>> {
        if self.waiting.first_key_value().is_some_and(|(first, _)| *first != turn) {
            return Err(None);
        }
        let id = self.state.enter(now, weight)?;
        self.waiting.remove(&turn);
        self.wake_first();
        Ok(id)
    }

    fn wake_first(&self) {
        if let Some((_, (first, _))) = self.waiting.first_key_value() {
            first.notify_one();
        }
    }
}

/// Leaves the line when dropped.
struct Waiter<'a> {
    shared: &'a Shared,
    turn: u64,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut inner = self.shared.lock();
        if inner.waiting.remove(&self.turn).is_some() {
            inner.wake_first();
        }
    }
}

/// A place for one job. From [`Quota::acquire`].
///
/// It is given back when it is dropped: drop it when the job is seen to end. One that is dropped before
/// [`accepted`](Self::accepted) counts in the window of 60 seconds from then on, since a job may have been submitted.
#[must_use = "the place is given back when this is dropped"]
pub struct Place {
    shared: Arc<Shared>,
    /// None when it was given back.
    id: Option<u64>,
    turn: u64,
    weight: Weight,
}

impl Place {
    /// The service accepted the job, with these numbers: [`Response::rate_limit`](luma_agents::Response).
    ///
    /// Call it as soon as the response is there: the job's units leave the window 60 seconds later. The place is
    /// held until it is dropped, at most for one hour, after which the service forgets a job.
    pub fn accepted(&self, rate_limit: Option<RateLimit>) {
        self.accepted_with(rate_limit.map(Units::from));
    }

    fn accepted_with(&self, units: Option<Units>) {
        if let Some(id) = self.id {
            self.shared.change(|state, now| state.accepted(now, id, units));
        }
    }

    /// The service rejected the job with a 429: gives the place back and waits for another, before all jobs that
    /// asked later.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future leaves the line.
    pub async fn limited(mut self, limited: impl Into<Limited>) -> Self {
        let (limited, id) = (limited.into(), self.id.take());
        let (shared, weight) = (Arc::clone(&self.shared), self.weight.clone());
        let refused = |state: &mut State, now| {
            if let Some(id) = id {
                state.limited(now, id, &limited);
            }
        };
        // In line before the place is free, so that nobody overtakes.
        shared.acquire(self.turn, weight, refused).await
    }

    /// No request went out: gives the place back as if it had not been taken.
    pub fn not_sent(mut self) {
        if let Some(id) = self.id.take() {
            self.shared.change(|state, now| state.not_sent(now, id));
        }
    }

    /// It is not known whether there is a job: the place stays taken for this long, at most one hour.
    pub fn unknown(mut self, hold: Duration) {
        if let Some(id) = self.id.take() {
            self.shared.change(|state, now| state.unknown(now, id, hold));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.shared.change(|state, now| state.ended(now, id));
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("weight", &self.weight).finish_non_exhaustive()
    }
}
