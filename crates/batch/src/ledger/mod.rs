//! The ledger: what is about to be paid for stands in it before the request goes out.

pub(crate) mod book;
mod memory;
mod rules;
#[cfg(test)]
mod tests;

use std::fmt;

use chrono::{DateTime, Utc};
use futures_util::Stream;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::{
    book::{Book, Cap, Decision},
    memory::MemoryLedger,
};
use crate::{digest::Sha256, error::Result, key::Key, usd::Usd};

/// Where the intents of a batch and their ends are written down.
///
/// A ledger decides who may send: [`begin`](Self::begin) is the only way to a [`Ticket`], and gives one only when no
/// job can exist under the key. It is on disk when it returns. [`conformance`](crate::conformance) tests an
/// implementation.
pub trait Ledger: Send + Sync {
    /// Asks to submit under `key`. `Fresh` means: the intent is safely written, send exactly one request with its id.
    ///
    /// Called again with the same request id while that intent is open, it gives the same ticket again.
    ///
    /// An intent whose `begin` is dropped before it returns may have been written. It is in flight as long as the
    /// holder lives, and in doubt after that.
    ///
    /// # Errors
    ///
    /// [`ChangedRequest`](crate::Error::ChangedRequest), [`Outdated`](crate::Error::Outdated) if
    /// [`Intent::after`] is not the last try, [`Cap`](crate::Error::Cap), and where nothing can be written. With an
    /// error nothing may be sent.
    fn begin(&self, key: &Key, intent: &Intent) -> impl Future<Output = Result<Begin>> + Send;

    /// What [`begin`](Self::begin) would reply without writing anything; `None` where it would be `Fresh`. So a key
    /// that is known waits for no place.
    ///
    /// # Errors
    ///
    /// As `begin`.
    fn peek(&self, key: &Key, intent: &Intent) -> impl Future<Output = Result<Option<Begin>>> + Send;

    /// Waits until the account's limits leave room for this intent, for a ledger that shares them out itself. What
    /// passes here may still find [`Begin::NoPlace`]. By default it waits for nothing.
    ///
    /// # Errors
    ///
    /// Where nothing can be read.
    ///
    /// # Cancel safety
    ///
    /// Dropping it leaves the line.
    fn admit(&self, key: &Key, intent: &Intent) -> impl Future<Output = Result<()>> + Send {
        let _ = (key, intent);
        async { Ok(()) }
    }

    /// Records what became of a try. May be repeated: what stands there already changes nothing.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::Error::InvalidInput) for an event that contradicts what is recorded;
    /// [`NotRecorded`](crate::Error::NotRecorded) where it could not be written.
    fn record(&self, ticket: &Ticket, event: &Event) -> impl Future<Output = Result<()>> + Send;

    /// What is known of one key. Takes no place and writes nothing.
    ///
    /// # Errors
    ///
    /// Where nothing can be read.
    fn get(&self, key: &Key) -> impl Future<Output = Result<Option<Last>>> + Send;

    /// What is known of every key: what is open, and how each other one ended.
    fn last(&self) -> impl Stream<Item = Result<(Key, Last)>> + Send;

    /// What the batch has cost so far.
    ///
    /// # Errors
    ///
    /// Where nothing can be read.
    fn spent(&self) -> impl Future<Output = Result<Spent>> + Send;
}

/// A request that is about to be sent, as the ledger writes it down before.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Intent {
    /// The try whose end the caller has seen. A next one begins only if that is still the last.
    pub after: Option<u32>,
    /// The `X-Request-Id` that the request will bear, a new one for every intent.
    pub request_id: Uuid,
    /// What the request is recognised by.
    pub fingerprint: Sha256,
    /// The model, `uni-1` if the request names none.
    pub model: String,
    /// The type, `image` if the request names none.
    pub kind: String,
    /// The estimated price, if it is known.
    pub usd: Option<Usd>,
    /// The units of the account's limits that it takes.
    pub weight: u32,
}

impl Intent {
    /// An intent with a new request id, of weight 1 and unknown price.
    #[must_use]
    pub fn new(fingerprint: Sha256, model: impl Into<String>, kind: impl Into<String>) -> Self {
        let (request_id, model, kind) = (Uuid::new_v4(), model.into(), kind.into());
        Self { after: None, request_id, fingerprint, model, kind, usd: None, weight: 1 }
    }
}

