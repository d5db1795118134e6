//! Before the first request: the input is checked, the journal opened, and the account recognised.

use std::{fs, path::Path, time::Duration};

use chrono::{DateTime, Utc};
use luma_agents::error::RejectionKind;
use uuid::Uuid;

use super::{Batch, driver::Running};
use crate::{
    digest::Sha256,
    doubt::Doubts,
    error::{Error, JournalError, JournalProblem, Result},
    input::{Checked, Known},
    journal::{Journal, Run, find_run, is_same, journals},
    key::CustomId,
    ledger::State,
    output::{check_owner, claim},
    quota::{Class, Place},
};

/// The service forgets a job after this.
const LONGEST_JOB: Duration = Duration::from_secs(3600);

/// A batch whose input is checked and whose journal is open, so that no other process can have it.
///
/// Nothing was sent. [`start`](Self::start) begins.
#[derive(Debug)]
pub struct Opened {
    pub(super) batch: Batch,
    pub(super) journal: Journal,
    checked: Checked,
}

impl Batch {
    /// Checks the whole input and opens the journal. Free, and without the network.
    ///
    /// # Errors
    ///
    /// [`Error::Input`] with everything that is wrong with the input; [`Error::Journal`] and [`Error::Io`] if the journal
    /// cannot be used; [`Error::InvalidInput`] if another journal has this input, in the folder of the journal or of the input, or if
    /// the folder of the outputs belongs to another batch.
    pub async fn open(self) -> Result<Opened> {
        let sha256 = self.sha256().await?;
        self.is_only_journal(sha256).await?;
        let (folder, journal) = (self.names.folder().to_owned(), self.journal.clone());
        blocking(move || check_owner(&folder, &journal)).await?;
        // A wrong input leaves no new journal behind.
        let is_new = !self.journal.exists();
        if is_new {
            self.check(None).await?;
        }
        let journal = Journal::open(&self.journal).await?;
        let checked = self.check(Some(journal.clone())).await?;
        if checked.sha256 != sha256 {
            let path = self.input.path().display();
            return Err(Error::invalid_input(format!("{path} has changed while it was checked; run again")));
        }
        journal.set_cap(self.cap);
        Ok(Opened { batch: self, journal, checked })
    }

    async fn sha256(&self) -> Result<Sha256> {
        let path = self.input.path().to_owned();
        blocking(move || {
            let read = fs::File::open(&path).and_then(Sha256::of_reader);
            read.map(|(sha256, _)| sha256).map_err(|e| Error::io("read", path, e))
        })
        .await
    }

    async fn check(&self, journal: Option<Journal>) -> Result<Checked> {
        let (input, prices, names) = (self.input.clone(), self.prices.clone(), self.names.clone());
        let known =
            move |id: &CustomId| journal.as_ref().map_or(Known::default(), |journal| Known::in_journal(journal, id));
        blocking(move || input.check().prices(prices).existing(names.existing()?).run(known)).await
    }

    /// A batch is known by its content: with another journal it would be paid for again. So the folders of the journal and
    /// of the input must have no other one with this input, not even a damaged one.
    async fn is_only_journal(&self, input: Sha256) -> Result<()> {
        let (own, folder, path) = (self.journal.clone(), self.input.folder().to_owned(), self.input.path().to_owned());
        let find = move || {
            let own_folder = own.parent().unwrap_or(Path::new("")).to_owned();
            // Behind a symbolic link too, but not where a spooled input is.
            let is_file = path.parent() == Some(&folder);
            let target = path.canonicalize().ok().filter(|_| is_file);
            let target = target.and_then(|path| Some(path.parent()?.to_owned()));
            for folder in [own_folder, folder].into_iter().chain(target) {
                for path in journals(&folder)? {
                    if !is_same(&path, &own) && find_run(&path, |run| run.input == Some(input)).is_some() {
                        return Ok(Some(path));
                    }
                }
            }
            Ok(None)
        };
        let Some(other) = blocking(find).await? else { return Ok(()) };
        let other = other.display();
        Err(Error::invalid_input(format!(
            "{other} is the journal of this very input; go on with `--journal {other}`, or, to pay for all of it again, \
             copy the input to an empty folder"
        )))
    }
}

