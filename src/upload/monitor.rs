//! Watches the bytes of one attempt leave: progress, the idle timeout, and errors of their source.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use tokio::time::timeout;

use super::content::ByteStream;
use crate::{error::Fault, http::failure::AttemptError, progress::ProgressReporter};

/// Shared by the stream, which the HTTP client owns, and the attempt that waits for the response.
#[derive(Clone)]
pub(crate) struct UploadMonitor {
    sent: Arc<AtomicU64>,
    length: u64,
    progress: Arc<Mutex<ProgressReporter>>,
    error: Arc<Mutex<Option<io::Error>>>,
}

impl UploadMonitor {
    pub(crate) fn new(length: u64, progress: ProgressReporter) -> Self {
        Self { sent: Arc::default(), length, progress: Arc::new(Mutex::new(progress)), error: Arc::default() }
    }

    /// Counts the bytes. An error of their source stays here: HTTP would report it as a broken connection.
    pub(crate) fn watch(&self, stream: ByteStream) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let this = self.clone();
        stream.map(move |chunk| match chunk {
            Ok(chunk) => {
                let sent = this.sent.fetch_add(chunk.len() as u64, Ordering::Relaxed) + chunk.len() as u64;
                let mut progress = this.progress.lock().unwrap_or_else(PoisonError::into_inner);
                progress.report(sent, Some(this.length), sent == this.length);
                Ok(chunk)
            }
            Err(error) => {
                let kind = error.kind();
                *this.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Err(kind.into())
            }
        })
    }

    pub(crate) fn take_error(&self) -> Option<io::Error> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take()
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
