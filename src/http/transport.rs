//! The one seam through which every JSON call goes: key, request id, limits of time and size,
//! retries, meaning of failures, tracing.
//!
//! Generated code can only be handed a `reqwest::Response`. What else a call learns travels in
//! [`CallState`], the inner value of the generated client, which is cloned for each call.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use reqwest::ResponseBuilderExt as _;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::Instrument as _;
use uuid::Uuid;

use crate::{
    error::{Error, Exchange, Fault, NoResponse, OutcomeUnknown, RateLimited, Rejected},
    http::{
        key::ApiKey,
        retry::{Backoff, Ending, Outcome, Retry, Verdict, classify, retry_after},
        throttle::Gate,
    },
    rate_limit::{Limit, RateLimit},
    util::{clock, redact},
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const API_VERSION: HeaderName = HeaderName::from_static("x-api-version");

/// The operation that is paid for.
pub(crate) const CREATE: &str = "create_generation";

/// However long the service asks to wait, one request goes to see after this time.
const LONGEST_HOLD: Duration = Duration::from_mins(5);

/// The beginning of an error's body is enough: the rest is not read.
const MAX_ERROR_BODY: usize = 64 * 1024;

/// How one call is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) retry: Retry,
    /// Limit of one attempt, from the first byte sent to the last byte read.
    pub(crate) timeout: Duration,
}

/// What all calls of a client share.
pub(crate) struct Transport {
    pub(crate) http: reqwest::Client,
    pub(crate) key: ApiKey,
    pub(crate) user_agent: HeaderValue,
    pub(crate) max_response_bytes: usize,
    gate: Lanes,
    rate_limit: Mutex<Option<RateLimit>>,
    /// Where request ids come from. The system seeds it, and is not asked again for each.
    ids: Mutex<fastrand::Rng>,
}

/// Submitting generations has limits of its own: a full queue of jobs stops neither polls nor uploads.
#[derive(Debug, Default)]
struct Lanes {
    submit: Gate,
    rest: Gate,
}

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Answer {
    url: reqwest::Url,
    status: StatusCode,
    headers: HeaderMap,
    pub(crate) rate_limit: Option<RateLimit>,
    pub(crate) body: Bytes,
}

impl Answer {
    /// Whether the API wrote it, and not a gateway in front of it.
    fn is_by_api(&self) -> bool {
        self.headers.contains_key(API_VERSION) && detail(&self.body).is_some()
    }
}

impl From<Answer> for reqwest::Response {
    fn from(answer: Answer) -> Self {
        // Without a URL, reqwest would parse one that it makes up.
        let mut response = http::Response::builder().url(answer.url).body(answer.body).unwrap_or_default();
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        response.into()
    }
}

/// An attempt without a complete answer.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) fault: Fault,
    /// Known when the headers came and the body did not.
    pub(crate) status: Option<StatusCode>,
    /// What came of the body.
    begin: Bytes,
    pub(crate) source: Option<reqwest::Error>,
}

impl Broken {
    pub(crate) fn new(fault: Fault) -> Self {
        Self { fault, status: None, begin: Bytes::new(), source: None }
    }
}

impl From<reqwest::Error> for Broken {
    fn from(error: reqwest::Error) -> Self {
        let fault = if error.is_connect() {
            Fault::Connect
        } else if error.is_timeout() {
            Fault::Timeout
        } else if is_protocol(&error) {
            Fault::Protocol
        } else {
            Fault::Interrupted
        };
        Self { source: Some(error.without_url()), ..Self::new(fault) }
    }
}

/// Whether the peer does not speak HTTP: hyper says so only in words.
fn is_protocol(error: &reqwest::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let words = inner.to_string();
        if words.ends_with(" parsed") || words == "message head is too large" {
            return true;
        }
        source = inner.source();
    }
    false
}

impl Transport {
    pub(crate) fn new(http: reqwest::Client, key: ApiKey, user_agent: HeaderValue, max_response_bytes: usize) -> Self {
        let ids = Mutex::new(fastrand::Rng::with_seed(Uuid::new_v4().as_u64_pair().0));
        Self { http, key, user_agent, max_response_bytes, gate: Lanes::default(), rate_limit: Mutex::default(), ids }
    }

