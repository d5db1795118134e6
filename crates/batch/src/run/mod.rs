//! The runner: a file of requests in, finished jobs out, in the order in which they end.

mod driver;
mod job;
mod only;
mod policy;
mod prepare;
mod report;
mod save;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use luma_agents::Client;
use tokio_util::sync::CancellationToken;

pub use self::{
    driver::Running,
    job::{End, Job},
    policy::Policy,
    prepare::Opened,
    report::{Report, Stop},
};
use crate::{
    error::{Error, Result},
    estimate::Prices,
    input::Input,
    ledger::Cap,
    output::Names,
    quota::Quota,
};

/// A batch that has not been opened yet: a file of requests, the places of its files, and its settings.
///
/// For an input `catalogue.jsonl` the journal is `catalogue.journal.jsonl` beside it, the results are
/// `catalogue.results.jsonl` and `catalogue.errors.jsonl`, and the outputs are in `out/`.
///
/// Nothing is sent, written or created before [`open`](Self::open).
#[derive(Clone, Debug)]
#[must_use = "nothing happens before it is opened"]
pub struct Batch {
    client: Client,
    input: Input,
    /// The name of the input, for the journal. `None`: it is no file that stays.
    name: Option<String>,
    journal: PathBuf,
    names: Names,
    cap: Cap,
    quota: Quota,
    prices: Prices,
    policy: Policy,
    submit_timeout: Duration,
    hold: Option<Duration>,
    stop: CancellationToken,
}

impl Batch {
    /// The batch of an input file.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it cannot be opened; [`Error::InvalidInput`] if it has no name.
    pub fn new(client: Client, input: impl Into<PathBuf>) -> Result<Self> {
        let path = input.into();
        let stem = path.file_stem().filter(|stem| !stem.is_empty());
        let stem = stem.ok_or_else(|| Error::invalid_input(format!("{} is not a file", path.display())))?;
        let journal = path.with_file_name(format!("{}.journal.jsonl", stem.to_string_lossy()));
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        Ok(Self { name, ..Self::of(client, Input::open(&path)?, journal) })
    }

    /// The batch of an input such as stdin, with the journal in this file.
    pub fn of(client: Client, input: Input, journal: impl Into<PathBuf>) -> Self {
        let journal = journal.into();
        let names = Names::new(journal.parent().unwrap_or(Path::new("")).join("out"));
        Self {
            client,
            input,
            name: None,
            journal,
            names,
            cap: Cap::NONE,
            quota: Quota::new(),
            prices: Prices::default(),
            policy: Policy::default(),
            submit_timeout: Duration::from_secs(180),
            hold: None,
            stop: CancellationToken::new(),
        }
    }

    /// The path of the journal. The results are written beside it.
    pub fn journal(self, path: impl Into<PathBuf>) -> Self {
        Self { journal: path.into(), ..self }
    }

    /// The folder of the outputs and their names.
    pub fn names(self, names: Names) -> Self {
        Self { names, ..self }
    }

    /// What the batch may cost, over all its runs. Default: no cap.
    pub fn cap(self, cap: Cap) -> Self {
        Self { cap, ..self }
    }

    /// The limits of the account. Batches of one process on one account share a quota.
    pub fn quota(self, quota: Quota) -> Self {
        Self { quota, ..self }
    }

    /// The prices of the estimates.
    pub fn prices(self, prices: Prices) -> Self {
        Self { prices, ..self }
    }

    /// Which failures are tried again, and when to give up.
    pub fn policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// The limit of one submission. Default 180 s. Keep it long: what has no response in time is in doubt.
    pub fn submit_timeout(self, limit: Duration) -> Self {
        Self { submit_timeout: limit, ..self }
    }

    /// How long a job in doubt is counted in the account's limits, from its intent on. Default: as long as such a job
    /// takes at most, which is 2 minutes for images, 4 for layers, 10 for videos.
    pub fn hold_doubts(self, time: Duration) -> Self {
        Self { hold: Some(time), ..self }
    }

    /// Stops the run when it is cancelled, such as by Ctrl-C: nothing more is submitted, requests in flight are
    /// awaited and recorded. Jobs that run go on at the service, and the next run waits for them.
    pub fn stop(self, stop: CancellationToken) -> Self {
        Self { stop, ..self }
    }

    /// The file beside the journal with this ending, such as `results`.
    fn beside(&self, ending: &str) -> PathBuf {
        let name = self.journal.file_name().unwrap_or_default().to_string_lossy();
        let stem = name.strip_suffix(".journal.jsonl").or(name.strip_suffix(".jsonl")).unwrap_or(&name);
        self.journal.with_file_name(format!("{stem}.{ending}.jsonl"))
    }

    /// What paths in the journal are relative to.
    fn folder(&self) -> &Path {
        self.journal.parent().unwrap_or(Path::new(""))
    }
}
