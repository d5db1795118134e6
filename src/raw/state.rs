//! One call: how it is made, and what it learnt that generated code cannot carry.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::{
    error::{Error, Exchange},
    http::{shared::Shared, transport::CallOptions},
    rate_limit::RateLimit,
};

/// The inner value of the generated client, made anew for each call.
#[derive(Clone, Debug)]
pub struct CallState(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    options: Mutex<CallOptions>,
    record: Mutex<Record>,
}

/// What a call learnt.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// The last attempt.
    pub(crate) exchange: Exchange,
    /// The limit that came with the response.
    pub(crate) rate_limit: Option<RateLimit>,
    /// The body of the response.
    pub(crate) body: Bytes,
    /// Why there is no response to decode.
    pub(crate) error: Option<Error>,
}

impl CallState {
    pub(crate) fn new(shared: Arc<Shared>, options: CallOptions) -> Self {
        Self(Arc::new(Inner { shared, options: options.into(), record: Mutex::default() }))
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    pub(crate) fn base_path(&self) -> &str {
        self.shared().base_url.path().trim_end_matches('/')
    }

    /// The URL of a path, which begins with that of the base URL.
    pub(crate) fn url(&self, path: &str) -> reqwest::Url {
        let mut url = self.shared().base_url.clone();
        url.set_path(path);
        url
    }

    /// Can be changed until the call begins.
    pub(crate) fn options(&self) -> MutexGuard<'_, CallOptions> {
        self.0.options.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        self.0.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
