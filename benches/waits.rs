//! Thousands of waits at once with `wait_all`, compared with a hand-written loop on reqwest that has one
//! task for each job. The server is in another process; the id of a job encodes when it completes.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::unchecked_time_subtraction,
    reason = "figures for a table"
)]

mod support;

use std::{cell::Cell, time::Duration};

use luma_agents::types::Generation;
use support::{
    Figures, Result, arguments, client,
    measure::{self, median, percentile},
    one_thread, report,
    server::{self, SERVE, Server},
    table::{self, Goal},
    worker,
};
use tokio::{task::JoinSet, time::sleep};
use uuid::Uuid;

/// How often the spread waits are measured.
const ROUNDS: usize = 3;

const MIB: f64 = 1024.0 * 1024.0;

fn main() -> Result {
    let arguments = arguments();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [SERVE] => server::serve(),
        ["wait", side, start, waits, seconds, base_url] => {
            let every = Duration::from_secs(seconds.parse()?);
            let run = Run { waits: waits.parse()?, every, at_once: *start == "at-once" };
            one_thread()?.block_on(run.measure(*side == "ours", base_url))
        }
        [] => compare(&[1_000, 5_000, 20_000], 5_000, 100_000),
        [spread, at_once, held] => {
            let spread = spread.split(',').map(str::parse).collect::<Result<Vec<_>, _>>()?;
            compare(&spread, at_once.parse()?, held.parse()?)
        }
        _ => Err("give no arguments, or three: 1000,5000,20000 5000 100000".into()),
    }
}

#[derive(Clone, Copy)]
struct Run {
    waits: u32,
    every: Duration,
    /// All waits poll for the first time at once, instead of spread over one interval.
    at_once: bool,
}

impl Run {
    /// Jobs complete evenly from the fourth to the thirteenth interval, or in the first two if it is long.
    fn ids(self) -> Vec<Uuid> {
        let (first, over) = if self.every > Duration::from_secs(10) { (0, 2) } else { (4, 9) };
        let (first, over) = (measure::monotonic() + first * self.every, over * self.every);
        // Shuffled, so that the order of completion does not follow the order of polls.
        let nth = |n: u32| u32::try_from(u64::from(n) * 7919 % u64::from(self.waits)).unwrap_or_default();
        (0..self.waits).map(|n| server::id(first + over * nth(n) / self.waits, n.into())).collect()
    }

    fn first_after(self, n: u32) -> Duration {
        if self.at_once { Duration::ZERO } else { self.every * n / self.waits }
    }

    async fn measure(self, ours: bool, base_url: &str) -> Result {
        let ids = self.ids();
        let (memory, cpu) = (measure::memory("VmRSS")?, measure::cpu());
        let lags = if ours { self.ours(ids, base_url).await? } else { self.bare(ids, base_url).await? };
        let cpu = measure::cpu() - cpu;
        report([
            ("lag_median", percentile(&lags, 50)),
            ("lag_p99", percentile(&lags, 99)),
            ("cpu", cpu),
            ("memory", measure::memory("VmHWM")? - memory),
            ("peak", measure::memory("VmHWM")?),
        ])
    }

    async fn ours(self, ids: Vec<Uuid>, base_url: &str) -> Result<Vec<f64>> {
        let luma = client(base_url)?;
        let nth = Cell::new(0);
        let mut outcomes = luma.generations().wait_all(ids).each(|wait| {
            let first_after = self.first_after(nth.replace(nth.get() + 1));
            wait.every(self.every).first_after(first_after)
        });
        let mut lags = Vec::with_capacity(self.waits as usize);
        while let Some((id, outcome)) = outcomes.next().await {
            outcome?;
            lags.push(lag(id));
        }
        Ok(lags)
    }

    async fn bare(self, ids: Vec<Uuid>, base_url: &str) -> Result<Vec<f64>> {
        let http = reqwest::Client::new();
        let mut tasks = JoinSet::new();
        for (n, id) in (0..).zip(ids) {
            let (http, url) = (http.clone(), format!("{base_url}/generations/{id}"));
            tasks.spawn(async move {
                sleep(self.first_after(n)).await;
                loop {
                    let request = http.get(&url).bearer_auth(support::KEY);
                    let generation: Generation = request.send().await?.error_for_status()?.json().await?;
                    if generation.state.is_terminal() {
                        return reqwest::Result::Ok(generation);
                    }
                    sleep(self.every).await;
                }
            });
        }
        let mut lags = Vec::with_capacity(self.waits as usize);
        while let Some(outcome) = tasks.join_next().await {
            lags.push(lag(outcome??.id));
        }
        Ok(lags)
    }

