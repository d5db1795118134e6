//! Hours of submitting against the service's limiter, under paused time and without a socket: how long it takes,
//! and what is refused, alone and beside other programs on the account.
//!
//! `cargo test -p luma-agents-batch simulation -- --nocapture` prints the figures.

#![allow(clippy::print_stdout, reason = "figures")]

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use luma_agents::{
    error::Limit,
    mock::{Admitted, Exceeded, Limiter, Quota as Limits},
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const JOB: Duration = Duration::from_secs(45);
/// Of a request, each way.
const LATENCY: Duration = Duration::from_millis(100);
/// How late the end of a job is seen.
const LAG: Duration = Duration::from_millis(200);

/// The service, and what became of our jobs at it.
struct Service {
    limiter: Mutex<Limiter>,
    start: Instant,
    refused: Mutex<Vec<(Duration, Limit)>>,
    /// The numbers of the jobs, in the order in which they were accepted, and when.
    accepted: Mutex<Vec<(usize, Duration)>>,
    /// Whether the texts of its refusals have numbers.
    talks: bool,
}

impl Service {
    fn new(limits: Limits) -> Self {
        let limiter = Mutex::new(Limiter::new(limits));
        Self { limiter, start: Instant::now(), refused: Mutex::default(), accepted: Mutex::default(), talks: false }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn admit(&self, weight: u32) -> Result<Admitted, Exceeded> {
        self.limiter.lock().unwrap().admit(self.now(), weight)
    }

    fn end(&self, it: &Admitted) {
        self.limiter.lock().unwrap().end(it.place);
    }

    /// Submits a job, until it is accepted, and waits for its end.
    async fn run(self: Arc<Self>, number: usize, mut place: Place, weight: u32, takes: Duration) {
        let admitted = loop {
            sleep(LATENCY).await;
            match self.admit(weight) {
                Ok(admitted) => break admitted,
                Err(exceeded) => {
                    self.refused.lock().unwrap().push((self.now(), exceeded.limit));
                    sleep(LATENCY).await;
                    let mut limited = Limited::by(exceeded.limit).retry_after(exceeded.retry_after);
                    if self.talks {
                        limited = limited.detail(format!("capacity (limit=10 units; this request needs {weight})"));
                    }
                    place = place.limited(limited).await;
                }
            }
        };
        self.accepted.lock().unwrap().push((number, self.now()));
        let ends = Instant::now() + takes;
        sleep(LATENCY).await;
        place.accepted_with(admitted.remaining.map(|remaining| Units { limit: PER_MINUTE, remaining }));
        sleep_until(ends).await;
        self.end(&admitted);
        sleep(LAG).await;
        drop(place);
    }

    /// Another program, which wants to have `slots` jobs of one unit at the same time while `wants` says so, and
    /// tries each second for what it lacks.
    async fn neighbour(self: Arc<Self>, slots: u32, wants: impl Fn(Duration) -> bool + Copy + Send + Sync + 'static) {
        let mut running = JoinSet::new();
        for _ in 0..slots {
            let service = Arc::clone(&self);
            running.spawn(async move {
                loop {
                    match wants(service.now()).then(|| service.admit(1)) {
                        Some(Ok(admitted)) => {
                            sleep(JOB).await;
                            service.end(&admitted);
                        }
                        _ => sleep(SECOND).await,
                    }
                }
            });
        }
        while running.join_next().await.is_some() {}
    }
}

/// How a batch went.
struct Outcome {
    took: Duration,
    refused: Vec<(Duration, Limit)>,
    accepted: Vec<(usize, Duration)>,
}

impl Outcome {
    fn hours(&self) -> f64 {
        self.took.as_secs_f64() / 3600.0
    }

    /// The most refusals in any hour.
    fn worst_hour(&self) -> usize {
        let mut hour = VecDeque::new();
        let worst = self.refused.iter().map(|(at, _)| {
            hour.push_back(*at);
            while hour.front().is_some_and(|first| *first + HOUR <= *at) {
                hour.pop_front();
            }
            hour.len()
        });
        worst.max().unwrap_or_default()
    }

    fn assert_takes(&self, optimum: f64, percent: f64) {
        let over = (self.hours() / optimum - 1.0) * 100.0;
        assert!((-1.0..=percent).contains(&over), "{:.2} h, {over:.1} % above {optimum:.2}", self.hours());
    }
}

fn limits() -> Limits {
    Limits::new().per_minute(PER_MINUTE).concurrency(CONCURRENCY)
}

/// Runs jobs of these weights on `quota`, each known to the quota as `as_weight` says.
async fn batch(
    service: &Arc<Service>,
    quota: &Quota,
    jobs: impl IntoIterator<Item = (u32, Duration)>,
    as_weight: impl Fn(u32) -> Weight,
) -> Outcome {
    let mut running = JoinSet::new();
    for (number, (weight, takes)) in jobs.into_iter().enumerate() {
        let place = quota.acquire(as_weight(weight)).await;
        running.spawn(Arc::clone(service).run(number, place, weight, takes));
        while running.try_join_next().is_some() {}
    }
    while running.join_next().await.is_some() {}
    let refused = std::mem::take(&mut *service.refused.lock().unwrap());
    let accepted = std::mem::take(&mut *service.accepted.lock().unwrap());
    Outcome { took: service.now(), refused, accepted }
}

async fn beside(
    jobs: usize,
    weight: u32,
    slots: u32,
    wants: impl Fn(Duration) -> bool + Copy + Send + Sync + 'static,
) -> Outcome {
    let service = Arc::new(Service::new(limits()));
    let neighbour = tokio::spawn(Arc::clone(&service).neighbour(slots, wants));
    sleep(SECOND).await;
    let outcome = batch(&service, &Quota::new(), vec![(weight, JOB); jobs], Weight::from).await;
    neighbour.abort();
    println!(
        "{jobs} of weight {weight} beside {slots}: {:.2} h, {} refused, {} in the worst hour",
        outcome.hours(),
        outcome.refused.len(),
        outcome.worst_hour()
    );
    outcome
}

#[tokio::test(start_paused = true)]
async fn five_thousand_edits_take_the_time_that_they_must_and_none_is_refused() {
    let service = Arc::new(Service::new(limits()));
    let edit = |_| Class::new("uni-1-max", "image_edit").into();
    let outcome = batch(&service, &Quota::new(), vec![(3, JOB); 5000], edit).await;
    assert_eq!(outcome.refused, []);
    outcome.assert_takes(5000.0 / 3.0 * 45.0 / 3600.0, 2.0);
}

#[tokio::test(start_paused = true)]
async fn short_jobs_take_the_time_that_the_rate_allows_and_none_is_refused() {
    let service = Arc::new(Service::new(limits()));
    let outcome = batch(&service, &Quota::new(), vec![(1, 8 * SECOND); 3000], Weight::from).await;
    assert_eq!(outcome.refused, []);
    outcome.assert_takes(3000.0 / 30.0 / 60.0, 3.0);
}

#[tokio::test(start_paused = true)]
async fn a_weight_that_nobody_knows_is_learnt_from_the_first_responses() {
    for talks in [true, false] {
        let service = Arc::new(Service { talks, ..Service::new(limits()) });
        let quota = Quota::new();
        let class = Class::new("uni-1", "image_edit");
        let outcome = batch(&service, &quota, vec![(3, JOB); 500], |_| class.clone().into()).await;
        assert_eq!(quota.units(class.clone()), 3);
        let late = outcome.refused.iter().filter(|(at, _)| *at > 5 * MINUTE).count();
        assert_eq!(late, 0, "known weights are not refused");
        assert!(outcome.refused.len() <= 10, "{}", outcome.refused.len());
        outcome.assert_takes(500.0 / 3.0 * 45.0 / 3600.0, 3.0);
    }
}

#[tokio::test(start_paused = true)]
async fn beside_a_neighbour_that_stays_what_it_leaves_is_used() {
    for (weight, optimum) in [(1, 5.0), (3, 25.0)] {
        let outcome = beside(2000, weight, 5, |_| true).await;
        outcome.assert_takes(optimum, 3.0);
        assert!(outcome.worst_hour() <= 20);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_neighbour_gives_back_is_regained() {
    for (weight, optimum) in [(1, 3.5), (3, 9.67)] {
        let outcome = beside(2000, weight, 5, |now| now < 2 * HOUR).await;
        outcome.assert_takes(optimum, 3.0);
        assert!(outcome.worst_hour() <= 20);
    }
}

#[tokio::test(start_paused = true)]
async fn a_neighbour_that_comes_and_goes_costs_few_refusals() {
    for minutes in [60, 30] {
        for weight in [1, 3] {
            let away = move |now: Duration| (now.as_secs() / 60 / minutes) % 2 == 1;
            let outcome = beside(2000, weight, 5, away).await;
            assert!(outcome.worst_hour() <= 20, "{}", outcome.worst_hour());
        }
    }
    assert_eq!(beside(2000, 1, 5, |now| (now.as_secs() / 120) % 2 == 1).await.accepted.len(), 2000);
}

#[tokio::test(start_paused = true)]
async fn a_neighbour_that_holds_everything_for_hours_is_waited_for() {
    for weight in [1, 3] {
        let outcome = beside(1000, weight, 10, |now| now < HOUR).await;
        assert!(outcome.worst_hour() <= 20);
        let alone = 1000.0 / f64::from(10 / weight) * 45.0 / 3600.0;
        outcome.assert_takes(1.0 + alone, 11.0);
    }
    // Two hours of every four, from the second on.
    let outcome = beside(2400, 1, 10, |now| (now.as_secs() / 3600) % 4 >= 2).await;
    outcome.assert_takes(5.0, 10.0);
    assert!(outcome.worst_hour() <= 20);
}

/// Counts what a neighbour asked for and got.
fn count(kept: &Mutex<(u32, u32)>, is_kept: bool) {
    let mut kept = kept.lock().unwrap();
    *kept = (kept.0 + 1, kept.1 + u32::from(is_kept));
}

#[tokio::test(start_paused = true)]
async fn a_neighbour_that_never_retries_keeps_its_share() {
    let service = Arc::new(Service::new(limits()));
    let kept = Arc::new(Mutex::new((0_u32, 0_u32)));
    let neighbour = tokio::spawn({
        let (service, kept) = (Arc::clone(&service), Arc::clone(&kept));
        async move {
            loop {
                let admitted = service.admit(1);
                count(&kept, admitted.is_ok());
                if let Ok(admitted) = admitted {
                    let service = Arc::clone(&service);
                    tokio::spawn(async move {
                        sleep(JOB.saturating_sub(SECOND)).await;
                        service.end(&admitted);
                    });
                }
                sleep(JOB / 5).await;
            }
        }
    });
    sleep(2 * MINUTE).await;
    let outcome = batch(&service, &Quota::new(), vec![(1, JOB); 4000], Weight::from).await;
    neighbour.abort();
    let (asked, got) = *kept.lock().unwrap();
    println!("neighbour: {got} of {asked}, ours {:.2} h, {} refused", outcome.hours(), outcome.refused.len());
    assert!(f64::from(got) >= 0.9 * f64::from(asked), "{got} of {asked}");
}

#[tokio::test(start_paused = true)]
async fn a_neighbour_that_uses_half_of_the_rate_keeps_it() {
    let service = Arc::new(Service::new(limits()));
    let kept = Arc::new(Mutex::new((0_u32, 0_u32)));
    let neighbour = tokio::spawn({
        let (service, kept) = (Arc::clone(&service), Arc::clone(&kept));
        async move {
            loop {
                let admitted = service.admit(1);
                count(&kept, admitted.is_ok());
                if let Ok(admitted) = admitted {
                    service.end(&admitted);
                }
                sleep(4 * SECOND).await;
            }
        }
    });
    sleep(2 * MINUTE).await;
    let outcome = batch(&service, &Quota::new(), vec![(1, 8 * SECOND); 900], Weight::from).await;
    neighbour.abort();
    let (asked, got) = *kept.lock().unwrap();
    println!("rate: neighbour {got} of {asked}, ours {:.2} h, {} refused", outcome.hours(), outcome.refused.len());
    assert!(f64::from(got) >= 0.9 * f64::from(asked), "{got} of {asked}");
    assert!(outcome.hours() < 1.1, "900 jobs at 15 a minute take an hour");
    assert!(outcome.worst_hour() <= 20, "{}", outcome.refused.len());
}

#[tokio::test(start_paused = true)]
async fn heavy_jobs_do_not_starve_among_light_ones() {
    let service = Arc::new(Service::new(limits()));
    let jobs: Vec<_> = (0..2000).map(|at| (if at % 7 == 0 { 3 } else { 1 }, JOB)).collect();
    let units: u32 = jobs.iter().map(|(weight, _)| weight).sum();
    let outcome = batch(&service, &Quota::new(), jobs, Weight::from).await;
    assert_eq!(outcome.refused, []);
    let order: Vec<_> = outcome.accepted.iter().map(|(number, _)| *number).collect();
    assert!(order.is_sorted(), "each got its place in its turn");
    // A heavy job may leave two units idle while it waits for the third.
    outcome.assert_takes(f64::from(units) / 10.0 * 45.0 / 3600.0, 15.0);
}

#[tokio::test(start_paused = true)]
async fn heavy_jobs_do_not_starve_where_a_neighbour_leaves_little() {
    let service = Arc::new(Service::new(limits()));
    let neighbour = tokio::spawn(Arc::clone(&service).neighbour(6, |_| true));
    sleep(SECOND).await;
    let jobs = (0..600).map(|at| (if at % 2 == 0 { 3 } else { 1 }, JOB));
    let outcome = batch(&service, &Quota::new(), jobs, Weight::from).await;
    neighbour.abort();
    println!(
        "mixed beside 6: {:.2} h, {} refused, worst {}",
        outcome.hours(),
        outcome.refused.len(),
        outcome.worst_hour()
    );
    assert!(outcome.worst_hour() <= 20);
    let gaps = outcome.accepted.windows(2).map(|pair| pair[1].1.saturating_sub(pair[0].1));
    assert!(gaps.max() < Some(20 * MINUTE), "all the time jobs of both weights go");
}

#[tokio::test(start_paused = true)]
async fn a_job_heavier_than_a_limit_goes_alone() {
    let service = Arc::new(Service::new(limits()));
    let outcome = batch(&service, &Quota::builder().concurrency(2).build(), vec![(3, JOB); 20], Weight::from).await;
    assert_eq!(outcome.refused, []);
    outcome.assert_takes(20.0 * 45.0 / 3600.0, 2.0);

    let service = Arc::new(Service::new(limits()));
    let outcome = batch(&service, &Quota::builder().per_minute(2).build(), vec![(3, JOB); 20], Weight::from).await;
    assert_eq!(outcome.refused, []);
    outcome.assert_takes((19.0 * 60.0 + 45.0) / 3600.0, 2.0);
}

#[tokio::test(start_paused = true)]
async fn a_setting_above_the_service_s_limit_costs_refusals_at_the_start_only() {
    let service = Arc::new(Service::new(limits()));
    let outcome = batch(&service, &Quota::builder().concurrency(40).build(), vec![(1, JOB); 3000], Weight::from).await;
    println!("40 for 10: {:.2} h, {} refused, worst {}", outcome.hours(), outcome.refused.len(), outcome.worst_hour());
    outcome.assert_takes(3000.0 / 10.0 * 45.0 / 3600.0, 3.0);
    let later = outcome.refused.iter().filter(|(at, _)| *at > 10 * MINUTE).count();
    assert!(later < 35, "{later} in four hours");
}
