//! [`Client`]: the settings and connections that all calls share. It names no resource; each of its
//! methods for one stands beside what it returns.

pub(crate) mod builder;
pub(crate) mod call;

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    http::{retry::Retry, shared::Shared, transport::CallOptions},
    rate_limit::RateLimit,
    raw::{self, CallState},
    wait::{Pace, Polls},
};

/// A client of the Luma Agents API. Clones are cheap and share connections, limits and the key.
///
/// [`generations`](Self::generations) submits and waits, [`files`](Self::files) uploads,
/// [`download`](Self::download) saves outputs, and [`check`](Self::check) proves key, base URL and TLS
/// free of charge. [`builder`](Self::builder) has the settings.
///
/// ```no_run
/// # async fn example() -> luma_agents::Result<()> {
/// use luma_agents::{Client, types::CreateGeneration};
///
/// let luma = Client::from_env()?;
/// let request = CreateGeneration::builder().prompt("A lighthouse at dusk");
/// let job = luma.generations().create_and_wait(request);
/// let saved = job.save("lighthouse.png").await?;
/// # Ok(()) }
/// ```
///
/// # Runtimes
///
/// A submission, like all that must not be sent twice, goes out on a connection of its own, made in
/// the runtime of its caller. Reads share kept connections, and each of those is driven by the runtime
/// in which it was made: when that runtime is blocked or gone, reads on it fail and are sent again.
/// Use one runtime for the life of a client, or a client for each runtime.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    retry: Retry,
    timeout: Duration,
    submit_timeout: Duration,
    connect_timeout: Duration,
    idle_timeout: Duration,
    pace: Pace,
    polls: Polls,
}

impl Client {
    /// The limit on submitted generations, as the service last sent it to this client.
    #[must_use]
    pub fn rate_limit(&self) -> Option<RateLimit> {
        self.inner.shared.rate_limit()
    }

    /// Where the API is, in one form however it was given: the host in lower case, no default port, no
    /// slash at the end.
    #[must_use]
    pub fn base_url(&self) -> &str {
        self.inner.shared.base_url.as_str().trim_end_matches('/')
    }

    pub(crate) fn call_state(&self) -> CallState {
        CallState::new(Arc::clone(&self.inner.shared), self.options())
    }

    pub(crate) fn raw(&self, state: CallState) -> raw::Client {
        raw::Client::new_with_client(self.base_url(), self.inner.shared.http.clone(), state)
    }

    pub(crate) fn options(&self) -> CallOptions {
        CallOptions::new(self.inner.retry, self.inner.timeout)
    }

    pub(crate) fn submit_timeout(&self) -> Duration {
        self.inner.submit_timeout
    }

    pub(crate) fn idle_timeout(&self) -> Duration {
        self.inner.idle_timeout
    }

    pub(crate) fn pace(&self) -> Pace {
        self.inner.pace
    }

    pub(crate) fn polls(&self) -> Polls {
        self.inner.polls.clone()
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.inner.shared
    }
}

/// What a report of a problem needs, and no secret: version, features, base URL, limits of time.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("version", &env!("CARGO_PKG_VERSION"))
            .field("features", &features())
            .field("base_url", &self.base_url())
            .field("retry", &self.inner.retry)
            .field("timeout", &self.inner.timeout)
            .field("submit_timeout", &self.inner.submit_timeout)
            .field("connect_timeout", &self.inner.connect_timeout)
            .field("idle_timeout", &self.inner.idle_timeout)
            .field("pace", &self.inner.pace)
            .finish_non_exhaustive()
    }
}

fn features() -> Vec<&'static str> {
    let features = [
        ("rustls", cfg!(feature = "rustls")),
        ("rustls-no-provider", cfg!(feature = "rustls-no-provider")),
        ("native-tls", cfg!(feature = "native-tls")),
        ("socks", cfg!(feature = "socks")),
        ("schemars", cfg!(feature = "schemars")),
        ("emulator", cfg!(feature = "emulator")),
        ("mock", cfg!(feature = "mock")),
    ];
    features.into_iter().filter(|(_, is_on)| *is_on).map(|(name, _)| name).collect()
}
