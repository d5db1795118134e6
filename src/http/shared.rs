//! What all calls of a client share: connections, the key, what is known of limits and of the service's clock.

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use http::HeaderValue;

use super::{key::ApiKey, throttle::Throttles};
use crate::{
    error::{Error, Result},
    rate_limit::RateLimit,
    util::{redact, server_clock::ServerClock},
};

/// What all calls of a client share.
pub(crate) struct Shared {
    /// For what may be sent again.
    pub(crate) http: reqwest::Client,
    /// For everything else: it keeps no connections. A kept connection may be closed by the server
    /// at the moment of sending, and on HTTP/1 nothing then shows whether the request was handled.
    /// A new one also belongs to the runtime of the caller.
    pub(crate) fresh_http: FreshHttp,
    pub(crate) base_url: reqwest::Url,
    pub(crate) key: ApiKey,
    /// Host and port of the API.
    pub(crate) server: (String, u16),
    pub(crate) user_agent: HeaderValue,
    pub(crate) max_response_bytes: usize,
    pub(crate) throttles: Throttles,
    pub(crate) last_rate_limit: Mutex<Option<RateLimit>>,
    /// Waits tell the age of a job by it.
    pub(crate) server_clock: Arc<ServerClock>,
}

type Build = Box<dyn Fn() -> Result<reqwest::Client> + Send + Sync>;

/// A client that is built when it is first used: to load the CA certificates takes longer than most reads.
pub(crate) struct FreshHttp {
    client: OnceLock<reqwest::Client>,
    build: Option<Build>,
}

impl FreshHttp {
    pub(crate) fn lazy(build: impl Fn() -> Result<reqwest::Client> + Send + Sync + 'static) -> Self {
        Self { client: OnceLock::new(), build: Some(Box::new(build)) }
    }

    pub(super) fn get(&self) -> Result<&reqwest::Client> {
        if let (None, Some(build)) = (self.client.get(), &self.build) {
            // Of two that are built at once, one is dropped.
            let _ = self.client.set(build()?);
        }
        self.client.get().ok_or_else(|| Error::invalid_input("there is no HTTP client"))
    }
}

impl From<reqwest::Client> for FreshHttp {
    fn from(client: reqwest::Client) -> Self {
        Self { client: client.into(), build: None }
    }
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn the_client_of_submissions_is_built_once_it_is_needed_and_only_once() {
        let built = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&built);
        let http = FreshHttp::lazy(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok(reqwest::Client::new())
        });
        assert_eq!(built.load(Ordering::Relaxed), 0);
        for _ in 0..2 {
            http.get().expect("a client");
        }
        assert_eq!(built.load(Ordering::Relaxed), 1);
    }
}
