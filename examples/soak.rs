//! Ten thousand generations, 200 at a time, against a server in this process that breaks a tenth of
//! all exchanges in every way it knows. Ends with 1 if a job was lost or made twice.
//!
//! `cargo run --release --example soak [jobs]`

#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

#[path = "../tests/it/support/fault_server.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod fault_server;

use std::{
    collections::{HashMap, HashSet},
    process::ExitCode,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use fault_server::{Action, FaultServer, Part, Request, Then};
use futures_util::{StreamExt as _, stream};
use luma_agents::{ApiKey, Client, Error, Retry, types::CreateGeneration};
use tokio::time::Instant;
use uuid::Uuid;

const AT_ONCE: usize = 200;
const LIMIT: Duration = Duration::from_mins(2);

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
fn fault(request: &Request) -> Option<Action> {
    let number = request.number;
    if !number.is_multiple_of(10) {
        return None;
    }
    let whole = "HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"id\":";
    let detail = r#"{"detail":"Too many concurrent jobs"}"#;
    Some(match number / 10 % 16 {
        0 => Action::send("").reads(Part::Head).then(Then::Reset),
        1 => Action::send("").reads(Part::HalfOfBody).then(Then::Reset),
        2 => Action::send("").then(Then::Reset),
        3 => Action::send(""),
        4 => Action::send("").then(Then::Hang),
        5 => Action::send(whole),
        6 => Action::send(whole).then(Then::Repeat(b" ".to_vec(), Duration::from_millis(5))),
        7 => Action::send("SSH-2.0-OpenSSH_9.9\r\n"),
        8 => Action::respond(200, &[], "<html>"),
        9 => Action::api(200, "null"),
        10 => Action::respond(502, &[], "<html>"),
        11 => Action::api(503, r#"{"detail":"Image URL ingestion unavailable"}"#).without_job(),
        12 => Action::api(500, r#"{"detail":"Internal error"}"#),
        13 => Action::respond(504, &[], "upstream timed out"),
        // Rare: each holds back all looks for a second, and would hold back submissions for good.
        14 if !request.submits() && number % 4000 < 160 => Action::api_with(429, &[("retry-after-ms", "2")], detail),
        _ => Action::api(402, r#"{"detail":"Insufficient credits"}"#).without_job(),
    })
}

/// A job is queued at the first look at it and completed at the second.
fn script() -> impl Fn(&Request) -> Action + Send + Sync + 'static {
    let seen = Mutex::new(HashSet::new());
    move |request| {
        if let Some(act) = fault(request) {
            return act;
        }
        if request.submits() {
            return Action::api(201, &generation(&request.id.to_string(), "queued"));
        }
        let id = request.path.rsplit('/').next().unwrap_or_default().to_owned();
        let first = seen.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
        Action::api(200, &generation(&id, if first { "queued" } else { "completed" }))
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

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let total: usize = std::env::args().nth(1).map_or(Ok(10_000), |it| it.parse())?;
    let server = FaultServer::start(script()).await?;
    let retry = Retry::default()
        .first_delay(Duration::from_millis(5))
        .max_delay(Duration::from_millis(50))
        .budget(Duration::from_secs(20));
    let luma = Client::builder(ApiKey::new("luma-api-soak")?)
        .base_url(server.url())
        .retry(retry)
        .timeout(Duration::from_secs(1))
        .build()?;

    let begun = Instant::now();
    let fates = stream::iter(0..total).map(|number| tokio::spawn(one(luma.clone(), number))).buffer_unordered(AT_ONCE);
    let fates: Vec<_> = tokio::time::timeout(LIMIT, fates.collect::<Vec<_>>()).await?;
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
        let job = match fate? {
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
    println!("{total} submitted, {AT_ONCE} at a time, {requests} requests, one in ten with a fault, in {took:.1?}");
    println!("{} jobs created on the server", jobs.len());
    println!("{completed} completed, {waited} with an id but no end, {unknown} outcome unknown, {refused} refused");
    println!("peak memory {}, server included", peak_memory());
    println!("lost={lost} duplicated={duplicated}");
    let all_told = completed + waited + unknown + refused == total;
    Ok(if lost == 0 && duplicated == 0 && all_told { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
