//! What reads bytes of strangers, for fuzzing and property tests. Not part of the API of this crate.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue};
use serde::{Serialize, de::DeserializeOwned};

use crate::{redact, retry, transport, types};

/// `Retry-After`: a day at most.
#[must_use]
pub fn retry_after(value: &[u8]) -> Option<Duration> {
    header("retry-after", value)
}

/// `Retry-After-Ms`: a day at most.
#[must_use]
pub fn retry_after_ms(value: &[u8]) -> Option<Duration> {
    header("retry-after-ms", value)
}

fn header(name: &'static str, value: &[u8]) -> Option<Duration> {
    let headers = HeaderMap::from_iter([(http::HeaderName::from_static(name), HeaderValue::from_bytes(value).ok()?)]);
    retry::retry_after(&headers, SystemTime::UNIX_EPOCH)
}

/// The text of an error's body, as it is printed.
#[must_use]
pub fn detail(body: &[u8]) -> String {
    redact::excerpt(&transport::detail(body).unwrap_or_else(|| transport::text(body)))
}

/// What becomes of it when it is written again, or `None` if it cannot be read.
fn again<T: DeserializeOwned + Serialize + std::fmt::Debug>(body: &[u8]) -> Option<serde_json::Value> {
    let value: T = serde_json::from_slice(body).ok()?;
    let _ = format!("{value:?}");
    serde_json::to_value(value).ok()
}

/// [`Generation`](types::Generation), written again; what it can tell of itself is asked too.
#[must_use]
pub fn generation(body: &[u8]) -> Option<serde_json::Value> {
    if let Ok(generation) = serde_json::from_slice::<types::Generation>(body) {
        let _ = (generation.layers(), crate::wait::Job::age(&generation), crate::wait::Job::timing(&generation));
    }
    again::<types::Generation>(body)
}

/// [`GenerationOutput`](types::GenerationOutput), written again.
#[must_use]
pub fn generation_output(body: &[u8]) -> Option<serde_json::Value> {
    again::<types::GenerationOutput>(body)
}

/// [`File`](types::File), written again.
#[must_use]
pub fn file(body: &[u8]) -> Option<serde_json::Value> {
    again::<types::File>(body)
}

/// [`FilePage`](types::FilePage), written again.
#[must_use]
pub fn file_page(body: &[u8]) -> Option<serde_json::Value> {
    again::<types::FilePage>(body)
}

/// [`CreateFileResponse`](types::CreateFileResponse), written again.
#[must_use]
pub fn create_file_response(body: &[u8]) -> Option<serde_json::Value> {
    again::<types::CreateFileResponse>(body)
}
