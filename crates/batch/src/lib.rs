#![doc = include_str!("../README.md")]

pub mod conformance;
mod digest;
mod doubt;
pub mod error;
pub mod estimate;
mod fingerprint;
pub mod input;
mod journal;
#[doc = include_str!("../docs/journal.md")]
pub mod journal_v1 {}
mod key;
mod ledger;
pub mod output;
pub mod progress;
pub mod quota;
mod run;
mod submit;
pub mod upload;
mod usd;

pub use self::{
    digest::Sha256,
    doubt::{DoubtLedger, Doubts},
    error::{Error, Result},
    fingerprint::{fingerprint, local_path},
    journal::{Journal, JournalView, Repair, Run, Uploaded, repair},
    key::{CustomId, Key},
    ledger::{
        Attempt, Begin, Book, Cap, Decision, Doubt, Event, Intent, Last, Ledger, MemoryLedger, NoJob, SavedFile, Spent,
        State, Ticket,
    },
    quota::Quota,
    run::{Batch, End, Job, Opened, Policy, Report, Running, Stop},
    submit::{Accepted, Submission, Submitted, Submitter},
    usd::Usd,
};