    fn request_id(&self) -> Uuid {
        let random = self.ids.lock().unwrap_or_else(PoisonError::into_inner).u128(..);
        uuid::Builder::from_random_bytes(random.to_ne_bytes()).into_uuid()
    }

    pub(crate) fn rate_limit(&self) -> Option<RateLimit> {
        *self.rate_limit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends `request` until it has an answer worth decoding, or must not be sent again.
    pub(crate) fn send(
        &self,
        request: reqwest::Request,
        operation: &'static str,
        options: Options,
    ) -> impl Future<Output = Result<(Answer, Exchange), Error>> {
        let span = tracing::debug_span!("luma_agents.call", operation);
        self.attempts(Some(request), operation, options).instrument(span)
    }

    /// A request is large, and each `async` level that owns it moves it: `request` goes down once.
    async fn attempts(
        &self,
        mut request: Option<reqwest::Request>,
        operation: &'static str,
        options: Options,
    ) -> Result<(Answer, Exchange), Error> {
        let started = Instant::now();
        let repeatable = request.as_ref().is_some_and(|it| it.method().is_idempotent());
        // A paid attempt is not begun with too little time left to hear its answer.
        let reserve = if repeatable { Duration::ZERO } else { options.timeout.min(options.retry.budget / 2) };
        let call = Sending { transport: self, operation, repeatable, started, options };
        let mut exchange = Exchange { operation, repeatable, ..Exchange::default() };
        let mut backoff = Backoff::new(options.retry, reserve);
        loop {
            call.pass_gate(&backoff, &mut exchange).await?;
            // A body that cannot be cloned is a stream: it is sent once.
            let next = request.as_ref().filter(|_| options.retry.attempts > 1).and_then(reqwest::Request::try_clone);
            let Some(current) = std::mem::replace(&mut request, next) else {
                return Err(Error::invalid_input("the body of this request cannot be sent again"));
            };
            let outcome = call.attempt(current, &mut exchange).await;
            exchange.elapsed = started.elapsed();
            let verdict = call.judge(&outcome);
            if verdict.ending == Ending::Success
                && let Ok(answer) = outcome
            {
                return Ok((answer, exchange));
            }
            let asked = outcome.as_ref().ok().and_then(|it| retry_after(&it.headers, SystemTime::now()));
            let limited = verdict.ending == Ending::RateLimited;
            let delay = if limited {
                let delay = backoff.limit_delay(asked);
                call.close_gate(&outcome, delay);
                backoff.after_limit(started.elapsed(), delay)
            } else if verdict.again {
                backoff.after_fault(started.elapsed(), asked)
            } else {
                None
            };
            let Some(delay) = delay.filter(|_| request.is_some()) else {
                return Err(self.error(exchange, verdict.ending, outcome, asked));
            };
            tracing::debug!(reason = %reason(&outcome), delay_ms = millis(delay), "sending again");
            if !limited {
                sleep(delay).await;
            }
        }
    }

    /// The one place that turns a failed exchange into an error.
    fn error(
        &self,
        exchange: Exchange,
        ending: Ending,
        outcome: Result<Answer, Broken>,
        retry_after: Option<Duration>,
    ) -> Error {
        match outcome {
            Err(Broken { fault, source, begin, .. }) => {
                let source = source.map(Into::into);
                match ending {
                    Ending::OutcomeUnknown => Error::OutcomeUnknown(Box::new(OutcomeUnknown {
                        generation_id: created_id(exchange.operation, &begin),
                        exchange,
                        fault: Some(fault),
                        problem: None,
                        source,
                    })),
                    _ => Error::NoResponse(Box::new(NoResponse { exchange, fault, source })),
                }
            }
            Ok(answer) => {
                let detail = self.excerpt(&said(&answer.body));
                match ending {
                    Ending::RateLimited => Error::RateLimited(Box::new(RateLimited {
                        limit: limit(exchange.operation, &answer),
                        exchange,
                        retry_after,
                        rate_limit: answer.rate_limit,
                        detail,
                    })),
                    Ending::OutcomeUnknown => Error::OutcomeUnknown(Box::new(OutcomeUnknown {
                        exchange,
                        fault: None,
                        generation_id: None,
                        problem: Some(detail).filter(|it| !it.is_empty()),
                        source: None,
                    })),
                    _ => Error::Rejected(Box::new(Rejected { exchange, status: answer.status, detail, retry_after })),
                }
            }
        }
    }

    /// One short line of foreign text without secrets.
    pub(crate) fn excerpt(&self, text: &str) -> String {
        redact::excerpt(&self.key.hide_in(text))
    }
}

/// One call under way.
struct Sending<'a> {
    transport: &'a Transport,
    operation: &'static str,
    repeatable: bool,
    started: Instant,
    options: Options,
}

