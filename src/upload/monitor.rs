//! Watches the bytes of one attempt leave: progress, the idle timeout, and errors of their source.

use std::{
    any::Any,
    io,
    panic::{AssertUnwindSafe, resume_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use tokio::time::timeout;

use super::content::ByteStream;
use crate::{error::Fault, http::fault::AttemptError, progress::ProgressReporter};

/// Shared by the stream, which the HTTP client owns, and the attempt that waits for the response.
#[derive(Clone)]
pub(crate) struct UploadMonitor {
    sent: Arc<AtomicU64>,
    length: u64,
    progress: Arc<Mutex<ProgressReporter>>,
    failure: Arc<Mutex<Option<SourceFailure>>>,
}

/// Why the bytes do not come.
enum SourceFailure {
    Read(io::Error),
    /// Of the stream or the progress callback, both of which are the caller's.
    Panic(Box<dyn Any + Send>),
}

impl UploadMonitor {
    pub(crate) fn new(length: u64, progress: ProgressReporter) -> Self {
        Self { sent: Arc::default(), length, progress: Arc::new(Mutex::new(progress)), failure: Arc::default() }
    }

    /// Counts the bytes. A failure of their source stays here: HTTP would report it as a broken
    /// connection, and a panic would end only the task that drives the connection.
    pub(crate) fn watch(&self, stream: ByteStream) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let (counting, failing) = (self.clone(), self.clone());
        let counted = stream.inspect_ok(move |chunk| {
            let sent = counting.sent.fetch_add(chunk.len() as u64, Ordering::Relaxed) + chunk.len() as u64;
            let mut progress = counting.progress.lock().unwrap_or_else(PoisonError::into_inner);
            progress.report(sent, Some(counting.length), sent == counting.length);
        });
        AssertUnwindSafe(counted).catch_unwind().map(move |chunk| {
            let failure = match chunk {
                Ok(Ok(chunk)) => return Ok(chunk),
                Ok(Err(error)) => SourceFailure::Read(error),
                Err(panic) => SourceFailure::Panic(panic),
            };
            *failing.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
            Err(io::ErrorKind::BrokenPipe.into())
        })
    }

    /// Why the bytes ended early, if that was because of their source. A panic of the source goes on here.
    pub(crate) fn take_error(&self) -> Option<io::Error> {
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()? {
            SourceFailure::Read(error) => Some(error),
            SourceFailure::Panic(panic) => resume_unwind(panic),
        }
    }

    /// Whether any bytes were handed over.
    pub(crate) fn has_begun(&self) -> bool {
        self.sent.load(Ordering::Relaxed) > 0
    }

    /// Whether all bytes were handed over.
    pub(crate) fn is_complete(&self) -> bool {
        self.sent.load(Ordering::Relaxed) == self.length
    }

    /// Gives up when no byte has moved for the idle timeout.
    pub(crate) async fn with_idle_timeout(
        &self,
        request: impl Future<Output = reqwest::Result<reqwest::Response>>,
        idle_timeout: Duration,
    ) -> Result<reqwest::Response, AttemptError> {
        let mut request = std::pin::pin!(request);
        let mut seen = 0;
        loop {
            if let Ok(response) = timeout(idle_timeout, request.as_mut()).await {
                return Ok(response?);
            }
            let now = self.sent.load(Ordering::Relaxed);
            if now == seen {
                return Err(AttemptError::new(Fault::Timeout));
            }
            seen = now;
        }
    }
}