    /// Whether two cores can run both sides at once.
    fn is_light(self) -> bool {
        self.waits <= 10_000
    }

    /// Ours and bare, at the same time if possible, so that both run under the same load. A bare loop
    /// that fails has no figures.
    fn both(self) -> Result<(Figures, Figures)> {
        if !self.is_light() {
            return Ok((self.figures("ours")?, self.figures("bare").unwrap_or_default()));
        }
        std::thread::scope(|scope| {
            let ours = scope.spawn(|| self.figures("ours").map_err(|e| e.to_string()));
            let bare = self.figures("bare").unwrap_or_default();
            Ok((ours.join().map_err(|_| "the measuring thread panicked")??, bare))
        })
    }

    /// Runs one side in its own process, against its own server.
    fn figures(self, side: &str) -> Result<Figures> {
        let server = Server::start()?;
        let start = if self.at_once { "at-once" } else { "spread" };
        let (waits, every) = (self.waits.to_string(), self.every.as_secs().to_string());
        let mut figures = worker(&["wait", side, start, &waits, &every, &server.base_url()])?;
        figures.extend(server.seen()?);
        Ok(figures)
    }
}

/// The time from the completion of the job on the server to the return to the caller, in seconds.
fn lag(id: Uuid) -> f64 {
    measure::monotonic().saturating_sub(server::done(id)).as_secs_f64()
}

fn compare(spread: &[u32], at_once: u32, held: u32) -> Result {
    let every = Duration::from_secs(2);
    let lag_goal = Goal::AtMost(every.as_secs_f64() + 0.02);
    for waits in spread {
        let run = Run { waits: *waits, every, at_once: false };
        let rounds = if run.is_light() { ROUNDS } else { 1 };
        title(&format!("{waits} waits, one poll every 2 s, starts spread over 2 s; median of {rounds}"));
        let rounds = (0..rounds).map(|_| run.both()).collect::<Result<Vec<_>>>()?;
        let per_poll = |it: &Figures| it["cpu"] * 1e6 / it["requests"];
        let per_wait = |it: &Figures| it["memory"] / 1024.0 / f64::from(*waits);
        row("CPU time of a poll, µs, and ratio", &rounds, per_poll, |a, b| a / b, Goal::AtMost(1.1));
        row("memory of a wait, KiB, and difference", &rounds, per_wait, |a, b| a - b, Goal::AtMost(1.0));
        lags(&rounds, lag_goal);
        row("polls", &rounds, |it| it["requests"], |a, _| a, Goal::None);
    }

    title(&format!("{at_once} waits, one poll every 2 s, all started in one instant"));
    let round = [Run { waits: at_once, every, at_once: true }.both()?];
    row("most connections", &round, |it| it["connections"], |a, _| a, Goal::AtMost(64.0));
    row("peak memory, MiB", &round, |it| it["peak"] / MIB, |a, _| a, Goal::AtMost(20.0));
    lags(&round, lag_goal);

    let every = Duration::from_secs(30);
    title(&format!("{held} waits, one poll every 30 s, starts spread over 30 s"));
    let round = [(Run { waits: held, every, at_once: false }.figures("ours")?, Figures::new())];
    row("peak memory, MiB", &round, |it| it["peak"] / MIB, |a, _| a, Goal::AtMost(512.0));
    lags(&round, Goal::AtMost(every.as_secs_f64() + 0.02));
    Ok(())
}

fn title(text: &str) {
    table::line(&format!("\n{text}"));
    table::head(&["figure", "ours", "bare", "judged", "goal"]);
}

fn lags(rounds: &[(Figures, Figures)], goal: Goal) {
    row("lag, median, s", rounds, |it| it["lag_median"], |a, _| a, Goal::None);
    row("lag, 99 %, s", rounds, |it| it["lag_p99"], |a, _| a, goal);
}

/// Prints one figure of both sides. A side without figures did not run.
fn row(
    name: &str,
    rounds: &[(Figures, Figures)],
    figure: impl Fn(&Figures) -> f64,
    judged: impl Fn(f64, f64) -> f64,
    goal: Goal,
) {
    let figure = |it: &Figures| if it.is_empty() { f64::NAN } else { figure(it) };
    let ours: Vec<_> = rounds.iter().map(|(ours, _)| figure(ours)).collect();
    let bare: Vec<_> = rounds.iter().map(|(_, bare)| figure(bare)).collect();
    let judged: Vec<_> = ours.iter().zip(&bare).map(|(ours, bare)| judged(*ours, *bare)).collect();
    let shown = |figures: &[f64]| if figures[0].is_nan() { String::new() } else { table::short(median(figures)) };
    table::judged(&[name.to_owned(), shown(&ours), shown(&bare)], median(&judged), goal);
}
