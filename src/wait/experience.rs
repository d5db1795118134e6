//! What the waits of a client share: permits for their polls, the service's clock, and how long the last jobs of each
//! kind took.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Semaphore;

use super::job::Job;
use crate::util::server_clock::ServerClock;

/// How many kinds are remembered, and how many jobs of each: enough to see two groups, few enough to follow a
/// drift.
const KINDS: usize = 64;
const JOBS: usize = 32;

/// What the waits of a client share.
#[derive(Clone, Debug)]
pub(crate) struct Polls {
    /// Permits for their polls.
    pub(super) in_flight: Arc<Semaphore>,
    pub(super) experience: Arc<Experience>,
    /// The responses to the client's calls set it.
    pub(crate) server_clock: Arc<ServerClock>,
}

impl Polls {
    pub(crate) fn new(in_flight: usize) -> Self {
        Self {
            in_flight: Arc::new(Semaphore::new(in_flight)),
            experience: Arc::default(),
            server_clock: Arc::default(),
        }
    }

    /// How old a job is, as far as the service says since when it is under way.
    pub(super) fn age_of(&self, job: &impl Job) -> Duration {
        job.created_at().map_or(Duration::ZERO, |created| self.server_clock.since(created))
    }
}

/// Durations by kind of job. Takes at most 50 kB.
#[derive(Debug, Default)]
pub(super) struct Experience(Mutex<VecDeque<(String, VecDeque<Duration>)>>);

impl Experience {
    /// Adds a job that ended. The kind that was added to least recently gives way.
    pub(super) fn add(&self, kind: &str, took: Duration) {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kinds.iter().position(|(it, _)| it == kind).and_then(|at| kinds.remove(at));
        let (kind, mut jobs) = known.unwrap_or_else(|| (kind.to_owned(), VecDeque::new()));
        jobs.push_back(took);
        if jobs.len() > JOBS {
            jobs.pop_front();
        }
        kinds.push_back((kind, jobs));
        if kinds.len() > KINDS {
            kinds.pop_front();
        }
    }

    /// How long the last jobs of this kind took, in no order.
    pub(super) fn of(&self, kind: &str) -> Vec<Duration> {
        let kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = kinds.iter().find(|(it, _)| it == kind).map(|(_, jobs)| jobs);
        jobs.into_iter().flatten().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_last_jobs_of_each_kind_are_remembered() {
        let experience = Experience::default();
        (0..100).for_each(|n| experience.add("image", n * SECOND));
        experience.add("video", 7 * SECOND);
        assert_eq!(experience.of("image"), (68..100).map(|n| n * SECOND).collect::<Vec<_>>());
        assert_eq!((experience.of("video"), experience.of("other")), (vec![7 * SECOND], Vec::new()));
    }

    #[test]
    fn a_server_that_invents_kinds_does_not_fill_the_memory() {
        let experience = Experience::default();
        for n in 0..10_000 {
            experience.add(&n.to_string(), SECOND);
            experience.add("image", SECOND);
        }
        assert_eq!(experience.0.lock().expect("kinds").len(), KINDS);
        assert_eq!(experience.of("image").len(), JOBS, "a kind in use stays");
    }
}
