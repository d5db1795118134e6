//! Requests to signed URLs: never with the key, never to plain http on another machine, never with a
//! limit on the whole.

use std::{pin::pin, time::Duration};

use http::{HeaderMap, Method, header};
use reqwest::Url;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    failure::Failure,
    fault::AttemptError,
    response::CompleteResponse,
    retry::Retry,
    transport::{CallContext, CallOptions, Peer, Request},
    url::redirect,
};
use crate::{
    error::{Effect, Exchange, Fault},
    util::redact,
};

/// How many redirects of one request are followed.
pub(crate) const REDIRECTS: usize = 5;

/// A call to storage. `idle_timeout` is how long it may stand still.
pub(crate) fn call(operation: &'static str, idle_timeout: Duration, retry: Retry) -> CallContext<'static> {
    let options = CallOptions::new(retry, idle_timeout);
    CallContext::new(Peer::Storage, operation, Effect::Idempotent, options)
}

/// A download. Its response still has its body.
#[derive(Debug)]
pub(crate) struct Get<'a> {
    pub(crate) http: &'a reqwest::Client,
    pub(crate) url: &'a Url,
    pub(crate) headers: HeaderMap,
}

impl Request for Get<'_> {
    type Response = reqwest::Response;

    fn route(&self) -> (Method, Option<&'static str>) {
        (Method::GET, None)
    }

    /// Follows redirects by hand, so that a client that follows none can be used.
    async fn send(&mut self, exchange: &mut Exchange, end: Instant) -> Result<reqwest::Response, Failure> {
        let mut url = self.url.clone();
        for _ in 0..=REDIRECTS {
            let request = self.http.get(url.clone()).headers(self.headers.clone()).send();
            let response = match timeout_at(end, request).await {
                Ok(response) => response.map_err(AttemptError::from)?,
                Err(_) => return Err(AttemptError::new(Fault::Timeout).into()),
            };
            match redirected(&url, &response) {
                Some(next) => url = next,
                None => return check(response, exchange, end).await,
            }
        }
        Err(AttemptError::new(Fault::Protocol).into())
    }
}

/// Where a response redirects to, if it may be followed.
pub(crate) fn redirected(url: &Url, response: &reqwest::Response) -> Option<Url> {
    let location = response.headers().get(header::LOCATION)?.to_str().ok()?;
    if response.status().is_redirection() { redirect(url, location) } else { None }
}

/// A success as it is, everything else with its text.
pub(crate) async fn check(
    response: reqwest::Response,
    exchange: &mut Exchange,
    end: Instant,
) -> Result<reqwest::Response, Failure> {
    exchange.status = Some(response.status());
    if response.status().is_success() {
        return Ok(response);
    }
    let url = response.url().clone();
    // With a limit of time: the text of an error may come a byte at a time. Boxed, as it is rare and large.
    let mut response = Box::new(Box::pin(CompleteResponse::read(response, pin!(sleep_until(end)), 0)).await?);
    // It may repeat the request.
    response.body = redact::hide_query(&url, &String::from_utf8_lossy(&response.body)).into();
    Err(Failure::Status(response))
}
