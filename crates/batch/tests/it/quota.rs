//! The quota against the emulator's limits, with sockets.

use std::time::Duration;

use luma_agents::{
    Error, Retry,
    mock::{Emulator, Operation, Quota as Limits, Script},
    types::CreateGeneration,
};
use luma_agents_batch::Quota;

const JOB: Duration = Duration::from_millis(50);

/// Runs jobs through a quota; returns how many were refused.
async fn run(jobs: usize, limits: Limits, quota: &Quota) -> usize {
    let emulator = Emulator::builder().quota(limits).default_script(Script::new().takes(JOB)).start().await.unwrap();
    let request = CreateGeneration::builder().prompt("a duck");
    let request = CreateGeneration::try_from(request).unwrap();
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..jobs {
        let (luma, quota, request) = (emulator.client(), quota.clone(), request.clone());
        running.spawn(async move {
            let mut place = quota.acquire(&request).await;
            let created = loop {
                match luma.generations().create(request.clone()).retry(Retry::none()).response().await {
                    Err(Error::RateLimited(limited)) => place = place.limited(&*limited).await,
                    result => break result.unwrap(),
                }
            };
            place.accepted(created.rate_limit);
            let often = Duration::from_millis(5);
            luma.generations().wait(&created.value).first_after(JOB).every(often).await.unwrap();
        });
    }
    while let Some(job) = running.join_next().await {
        job.unwrap();
    }
    assert_eq!(emulator.jobs().len(), jobs);
    let requests = emulator.requests();
    let created = requests.iter().filter(|it| it.operation == Some(Operation::CreateGeneration));
    created.filter(|it| it.status.is_some_and(|it| it.as_u16() == 429)).count()
}

#[tokio::test]
async fn none_is_refused_within_the_limits_of_the_account() {
    let quota = Quota::builder().concurrency(3).build();
    assert_eq!(run(9, Limits::new().per_minute(30).concurrency(3), &quota).await, 0);
    assert_eq!((quota.status().per_minute, quota.status().in_window, quota.status().in_flight), (30, 9, 0));
}

#[tokio::test]
async fn a_refusal_costs_no_job() {
    let quota = Quota::builder().concurrency(6).build();
    let refused = run(9, Limits::new().per_minute(30).concurrency(3), &quota).await;
    assert!((1..=6).contains(&refused), "{refused}");
    assert!(quota.status().capacity < 6);
}
