//! What the benchmarks share: a server in another process, workers in fresh processes, clocks, tables.

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

/// What a worker has measured.
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

/// Runs this benchmark again with `arguments`, in a process of its own whose memory and CPU time are
/// its alone, and reads the figures that it prints.
pub(crate) fn worker(arguments: &[&str]) -> Result<Figures> {
    let output = Command::new(env::current_exe()?).args(arguments).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("the worker {arguments:?} failed: {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The other end of [`worker`].
pub(crate) fn report(figures: impl IntoIterator<Item = (&'static str, f64)>) -> Result {
    let figures: BTreeMap<_, _> = figures.into_iter().collect();
    table::line(&serde_json::to_string(&figures)?);
    Ok(())
}

/// One thread, so that CPU time is not blurred by the search for work.
pub(crate) fn one_thread() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
