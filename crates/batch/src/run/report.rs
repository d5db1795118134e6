//! What a run has done, and the files of results.

use std::{collections::HashMap, fmt, path::Path};

use super::{Batch, prepare::blocking};
use crate::{
    error::{CapReached, Error, NotRecorded, Result},
    journal::Journal,
    key::CustomId,
    ledger::{Doubt, Last, NoJob, Spent, State},
    output::{ResultError, ResultLine, Results},
};

/// Why jobs have no output, in the words of the service. They may repeat a prompt, so they are not in the journal.
pub(super) type Reasons = HashMap<CustomId, ResultError>;

/// Those of earlier runs, as far as their file of errors is there.
pub(super) fn known_reasons(errors: &Path) -> Reasons {
    let text = std::fs::read_to_string(errors).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<ResultLine>(line).ok());
    lines.filter_map(|line| Some((line.custom_id, line.error?))).collect()
}

/// What a run has done.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Jobs whose outputs are on disk, by this run or an earlier one.
    pub saved: u64,
    /// Jobs that failed or were rejected.
    pub failed: u64,
    /// Jobs of which nobody knows whether they exist.
    pub in_doubt: u64,
    /// Lines that the next run goes on with.
    pub left: u64,
    /// Those of them whose job is accepted, and so paid for. The others are not sent yet.
    pub open: u64,
    /// What the batch has cost so far.
    pub spent: Spent,
    /// Why nothing more was submitted, if there was a reason.
    pub stop: Option<Stop>,
    /// What is in doubt, for support.
    pub doubts: Vec<Doubt>,
    /// Lines that could not be written: print each, and append it to the journal.
    pub not_recorded: Vec<NotRecorded>,
    /// The results could not be written, or the input has changed during the run.
    pub error: Option<Box<Error>>,
}

impl Report {
    /// Whether every job is saved and recorded, so that another run has nothing to do. If not, the program has not
    /// succeeded.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let is_saved = self.failed == 0 && self.in_doubt == 0 && self.left == 0;
        let is_recorded = self.not_recorded.is_empty() && matches!(self.stop, None | Some(Stop::Token));
        is_saved && is_recorded && self.error.is_none()
    }
}

/// One line: how many jobs ended how, and what they cost.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { saved, failed, in_doubt, open, .. } = self;
        let (unsent, high) = (self.left.saturating_sub(*open), self.spent.high);
        write!(
            f,
            "{saved} saved, {failed} failed, {in_doubt} in doubt, {open} paid and open, {unsent} not submitted; \
             up to ${high} spent"
        )
    }
}

/// Why a run submitted nothing more.
#[derive(Debug)]
#[non_exhaustive]
pub enum Stop {
    /// The token was cancelled.
    Token,
    /// The service rejects every request of the account.
    Account(Box<luma_agents::Error>),
    /// The cap is reached.
    Cap(Box<CapReached>),
    /// Too many failures in a row with one code.
    Failures {
        /// The code.
        code: String,
        /// How many.
        count: u32,
    },
    /// The journal could not be written.
    Ledger(Option<Box<Error>>),
    /// An output could not be written, so that more of them are not paid for.
    Disk(Box<Error>),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token => f.write_str("stopped; run again to go on"),
            Self::Account(e) => write!(f, "{e}; then run again to go on"),
            Self::Cap(cap) => cap.fmt(f),
            Self::Failures { code, count } => {
                write!(f, "{count} failures in a row with {code}; find the reason, then run again to go on")
            }
            Self::Ledger(Some(e)) => e.fmt(f),
            Self::Disk(e) => write!(f, "{e}; nothing more is sent. Then run again: what is paid for is fetched"),
            Self::Ledger(None) => Error::LedgerFailed.fmt(f),
        }
    }
}

/// Writes both files of results anew, in the order in which the jobs ended.
pub(super) async fn write_results(batch: &Batch, journal: &Journal, reasons: Reasons) -> Result<()> {
    let (results, errors) = (batch.beside("results"), batch.beside("errors"));
    let journal = journal.clone();
    blocking(move || {
        let mut ended: Vec<_> =
            journal.ids()?.into_iter().filter_map(|id| journal.line(&id).map(|last| (last.attempt.at, id))).collect();
        ended.sort();
        let mut file = Results::new(&results, &errors)?;
        for (_, id) in ended {
            let Some(last) = journal.line(&id) else { continue };
            file.add(&line(&id, &last, &reasons))?;
        }
        file.finish()
    })
    .await
}

pub(super) fn line(custom_id: &CustomId, last: &Last, reasons: &Reasons) -> ResultLine {
    let reason = |code: &str| reasons.get(custom_id).filter(|it| it.code == code).map(|it| it.message.clone());
    let state = &last.attempt.state;
    let line = |state: &str| ResultLine::new(custom_id.clone(), last.attempt.state.id(), state);
    let other = last.others.iter().filter(|it| it.state.is_live()).find_map(|it| it.state.id());
    let line = match state {
        State::Saved { file, more, .. } => {
            let files = std::iter::once(file).chain(more).map(|file| file.path.clone());
            line("saved").files(files)
        }
        State::InFlight | State::InDoubt { .. } => {
            line("in_doubt").error("in_doubt", "a job may exist; ask support with the request id of the journal")
        }
        State::NoJob(NoJob::Rejected { status, kind }) => {
            let message = reason(kind).unwrap_or_else(|| format!("rejected with status {status}"));
            line("rejected").error(kind.clone(), message)
        }
        State::NoJob(_) | State::Resent => line("unsent"),
        State::Accepted { .. } => line("accepted"),
        State::Completed { .. } => line("completed"),
        State::Failed { code, .. } => {
            let code = code.clone().unwrap_or_else(|| "unknown".to_owned());
            let message = reason(&code).unwrap_or_else(|| "the generation failed".to_owned());
            line("failed").error(code, message)
        }
    };
    match other {
        Some(id) => line.error("second_job", format!("the job {id} was paid for too")),
        None => line,
    }
}
