//! What all calls of a client share: connections, the key, what is known of limits.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use http::HeaderValue;

use super::{key::ApiKey, throttle::Throttles};
use crate::{rate_limit::RateLimit, util::redact};

/// What all calls of a client share.
pub(crate) struct Shared {
    /// For what may be sent again.
    pub(crate) http: reqwest::Client,
    /// For everything else: it keeps no connections. A kept connection may be closed by the server
    /// at the moment of sending, and on HTTP/1 nothing then shows whether the request was handled.
    /// A new one also belongs to the runtime of the caller.
    pub(crate) fresh_http: reqwest::Client,
    pub(crate) key: ApiKey,
    /// Host and port of the API.
    pub(crate) server: (String, u16),
    pub(crate) user_agent: HeaderValue,
    pub(crate) max_response_bytes: usize,
    pub(crate) throttles: Throttles,
    pub(crate) last_rate_limit: Mutex<Option<RateLimit>>,
}

impl Shared {
    /// The limit on submitted generations, as the service last gave it.
    pub(crate) fn rate_limit(&self) -> Option<RateLimit> {
        *self.last_rate_limit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_rate_limit(&self, limit: Option<RateLimit>) {
        if limit.is_some() {
            *self.last_rate_limit.lock().unwrap_or_else(PoisonError::into_inner) = limit;
        }
    }

    /// One short line of foreign text without secrets.
    pub(crate) fn excerpt(&self, text: &str) -> String {
        redact::excerpt(&self.key.hide_in(text))
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("max_response_bytes", &self.max_response_bytes).finish_non_exhaustive()
    }
}