impl Sending<'_> {
    fn gate(&self) -> &Gate {
        if self.operation == CREATE { &self.transport.gate.submit } else { &self.transport.gate.rest }
    }

    /// Waits as long as another task of the client was told to, or says why that is too long.
    async fn pass_gate(&self, backoff: &Backoff, exchange: &mut Exchange) -> Result<(), Error> {
        let accept = |wait| backoff.after_limit(self.started.elapsed(), wait).is_some();
        self.gate().pass(accept).await.map_err(|closed| {
            exchange.elapsed = self.started.elapsed();
            Error::RateLimited(Box::new(RateLimited {
                exchange: std::mem::take(exchange),
                limit: closed.limit,
                retry_after: Some(closed.wait),
                rate_limit: self.transport.rate_limit(),
                detail: "this client was told to wait".to_owned(),
            }))
        })
    }

    fn judge(&self, outcome: &Result<Answer, Broken>) -> Verdict {
        classify(
            self.repeatable,
            match outcome {
                Ok(answer) => {
                    // Who wrote a success does not matter, and finding out would decode it.
                    let by_api = !answer.status.is_success() && answer.is_by_api();
                    Outcome::Answer { status: answer.status, by_api }
                }
                Err(broken) => Outcome::Fault(broken.fault),
            },
        )
    }

    /// What one task has learnt holds for all tasks of the client.
    fn close_gate(&self, outcome: &Result<Answer, Broken>, delay: Duration) {
        let Ok(answer) = outcome else { return };
        let spacing = answer.rate_limit.map_or(Duration::from_secs(1), |it| it.spacing());
        let until = Instant::now() + delay.min(LONGEST_HOLD);
        self.gate().close(until, spacing, limit(self.operation, answer));
    }

    async fn attempt(&self, mut request: reqwest::Request, exchange: &mut Exchange) -> Result<Answer, Broken> {
        let id = self.transport.request_id().to_string();
        let headers = request.headers_mut();
        headers.insert(header::AUTHORIZATION, self.transport.key.authorization());
        headers.insert(header::USER_AGENT, self.transport.user_agent.clone());
        if let Ok(value) = HeaderValue::from_str(&id) {
            headers.insert(REQUEST_ID, value);
        }
        exchange.attempts += 1;
        exchange.status = None;
        exchange.request_id_returned = None;
        let span = tracing::debug_span!(
            "luma_agents.attempt",
            attempt = exchange.attempts,
            request_id_sent = id,
            status = tracing::field::Empty,
            request_id_returned = tracing::field::Empty,
            fault = tracing::field::Empty,
            duration_ms = tracing::field::Empty,
        );
        exchange.request_id_sent = Some(id);

        let begun = Instant::now();
        let end = clock::after(begun, self.options.timeout).min(clock::after(self.started, self.options.retry.budget));
        let outcome = self.exchange(request, end).instrument(span.clone()).await;

        exchange.status = match &outcome {
            Ok(answer) => Some(answer.status),
            Err(broken) => broken.status,
        };
        if let Ok(answer) = &outcome {
            let returned = answer.headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
            // As a rule it is the one that was sent, which hides nothing.
            let sent = exchange.request_id_sent.clone();
            exchange.request_id_returned =
                returned.map(|id| sent.filter(|sent| sent == id).unwrap_or_else(|| self.transport.excerpt(id)));
            if let Some(limit) = answer.rate_limit {
                *self.transport.rate_limit.lock().unwrap_or_else(PoisonError::into_inner) = Some(limit);
            }
        }
        if !span.is_disabled() {
            if let Some(status) = exchange.status {
                span.record("status", status.as_u16());
            }
            if let Some(id) = &exchange.request_id_returned {
                span.record("request_id_returned", id.as_str());
            }
            if let Err(broken) = &outcome {
                span.record("fault", tracing::field::display(broken.fault));
            }
            span.record("duration_ms", millis(begun.elapsed()));
        }
        outcome
    }

    /// One request and its whole answer, before `end` and within the limit of size.
    async fn exchange(&self, request: reqwest::Request, end: Instant) -> Result<Answer, Broken> {
        let asked = request.url().clone();
        let mut response = match timeout_at(end, self.transport.http.execute(request)).await {
            Ok(response) => response?,
            Err(_) => return Err(Broken::new(Fault::Timeout)),
        };
        let status = response.status();
        if response.url() != &asked {
            // Only a caller's own reqwest client does this; what the other host did is anyone's guess.
            return Err(Broken { status: Some(status), ..Broken::new(Fault::Protocol) });
        }
        let headers = std::mem::take(response.headers_mut());
        let cap = if status.is_success() { self.transport.max_response_bytes } else { MAX_ERROR_BODY };
        let body = match body(&mut response, end, cap).await {
            Ok(body) => body,
            // A refusal is one even if its text is cut short.
            Err((_, begin)) if !status.is_success() => begin,
            Err((broken, begin)) => return Err(Broken { status: Some(status), begin, ..broken }),
        };
        Ok(Answer { url: asked, status, rate_limit: RateLimit::from_headers(&headers), headers, body })
    }
}

