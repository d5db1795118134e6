//! How late a wait sees that a job has ended, and how often it polls: our schedule with and without
//! experience, the service's advice and a fixed interval. The real loop under paused time, without a request.
//!
//! `cargo test --lib simulation -- --ignored --nocapture` prints the table of
//! benches/README.md.

#![allow(clippy::cast_precision_loss, clippy::print_stdout, reason = "figures for a table")]

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use tokio::{task::JoinSet, time::Instant};

use super::*;
use crate::types::{Generation, GenerationState};

/// How many jobs a client sees before it is judged.
const BEGINNING: usize = 20;

/// How late the end of each job was seen, and how often the job was polled.
#[derive(Default)]
struct Seen {
    lags: Vec<f64>,
    polls: Vec<f64>,
}

impl Seen {
    fn add(&mut self, lag: Duration, polls: u32) {
        self.lags.push(lag.as_secs_f64());
        self.polls.push(f64::from(polls));
    }

    fn lag(&self) -> f64 {
        mean(&self.lags)
    }

    fn lag_p99(&self) -> f64 {
        let mut sorted = self.lags.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[(sorted.len() * 99 / 100).min(sorted.len() - 1)]
    }

    fn polls(&self) -> f64 {
        mean(&self.polls)
    }

    /// Later and more frequent; the clock rounds to the millisecond.
    fn is_worse_than(&self, other: &Self) -> bool {
        let above = |ours: f64, other: f64| ours > other + 0.002;
        let later = above(self.lag(), other.lag()) || above(self.lag_p99(), other.lag_p99());
        later && above(self.polls(), other.polls())
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Waits for a job that was just submitted: how late its end is seen, and after how many polls.
async fn wait_for(polls: Polls, kind: &str, takes: Duration) -> (Duration, u32) {
    let submitted: Generation = serde_json::from_value(serde_json::json!({
        "id": Uuid::nil(), "type": kind, "model": "uni-1", "state": "queued", "created_at": "just now",
    }))
    .expect("a generation");
    let ends = Instant::now() + takes;
    let count = Arc::new(AtomicU32::new(0));
    let (job, counter) = (submitted.clone(), Arc::clone(&count));
    let poll: PollJob<Generation> = Arc::new(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        let mut job = job.clone();
        if Instant::now() >= ends {
            job.state = GenerationState::Completed;
        }
        Box::pin(std::future::ready(Ok(job)))
    });
    let wait = Wait { id: Ok(Uuid::nil()), known: Some(submitted), pace: Pace::default(), poll, polls };
    wait.timeout(Duration::from_secs(24 * 3600)).await.expect("completed");
    (ends.elapsed(), count.load(Ordering::Relaxed))
}

/// Each job by a client of its own, which has seen no other.
async fn fresh(kind: &str, jobs: &[Duration]) -> Seen {
    let mut waits = JoinSet::new();
    for takes in jobs.iter().copied() {
        let kind = kind.to_owned();
        waits.spawn(async move { wait_for(Polls::new(1), &kind, takes).await });
    }
    let mut seen = Seen::default();
    while let Some(outcome) = waits.join_next().await {
        let (lag, polls) = outcome.expect("no panic");
        seen.add(lag, polls);
    }
    seen
}

/// One job after the other by one client. The first twenty do not count.
async fn experienced(kind: &str, jobs: &[Duration]) -> Seen {
    let (client, mut seen) = (Polls::new(1), Seen::default());
    for (at, takes) in jobs.iter().enumerate() {
        let (lag, polls) = wait_for(client.clone(), kind, *takes).await;
        if at >= BEGINNING {
            seen.add(lag, polls);
        }
    }
    seen
}

/// A first poll and then one an interval.
fn fixed(first_after: u64, every: u64, jobs: &[Duration]) -> Seen {
    let mut seen = Seen::default();
    for takes in jobs {
        let (mut at, mut polls) = (Duration::from_secs(first_after), 1);
        while at < *takes {
            at += Duration::from_secs(every);
            polls += 1;
        }
        seen.add(at.saturating_sub(*takes), polls);
    }
    seen
}

/// How long the jobs take, in seconds.
#[derive(Clone, Copy)]
enum Durations {
    Between(f64, f64),
    /// Half of the jobs take less; one in ten takes more than 1.8 times as long (log-logistic).
    Around(f64),
    /// Half of the jobs take the one, half the other, each within a tenth.
    Either(f64, f64),
    /// The first jobs take the one, the last ones the other, each within a twentieth.
    Drift(f64, f64),
}

impl Durations {
    /// The same in every run.
    fn of(self, jobs: u32) -> Vec<Duration> {
        let mut random = fastrand::Rng::with_seed(12);
        let mut seconds = |way: f64| match self {
            Self::Between(from, to) => from + random.f64() * (to - from),
            Self::Around(median) => {
                let (at, shape) = (random.f64(), 9_f64.ln() / 1.8_f64.ln());
                median * (at / (1.0 - at)).powf(1.0 / shape).clamp(0.02, 50.0)
            }
            Self::Either(one, other) => (if random.bool() { one } else { other }) * (0.9 + 0.2 * random.f64()),
            Self::Drift(from, to) => (from + way * (to - from)) * (0.95 + 0.1 * random.f64()),
        };
        (0..jobs).map(|n| Duration::from_secs_f64(seconds(f64::from(n) / f64::from(jobs)))).collect()
    }
}

/// A kind of job, with the first delay and the interval that the service advises, in seconds.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    first_after: u64,
    every: u64,
}