impl Opened {
    /// What was found in the input, and what it costs.
    #[must_use]
    pub fn checked(&self) -> &Checked {
        &self.checked
    }

    /// The journal.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Decides on doubts, also on those that a repair has made of the lines of the input.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the input cannot be read.
    pub fn doubts(&self) -> Result<Doubts> {
        let doubts = Doubts::of(&self.journal).submit_timeout(self.batch.submit_timeout);
        if self.journal.lost() == 0 {
            return Ok(doubts);
        }
        let lines = self.batch.input.lines(self.checked.sha256)?;
        let names: Result<Vec<_>> = lines.map(|line| Ok(line?.custom_id)).collect();
        Ok(doubts.lines(names?))
    }

    /// Begins: makes sure that the account is that of the journal, claims the folder of the outputs, and submits.
    ///
    /// # Errors
    ///
    /// [`Error::Journal`] if an accepted job is not known to this account and base URL; [`Error::Api`] if that cannot be
    /// asked; [`Error::InvalidInput`] if the folder belongs to another batch; [`Error::Io`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn start(self) -> Result<Running> {
        self.is_same_account().await?;
        let batch = self.journal.batch().unwrap_or_else(Uuid::new_v4);
        let folder = self.batch.names.folder().to_owned();
        blocking(move || claim(&folder, batch)).await?;
        let base_url = self.batch.client.base_url();
        let name = self.batch.name.clone().unwrap_or_else(|| "-".to_owned());
        let run = Run::new(base_url).input(name, self.checked.sha256, self.checked.lines);
        self.journal.start_as(batch, &run).await?;
        let places = self.seed(Utc::now());
        Ok(Running::start(&self, places))
    }

    /// A job of the journal that this account does not know shows that the key or the base URL is another.
    async fn is_same_account(&self) -> Result<()> {
        // The service may forget old ones.
        let Some(id) = self.journal.newest() else { return Ok(()) };
        match self.batch.client.generations().get(id).await {
            Ok(_) => Ok(()),
            Err(luma_agents::Error::Rejected(e)) if e.kind() == RejectionKind::NotFound => {
                let recorded = self.journal.last_run().map(|run| run.base_url).unwrap_or_default();
                let current = self.batch.client.base_url().to_owned();
                let problem = JournalProblem::OtherAccount { recorded, current, id };
                Err(Error::Journal(Box::new(JournalError { path: self.journal.path().to_owned(), problem })))
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Takes the places of what earlier runs have submitted. Those of open jobs are returned by their ids.
    fn seed(&self, now: DateTime<Utc>) -> Vec<(CustomId, Uuid, Place)> {
        let mut open = Vec::new();
        for id in self.journal.unsettled() {
            let Some(last) = self.journal.line(&id) else { continue };
            for attempt in std::iter::once(&last.attempt).chain(&last.others) {
                let class = Class::new(attempt.model.as_str(), attempt.kind.as_str());
                match &attempt.state {
                    State::Accepted { id: job } => {
                        let age = age(attempt.at, now);
                        if age < LONGEST_JOB {
                            open.push((id.clone(), *job, self.batch.quota.resume(class, age)));
                        }
                    }
                    State::InDoubt { .. } => {
                        let hold = self.batch.hold.unwrap_or_else(|| deadline(&attempt.kind));
                        let age = age(attempt.begun, now);
                        if age < hold {
                            self.batch.quota.resume(class, age).unknown(hold.saturating_sub(age));
                        }
                    }
                    // It counts in the window only.
                    _ => {
                        let age = age(attempt.begun, now);
                        if age < Duration::from_secs(60) {
                            drop(self.batch.quota.resume(class, age));
                        }
                    }
                }
            }
        }
        open
    }
}

/// How old something is, whatever clocks were set to: at least nothing, at most the service's hour.
pub(super) fn age(at: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    (now - at).to_std().unwrap_or_default().min(LONGEST_JOB)
}

/// How long a job of this type takes at most, by the default deadlines of waits.
pub(super) fn deadline(kind: &str) -> Duration {
    Duration::from_secs(match kind {
        "image" | "image_edit" => 120,
        "layering" => 240,
        _ => 600,
    })
}

/// Runs what blocks where it blocks nobody.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(Error::io("use", "a thread for files", std::io::Error::other(e))))
}
