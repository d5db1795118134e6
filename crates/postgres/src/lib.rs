#![doc = include_str!("../README.md")]

mod account;
mod batches;
mod database;
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
mod worker;

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
