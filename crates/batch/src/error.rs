//! What can go wrong, named for what the caller does next.

use std::{fmt, io, path::PathBuf};

use uuid::Uuid;

use crate::{key::Key, usd::Usd};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong. `Display` is one line that says what to do next; `{:?}` is that same line, for a `main` that returns
/// a `Result`; `{:#?}` has all fields. No variant shows a key, a prompt or a signed URL.
#[non_exhaustive]
pub enum Error {
    /// An argument or setting cannot be used. Nothing was sent: correct it and call again.
    InvalidInput(String),
    /// The input has problems. Nothing was sent: correct them all and run again.
    Input(Box<crate::input::Problems>),
    /// The API, the network or a transfer: as the SDK says it.
    Api(luma_agents::Error),
    /// A local file could not be read or written.
    Io(Box<IoError>),
    /// The journal cannot be used.
    Journal(Box<JournalError>),
    /// The request under this key has changed, and a job for the earlier one may exist.
    ChangedRequest(Key),
    /// This process, or another one that lives, is submitting under this key: call again later.
    InFlight(Key),
    /// What the ledger knows of the key has changed since the caller read it: read it again.
    Outdated(Key),
    /// The cap on the batch's cost or number of jobs would be passed. Nothing was sent.
    Cap(Box<CapReached>),
    /// The run was stopped before this was sent.
    Stopped,
    /// The ledger failed earlier in this run: nothing more is sent.
    LedgerFailed,
    /// The decision about a doubt cannot be taken. Nothing has changed.
    Doubt(String),
    /// A ledger that is no journal, such as a database, cannot be used.
    Ledger(Box<LedgerError>),
    /// The ledger failed after money was spent: this line belongs at the end of the journal.
    NotRecorded(Box<NotRecorded>),
}

impl Error {
    pub(crate) fn invalid_input(message: impl Into<String>) -> Self {
        Self::InvalidInput(message.into())
    }

    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io(Box::new(IoError { action, path: path.into(), source }))
    }

    /// Whether the same call, made again, may succeed without paying for anything twice.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Api(e) => e.is_retryable(),
            Self::InFlight(_) | Self::Outdated(_) => true,
            Self::Ledger(e) => e.is_transient,
            _ => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidInput(message) | Self::Doubt(message) => f.write_str(message),
            Self::Input(problems) => problems.fmt(f),
            Self::Api(e) => e.fmt(f),
            Self::Io(e) => e.fmt(f),
            Self::Journal(e) => e.fmt(f),
            Self::ChangedRequest(key) => write!(
                f,
                "changed_request: {key} stands in the journal with another request, whose job may exist; \
                 restore the line, or give the changed one a new custom_id"
            ),
            Self::InFlight(key) => write!(f, "{key} is being submitted elsewhere; try again in some minutes"),
            Self::Outdated(key) => write!(f, "{key} has changed in the journal meanwhile; read it again"),
            Self::Cap(e) => e.fmt(f),
            Self::Stopped => f.write_str("the run was stopped before this was sent; run again to go on"),
            Self::LedgerFailed => f.write_str(
                "the journal could not be written, so that nothing more is sent; free the disk, append every line \
                 that was printed, then run again",
            ),
            Self::Ledger(e) => e.fmt(f),
            Self::NotRecorded(e) => e.fmt(f),
        }
    }
}

/// The line of `Display`; with `{:#?}`, as of `dbg!`, all fields.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            return fmt::Display::fmt(self, f);
        }
        let (name, fields): (_, &dyn fmt::Debug) = match self {
            Self::InvalidInput(message) => ("InvalidInput", message),
            Self::Input(problems) => ("Input", problems),
            Self::Api(e) => ("Api", e),
            Self::Io(e) => ("Io", e),
            Self::Journal(e) => ("Journal", e),
            Self::ChangedRequest(key) => ("ChangedRequest", key),
            Self::InFlight(key) => ("InFlight", key),
            Self::Outdated(key) => ("Outdated", key),
            Self::Cap(e) => ("Cap", e),
            Self::Stopped => return f.write_str("Stopped"),
            Self::LedgerFailed => return f.write_str("LedgerFailed"),
            Self::Doubt(message) => ("Doubt", message),
            Self::Ledger(e) => ("Ledger", e),
            Self::NotRecorded(e) => ("NotRecorded", e),
        };
        f.debug_tuple(name).field(fields).finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Api(e) => Some(e),
            Self::Io(e) => Some(&e.source),
            Self::Journal(e) => std::error::Error::source(e.as_ref()),
            Self::Ledger(e) => e.source.as_deref().map(|source| source as _),
            Self::NotRecorded(e) => Some(&e.source),
            _ => None,
        }
    }
}

