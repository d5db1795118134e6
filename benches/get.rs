//! `generations().get` and `create` compared with the same calls written by hand with reqwest: decoded
//! into the same type, over one connection to a server in another process.

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
}

impl Call {
    const ALL: [(&'static str, Self); 4] =
        [("get", Self::Get), ("bare get", Self::BareGet), ("create", Self::Create), ("bare create", Self::BareCreate)];

    fn named(name: &str) -> Result<Self> {
        let found = Self::ALL.iter().find(|(it, _)| *it == name);
        Ok(found.ok_or_else(|| format!("there is no call `{name}`"))?.1)
    }
}

struct Caller {
    base_url: String,
    luma: Client,
    http: reqwest::Client,
}

impl Caller {
    fn new(base_url: &str) -> Result<Self> {
        Ok(Self { base_url: base_url.to_owned(), luma: client(base_url)?, http: reqwest::Client::new() })
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
                Call::BareCreate => {
                    let body: CreateGeneration = request().try_into()?;
                    let url = format!("{}/generations", self.base_url);
                    let request = self.http.post(url).bearer_auth(support::KEY).json(&body);
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
        let mut rounds = [const { Vec::new() }; 4];
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
    for (at, name) in [(0, "get"), (2, "create")] {
        row(name, &rounds[at], &rounds[at + 1]);
    }

    if Command::new("valgrind").arg("--version").output().is_err() {
        table::line("\nvalgrind is not installed: instructions are not counted.");
        return Ok(());
    }
    table::line("\nInstructions of a call in user space, counted by callgrind.");
    table::head(&["call", "ours", "bare", "ratio", "goal"]);
    for (ours, bare) in [("get", "bare get"), ("create", "bare create")] {
        row(ours, &[instructions(&server, ours)?], &[instructions(&server, bare)?]);
    }
    Ok(())
}

fn row(name: &str, ours: &[f64], bare: &[f64]) {
    let ratios: Vec<_> = ours.iter().zip(bare).map(|(ours, bare)| ours / bare).collect();
    let cells = [name.to_owned(), table::short(median(ours)), table::short(median(bare))];
    table::judged(&cells, median(&ratios), Goal::AtMost(1.05));
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
