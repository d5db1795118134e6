//! Both gates, the jobs between them, and what responses teach: a state machine without a clock.

use std::{collections::HashMap, time::Duration};

use luma_agents::error::Limit;

use super::{
    capacity::{Capacity, Entry},
    limited::{Limited, Units},
    weights::{Run, Weight, Weights, number_after},
    window::Window,
};

/// Time on the quota's clock.
pub(super) type Time = Duration;

/// The service forgets a job after this time, and so does the quota.
pub(super) const LONGEST_JOB: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct State {
    window: Window,
    capacity: Capacity,
    weights: Weights,
    run: Run,
    jobs: HashMap<u64, Job>,
    next_job: u64,
    /// Units of all jobs, of those without a response, and of those that the service granted.
    held: u32,
    posting: u32,
    granted: u32,
    /// Requests without a response.
    requests: u32,
    /// Neither gate is kept: another quota keeps both.
    pub(super) is_open: bool,
}

#[derive(Debug)]
struct Job {
    weight: Weight,
    units: u32,
    entry: Entry,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Its request is on the way.
    Posting { since: Time },
    /// It counts until it ends, at most until then.
    Open { until: Time },
}

/// What a quota does at the moment. From [`Quota::status`](super::Quota::status).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuotaStatus {
    /// Units of jobs that run or are being submitted.
    pub in_flight: u32,
    /// Units that jobs of ours may have at the same time, as far as known.
    pub capacity: u32,
    /// The limit on it: the service's or the caller's.
    pub concurrency: u32,
    /// Units submitted in the last 60 seconds.
    pub in_window: u32,
    /// The limit on it.
    pub per_minute: u32,
    /// Jobs that wait for a place.
    pub waiting: usize,
    /// For how long the limit on requests holds the first of them up at least. `None` if it does not.
    pub rate_wait: Option<Duration>,
    /// Whether other programs hold the whole account, so that no job of ours can run.
    pub held_by_others: bool,
}

impl State {
    pub(super) fn new(window: Window, capacity: Capacity) -> Self {
        Self {
            window,
            capacity,
            weights: Weights::default(),
            run: Run::default(),
            jobs: HashMap::new(),
            next_job: 0,
            held: 0,
            posting: 0,
            granted: 0,
            requests: 0,
            is_open: false,
        }
    }

    pub(super) fn status(&mut self, now: Time, waiting: usize, first: Option<&Weight>) -> QuotaStatus {
        self.advance(now);
        let opens = first.and_then(|weight| self.window.fits(now, self.posting, self.units(weight)).err().flatten());
        QuotaStatus {
            in_flight: self.held,
            capacity: self.capacity.now(),
            concurrency: self.capacity.limit(),
            in_window: self.window.used() + self.posting,
            per_minute: self.window.limit(),
            waiting,
            rate_wait: opens.map(|at| at.saturating_sub(now)),
            held_by_others: self.capacity.is_held_by_others(),
        }
    }

    pub(super) fn units(&self, weight: &Weight) -> u32 {
        self.weights.units(weight)
    }

    /// Lets a job in, if both gates do; else says when it is worth another try, if time alone can change that.
    pub(super) fn enter(&mut self, now: Time, weight: &Weight) -> Result<u64, Option<Time>> {
        self.advance(now);
        let units = self.weights.units(weight);
        let entry = if self.is_open {
            Entry::default()
        } else {
            self.window.fits(now, self.posting, units)?;
            self.capacity.enter(now, self.held, units).map_err(|next| self.sooner(next))?
        };
        self.posting += units;
        self.requests += 1;
        Ok(self.insert(Job { weight: weight.clone(), units, entry, phase: Phase::Posting { since: now } }))
    }

    /// A job that an earlier process submitted.
    pub(super) fn resume(&mut self, now: Time, weight: Weight, age: Duration) -> u64 {
        let units = self.weights.units(&weight);
        let left = LONGEST_JOB.saturating_sub(age);
        let responded = now.saturating_sub(age);
        if age < super::window::LENGTH {
            self.window.add(responded, responded, weight.clone(), units);
        }
        self.granted += units;
        self.insert(Job { weight, units, entry: Entry::default(), phase: Phase::Open { until: now + left } })
    }

    fn insert(&mut self, job: Job) -> u64 {
        let id = self.next_job;
        self.next_job += 1;
        self.held += job.units;
        self.jobs.insert(id, job);
        id
    }

    /// The service made the job.
    pub(super) fn accepted(&mut self, now: Time, id: u64, units: Option<Units>) {
        let Some(job) = self.responded(now, id, now + LONGEST_JOB) else { return };
        self.granted += job.units;
        self.window.granted();
        self.capacity.granted(now, job.entry, self.granted);
        match units.filter(|_| !self.is_open) {
            Some(units) => {
                self.run.add(units.remaining, &job.weight);
                self.window.learn(now, self.posting, units);
            }
            None => self.run.spoil(),
        }
        self.evaluate(now);
    }