impl From<luma_agents::Error> for Error {
    fn from(error: luma_agents::Error) -> Self {
        Self::Api(error)
    }
}

/// A local file could not be read or written.
#[derive(Debug)]
#[non_exhaustive]
pub struct IoError {
    /// What was being done, such as `write`.
    pub action: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Why it failed.
    pub source: io::Error,
}

impl fmt::Display for IoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}: {}", self.action, self.path.display(), self.source)
    }
}

/// A ledger that is no journal, and why it cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub struct LedgerError {
    /// What is wrong, and what to do about it: one line without any secret.
    pub message: String,
    /// Whether the same call may succeed later, such as after a lost connection.
    pub is_transient: bool,
    /// The cause.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl LedgerError {
    /// What is wrong, for good.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), is_transient: false, source: None }
    }

    /// The same call may succeed later.
    #[must_use]
    pub fn transient(self, is_transient: bool) -> Self {
        Self { is_transient, ..self }
    }

    /// The cause.
    #[must_use]
    pub fn source(self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { source: Some(Box::new(source)), ..self }
    }
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<LedgerError> for Error {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(Box::new(error))
    }
}

/// A journal that cannot be used, and why.
#[derive(Debug)]
#[non_exhaustive]
pub struct JournalError {
    /// The journal.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: JournalProblem,
}

/// Why a journal cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum JournalProblem {
    /// Another process has it open.
    InUse,
    /// The file system has no locks, and a lock file of another host or boot is there.
    LockFile {
        /// The lock file.
        path: PathBuf,
        /// Who made it.
        holder: String,
    },
    /// A line that was safely on disk is bad or missing.
    Damaged {
        /// The number of the line, from 1.
        line: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A newer version of this crate wrote it.
    Newer {
        /// What is unknown.
        what: String,
    },
    /// It was moved to a database.
    Moved {
        /// Which one.
        database: String,
    },
    /// Another program has written to it meanwhile.
    ForeignWriter,
    /// An earlier write or sync failed, so that nothing more is written by this process.
    Closed,
    /// It holds another account's jobs, or those of another service.
    OtherAccount {
        /// The base URL of the jobs.
        recorded: String,
        /// The base URL of the client.
        current: String,
        /// The job that was not found.
        id: Uuid,
    },
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.problem {
            JournalProblem::InUse => {
                write!(f, "{path} is in use by another process; wait until it ends, or stop it")
            }
            JournalProblem::LockFile { path: lock, holder } => write!(
                f,
                "{path} was locked by {holder}; make sure that this process no longer runs, then remove {}",
                lock.display()
            ),
            JournalProblem::Damaged { line, reason } => write!(
                f,
                "{path} is damaged at line {line}: {reason}; nothing was sent. Call `repair`, or run `luma batch repair \
                 {path}`: it keeps every good line"
            ),
            JournalProblem::Newer { what } => {
                write!(f, "{path} was written by a newer version ({what}); update this program")
            }
            JournalProblem::Moved { database } => {
                write!(f, "{path} was moved to the database {database}; go on there")
            }
            JournalProblem::ForeignWriter => {
                write!(f, "another program has changed {path}; nothing more is sent. Find it, then run again")
            }
            JournalProblem::Closed => {
                write!(f, "{path} cannot be written since an earlier error; free the disk, then run again")
            }
            JournalProblem::OtherAccount { recorded, current, id } => write!(
                f,
                "{path} has jobs at {recorded}, and {id} is not known at {current} with this key; check the base URL \
                 and the key, or take another journal"
            ),
        }
    }
}

