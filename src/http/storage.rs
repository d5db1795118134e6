//! Requests to signed URLs: never with the key, never to plain http, never with a limit on the whole.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};
use reqwest::Url;
use tokio::time::{Instant, timeout};

use crate::{
    error::{Error, Exchange, Fault, NoResponse, Rejected, Result},
    http::{
        retry::{Backoff, Retry, retry_after},
        transport::{Broken, said},
        url::redirect,
    },
    util::redact,
};

const REDIRECTS: usize = 5;

/// Of a refusal's text no more than this is read.
const MAX_REFUSAL: usize = 16 * 1024;

/// One way to storage, with its patience.
#[derive(Debug)]
pub(crate) struct Storage {
    pub(crate) http: reqwest::Client,
    pub(crate) operation: &'static str,
    pub(crate) idle_timeout: Duration,
    backoff: Backoff,
    attempts: u32,
    /// The last time that bytes moved.
    moved: Instant,
    started: Instant,
}

impl Storage {
    pub(crate) fn new(http: reqwest::Client, operation: &'static str, idle_timeout: Duration, retry: Retry) -> Self {
        let now = Instant::now();
        Self {
            http,
            operation,
            idle_timeout,
            backoff: Backoff::new(retry, Duration::ZERO),
            attempts: 0,
            moved: now,
            started: now,
        }
    }

    /// The time until now was not the transfer's.
    pub(crate) fn resume(&mut self) {
        self.moved = Instant::now();
    }

    /// Bytes moved: earlier faults are forgiven.
    pub(crate) fn progress(&mut self) {
        self.moved = Instant::now();
        self.backoff.reset();
    }

    /// GET with redirects followed by hand, so that a client that follows none can be used.
    pub(crate) async fn get(&mut self, url: &Url, headers: &HeaderMap) -> Result<reqwest::Response, Broken> {
        self.attempts += 1;
        let mut url = url.clone();
        for _ in 0..=REDIRECTS {
            let request = self.http.get(url.clone()).headers(headers.clone()).send();
            let response = match timeout(self.idle_timeout, request).await {
                Ok(response) => response?,
                Err(_) => return Err(Broken::new(Fault::Timeout)),
            };
            let location = response.headers().get(header::LOCATION).and_then(|it| it.to_str().ok());
            match location {
                Some(location) if response.status().is_redirection() => match redirect(&url, location) {
                    Some(next) => url = next,
                    None => return Ok(response),
                },
                _ => return Ok(response),
            }
        }
        Err(Broken::new(Fault::Protocol))
    }

    /// Waits before the next attempt, or returns the error that ends it.
    pub(crate) async fn pause(&mut self, broken: Broken) -> Result<()> {
        match self.backoff.after_fault(self.moved.elapsed(), None) {
            Some(delay) => {
                tracing::debug!(operation = self.operation, reason = %broken.fault, "sending again");
                tokio::time::sleep(delay).await;
                Ok(())
            }
            None => Err(self.no_answer(broken)),
        }
    }

    pub(crate) fn no_answer(&self, broken: Broken) -> Error {
        Error::NoResponse(Box::new(NoResponse {
            exchange: self.exchange(broken.status),
            fault: broken.fault,
            source: broken.source.map(Into::into),
        }))
    }

    /// A status that is no success: waits if trying again may help, or returns the refusal.
    pub(crate) async fn refused(&mut self, response: reqwest::Response) -> Result<()> {
        let status = response.status();
        let asked = retry_after(response.headers(), SystemTime::now());
        if matches!(status.as_u16(), 408 | 429 | 500..)
            && let Some(delay) = self.backoff.after_fault(self.moved.elapsed(), asked)
        {
            tracing::debug!(operation = self.operation, reason = %status, "sending again");
            tokio::time::sleep(delay).await;
            return Ok(());
        }
        Err(self.refusal(response).await)
    }

    pub(crate) async fn refusal(&self, mut response: reqwest::Response) -> Error {
        let status = response.status();
        let asked = retry_after(response.headers(), SystemTime::now());
        let mut body = Vec::new();
        while let Ok(Ok(Some(chunk))) = timeout(self.idle_timeout, response.chunk()).await {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_REFUSAL {
                break;
            }
        }
        Error::Rejected(Box::new(Rejected {
            exchange: self.exchange(Some(status)),
            status,
            detail: redact::excerpt(&said(&body)),
            retry_after: asked,
        }))
    }

    pub(crate) fn exchange(&self, status: Option<StatusCode>) -> Exchange {
        Exchange {
            operation: self.operation,
            status,
            attempts: self.attempts,
            elapsed: self.started.elapsed(),
            repeatable: true,
            ..Exchange::default()
        }
    }

    /// Counts an attempt that is made elsewhere.
    pub(crate) fn attempt(&mut self) {
        self.attempts += 1;
    }
}
