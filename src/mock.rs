//! Tests without the network (feature `mock`): an [`Emulator`] of the service, and typed mocks of
//! every operation for answers that it would never give.

mod answer;
mod api;
mod contract;
mod emulator;
mod picture;
mod script;
mod storage;
mod world;

#[allow(
    missing_docs,
    missing_debug_implementations,
    unused_imports,
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    reason = "generated from openapi.yaml"
)]
mod generated {
    use crate::generated::types;

    include!(concat!(env!("OUT_DIR"), "/mock.rs"));
}

pub use answer::{Answer, Operation};
pub use emulator::Emulator;
pub use script::{Ingest, Script, Transfer};
pub use world::Request;

pub use generated::{MockServerExt, operations};
