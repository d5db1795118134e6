#![doc = include_str!("../README.md")]

// First, so that the pages of these types begin with how they are made.
mod database;
mod worker;

mod account;
mod batches;
mod doubts;
mod error;
mod holder;
mod import;
mod ledger;
mod migrate;
mod quota;
mod record;
mod requests;
mod rows;
mod sweep;
mod unfinished;
mod view;

pub use self::{
    account::Account,
    batches::BatchRow,
    database::{Database, Settings},
    doubts::PgDoubts,
    import::Imported,
    ledger::PgLedger,
    quota::{PgQuota, QuotaStatus, Turn},
    sweep::{OpenJob, Settled},
    view::View,
    worker::Worker,
};
