//! Ten thousand generations against a server that breaks every tenth exchange: no job is lost or paid for twice.
//!
//! `cargo test --release --test it -- --ignored --nocapture soak`

#![allow(clippy::print_stdout, reason = "the test prints its figures")]

use std::{
    alloc::System,
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use luma_agents::{ApiKey, Client, Error, Retry, types::CreateGeneration};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::time::Instant;
use uuid::Uuid;

use crate::support::{
    fault_server::{Action, FaultServer, Part, Request, Then},
    http2_stream,
};

const JOBS: usize = 10_000;
const AT_ONCE: usize = 200;
const LIMIT: Duration = Duration::from_secs(300);

fn generation(id: &str, state: &str) -> String {
    let output = match state {
        "completed" => r#"[{"type":"image","url":"https://storage.example.com/o.png?X-Amz-Signature=s"}]"#,
        _ => "[]",
    };
    // Recent, because a wait polls an old job less often.
    let now = chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now()).to_rfc3339();
    format!(
        r#"{{"id":"{id}","type":"image","state":"{state}","model":"uni-1","created_at":"{now}","output":{output}}}"#
    )
}

/// Every tenth exchange fails, each time in a different way.
fn fault(request: &Request) -> Option<Action> {
    let number = request.number;
    if !number.is_multiple_of(10) {
        return None;
    }
    let truncated = "HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"id\":";
    let detail = r#"{"detail":"Too many concurrent jobs"}"#;
    Some(match number / 10 % 16 {
        0 => Action::send("").reads(Part::Head).then(Then::Reset),
        1 => Action::send("").reads(Part::HalfOfBody).then(Then::Reset),
        2 => Action::send("").then(Then::Reset),
        3 => Action::send(""),
        4 => Action::send("").then(Then::Hang),
        5 => Action::send(truncated),
        6 => Action::send(truncated).then(Then::Repeat(b" ".to_vec(), Duration::from_millis(5))),
        7 => Action::send("SSH-2.0-OpenSSH_9.9\r\n"),
        8 => Action::respond(200, &[], "<html>"),
        9 => Action::api(200, "null"),
        10 => Action::respond(502, &[], "<html>"),
        11 => Action::api(503, r#"{"detail":"Image URL ingestion unavailable"}"#).without_job(),
        12 => Action::api(500, r#"{"detail":"Internal error"}"#),
        13 => Action::respond(504, &[], "upstream timed out"),
        // Rare, because each delays all polls by up to a second. Submissions would never catch up.
        14 if !request.submits() && number % 4000 < 160 => Action::api_with(429, &[("retry-after-ms", "2")], detail),
        _ => Action::api(402, r#"{"detail":"Insufficient credits"}"#).without_job(),
    })
}

/// A job is queued at the first poll and completed at the second.
fn script() -> impl Fn(&Request) -> Action + Send + Sync + 'static {
    let seen = Mutex::new(HashSet::new());
    move |request| {
        if let Some(action) = fault(request) {
            return action;
        }
        if request.submits() {
            return Action::api(201, &generation(&request.id.to_string(), "queued"));
        }
        let id = request.path.rsplit('/').next().unwrap_or_default().to_owned();
        let first = seen.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
        Action::api(200, &generation(&id, if first { "queued" } else { "completed" }))
    }
}

/// The outcome of one submission, as its caller knows it.
enum Outcome {
    Completed(Uuid),
    /// The job has an id, but the wait ended with an error.
    WaitFailed(Uuid, Error),
    /// The job may exist; the request id that was sent identifies it.
    Unknown(Error),
    /// The job certainly does not exist.
    Rejected,
}

async fn submit_and_wait(luma: Client, number: usize) -> Outcome {
    let prompt = format!("lighthouse {number}");
    let job = match luma.generations().create(CreateGeneration::builder().prompt(prompt)).await {
        Ok(job) => job,
        Err(error @ Error::OutcomeUnknown(_)) => return Outcome::Unknown(error),
        Err(_) => return Outcome::Rejected,
    };
    let id = job.id;
    let wait = luma.generations().wait(job).first_after(Duration::from_millis(5)).every(Duration::from_millis(10));
    match wait.timeout(Duration::from_secs(30)).await {
        Ok(done) => Outcome::Completed(done.id),
        Err(error) => Outcome::WaitFailed(id, error),
    }
}

/// Counts what this binary allocates.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What this process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// Open file descriptors, where the system shows them.
    files: usize,
    kilobytes: usize,
}

impl Held {
    fn now() -> Self {
        let stats = ALLOCATOR.stats();
        let files = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        // Reallocations are counted as the one or the other.
        Self { files, kilobytes: stats.bytes_allocated.wrapping_sub(stats.bytes_deallocated) / 1024 }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn no_job_of_ten_thousand_is_lost_or_paid_for_twice() {
    soak("HTTP/1", FaultServer::start(script()).await.unwrap(), reqwest::Client::builder).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn no_job_of_ten_thousand_is_lost_or_paid_for_twice_over_http_2() {
    let server = http2_stream::start(script()).await.unwrap();
    soak("HTTP/2", server, || reqwest::Client::builder().http2_prior_knowledge()).await;
}

async fn soak(protocol: &str, server: FaultServer, http: fn() -> reqwest::ClientBuilder) {
    let before = Held::now();
    let retry = Retry::default()
        .first_delay(Duration::from_millis(5))
        .max_delay(Duration::from_millis(50))
        .budget(Duration::from_secs(20));
    let http = || http().retry(reqwest::retry::never()).redirect(reqwest::redirect::Policy::none());
    let luma = Client::builder(ApiKey::new("luma-api-soak").unwrap())
        .base_url(server.url())
        .http_client(http().build().unwrap())
        .submit_http_client(http().pool_max_idle_per_host(0).build().unwrap())
        .retry(retry)
        .timeout(Duration::from_secs(1))
        .submit_timeout(Duration::from_secs(5))
        .build()
        .unwrap();

    let begun = Instant::now();
    let outcomes = stream::iter(0..JOBS)
        .map(|number| tokio::spawn(submit_and_wait(luma.clone(), number)))
        .buffer_unordered(AT_ONCE);
    let outcomes: Vec<_> = tokio::time::timeout(LIMIT, outcomes.collect::<Vec<_>>()).await.unwrap();
    let took = begun.elapsed();
    let during = Held::now();

    // The request id of each attempt identifies the call that created a job.
    let jobs: HashSet<Uuid> = server.jobs().into_iter().collect();
    let mut sent: HashMap<String, Uuid> = HashMap::new();
    for request in server.requests().iter().filter(|it| it.submits() && jobs.contains(&it.id)) {
        sent.extend(request.header("x-request-id").map(|id| (id.to_owned(), request.id)));
    }
    let (mut completed, mut wait_failed, mut unknown, mut rejected) = (0, 0, 0, 0);
    let mut accounted = HashSet::new();
    let mut claimed_twice = 0;
    for outcome in outcomes {
        let job = match outcome.unwrap() {
            Outcome::Completed(id) => {
                completed += 1;
                Some(id)
            }
            Outcome::WaitFailed(id, error) => {
                wait_failed += 1;
                println!("{error}");
                Some(id)
            }
            Outcome::Unknown(error) => {
                unknown += 1;
                let exchange = error.exchange();
                exchange.and_then(|it| it.request_id_sent.as_ref()).and_then(|id| sent.get(id)).copied()
            }
            Outcome::Rejected => {
                rejected += 1;
                None
            }
        };
        claimed_twice += usize::from(job.is_some_and(|job| !accounted.insert(job)));
    }
    let lost = jobs.difference(&accounted).count();
    // Every call has its own prompt, so two jobs with the same prompt are one call that paid twice.
    let prompts: HashSet<Vec<u8>> = server.submissions().into_iter().collect();
    let duplicated = claimed_twice + (jobs.len() - prompts.len());

    let requests = server.requests().len();
    println!(
        "{protocol}: {JOBS} submitted, {AT_ONCE} at a time, {requests} requests, one in ten with a fault, in {took:.1?}"
    );
    println!("{} jobs created on the server", jobs.len());
    println!("{completed} completed, {wait_failed} with a failed wait, {unknown} outcome unknown, {rejected} rejected");
    assert_eq!((lost, duplicated), (0, 0));
    assert_eq!(completed + wait_failed + unknown + rejected, JOBS);

    // Of the server, its listener was there before.
    drop((server, luma, jobs, sent, accounted, prompts));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = Held::now();
    println!("{before:?} before, {during:?} at the end with all that the server recorded, {after:?} after");
    assert!(after.files < before.files, "{before:?} {after:?}");
    assert!(after.kilobytes < before.kilobytes + 1024, "{before:?} {after:?}");
}
