//! [`ClientBuilder`]: settings of a client, checked before anything is sent.

use std::{
    env::VarError,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::HeaderValue;

use super::{Client, Inner};
use crate::{
    error::{Error, Result},
    http::{
        key::ApiKey,
        retry::Retry,
        shared::{FreshHttp, Shared},
        throttle::Throttles,
        url::{base_url, is_loopback},
    },
    util::redact,
    wait::{Pace, Polls},
};

const BASE_URL: &str = "https://agents.lumalabs.ai/v1";
const BASE_URL_VARIABLE: &str = "LUMA_BASE_URL";
const USER_AGENT: &str = concat!("luma-agents-rust/", env!("CARGO_PKG_VERSION"));

/// How long a connection is kept for the next request.
const IDLE_CONNECTION: Duration = Duration::from_secs(25);

/// On the emulator nothing takes long. Real keys get what the service advises.
const EMULATOR_PACE: Duration = Duration::from_millis(10);

/// Waits started together by the thousand share this many connections.
const POLLS_IN_FLIGHT: usize = 64;

impl Client {
    /// A client with the key in `LUMA_AGENTS_API_KEY`, and the base URL in `LUMA_BASE_URL` if that is set.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] if the key is missing or malformed, or the base URL cannot be used.
    pub fn from_env() -> Result<Self> {
        ClientBuilder::from_env()?.build()
    }

    /// A client for `key`, with default settings. The environment is not read.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] if the key is malformed.
    pub fn new(key: impl Into<String>) -> Result<Self> {
        Self::builder(ApiKey::try_from(key.into())?).build()
    }

    /// Starts a client for `key` with other settings.
    pub fn builder(key: ApiKey) -> ClientBuilder {
        ClientBuilder::new(key)
    }
}

/// Settings of a [`Client`].
#[derive(Clone)]
#[must_use]
pub struct ClientBuilder {
    key: ApiKey,
    base_url: String,
    http: Option<reqwest::Client>,
    submit_http: Option<reqwest::Client>,
    user_agent: Option<String>,
    retry: Retry,
    timeout: Duration,
    submit_timeout: Duration,
    connect_timeout: Duration,
    idle_timeout: Duration,
    max_response_bytes: usize,
    pace: Pace,
}

impl ClientBuilder {
    /// The default settings, for `key`.
    pub fn new(key: ApiKey) -> Self {
        let pace = Some(EMULATOR_PACE).filter(|_| key.is_emulators());
        Self {
            key,
            base_url: BASE_URL.to_owned(),
            http: None,
            submit_http: None,
            user_agent: None,
            retry: Retry::default(),
            timeout: Duration::from_secs(30),
            submit_timeout: Duration::from_secs(180),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            max_response_bytes: 8 * 1024 * 1024,
            pace: Pace { first_after: pace, every: pace, ..Pace::default() },
        }
    }

    /// The default settings, with key and base URL from `LUMA_AGENTS_API_KEY` and `LUMA_BASE_URL`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] if the key is missing or malformed, or the base URL cannot be used: it
    /// names the variable.
    pub fn from_env() -> Result<Self> {
        let builder = Self::new(ApiKey::from_env()?);
        match std::env::var(BASE_URL_VARIABLE) {
            Ok(url) if !url.trim().is_empty() => match base_url(&url) {
                Ok(_) => Ok(builder.base_url(url)),
                Err(e) => {
                    Err(Error::invalid_input(format!("{BASE_URL_VARIABLE}: {}; correct or unset it", e.message())))
                }
            },
            Ok(_) | Err(VarError::NotPresent) => Ok(builder),
            // The default would send the requests elsewhere than the user meant.
            Err(VarError::NotUnicode(_)) => {
                Err(Error::invalid_input(format!("{BASE_URL_VARIABLE} is not valid Unicode: set it to an https URL")))
            }
        }
    }

    /// Where the API is, with the version in its path. Default `https://agents.lumalabs.ai/v1`.
    ///
    /// `https` only; `http` is accepted for this machine (loopback), for tests.
    pub fn base_url(self, base_url: impl Into<String>) -> Self {
        Self { base_url: base_url.into(), ..self }
    }

    /// A reqwest client of your own, for proxies, certificates or a shared pool of connections.
    ///
    /// **Build it with `redirect(Policy::none())` and without retries.** A client that follows
    /// redirects or retries by itself may send a paid request twice before this crate hears of it; a
    /// response from another URL is taken as an error. Its own timeouts and proxies hold;
    /// [`connect_timeout`](Self::connect_timeout) has no effect on it.
    ///
    /// It also sends submissions unless there is a [`submit_http_client`](Self::submit_http_client).
    pub fn http_client(self, http: reqwest::Client) -> Self {
        Self { http: Some(http), ..self }
    }

    /// A second reqwest client of your own, for requests that must not be sent twice, such as `create`.
    ///
    /// Build it as the first, and with `pool_max_idle_per_host(0)`. Without it, such a request may go
    /// out on a kept connection that the server is just closing, or that belongs to a runtime which is
    /// blocked or gone. It then ends in [`OutcomeUnknown`](Error::OutcomeUnknown), although nothing was
    /// created. With neither client set, this crate takes care of it.
    pub fn submit_http_client(self, http: reqwest::Client) -> Self {
        Self { submit_http: Some(http), ..self }
    }

    /// The name and version of your program, put in front of this crate's own in `User-Agent`.
    pub fn user_agent(self, product: impl Into<String>) -> Self {
        Self { user_agent: Some(product.into()), ..self }
    }

    /// When to send again. See [`Retry`] for the default.
    pub fn retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }

    /// Limit of one attempt of a call, response included. Default 30 s.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The same for submitting a generation, and for uploads that go along with their request. The
    /// service fetches the media that a generation refers to, up to about 18 s each, before it
    /// responds, and giving up early only leaves open what became of a paid request. Default three minutes.
    pub fn submit_timeout(self, submit_timeout: Duration) -> Self {
        Self { submit_timeout, ..self }
    }

    /// Limit for making a connection. Default 10 s.
    pub fn connect_timeout(self, connect_timeout: Duration) -> Self {
        Self { connect_timeout, ..self }
    }

    /// How long a download or upload may stand still. There is no limit to it as a whole. Default 30 s.
    pub fn idle_timeout(self, idle_timeout: Duration) -> Self {
        Self { idle_timeout, ..self }
    }

    /// Largest response to a call that is read, in bytes. Does not apply to downloads. Default 8 MiB.
    pub fn max_response_bytes(self, bytes: usize) -> Self {
        Self { max_response_bytes: bytes, ..self }
    }

    /// When waits poll jobs, unless they say otherwise: first after one delay, then at an interval.
    /// By default they follow the kind of job, and with the key of the emulator they poll every 10 ms. The interval
    /// is at least 10 ms.
    pub fn pace(mut self, first_after: Duration, every: Duration) -> Self {
        self.pace.first_after = Some(first_after);
        self.pace.every = Some(every);
        self
    }

    /// Checks the settings and builds the client. Nothing is sent.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] if the base URL or the user agent cannot be used, or TLS cannot be set up.
    pub fn build(self) -> Result<Client> {
        let base_url = base_url(&self.base_url)?;
        let user_agent = match &self.user_agent {
            Some(product) => HeaderValue::from_str(&format!("{} {USER_AGENT}", product.trim()))
                .map_err(|_| Error::invalid_input("the user agent has characters that a header cannot have"))?,
            None => HeaderValue::from_static(USER_AGENT),
        };
        let connect_timeout = self.connect_timeout;
        let fresh_http = match (&self.http, self.submit_http) {
            (_, Some(submit)) => submit.into(),
            (Some(http), None) => http.clone().into(),
            (None, None) => {
                let base_url = base_url.clone();
                FreshHttp::lazy(move || http_client(connect_timeout, &base_url, false))
            }
        };
        let http = match self.http {
            Some(http) => http,
            None => http_client(connect_timeout, &base_url, true)?,
        };
        let server =
            (base_url.host_str().unwrap_or_default().to_owned(), base_url.port_or_known_default().unwrap_or_default());
        let polls = Polls::new(POLLS_IN_FLIGHT);
        Ok(Client {
            inner: Arc::new(Inner {
                shared: Arc::new(Shared {
                    http,
                    fresh_http,
                    base_url,
                    key: self.key,
                    server,
                    user_agent,
                    max_response_bytes: self.max_response_bytes,
                    throttles: Throttles::default(),
                    last_rate_limit: Mutex::default(),
                    server_clock: Arc::clone(&polls.server_clock),
                }),
                retry: self.retry,
                timeout: self.timeout,
                submit_timeout: self.submit_timeout,
                connect_timeout: self.connect_timeout,
                idle_timeout: self.idle_timeout,
                pace: self.pace,
                polls,
            }),
        })
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("base_url", &redact::url(&self.base_url))
            .field("retry", &self.retry)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// `keep` says whether connections are kept for the next request.
fn http_client(connect_timeout: Duration, base_url: &reqwest::Url, keep: bool) -> Result<reqwest::Client> {
    let local = is_loopback(base_url);
    let builder = || {
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            // Attempts are counted here, and `NotProcessed` is what reqwest would send again by itself.
            .retry(reqwest::retry::never())
            .referer(false)
            // The send loop is what sends again, and counts.
            .retry(reqwest::retry::never())
            .connect_timeout(connect_timeout)
            // Load balancers close after a minute.
            .pool_idle_timeout(IDLE_CONNECTION);
        if !keep {
            builder = builder.pool_max_idle_per_host(0);
        }
        // What is allowed because it stays on this machine must not leave it by way of a proxy.
        if local { builder.no_proxy() } else { builder }
    };
    check_tls_provider()?;
    builder()
        .build()
        .or_else(
            |error| if local && base_url.scheme() == "http" { without_certificates(builder()) } else { Err(error) },
        )
        .map_err(|error| {
            Error::invalid_input(format!(
                "the HTTP client cannot be built: {}; if this machine has no CA certificates, install them (the \
                 package ca-certificates) or pass an `http_client` of your own",
                redact::root(&error)
            ))
        })
}

/// A machine without CA certificates can still talk to itself.
#[cfg(any(feature = "rustls", feature = "rustls-no-provider", feature = "native-tls"))]
fn without_certificates(builder: reqwest::ClientBuilder) -> reqwest::Result<reqwest::Client> {
    builder.tls_certs_only([]).build()
}

#[cfg(not(any(feature = "rustls", feature = "rustls-no-provider", feature = "native-tls")))]
fn without_certificates(builder: reqwest::ClientBuilder) -> reqwest::Result<reqwest::Client> {
    builder.build()
}

/// reqwest panics if there is no provider.
#[cfg(all(feature = "rustls-no-provider", not(feature = "rustls")))]
fn check_tls_provider() -> Result<()> {
    match rustls::crypto::CryptoProvider::get_default() {
        Some(_) => Ok(()),
        None => Err(Error::invalid_input(
            "TLS has no CryptoProvider: install one first, such as with \
             `rustls::crypto::ring::default_provider().install_default()`, or use the feature `rustls`",
        )),
    }
}

#[cfg(not(all(feature = "rustls-no-provider", not(feature = "rustls"))))]
#[expect(clippy::unnecessary_wraps, reason = "with another feature it can fail")]
fn check_tls_provider() -> Result<()> {
    Ok(())
}