    /// The request is over, and nobody can know whether there is a job: it counts for this long.
    pub(super) fn unknown(&mut self, now: Time, id: u64, hold: Duration) {
        self.run.spoil();
        if let Some(job) = self.responded(now, id, now + hold.min(LONGEST_JOB)) {
            self.capacity.abandoned(job.entry);
            self.granted += job.units;
        } else if let Some(job) = self.jobs.get_mut(&id) {
            job.phase = Phase::Open { until: now + hold.min(LONGEST_JOB) };
        }
        self.evaluate(now);
    }

    /// A limit refused the job.
    pub(super) fn limited(&mut self, now: Time, id: u64, limited: &Limited) {
        let Some(job) = self.remove(id) else { return };
        if let Phase::Open { .. } = job.phase {
            return;
        }
        let held = self.held;
        match limited.limit {
            Limit::Requests => {
                self.capacity.abandoned(job.entry);
                self.window.refused(now, limited.retry_after);
                if let Some(units) = limited.units {
                    self.window.learn(now, self.posting, units);
                }
            }
            Limit::Concurrency => {
                self.capacity.refused(now, job.entry, held, limited.retry_after);
                // Only hints: without them it works as well.
                if let Some(limit) = number_after(&limited.detail, "limit=") {
                    self.capacity.learn_limit(limit, held);
                }
                if let Some(units) = number_after(&limited.detail, "needs ")
                    && self.weights.said(&job.weight, units)
                {
                    self.reweigh();
                }
            }
            // It may be about anything: nothing goes out before the time that the service gives.
            _ => {
                self.capacity.abandoned(job.entry);
                self.window.refused(now, limited.retry_after);
            }
        }
        self.evaluate(now);
    }

    /// The job has ended, or is given up; one without a response may have reached the service all the same.
    pub(super) fn ended(&mut self, now: Time, id: u64) {
        if let Some(job) = self.responded(now, id, now) {
            self.run.spoil();
            self.capacity.abandoned(job.entry);
            self.granted += job.units;
            self.remove(id);
            self.evaluate(now);
        } else if self.remove(id).is_some() {
            self.capacity.ended();
        }
    }

    /// No request went out for the job: as if it had never been let in.
    pub(super) fn not_sent(&mut self, now: Time, id: u64) {
        if let Some(job) = self.remove(id) {
            self.capacity.abandoned(job.entry);
            self.evaluate(now);
        }
    }

    /// The request of a job is over: the job counts in the window from now, and is open until then.
    fn responded(&mut self, now: Time, id: u64, until: Time) -> Option<JobFacts> {
        let job = self.jobs.get_mut(&id)?;
        let Phase::Posting { since } = job.phase else { return None };
        job.phase = Phase::Open { until };
        self.posting -= job.units;
        self.requests -= 1;
        self.window.add(since, now, job.weight.clone(), job.units);
        Some(JobFacts { weight: job.weight.clone(), units: job.units, entry: job.entry })
    }

    fn remove(&mut self, id: u64) -> Option<Job> {
        let job = self.jobs.remove(&id)?;
        self.held -= job.units;
        match job.phase {
            Phase::Posting { .. } => {
                self.posting -= job.units;
                self.requests -= 1;
            }
            Phase::Open { .. } => self.granted -= job.units,
        }
        Some(job)
    }

    /// Forgets what has left the window, and jobs that the service has forgotten.
    fn advance(&mut self, now: Time) {
        if self.window.advance(now) {
            self.run.spoil();
        }
        let is_over = |job: &Job| matches!(job.phase, Phase::Open { until } if until <= now);
        let over: Vec<_> = self.jobs.iter().filter(|(_, job)| is_over(job)).map(|(id, _)| *id).collect();
        for id in over {
            self.remove(id);
            self.capacity.ended();
        }
    }

    /// The earlier of `next` and the time at which a job is forgotten.
    fn sooner(&self, next: Option<Time>) -> Option<Time> {
        let forgotten = self.jobs.values().filter_map(|job| match job.phase {
            Phase::Open { until } => Some(until),
            Phase::Posting { .. } => None,
        });
        forgotten.chain(next).min()
    }

    /// Learns weights when no request is on the way.
    fn evaluate(&mut self, now: Time) {
        if self.requests > 0 {
            return;
        }
        if self.window.may_have_left(now) {
            self.run.spoil();
        }
        if self.run.evaluate(&mut self.weights) {
            self.reweigh();
        }
    }

    fn reweigh(&mut self) {
        (self.held, self.posting, self.granted) = (0, 0, 0);
        for job in self.jobs.values_mut() {
            job.units = self.weights.units(&job.weight);
            self.held += job.units;
            match job.phase {
                Phase::Posting { .. } => self.posting += job.units,
                Phase::Open { .. } => self.granted += job.units,
            }
        }
        self.window.reweigh(&self.weights);
        self.capacity.reweigh(self.granted);
    }
}

/// What is needed of a job beside its phase.
struct JobFacts {
    weight: Weight,
    units: u32,
    entry: Entry,
}