/// Reads a body of at most `cap` bytes; a failure comes with what was read before it.
async fn body(response: &mut reqwest::Response, end: Instant, cap: usize) -> Result<Bytes, (Broken, Bytes)> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    loop {
        let broken = match timeout_at(end, response.chunk()).await {
            Ok(Ok(None)) => break,
            Ok(Ok(Some(chunk))) if rest.len() + first.len() + chunk.len() > cap => Broken::new(Fault::TooLarge),
            Ok(Ok(Some(chunk))) => {
                // One chunk is the rule: it is passed on as it came.
                if first.is_empty() && rest.is_empty() {
                    first = chunk;
                } else {
                    rest.extend_from_slice(&std::mem::take(&mut first));
                    rest.extend_from_slice(&chunk);
                }
                continue;
            }
            Ok(Err(error)) => Broken::from(error),
            Err(_) => Broken::new(Fault::Timeout),
        };
        return Err((broken, if rest.is_empty() { first } else { rest.freeze() }));
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Why a request is sent again, for the log.
fn reason(outcome: &Result<Answer, Broken>) -> String {
    match outcome {
        Ok(answer) => answer.status.to_string(),
        Err(broken) => broken.fault.to_string(),
    }
}

/// Which limit a 429 is about. The wording has changed before, so it is read loosely.
fn limit(operation: &str, answer: &Answer) -> Limit {
    let detail = detail(&answer.body);
    if detail.as_deref().is_some_and(|text| text.to_ascii_lowercase().contains("concurrent")) {
        Limit::Concurrency
    } else if answer.headers.keys().any(|name| name.as_str().starts_with("x-ratelimit-")) {
        Limit::Requests
    } else if detail.is_some() && operation == CREATE {
        // The limit on requests always comes with its numbers, the one on jobs never does.
        Limit::Concurrency
    } else {
        Limit::Unknown
    }
}

/// The `detail` of an error body: a text, or a list of complaints about fields, or anything.
pub(crate) fn detail(body: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    let detail = value.as_object()?.get("detail")?;
    Some(match detail {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(items) => items.iter().map(complaint).collect::<Vec<_>>().join("; "),
        other => other.to_string(),
    })
}

/// `{"loc": ["body", "prompt"], "msg": "too short"}` reads `body.prompt: too short`.
fn complaint(item: &serde_json::Value) -> String {
    let Some(message) = item["msg"].as_str() else { return item.to_string() };
    let place: Vec<_> = item["loc"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned))
        .collect();
    if place.is_empty() { message.to_owned() } else { format!("{}: {message}", place.join(".")) }
}

