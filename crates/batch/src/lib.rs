#![doc = include_str!("../README.md")]

mod digest;
pub mod error;
pub mod estimate;
mod fingerprint;
mod journal;
mod key;
mod key;
mod ledger;
pub mod quota;
mod usd;

pub use self::{
    digest::Sha256,
    error::{Error, Result},
    fingerprint::{fingerprint, local_path},
    journal::{Journal, JournalView, Repair, Run, Uploaded, repair},
    key::{CustomId, Key},
    ledger::{
        Attempt, Begin, Cap, Doubt, Event, Intent, Last, Ledger, MemoryLedger, NoJob, SavedFile, Spent, State, Ticket,
    },
    quota::Quota,
    usd::Usd,
};
