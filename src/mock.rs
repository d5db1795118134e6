//! Tests without the network (feature `mock`): typed mocks of every operation.

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

pub use generated::{MockServerExt, operations};
