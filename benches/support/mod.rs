//! Shared by the benchmarks: a server in another process, workers in fresh processes, clocks, tables.

#![allow(dead_code, reason = "each benchmark uses its own part")]

pub(crate) mod measure;
pub(crate) mod server;
pub(crate) mod table;

use std::{
    collections::BTreeMap,
    env,
    process::{Command, Stdio},
};

use luma_agents::{ApiKey, Client};

pub(crate) type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// The figures that a worker measured.
pub(crate) type Figures = BTreeMap<String, f64>;

pub(crate) const KEY: &str = "luma-api-benchmark";

/// The arguments without those that cargo adds.
pub(crate) fn arguments() -> Vec<String> {
    env::args().skip(1).filter(|it| it != "--bench").collect()
}

/// The client under test, with default settings.
pub(crate) fn client(base_url: &str) -> Result<Client> {
    Ok(Client::builder(ApiKey::new(KEY)?).base_url(base_url).build()?)
}

/// Runs this benchmark again with `arguments` in a separate process, so that its memory and CPU time
/// can be measured, and reads the figures that it prints.
pub(crate) fn worker(arguments: &[&str]) -> Result<Figures> {
    let output = Command::new(env::current_exe()?).args(arguments).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("the worker {arguments:?} failed: {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Prints the figures for [`worker`] to read.
pub(crate) fn report(figures: impl IntoIterator<Item = (&'static str, f64)>) -> Result {
    let figures: BTreeMap<_, _> = figures.into_iter().collect();
    table::line(&serde_json::to_string(&figures)?);
    Ok(())
}

/// A runtime with one thread: work stealing would blur the CPU time.
pub(crate) fn one_thread() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
