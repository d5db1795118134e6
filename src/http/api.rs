//! Requests to the API: the key, a request id for each attempt, limits of time and size.

use std::{pin::pin, time::SystemTime};

use http::{HeaderMap, HeaderValue, Method, header};
use tokio::time::{Instant, sleep_until};

use super::{
    failure::Failure,
    fault::AttemptError,
    response::{CompleteResponse, REQUEST_ID, created_id},
    retry_after::date,
    shared::Shared,
    transport::{CallContext, CallOptions, Peer, Request},
};
use crate::{
    error::{Effect, Error, Exchange, Fault, Result},
    util::clock::before,
};

/// The operation that is paid for.
const CREATE: &str = "create_generation";

/// An operation of the document.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) id: &'static str,
    /// Its path, with parameters by name.
    pub(crate) template: &'static str,
}

/// Sends a request of the generated client. The second value is what is known of the exchange.
pub(crate) async fn call(
    shared: &Shared,
    request: reqwest::Request,
    operation: Operation,
    options: CallOptions,
) -> Result<(CompleteResponse, Exchange)> {
    let effect = match operation.id {
        CREATE => Effect::Pays,
        _ if request.method().is_idempotent() => Effect::Idempotent,
        _ => Effect::Changes,
    };
    let mut request = ApiRequest::new(shared, request, operation.template);
    let mut context = CallContext::new(Peer::Api(shared), operation.id, effect, options);
    let response = context.send(&mut request).await?;
    Ok((response, context.into_exchange()))
}

/// A request as the generated client made it, from which each attempt is made.
struct ApiRequest<'a> {
    shared: &'a Shared,
    /// Without its headers: each attempt has a map of its own, large enough from the beginning.
    request: reqwest::Request,
    headers: HeaderMap,
    template: &'static str,
}

impl<'a> ApiRequest<'a> {
    fn new(shared: &'a Shared, mut request: reqwest::Request, template: &'static str) -> Self {
        let headers = std::mem::take(request.headers_mut());
        Self { shared, request, headers, template }
    }

    fn attempt(&self, exchange: &Exchange) -> Result<reqwest::Request> {
        let stream = || Error::invalid_input("the body of a call has to be in memory");
        let mut request = self.request.try_clone().ok_or_else(stream)?;
        let has_body = request.body().is_some();
        // These, five of ours, and what hyper adds: the host and the length.
        let mut headers = HeaderMap::with_capacity(self.headers.len() + 6 + usize::from(has_body));
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::AUTHORIZATION, self.shared.key.authorization());
        headers.insert(header::USER_AGENT, self.shared.user_agent.clone());
        // Compressed bodies would need a second limit of size (RFC 9110, 12.5.3).
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if !has_body && request.method() == Method::POST {
            // Servers may reject a POST without it with 411 (RFC 9110, 8.6).
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        if let Some(id) = exchange.request_id_sent.as_ref().and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert(REQUEST_ID, id);
        }
        *request.headers_mut() = headers;
        Ok(request)
    }
}

impl Request for ApiRequest<'_> {
    type Response = CompleteResponse;

    fn route(&self) -> (Method, Option<&'static str>) {
        (self.request.method().clone(), Some(self.template))
    }

    fn describe(&self, response: &CompleteResponse, span: &tracing::Span) {
        if !span.is_disabled()
            && let Some(id) = created_id(&response.body)
        {
            span.record("gen_ai.response.id", id.to_string());
        }
    }

    async fn send(&mut self, exchange: &mut Exchange, end: Instant) -> Result<CompleteResponse, Failure> {
        let http = match exchange.effect {
            Effect::Idempotent => &self.shared.http,
            Effect::Changes | Effect::Pays => self.shared.fresh_http.get().map_err(Failure::Local)?,
        };
        let request = self.attempt(exchange).map_err(Failure::Local)?;
        let mut end = pin!(sleep_until(end));
        let response = match before(end.as_mut(), pin!(http.execute(request))).await {
            Some(response) => response.map_err(AttemptError::from)?,
            None => return Err(AttemptError::new(Fault::Timeout).into()),
        };
        let status = response.status();
        if response.url() != self.request.url() {
            // Only a caller's own reqwest client follows redirects. What the other host did is unknown.
            return Err(AttemptError { status: Some(status), ..AttemptError::new(Fault::Protocol) }.into());
        }
        let response = CompleteResponse::read(response, end, self.shared.max_response_bytes).await?;
        exchange.status = Some(status);
        exchange.request_id_returned = returned_id(self.shared, exchange, &response.headers);
        self.shared.set_rate_limit(response.rate_limit);
        if !status.is_success() {
            return Err(Failure::Status(Box::new(response)));
        }
        let clock = &self.shared.server_clock;
        if clock.is_due()
            && let Some(date) = date(&response.headers)
        {
            clock.set(date, SystemTime::now());
        }
        Ok(response)
    }
}

/// Usually this is the id that was sent. Any other is untrusted text.
fn returned_id(shared: &Shared, exchange: &Exchange, headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    Some(if exchange.request_id_sent.as_deref() == Some(id) { id.to_owned() } else { shared.excerpt(id) })
}