/// The id of the generation in an answer to its submission that is broken or cut short: with it,
/// nothing is lost.
pub(crate) fn created_id(operation: &str, body: &[u8]) -> Option<Uuid> {
    let text =
        std::str::from_utf8(body).unwrap_or_else(|e| std::str::from_utf8(&body[..e.valid_up_to()]).unwrap_or(""));
    let (_, rest) = text.split_once("\"id\"").filter(|_| operation == CREATE)?;
    let value = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    value.get(..36)?.parse().ok()
}

/// What a refusal says: its `detail`, else whatever it begins with.
pub(crate) fn said(body: &[u8]) -> String {
    detail(body).unwrap_or_else(|| text(body))
}

/// The beginning of a body as text.
pub(crate) fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(4096)]).into_owned()
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("max_response_bytes", &self.max_response_bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detail_is_read_in_every_form() {
        for (body, expected) in [
            (r#"{"detail":"Generation not found"}"#, Some("Generation not found")),
            (
                r#"{"detail":[{"loc":["body","video",0],"msg":"too short","type":"x"},{"msg":"bad"}]}"#,
                Some("body.video.0: too short; bad"),
            ),
            (r#"{"detail":[7]}"#, Some("7")),
            (r#"{"detail":{"a":1}}"#, Some(r#"{"a":1}"#)),
            (r#"{"detail":null}"#, Some("null")),
            (r#"{"error":"x"}"#, None),
            (r#"["detail"]"#, None),
            ("<html>", None),
            ("", None),
        ] {
            assert_eq!(detail(body.as_bytes()).as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn the_id_of_a_paid_job_is_found_in_what_came_of_the_answer() {
        let id = "d290f1ee-6c54-4b01-90e6-d701748f0851";
        let found = Some(id.parse().expect("an id"));
        for (body, expected) in [
            (format!(r#"{{"id": "{id}", "state": nul"#), found),
            (format!(r#"{{"type":"image","id":"{id}"#), found),
            (r#"{"id":"d290f1ee"#.to_owned(), None),
            (r#"{"id":42}"#.to_owned(), None),
            ("<html>".to_owned(), None),
        ] {
            assert_eq!(created_id(CREATE, body.as_bytes()), expected, "{body}");
            assert_eq!(created_id("create_file", body.as_bytes()), None);
        }
    }

    #[test]
    fn a_429_is_understood_whatever_its_wording() {
        let answer = |headers: &[(&'static str, &'static str)], body: &'static str| Answer {
            url: reqwest::Url::parse("https://agents.lumalabs.ai").expect("a URL"),
            status: StatusCode::TOO_MANY_REQUESTS,
            headers: headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect(),
            rate_limit: None,
            body: Bytes::from_static(body.as_bytes()),
        };
        let numbers = [("x-ratelimit-limit", "30")];
        let cases = [
            (answer(&numbers, r#"{"detail":"Rate limit exceeded"}"#), Limit::Requests),
            (answer(&[], r#"{"detail":"Too many concurrent jobs"}"#), Limit::Concurrency),
            (answer(&numbers, r#"{"detail":"Concurrent generation capacity reached"}"#), Limit::Concurrency),
            (answer(&[], r#"{"detail":"Busy"}"#), Limit::Concurrency),
            (answer(&[], "<html>slow down</html>"), Limit::Unknown),
        ];
        for (answer, expected) in cases {
            assert_eq!(limit("create_generation", &answer), expected, "{answer:?}");
        }
        assert_eq!(limit("get_generation", &answer(&[], r#"{"detail":"Busy"}"#)), Limit::Unknown);
    }
}
