//! Shared by the tests: a faulty server, a recording proxy, and checks against `openapi.yaml`.

pub(crate) mod capture;
pub(crate) mod contract_check;
pub(crate) mod document;
pub(crate) mod fault_server;
pub(crate) mod http2;
pub(crate) mod http2_stream;
pub(crate) mod recorder;
pub(crate) mod snapshot;
pub(crate) mod tls;
pub(crate) mod valid;

use std::{fmt::Write as _, time::Duration};

use luma_agents::{ApiKey, Client, ClientBuilder, Retry};

/// An API key that occurs nowhere else: wherever it is printed, it leaked.
pub(crate) const KEY: &str = "luma-api-hush-7f3a9c51";

/// The part of a signed URL that must never be printed.
pub(crate) const SIGNATURE: &str = "hush-51c9a3f7";

/// The limit of one attempt of a [`fast_builder`]: enough for a loaded machine.
pub(crate) const ATTEMPT: Duration = Duration::from_millis(500);

/// A client with limits in milliseconds: three attempts, delays of at most 8 ms.
pub(crate) fn fast_builder(base_url: impl Into<String>) -> ClientBuilder {
    let retry =
        Retry::default().first_delay(Duration::from_millis(4)).max_delay(Duration::from_millis(8)).budget(5 * ATTEMPT);
    Client::builder(ApiKey::new(KEY).unwrap())
        .base_url(base_url)
        .retry(retry)
        .timeout(ATTEMPT)
        .submit_timeout(ATTEMPT)
        .max_response_bytes(64 * 1024)
}

/// The error as text, in every form that a program can print.
pub(crate) fn printed(error: &luma_agents::Error) -> String {
    let mut text = format!("{error}\n{error:?}\n{error:#?}");
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        write!(text, "\n{inner}\n{inner:?}\n{inner:#?}").unwrap();
        source = inner.source();
    }
    text
}
