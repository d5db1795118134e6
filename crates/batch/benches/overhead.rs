//! A submission through quota and ledger compared with the bare call of the SDK, on one connection each to an emulator
//! in another process.
//!
//! `cargo bench -p luma-agents-batch --bench overhead`

#![allow(clippy::print_stdout, clippy::unchecked_time_subtraction, reason = "figures for a table")]

#[path = "../../../benches/support/measure.rs"]
mod measure;

use std::{
    env, error,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use luma_agents::{ApiKey, Client, Retry, mock::Emulator, types::CreateGeneration};
use luma_agents_batch::{
    Cap, CustomId, Journal, Key, Ledger, MemoryLedger, Quota, Run, Sha256, Submission, Submitted, Submitter,
};
use measure::{cpu, median, memory, monotonic};
use uuid::Uuid;

type Result<T = (), E = Box<dyn error::Error>> = std::result::Result<T, E>;

const ROUNDS: usize = 9;
const CALLS: usize = 300;
const SERVE: &str = "serve";

fn main() -> Result {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let serves = env::args().any(|it| it == SERVE);
    runtime.block_on(async { if serves { serve().await } else { compare().await } })
}

async fn serve() -> Result {
    let emulator = Emulator::start().await?;
    println!("{} {}", emulator.base_url(), emulator.api_key());
    // Until the parent closes the pipe.
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
    Ok(())
}

/// The emulator, in a process of its own: its time is not ours.
struct Server {
    _process: Child,
    client: Client,
}

impl Server {
    fn start() -> Result<Self> {
        let mut process =
            Command::new(env::current_exe()?).arg(SERVE).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let (base_url, key) = line.trim().split_once(' ').ok_or("no address")?;
        let client = Client::builder(ApiKey::new(key)?).base_url(base_url).build()?;
        Ok(Self { _process: process, client })
    }
}

fn request() -> Result<CreateGeneration> {
    Ok(serde_json::from_str(r#"{"prompt":"a lighthouse at dusk","model":"uni-1-max"}"#)?)
}

fn quota() -> Quota {
    Quota::builder().per_minute(1_000_000).concurrency(1_000_000).build()
}

async fn bare(client: &Client) -> Result {
    for _ in 0..CALLS {
        client.generations().create(request()?).retry(Retry::none()).response().await?;
    }
    Ok(())
}

async fn ours<L: Ledger + 'static>(client: &Client, ledger: &Arc<L>, batch: Uuid, round: usize) -> Result {
    let submitter = Submitter::new(client.clone(), Arc::clone(ledger), quota());
    for call in 0..CALLS {
        let key = Key::new(batch, CustomId::new(format!("sku-{round}-{call}"))?);
        let submission = Submission::new(request()?, Sha256::of(key.to_string()));
        let Submitted::Accepted(_) = submitter.submit_once(&key, &submission).await? else {
            return Err("not accepted".into());
        };
    }
    Ok(())
}

async fn compare() -> Result {
    let server = Server::start()?;
    let folder = tempfile::tempdir()?;
    let journal = Journal::open(folder.path().join("a.journal.jsonl")).await?;
    let batch = journal.start(&Run::new(server.client.base_url())).await?;
    let (journal, in_memory) = (Arc::new(journal), Arc::new(MemoryLedger::new(batch, Cap::default())));
    let mut figures: [Vec<(f64, f64)>; 3] = Default::default();
    for round in 0..=ROUNDS {
        for (side, figures) in figures.iter_mut().enumerate() {
            let (start, before) = (monotonic(), cpu());
            match side {
                0 => bare(&server.client).await?,
                1 => ours(&server.client, &in_memory, batch, round).await?,
                _ => ours(&server.client, &journal, batch, round).await?,
            }
            // The first round warms up.
            if round > 0 {
                figures.push((cpu() - before, (monotonic() - start).as_secs_f64()));
            }
        }
    }
    let micros = |figure: f64| figure * 1e6 / measure::count(CALLS);
    let of = |side: usize, wall: bool| {
        micros(median(&figures[side].iter().map(|it| if wall { it.1 } else { it.0 }).collect::<Vec<_>>()))
    };
    println!("| submission | CPU, µs | more than bare | until it is done, µs |");
    println!("| --- | --- | --- | --- |");
    for (side, name) in
        ["bare `create`", "quota, ledger in memory", "quota, journal with its two syncs"].iter().enumerate()
    {
        println!("| {name} | {:.0} | {:.0} | {:.0} |", of(side, false), of(side, false) - of(0, false), of(side, true));
    }
    println!("\npeak {:.1} MiB", memory("VmHWM")? / 1_048_576.0);
    Ok(())
}