const IMAGE: Kind = Kind { name: "image", first_after: 20, every: 2 };
const VIDEO: Kind = Kind { name: "video", first_after: 30, every: 5 };

impl Kind {
    fn advised(self, jobs: &[Duration]) -> Seen {
        fixed(self.first_after, self.every, jobs)
    }
}

const CASES: [(&str, Kind, Durations); 15] = [
    ("around 30 s, as advised", IMAGE, Durations::Around(30.0)),
    ("15 s to 60 s", IMAGE, Durations::Between(15.0, 60.0)),
    ("about 10 s", IMAGE, Durations::Between(9.0, 11.0)),
    ("1 s to 20 s", IMAGE, Durations::Between(1.0, 20.0)),
    ("around 5 min", IMAGE, Durations::Around(300.0)),
    ("about an hour", IMAGE, Durations::Between(3500.0, 3700.0)),
    ("10 s or 60 s", IMAGE, Durations::Either(10.0, 60.0)),
    ("30 s or 5 min", IMAGE, Durations::Either(30.0, 300.0)),
    ("20 s, later 60 s", IMAGE, Durations::Drift(20.0, 60.0)),
    ("60 s, later 20 s", IMAGE, Durations::Drift(60.0, 20.0)),
    ("around 100 s, as advised", VIDEO, Durations::Around(100.0)),
    ("about 10 s", VIDEO, Durations::Between(9.0, 11.0)),
    ("5 min to 15 min", VIDEO, Durations::Between(300.0, 900.0)),
    ("about an hour", VIDEO, Durations::Between(3500.0, 3700.0)),
    ("20 s, later 60 s", VIDEO, Durations::Drift(20.0, 60.0)),
];

#[tokio::test(start_paused = true)]
async fn a_fresh_client_is_never_both_later_and_more_frequent_than_the_advice() {
    for (name, kind, durations) in CASES {
        let jobs = durations.of(24);
        let (ours, advised) = (fresh(kind.name, &jobs).await, kind.advised(&jobs));
        let kind = kind.name;
        assert!(!ours.is_worse_than(&advised), "{kind}, {name}");
        assert!(ours.polls() <= advised.polls() + 0.002, "{kind}, {name}: more polls than advised");
    }
}

#[tokio::test(start_paused = true)]
async fn after_twenty_jobs_a_client_sees_ends_early_with_few_polls() {
    for (name, kind, durations) in CASES {
        let jobs = durations.of(120);
        let (ours, advised) = (experienced(kind.name, &jobs).await, kind.advised(&jobs[BEGINNING..]));
        let (lag, polls, kind) = (ours.lag() / duration(&jobs[BEGINNING..]), ours.polls(), kind.name);
        assert!(lag <= 0.15, "{kind}, {name}: {lag:.3} of the duration");
        assert!(polls <= 10.0, "{kind}, {name}: {polls:.1} polls");
        let is_right = name.ends_with("as advised");
        assert!(!is_right || polls <= 1.25 * advised.polls(), "{kind}, {name}: {polls:.1} polls");
    }
}

/// The mean.
fn duration(jobs: &[Duration]) -> f64 {
    mean(&jobs.iter().map(Duration::as_secs_f64).collect::<Vec<_>>())
}

#[tokio::test(start_paused = true)]
#[ignore = "prints a table of 2,000 jobs of each kind"]
async fn the_table() {
    println!("| jobs | schedule | lag, mean, s | lag, 99 %, s | part of the duration, mean | polls, mean |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for (name, kind, durations) in CASES {
        let jobs = durations.of(2020);
        let judged = &jobs[BEGINNING..];
        let schedules = [
            ("ours, after 20 jobs", experienced(kind.name, &jobs).await),
            ("ours, fresh", fresh(kind.name, judged).await),
            ("advice", kind.advised(judged)),
            ("every 2 s", fixed(2, 2, judged)),
        ];
        let (duration, kind) = (duration(judged), kind.name);
        for (schedule, seen) in schedules {
            let (lag, p99, polls) = (seen.lag(), seen.lag_p99(), seen.polls());
            println!("| {kind}, {name} | {schedule} | {lag:.2} | {p99:.1} | {:.3} | {polls:.1} |", lag / duration);
        }
    }
}