impl std::error::Error for JournalError {}

/// The cap on a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CapReached {
    /// The cost would be passed.
    Usd {
        /// The cap.
        cap: Usd,
        /// What may have been spent.
        spent: Usd,
        /// The price of the next job; `None` if it is not known.
        price: Option<Usd>,
    },
    /// The number of jobs would be passed.
    Jobs {
        /// The cap.
        cap: u64,
    },
}

impl fmt::Display for CapReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usd { cap, spent, price: Some(price) } => {
                write!(
                    f,
                    "the cap of ${cap} is reached: up to ${spent} spent, ${price} for the next job; raise the cap to go on"
                )
            }
            Self::Usd { cap, price: None, .. } => {
                write!(
                    f,
                    "the price of this request is not known, so the cap of ${cap} cannot be kept; remove the cap or the line"
                )
            }
            Self::Jobs { cap } => {
                let jobs = if *cap == 1 { "job" } else { "jobs" };
                write!(f, "the cap of {cap} {jobs} is reached; raise the cap to go on")
            }
        }
    }
}

/// Lines that the ledger could not write, after money was spent.
#[derive(Debug)]
#[non_exhaustive]
pub struct NotRecorded {
    /// The journal or database.
    pub ledger: String,
    /// The job.
    pub key: Key,
    /// Its id, if the service gave one.
    pub id: Option<Uuid>,
    /// The very line to append.
    pub line: String,
    /// Why it could not be written.
    pub source: Error,
}

impl NotRecorded {
    /// What became of `key` could not be written because of `source`.
    #[must_use]
    pub fn new(ledger: impl Into<String>, key: Key, id: Option<Uuid>, line: impl Into<String>, source: Error) -> Self {
        Self { ledger: ledger.into(), key, id, line: line.into(), source }
    }
}

impl fmt::Display for NotRecorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} could not be written ({}); append this line to it: {}", self.ledger, self.source, self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        input::{Input, Known},
        key::CustomId,
    };

    #[test]
    fn debug_of_an_error_is_the_line_that_display_prints_and_has_all_fields_where_it_is_asked_for() {
        let key = || Key::new(Uuid::nil(), CustomId::new("a").unwrap());
        let io = || Error::io("write", "a.journal.jsonl", io::Error::other("no space"));
        let journal = JournalError { path: "a.journal.jsonl".into(), problem: JournalProblem::InUse };
        let input = Input::spool(br#"{"custom_id":"a","body":{"prompt":7}}"#.as_slice(), ".").unwrap();
        for (error, fields) in [
            (Error::invalid_input("no file"), "InvalidInput(\n    \"no file\""),
            (input.check().run(|_| Known::default()).unwrap_err(), "Input(\n    Problems {"),
            (Error::Api(luma_agents::Client::new("").unwrap_err()), "Api(\n    InvalidInput("),
            (io(), "Io(\n    IoError {"),
            (Error::Journal(Box::new(journal)), "Journal(\n    JournalError {"),
            (Error::ChangedRequest(key()), "ChangedRequest(\n    Key {"),
            (Error::InFlight(key()), "InFlight(\n    Key {"),
            (Error::Outdated(key()), "Outdated(\n    Key {"),
            (Error::Cap(Box::new(CapReached::Jobs { cap: 3 })), "Cap(\n    Jobs {"),
            (Error::Stopped, "Stopped"),
            (Error::LedgerFailed, "LedgerFailed"),
            (Error::Doubt("too young".to_owned()), "Doubt(\n    \"too young\""),
            (LedgerError::new("no tables").into(), "Ledger(\n    LedgerError {"),
            (Error::NotRecorded(Box::new(NotRecorded::new("a", key(), None, "{}", io()))), "NotRecorded(\n    NotRec"),
        ] {
            let line = format!("{error:?}");
            assert_eq!((line.lines().count(), &line), (1, &error.to_string()));
            let all = format!("{error:#?}");
            assert!(all.starts_with(fields), "{all}");
        }
    }
}