/// The ledger's reply to an intent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Begin {
    /// The intent is written: send one request, and record its end with this.
    Fresh(Ticket),
    /// The holder of an earlier intent lives: wait for its end.
    InFlight,
    /// The account's limits leave no room at the moment: wait for [`Ledger::admit`].
    NoPlace,
    /// There is a job.
    Accepted(Uuid),
    /// No job came of the last try. The next one begins with this number as [`Intent::after`].
    Rejected {
        /// The last try.
        after: u32,
        /// Why there is no job.
        reason: NoJob,
    },
    /// The last job failed. The next try begins with this number as [`Intent::after`].
    Failed {
        /// The last try.
        after: u32,
        /// The job.
        id: Uuid,
        /// Why it failed, if the service said.
        code: Option<String>,
    },
    /// A job may exist, and nobody knows. Nothing is sent until somebody has decided.
    InDoubt(Doubt),
}

/// Why a try has no job.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoJob {
    /// The request certainly was not sent or not processed.
    NotSent,
    /// The service rejected it.
    Rejected {
        /// The HTTP status.
        status: u16,
        /// What kind of rejection it was, such as `invalid_request`.
        kind: String,
    },
    /// It was in doubt, and somebody decided that it may be sent again.
    Settled,
}

/// The right to send one request, and the place where its end is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ticket {
    /// The job.
    pub key: Key,
    /// Which try of it, from 1.
    pub attempt: u32,
}

impl Ticket {
    /// The ticket of a try that the ledger has.
    #[must_use]
    pub fn new(key: Key, attempt: u32) -> Self {
        Self { key, attempt }
    }
}

/// What became of a try, as a ledger records it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The request was certainly not sent or not processed.
    NotSent {
        /// What broke, in a few words without any content of the request.
        fault: String,
    },
    /// The service rejected it.
    Rejected {
        /// The HTTP status.
        status: u16,
        /// What kind of rejection it was, such as `invalid_request`.
        kind: String,
    },
    /// There is a job.
    Accepted {
        /// The job.
        id: Uuid,
    },
    /// Nobody knows whether there is a job.
    Unknown {
        /// What broke, in a few words without any content of the request.
        fault: String,
    },
    /// The job is completed.
    Completed {
        /// The job.
        id: Uuid,
    },
    /// The job failed.
    Failed {
        /// The job.
        id: Uuid,
        /// Why, if the service said.
        code: Option<String>,
    },
    /// Its outputs are on disk.
    Saved {
        /// The job.
        id: Uuid,
        /// The first output.
        file: SavedFile,
        /// The further outputs.
        more: Vec<SavedFile>,
    },
    /// Ends a doubt: support has found the job.
    Found {
        /// The job.
        id: Uuid,
    },
    /// Ends a doubt: there is no job.
    None,
    /// Ends a doubt: send it again, at the risk of paying twice.
    Resend,
}

/// An output that was saved to disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedFile {
    /// Where, relative to the folder of the journal.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its content.
    pub sha256: Sha256,
}

impl SavedFile {
    /// An output on disk.
    #[must_use]
    pub fn new(path: impl Into<String>, bytes: u64, sha256: Sha256) -> Self {
        Self { path: path.into(), bytes, sha256 }
    }
}

/// What a ledger knows of a key: its tries.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Last {
    /// The number of the last try: what [`Intent::after`] names. 0 if there was none, but a damaged journal may have
    /// lost one.
    pub last: u32,
    /// The try that counts: one with a job that has not failed, else the last one.
    pub attempt: Attempt,
    /// The other tries that have a job or may have one, such as one that was accepted late.
    pub others: Vec<Attempt>,
}

