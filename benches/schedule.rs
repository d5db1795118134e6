//! How late a wait tells that a job has ended, and how often it asks: our schedule, the service's
//! advice and a fixed interval, over jobs as advised, far faster and far slower. A simulation: the
//! real loop of the crate under a clock that jumps, and not a single request.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::unchecked_time_subtraction,
    reason = "figures for a table"
)]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use luma_agents::{
    Client,
    types::{Generation, GenerationState},
};
use serde_json::json;
use support::{
    Result, client,
    measure::{count, mean, percentile},
    table,
};
use tokio::{task::JoinSet, time::Instant};

const JOBS: u32 = 4000;

/// How late each job was told to have ended, and how often it was asked about.
#[derive(Default)]
struct Seen {
    lags: Vec<f64>,
    looks: Vec<f64>,
}

impl Seen {
    fn add(&mut self, lag: Duration, looks: u32) {
        self.lags.push(lag.as_secs_f64());
        self.looks.push(f64::from(looks));
    }

    fn p99(&self) -> f64 {
        percentile(&self.lags, 99)
    }

    /// Later and oftener; the millisecond to which the clock rounds is no difference.
    fn is_worse_than(&self, other: &Self) -> bool {
        let above = |ours: f64, other: f64| ours > other + 0.002;
        let later = above(mean(&self.lags), mean(&other.lags)) || above(self.p99(), other.p99());
        later && above(mean(&self.looks), mean(&other.looks))
    }
}

/// The loop of the crate, for jobs that were just submitted.
async fn ours(luma: &Client, kind: &str, jobs: &[Duration]) -> Result<Seen> {
    let submitted: Generation = serde_json::from_value(json!({
        "id": uuid::Uuid::nil(), "type": kind, "model": "uni-1", "state": "queued", "created_at": "just now",
    }))?;
    let mut waits = JoinSet::new();
    for takes in jobs.iter().copied() {
        let ends = Instant::now() + takes;
        let looks = Arc::new(AtomicU32::new(0));
        let (job, counter) = (submitted.clone(), Arc::clone(&looks));
        let wait = luma.generations().wait(&submitted).timeout(Duration::from_hours(24)).looking(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            let mut job = job.clone();
            if Instant::now() >= ends {
                job.state = GenerationState::Completed;
            }
            std::future::ready(Ok(job))
        });
        waits.spawn(async move {
            wait.await?;
            luma_agents::Result::<_>::Ok((ends.elapsed(), looks.load(Ordering::Relaxed)))
        });
    }
    let mut seen = Seen::default();
    while let Some(outcome) = waits.join_next().await {
        let (lag, looks) = outcome??;
        seen.add(lag, looks);
    }
    Ok(seen)
}

/// A first look and then one an interval.
fn fixed(first_after: Duration, every: Duration, jobs: &[Duration]) -> Seen {
    let mut seen = Seen::default();
    for takes in jobs {
        let (mut at, mut looks) = (first_after, 1);
        while at < *takes {
            at += every;
            looks += 1;
        }
        seen.add(at.saturating_sub(*takes), looks);
    }
    seen
}

/// Draws spread evenly over 0..1, the same in every run.
fn even(draws: u32) -> impl Iterator<Item = f64> {
    (0..draws).map(move |n| (f64::from(n) + 0.5) / f64::from(draws))
}

fn between(from: f64, to: f64) -> Vec<Duration> {
    even(JOBS).map(|at| Duration::from_secs_f64(from + at * (to - from))).collect()
}

/// Half of the jobs take less than the median, one in ten more than `spread` times as long: log-logistic.
fn around(median: f64, spread: f64) -> Vec<Duration> {
    let shape = 9_f64.ln() / spread.ln();
    even(JOBS).map(|at| Duration::from_secs_f64(median * (at / (1.0 - at)).powf(1.0 / shape).min(50.0))).collect()
}

/// Whether the jobs take times of which the advice knows nothing.
fn is_blind(name: &str) -> bool {
    matches!(name, "about 10 s" | "about an hour")
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result {
    let luma = client("http://127.0.0.1:9")?;
    let seconds = Duration::from_secs;
    let (image, video) = (("image", seconds(20), seconds(2)), ("video", seconds(30), seconds(5)));
    let cases = [
        ("around 30 s, as advised", image, around(30.0, 1.8)),
        ("15 s to 60 s", image, between(15.0, 60.0)),
        ("about 10 s", image, between(9.0, 11.0)),
        ("1 s to 20 s", image, between(1.0, 20.0)),
        ("around 5 min", image, around(300.0, 1.8)),
        ("about an hour", image, between(3500.0, 3700.0)),
        ("around 100 s, as advised", video, around(100.0, 1.8)),
        ("about 10 s", video, between(9.0, 11.0)),
        ("5 min to 15 min", video, between(300.0, 900.0)),
        ("about an hour", video, between(3500.0, 3700.0)),
    ];
    table::line(&format!("{JOBS} jobs of each kind; lag in seconds, and as part of the duration"));
    table::head(&["jobs", "schedule", "lag, mean", "lag, 99 %", "part, mean", "looks, mean", "goal"]);
    for (name, (kind, first_after, every), jobs) in cases {
        let ours = ours(&luma, kind, &jobs).await?;
        let advice = fixed(first_after, every, &jobs);
        let every_two = fixed(seconds(2), seconds(2), &jobs);
        let whole = jobs.iter().map(Duration::as_secs_f64).sum::<f64>() / count(jobs.len());
        let verdict = if ours.is_worse_than(&advice) { "**missed**" } else { "met" };
        let verdict = format!("not both later and oftener than advised: {verdict}");
        let part = mean(&ours.lags) / whole;
        let bounded = if part <= 0.25 { "met" } else { "**missed**" };
        let verdict = if is_blind(name) { format!("{verdict}; part ≤ 0.25: {bounded}") } else { verdict };
        for (schedule, seen, verdict) in
            [("ours", ours, verdict.as_str()), ("advice", advice, ""), ("every 2 s", every_two, "")]
        {
            let lag = mean(&seen.lags);
            let figures = [lag, seen.p99(), lag / whole, mean(&seen.looks)].map(table::short);
            let mut cells = vec![format!("{kind}, {name}"), schedule.to_owned()];
            cells.extend(figures);
            cells.push(verdict.to_owned());
            table::row(&cells);
        }
    }
    Ok(())
}
