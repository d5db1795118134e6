//! Ten thousand generations at a server that breaks a tenth of all exchanges: none is lost, none is paid for twice.
//!
//! `cargo test --release --test it -- --ignored --nocapture soak`

#![allow(clippy::print_stdout, reason = "its figures are read by a person")]

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::support::fault_server::{Act, FaultServer, Part, Request, Then};
use futures_util::{StreamExt as _, stream};
use luma_agents::{ApiKey, Client, Error, Retry, types::CreateGeneration};
use tokio::time::Instant;
use uuid::Uuid;

const JOBS: usize = 10_000;
const AT_ONCE: usize = 200;
const LIMIT: Duration = Duration::from_secs(120);

fn generation(id: &str, state: &str) -> String {
    let output = match state {
        "completed" => r#"[{"type":"image","url":"https://storage.example.com/o.png?X-Amz-Signature=s"}]"#,
        _ => "[]",
    };
    // Young: an old job is looked at rarely.
    let now = chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now()).to_rfc3339();
    format!(
        r#"{{"id":"{id}","type":"image","state":"{state}","model":"uni-1","created_at":"{now}","output":{output}}}"#
    )
}

/// One in ten exchanges goes wrong, each time in another way.
fn fault(request: &Request) -> Option<Act> {
    let number = request.number;
    if !number.is_multiple_of(10) {
        return None;
    }
    let whole = "HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"id\":";
    let detail = r#"{"detail":"Too many concurrent jobs"}"#;
    Some(match number / 10 % 16 {
        0 => Act::say("").reads(Part::Head).then(Then::Reset),
        1 => Act::say("").reads(Part::HalfOfBody).then(Then::Reset),
        2 => Act::say("").then(Then::Reset),
        3 => Act::say(""),
        4 => Act::say("").then(Then::Hang),
        5 => Act::say(whole),
        6 => Act::say(whole).then(Then::Repeat(b" ".to_vec(), Duration::from_millis(5))),
        7 => Act::say("SSH-2.0-OpenSSH_9.9\r\n"),
        8 => Act::answer(200, &[], "<html>"),
        9 => Act::api(200, "null"),
        10 => Act::answer(502, &[], "<html>"),
        11 => Act::api(503, r#"{"detail":"Image URL ingestion unavailable"}"#).refusing(),
        12 => Act::api(500, r#"{"detail":"Internal error"}"#),
        13 => Act::answer(504, &[], "upstream timed out"),
        // Rare: each holds back all looks for a second, and would hold back submissions for good.
        14 if !request.submits() && number % 4000 < 160 => Act::api_with(429, &[("retry-after-ms", "2")], detail),
        _ => Act::api(402, r#"{"detail":"Insufficient credits"}"#).refusing(),
    })
}

/// A job is queued at the first look at it and completed at the second.
fn script() -> impl Fn(&Request) -> Act + Send + Sync + 'static {
    let seen = Mutex::new(HashSet::new());
    move |request| {
        if let Some(act) = fault(request) {
            return act;
        }
        if request.submits() {
            return Act::api(201, &generation(&request.id.to_string(), "queued"));
        }
        let id = request.path.rsplit('/').next().unwrap_or_default().to_owned();
        let first = seen.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
        Act::api(200, &generation(&id, if first { "queued" } else { "completed" }))
    }
}

/// What became of one submission, as its caller knows it.
enum Fate {
    Completed(Uuid),
    /// It has an id, but the wait ended with an error.
    Waited(Uuid, Error),
    /// It may exist; the request ids that were sent lead to it.
    Unknown(Error),
    /// It certainly does not exist.
    Rejected,
}

async fn one(luma: Client, number: usize) -> Fate {
    let prompt = format!("lighthouse {number}");
    let job = match luma.generations().create(CreateGeneration::builder().prompt(prompt)).await {
        Ok(job) => job,
        Err(error @ Error::OutcomeUnknown(_)) => return Fate::Unknown(error),
        Err(_) => return Fate::Rejected,
    };
    let id = job.id;
    let wait = luma.generations().wait(job).first_after(Duration::from_millis(5)).every(Duration::from_millis(10));
    match wait.timeout(Duration::from_secs(30)).await {
        Ok(done) => Fate::Completed(done.id),
        Err(error) => Fate::Waited(id, error),
    }
}

/// The most memory this process ever held, where the system tells.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or_else(|| "not known".to_owned(), |it| it.trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn no_job_of_ten_thousand_is_lost_or_paid_for_twice() {
    let server = FaultServer::start(script()).await.unwrap();
    let retry = Retry::default()
        .first_delay(Duration::from_millis(5))
        .max_delay(Duration::from_millis(50))
        .budget(Duration::from_secs(20));
    let luma = Client::builder(ApiKey::new("luma-api-soak").unwrap())
        .base_url(server.url())
        .retry(retry)
        .timeout(Duration::from_secs(1))
        .build()
        .unwrap();

    let begun = Instant::now();
    let fates = stream::iter(0..JOBS).map(|number| tokio::spawn(one(luma.clone(), number))).buffer_unordered(AT_ONCE);
    let fates: Vec<_> = tokio::time::timeout(LIMIT, fates.collect::<Vec<_>>()).await.unwrap();
    let took = begun.elapsed();

    // The id that each attempt carried leads from a job to the call that made it.
    let jobs: HashSet<Uuid> = server.jobs().into_iter().collect();
    let mut sent: HashMap<String, Uuid> = HashMap::new();
    for request in server.requests().iter().filter(|it| it.submits() && jobs.contains(&it.id)) {
        sent.extend(request.header("x-request-id").map(|id| (id.to_owned(), request.id)));
    }
    let (mut completed, mut waited, mut unknown, mut refused) = (0, 0, 0, 0);
    let mut accounted = HashSet::new();
    let mut claimed_twice = 0;
    for fate in fates {
        let job = match fate.unwrap() {
            Fate::Completed(id) => {
                completed += 1;
                Some(id)
            }
            Fate::Waited(id, error) => {
                waited += 1;
                println!("{error}");
                Some(id)
            }
            Fate::Unknown(error) => {
                unknown += 1;
                let exchange = error.exchange();
                exchange.and_then(|it| it.request_id_sent.as_ref()).and_then(|id| sent.get(id)).copied()
            }
            Fate::Rejected => {
                refused += 1;
                None
            }
        };
        claimed_twice += usize::from(job.is_some_and(|job| !accounted.insert(job)));
    }
    let lost = jobs.difference(&accounted).count();
    // Every call has a prompt of its own, so a prompt that came twice is a call that paid twice.
    let prompts: HashSet<Vec<u8>> = server.submissions().into_iter().collect();
    let duplicated = claimed_twice + (jobs.len() - prompts.len());

    let requests = server.requests().len();
    println!("{JOBS} submitted, {AT_ONCE} at a time, {requests} requests, one in ten with a fault, in {took:.1?}");
    println!("{} jobs created on the server", jobs.len());
    println!("{completed} completed, {waited} with an id but no end, {unknown} outcome unknown, {refused} refused");
    println!("peak memory {}, server included", peak_memory());
    assert_eq!((lost, duplicated), (0, 0));
    assert_eq!(completed + waited + unknown + refused, JOBS);
}
