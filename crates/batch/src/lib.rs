#![doc = include_str!("../README.md")]

mod digest;
pub mod error;
mod fingerprint;
mod journal;
mod key;
mod ledger;
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
    usd::Usd,
};
