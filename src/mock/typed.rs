//! Typed mocks of single operations, on httpmock.

use httpmock::MockServer;

use crate::{client::Client, error::Result, http::key::ApiKey};

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
    use crate::types;

    include!(concat!(env!("OUT_DIR"), "/mock.rs"));
}

pub use generated::{MockServerExt, operations};

/// A client of `server`.
///
/// # Errors
///
/// No error as long as the server listens on this machine.
pub fn client(server: &MockServer) -> Result<Client> {
    Client::builder(ApiKey::new("luma-api-mock")?).base_url(server.base_url()).build()
}
