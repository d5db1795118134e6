//! One call: how it is made, and what it learnt that generated code cannot carry.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::{
    error::{Error, Exchange},
    http::transport::{Options, Transport},
    rate_limit::RateLimit,
};

/// One call: how to make it, and what it learnt.
#[derive(Clone, Debug)]
pub struct CallState {
    pub(super) transport: Arc<Transport>,
    pub(super) options: Options,
    record: Arc<Mutex<Record>>,
}

/// What a call learnt that generated code cannot carry.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// The last attempt.
    pub(crate) exchange: Exchange,
    /// The limit as told with the answer.
    pub(crate) rate_limit: Option<RateLimit>,
    /// The body of the answer.
    pub(crate) body: Bytes,
    /// Why there is no answer to decode.
    pub(crate) error: Option<Error>,
}

impl CallState {
    pub(crate) fn new(transport: Arc<Transport>, options: Options) -> Self {
        Self { transport, options, record: Arc::default() }
    }

    pub(crate) fn take_record(&self) -> Record {
        std::mem::take(&mut *self.record())
    }

    pub(super) fn record(&self) -> std::sync::MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
