//! `generations().get` and `create` compared with the same calls written by hand with reqwest: decoded
//! into the same type, to a server in another process. A get uses one connection again and again, a create
//! has one of its own, as ours does; what the latter costs is the difference of two bare calls.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::unchecked_time_subtraction,
    reason = "figures for a table"
)]

mod support;

use std::{env, process::Command};

use luma_agents::{
    Client,
    types::{CreateGeneration, Generation},
};
use support::{
    Result, arguments, client,
    measure::{self, count, median},
    one_thread,
    server::{SERVE, Server},
    table::{self, Goal},
};

const ROUNDS: usize = 15;
const CALLS: usize = 1000;

/// The most that a call may cost, as a ratio to the bare one.
const GET: Goal = Goal::AtMost(1.10);
const CREATE: Goal = Goal::AtMost(1.12);

/// How many calls callgrind counts, without the startup of the process.
const COUNTED: usize = 500;

fn main() -> Result {
    let arguments = arguments();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [SERVE] => support::server::serve(),
        ["call", call, calls, base_url] => one_thread()?.block_on(async {
            Caller::new(base_url)?.make(Call::named(call)?, calls.parse()?).await?;
            Ok(())
        }),
        _ => compare(),
    }
}

#[derive(Clone, Copy)]
enum Call {
    Get,
    BareGet,
    Create,
    BareCreate,
    /// On a connection that is there already.
    KeptCreate,
}

impl Call {
    const ALL: [(&'static str, Self); 5] = [
        ("get", Self::Get),
        ("bare get", Self::BareGet),
        ("create", Self::Create),
        ("bare create", Self::BareCreate),
        ("kept create", Self::KeptCreate),
    ];

    fn named(name: &str) -> Result<Self> {
        let found = Self::ALL.iter().find(|(it, _)| *it == name);
        Ok(found.ok_or_else(|| format!("there is no call `{name}`"))?.1)
    }
}

struct Caller {
    base_url: String,
    luma: Client,
    http: reqwest::Client,
    /// Keeps no connections.
    fresh_http: reqwest::Client,
}

impl Caller {
    fn new(base_url: &str) -> Result<Self> {
        let fresh_http = reqwest::Client::builder().pool_max_idle_per_host(0).build()?;
        Ok(Self { base_url: base_url.to_owned(), luma: client(base_url)?, http: reqwest::Client::new(), fresh_http })
    }

    /// Returns the CPU time of one call in microseconds.
    async fn make(&self, call: Call, calls: usize) -> Result<f64> {
        let id = uuid::Uuid::from_u128(7);
        let request = || CreateGeneration::builder().prompt("A lighthouse at dusk");
        let began = measure::cpu();
        for _ in 0..calls {
            let generation = match call {
                Call::Get => self.luma.generations().get(id).await?,
                Call::Create => self.luma.generations().create(request()).await?,
                Call::BareGet => {
                    let url = format!("{}/generations/{id}", self.base_url);
                    let request = self.http.get(url).bearer_auth(support::KEY);
                    request.send().await?.error_for_status()?.json::<Generation>().await?
                }
                Call::BareCreate | Call::KeptCreate => {
                    let http = if matches!(call, Call::KeptCreate) { &self.http } else { &self.fresh_http };
                    let body: CreateGeneration = request().try_into()?;
                    let url = format!("{}/generations", self.base_url);
                    let request = http.post(url).bearer_auth(support::KEY).json(&body);
                    request.send().await?.error_for_status()?.json::<Generation>().await?
                }
            };
            std::hint::black_box(generation);
        }
        Ok((measure::cpu() - began) * 1e6 / count(calls))
    }
}

fn compare() -> Result {
    let server = Server::start()?;
    table::line(&format!("CPU time of a call, median of {ROUNDS} rounds of {CALLS} calls each, taken alternately."));
    table::head(&["call", "ours, µs", "bare, µs", "ratio", "goal"]);
    let rounds = one_thread()?.block_on(async {
        let caller = Caller::new(&server.base_url())?;
        let mut rounds = [const { Vec::new() }; 5];
        for (_, call) in Call::ALL {
            caller.make(call, CALLS).await?;
        }
        for _ in 0..ROUNDS {
            for (rounds, (_, call)) in rounds.iter_mut().zip(Call::ALL) {
                rounds.push(caller.make(call, CALLS).await?);
            }
        }
        Result::<_>::Ok(rounds)
    })?;
    row("get", &rounds[0], &rounds[1], GET);
    row("create", &rounds[2], &rounds[3], CREATE);
    row("a connection of its own", &rounds[3], &rounds[4], Goal::None);

    if Command::new("valgrind").arg("--version").output().is_err() {
        table::line("\nvalgrind is not installed: instructions are not counted.");
        return Ok(());
    }
    table::line("\nInstructions of a call in user space, counted by callgrind.");
    table::head(&["call", "ours", "bare", "ratio", "goal"]);
    let count = |call| instructions(&server, call).map(|count| [count]);
    let bare_create = count("bare create")?;
    row("get", &count("get")?, &count("bare get")?, GET);
    row("create", &count("create")?, &bare_create, CREATE);
    row("a connection of its own", &bare_create, &count("kept create")?, Goal::None);
    Ok(())
}

fn row(name: &str, ours: &[f64], bare: &[f64], goal: Goal) {
    let ratios: Vec<_> = ours.iter().zip(bare).map(|(ours, bare)| ours / bare).collect();
    let cells = [name.to_owned(), table::short(median(ours)), table::short(median(bare))];
    table::judged(&cells, median(&ratios), goal);
}

/// The difference of two runs of different length, which cancels the startup of the process.
fn instructions(server: &Server, call: &str) -> Result<f64> {
    let run = |calls: usize| -> Result<f64> {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(env::current_exe()?)
            .args(["call", call, &calls.to_string(), &server.base_url()])
            .output()?;
        let text = String::from_utf8(output.stderr)?;
        if !output.status.success() {
            return Err(text.into());
        }
        let collected = text.lines().find_map(|line| line.split_once("Collected : "));
        Ok(collected.ok_or("callgrind printed no count")?.1.trim().parse()?)
    };
    Ok((run(100 + COUNTED)? - run(100)?) / count(COUNTED))
}
