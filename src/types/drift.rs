//! Logs values that the API has added, once for each: at debug level, on the target
//! `luma_agents::drift`. Nothing else changes; the value is kept.
//!
//! Unknown fields are not logged: to notice them, every response would have to be decoded twice.

use std::{
    collections::HashSet,
    sync::{LazyLock, Mutex, PoisonError},
};

/// Enough for every value an API could sensibly add; a hostile server cannot grow it further.
const REMEMBERED: usize = 256;

static SEEN: LazyLock<Mutex<HashSet<(&'static str, String)>>> = LazyLock::new(Mutex::default);

pub(crate) fn unknown_value(of: &'static str, value: &str) {
    if !tracing::enabled!(target: "luma_agents::drift", tracing::Level::DEBUG) {
        return;
    }
    let value: String = crate::util::redact::excerpt(value).chars().take(64).collect();
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if seen.len() < REMEMBERED && seen.insert((of, value.clone())) {
        tracing::debug!(
            target: "luma_agents::drift",
            of,
            value,
            "the service sent a value that this version of the crate does not know"
        );
    }
}
