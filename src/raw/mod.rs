//! The generated client: every operation of the API, for [`Client::call`](crate::Client::call).

#[allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    unused_imports,
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::large_futures,
    clippy::result_large_err,
    clippy::allow_attributes_without_reason,
    rustdoc::broken_intra_doc_links,
    reason = "generated from openapi.yaml"
)]
mod client;
pub(crate) mod send;
mod state;

pub use client::{Client, Error, ResponseValue, builder};
pub use state::CallState;
pub(crate) use state::Record;
