//! Before the first request: the input is checked, the journal opened, and the account recognised.

use std::{fs, path::Path, time::Duration};

use chrono::{DateTime, Utc};
use luma_agents::error::RejectionKind;
use uuid::Uuid;

use super::{Batch, driver::Running, only, report::known_reasons};
use crate::{
    digest::Sha256,
    doubt::Doubts,
    error::{Error, JournalError, JournalProblem, Result},
    input::{Checked, Input, Known},
    journal::{Journal, Run},
    key::CustomId,
    ledger::State,
    output::{check_owner, check_replaceable, claim},
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
    /// [`Error::Input`] with everything that is wrong with the input; [`Error::Journal`] and [`Error::Io`] if the
    /// journal cannot be used; [`Error::InvalidInput`] if another journal has this input (`.luma-batches` beside the
    /// input names it), if the folder of the outputs belongs to another batch, or if the results would replace a file
    /// that is none of theirs.
    pub async fn open(self) -> Result<Opened> {
        let sha256 = self.sha256().await?;
        self.only(sha256, only::check).await?;
        let (folder, journal) = (self.names.folder().to_owned(), self.journal.clone());
        blocking(move || check_owner(&folder, &journal)).await?;
        let results = [self.beside("results"), self.beside("errors")];
        blocking(move || results.iter().try_for_each(|path| check_replaceable(path))).await?;
        // A wrong input leaves no new journal behind.
        let is_new = !self.journal.exists();
        if is_new {
            self.check(None).await?;
        }
        let journal = Journal::open(&self.journal).await?;
        journal.not_moved()?;
        if let Err(e) = self.only(sha256, only::claim).await {
            drop(journal);
            if is_new {
                tokio::fs::remove_file(&self.journal).await.ok();
            }
            return Err(e);
        }
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

    /// Whether this journal is the only one of this input.
    async fn only(&self, sha256: Sha256, check: fn(&Input, Sha256, &Path) -> Result<()>) -> Result<()> {
        let (input, journal) = (self.input.clone(), self.journal.clone());
        blocking(move || check(&input, sha256, &journal)).await
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
    /// [`Error::Journal`] if an accepted job is not known to this account and base URL; [`Error::Api`] if that cannot
    /// be asked; [`Error::InvalidInput`] if the folder belongs to another batch; [`Error::Io`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn start(self) -> Result<Running> {
        self.is_same_account().await?;
        let batch = self.journal.batch().unwrap_or_else(Uuid::new_v4);
        let base_url = self.batch.client.base_url();
        let name = self.batch.name.clone().unwrap_or_else(|| "-".to_owned());
        let run = Run::new(base_url).input(name, self.checked.sha256, self.checked.lines);
        // Before the folder has its name, so that a folder whose batch no journal has shows a journal that was lost.
        self.journal.start_as(batch, &run).await?;
        let folder = self.batch.names.folder().to_owned();
        blocking(move || claim(&folder, batch)).await?;
        let errors = self.batch.beside("errors");
        let reasons = blocking(move || Ok(known_reasons(&errors))).await?;
        let places = self.seed(Utc::now());
        Ok(Running::start(&self, places, reasons))
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
