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
pub struct CallState {
    pub(super) shared: Arc<Shared>,
    pub(super) options: CallOptions,
    record: Arc<Mutex<Record>>,
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
        Self { shared, options, record: Arc::default() }
    }

    pub(crate) fn take_record(&self) -> Record {
        std::mem::take(&mut *self.record())
    }

    pub(super) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