/// One try of a key: a request that was to be sent, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// Its number, from 1.
    pub number: u32,
    /// The request id that it bears. Like the fingerprint it is unknown where a damaged journal lost the intent.
    pub request_id: Option<Uuid>,
    /// What the request is recognised by.
    pub fingerprint: Option<Sha256>,
    /// The model of the request.
    pub model: String,
    /// The type of the request.
    pub kind: String,
    /// The estimated price, if it is known.
    pub usd: Option<Usd>,
    /// The units of the account's limits that it takes.
    pub weight: u32,
    /// When the intent was written.
    pub begun: DateTime<Utc>,
    /// When the last event was recorded, such as the acceptance of an accepted job.
    pub at: DateTime<Utc>,
    /// How it stands.
    pub state: State,
}

impl Attempt {
    /// A try as its intent says, which was written at this time.
    #[must_use]
    pub fn new(number: u32, intent: &Intent, at: DateTime<Utc>, state: State) -> Self {
        Self {
            number,
            request_id: Some(intent.request_id),
            fingerprint: Some(intent.fingerprint),
            model: intent.model.clone(),
            kind: intent.kind.clone(),
            usd: intent.usd,
            weight: intent.weight,
            begun: at,
            at,
            state,
        }
    }
}

/// How a try stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// Its holder lives, and is sending it.
    InFlight,
    /// A job may exist, and nobody knows.
    InDoubt {
        /// What broke, if that was recorded.
        fault: Option<String>,
    },
    /// There is no job.
    NoJob(NoJob),
    /// There is a job.
    Accepted {
        /// The job.
        id: Uuid,
    },
    /// The job is completed.
    Completed {
        /// The job.
        id: Uuid,
    },
    /// The job failed.
    Failed {
        /// The job.
        id: Uuid,
        /// Why, if the service said.
        code: Option<String>,
    },
    /// Its outputs are on disk.
    Saved {
        /// The job.
        id: Uuid,
        /// The first output.
        file: SavedFile,
        /// The further outputs.
        more: Vec<SavedFile>,
    },
    /// Somebody decided to send it again, at the risk that a job exists.
    Resent,
}

impl State {
    /// The job, if there is one.
    #[must_use]
    pub fn id(&self) -> Option<Uuid> {
        match self {
            Self::Accepted { id } | Self::Completed { id } | Self::Failed { id, .. } | Self::Saved { id, .. } => {
                Some(*id)
            }
            _ => None,
        }
    }

    /// Whether the job is paid for and has not failed.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Accepted { .. } | Self::Completed { .. } | Self::Saved { .. })
    }
}

/// A try of which nobody knows whether there is a job.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Doubt {
    /// The key.
    pub key: Key,
    /// The try, 0 where a damaged journal may have lost it.
    pub attempt: u32,
    /// The request id to give to support. Unknown where a damaged journal may have lost the intent.
    pub request_id: Option<Uuid>,
    /// What the request is recognised by.
    pub fingerprint: Option<Sha256>,
    /// When the intent was written, or the journal repaired.
    pub since: DateTime<Utc>,
    /// What broke, if that was recorded.
    pub fault: Option<String>,
    /// The job that a sidecar in the folder of the outputs names. Known to a run only.
    pub job: Option<Uuid>,
}

impl Doubt {
    pub(crate) fn fmt_without_key(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a job may exist")?;
        match self.request_id {
            Some(id) => write!(f, " (request {id}, {})", self.since.format("%Y-%m-%d %H:%M:%S UTC"))?,
            None => f.write_str(" (its line in the journal may be lost)")?,
        }
        let id = &self.key.custom_id;
        match self.job {
            Some(job) => write!(
                f,
                "; its sidecar names the job {job}: call `Doubts::found`, or run `luma batch doubt FILE --found {id}={job}`"
            ),
            None => write!(
                f,
                "; ask support with the request id, then call `Doubts::found` (or `none`), or run `luma batch doubt FILE \
                 --found {id}=ID` (or `--none {id}`)"
            ),
        }
    }
}

/// One line: the key, what to give to support, and what to do then.
impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.key)?;
        self.fmt_without_key(f)
    }
}

/// What a batch has cost so far, by the estimates in its intents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Spent {
    /// Accepted, less what is refunded.
    pub low: Usd,
    /// The same and what is in flight, in doubt, or was resent out of doubt.
    pub high: Usd,
    /// How many tries have a job or may have one, the failed included.
    pub jobs: u64,
    /// How many of them have no known price.
    pub unpriced: u64,
}
