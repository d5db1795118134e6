//! The one send loop: every request to the API and to storage goes through it.
//!
//! It counts attempts, asks the classifier what each one means, waits, and ends with a response or an
//! error. What differs between the API and storage is in the [`Request`]s ([`super::api`],
//! [`super::storage`]) and in whether a call has a [`Peer::Api`].

use std::{
    fmt,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderValue, Method};
use tokio::time::{Instant, sleep};
use tracing::Instrument as _;
use uuid::Uuid;

use super::{
    failure::Failure,
    retry::{Author, Backoff, Disposition, Retry, Verdict, classify},
    retry_after::retry_after,
    shared::Shared,
    throttle::Throttle,
    trace::{self, Subject},
};
use crate::{
    error::{Effect, Error, Exchange, Fault, RateLimited, Result, error_type},
    util::{clock, redact},
};

/// How far apart tasks go after a limit whose numbers the service did not give.
const SUBMIT_SPACING: Duration = Duration::from_secs(1);
const OTHER_SPACING: Duration = Duration::from_millis(100);

/// How one call is made.
#[derive(Clone, Debug)]
pub(crate) struct CallOptions {
    pub(crate) retry: Retry,
    /// Limit of one attempt: to the API from the first byte sent to the last byte read, to storage
    /// until the headers are here.
    pub(crate) timeout: Duration,
    /// The id of the only attempt, if the caller chose it.
    pub(crate) request_id: Option<HeaderValue>,
    /// For the span of the call.
    pub(crate) subject: Subject,
    /// Who wants to know which request is under way.
    pub(crate) watcher: Option<Watcher>,
}

/// Gets the id of each request before it is sent, and `None` once nothing is under way.
#[derive(Clone)]
pub(crate) struct Watcher(Arc<Watch>);

type Watch = dyn Fn(Option<&str>) + Send + Sync;

impl Watcher {
    pub(crate) fn new(watch: impl Fn(Option<&str>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(watch))
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watcher")
    }
}

impl CallOptions {
    pub(crate) fn new(retry: Retry, timeout: Duration) -> Self {
        Self { retry, timeout, request_id: None, subject: Subject::Other, watcher: None }
    }
}

/// A request that can be sent.
pub(crate) trait Request {
    type Response;

    /// Sends it once, and notes in `exchange` what the response says of itself. `end` is the end of the attempt.
    fn send(
        &mut self,
        exchange: &mut Exchange,
        end: Instant,
    ) -> impl Future<Output = Result<Self::Response, Failure>> + Send;

    /// Its method, and the path of its operation with parameters by name, if it goes to the API.
    fn route(&self) -> (Method, Option<&'static str>);

    /// Notes in the span of a submission which job the response is about.
    fn describe(&self, _: &Self::Response, _: &tracing::Span) {}

    /// Whether bytes moved in its last attempt: the budget counts from then on.
    fn has_moved(&self) -> bool {
        false
    }

    /// Whether it can be sent a second time.
    fn is_repeatable(&self) -> bool {
        true
    }
}

/// Whom a call talks to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Peer<'a> {
    /// With request ids, throttles and the text of the key to hide.
    Api(&'a Shared),
    Storage,
}

/// One call under way, with all its attempts.
#[derive(Debug)]
pub(crate) struct CallContext<'a> {
    peer: Peer<'a>,
    options: CallOptions,
    backoff: Backoff,
    started: Instant,
    /// What the budget counts from: the start, or the last progress of a transfer.
    progressed: Instant,
    exchange: Exchange,
}

impl<'a> CallContext<'a> {
    pub(crate) fn new(peer: Peer<'a>, operation: &'static str, effect: Effect, mut options: CallOptions) -> Self {
        // An id names one request.
        if options.request_id.is_some() {
            options.retry = options.retry.attempts(1);
        }
        // An attempt that changes something does not begin with too little time left for its response.
        let reserve = match effect {
            Effect::Idempotent => Duration::ZERO,
            Effect::Changes | Effect::Pays => options.timeout.min(options.retry.budget / 2),
        };
        let now = Instant::now();
        Self {
            peer,
            backoff: Backoff::new(options.retry, reserve),
            options,
            started: now,
            progressed: now,
            exchange: Exchange { operation, effect, is_storage: matches!(peer, Peer::Storage), ..Exchange::default() },
        }
    }

    /// Sends `request` until it succeeds or must not be sent again.
    pub(crate) async fn send<R: Request>(&mut self, request: &mut R) -> Result<R::Response> {
        let server = match self.peer {
            Peer::Api(shared) => Some(&shared.server),
            Peer::Storage => None,
        };
        let span = trace::call_span(self.exchange.operation, &self.options.subject, server);
        let outcome = pin!(self.attempts(request)).instrument(span.clone()).await;
        match &outcome {
            Ok(response) if self.exchange.effect == Effect::Pays => request.describe(response, &span),
            Ok(_) => {}
            Err(error) => trace::record_error(&span, error),
        }
        outcome
    }

    async fn attempts<R: Request>(&mut self, request: &mut R) -> Result<R::Response> {
        loop {
            self.pass_throttle().await?;
            let outcome = self.attempt(request).await;
            if request.has_moved() {
                self.resume();
            }
            match outcome {
                Ok(response) => return Ok(response),
                Err(failure) if request.is_repeatable() => self.retry(failure).await?,
                Err(failure) => return Err(self.error(failure)),
            }
        }
    }

    /// One attempt.
    pub(crate) async fn attempt<R: Request>(&mut self, request: &mut R) -> Result<R::Response, Failure> {
        let exchange = &mut self.exchange;
        exchange.attempts += 1;
        exchange.status = None;
        exchange.request_id_returned = None;
        exchange.request_id_sent = match (self.peer, &self.options.request_id) {
            (Peer::Storage, _) => None,
            (Peer::Api(_), Some(id)) => id.to_str().ok().map(str::to_owned),
            (Peer::Api(_), None) => Some(new_id()),
        };
        let (method, template) = request.route();
        let span = trace::attempt_span(exchange, &method, template);
        let begun = Instant::now();
        let end =
            clock::after(begun, self.options.timeout).min(clock::after(self.progressed, self.options.retry.budget));
        let guard = Unfinished::new(exchange);
        let watch = |id: Option<&str>| self.options.watcher.iter().for_each(|watcher| (watcher.0)(id));
        watch(exchange.request_id_sent.as_deref());
        let outcome = pin!(request.send(exchange, end)).instrument(span.clone()).await;
        guard.finish();
        watch(None);
        if let Err(Failure::Attempt(error)) = &outcome {
            exchange.status = error.status;
        }
        exchange.elapsed = self.started.elapsed();
        if !span.is_disabled() {
            if let Some(status) = exchange.status {
                span.record("http.response.status_code", status.as_u16());
            }
            if let Some(id) = &exchange.request_id_returned {
                span.record("request_id_returned", id.as_str());
            }
            if let Err(failure) = &outcome {
                let fault = failure.fault();
                let status = exchange.status.map(|status| status.as_u16());
                span.record("error.type", error_type(status, fault)).record("otel.status_code", "ERROR");
                span.record("fault", fault.map(tracing::field::display));
            }
            span.record("duration_ms", millis(begun.elapsed()));
        }
        outcome
    }

    /// Waits before the next attempt, or returns the error with which the call ends.
    pub(crate) async fn retry(&mut self, failure: Failure) -> Result<()> {
        let verdict = self.classify(&failure);
        let asked = asked(&failure);
        let elapsed = self.progressed.elapsed();
        if verdict.disposition == Disposition::RateLimited {
            let delay = self.backoff.limit_delay(asked);
            self.close_throttle(&failure, delay);
            // The throttle is what waits.
            if self.backoff.waits_for_limit(elapsed, delay) {
                let operation = self.exchange.operation;
                tracing::warn!(operation, reason = %failure.reason(), seconds = delay.as_secs_f64(), "waiting for a limit");
                return Ok(());
            }
        } else if verdict.retry
            && let Some(delay) = self.backoff.after_fault(elapsed, asked)
        {
            let operation = self.exchange.operation;
            tracing::warn!(operation, reason = %failure.reason(), delay_ms = millis(delay), "sending again");
            sleep(delay).await;
            return Ok(());
        }
        Err(self.final_error(failure, verdict.disposition, asked))
    }

    /// The error with which the call ends if it is not tried again.
    pub(crate) fn error(&mut self, failure: Failure) -> Error {
        let disposition = self.classify(&failure).disposition;
        let asked = asked(&failure);
        self.final_error(failure, disposition, asked)
    }

    /// Bytes moved: earlier faults no longer count.
    pub(crate) fn progress(&mut self) {
        self.resume();
        self.backoff.reset();
    }

    /// The time until now does not count: bytes moved in it, or the consumer of a transfer spent it between chunks.
    pub(crate) fn resume(&mut self) {
        self.progressed = Instant::now();
    }

    /// What is known of the exchange so far.
    pub(crate) fn exchange(&self) -> Exchange {
        Exchange { elapsed: self.started.elapsed(), ..self.exchange.clone() }
    }

    pub(crate) fn into_exchange(self) -> Exchange {
        self.exchange
    }

    fn classify(&self, failure: &Failure) -> Verdict {
        let author = |response: &super::response::CompleteResponse| match self.peer {
            Peer::Api(_) => response.api_author(),
            Peer::Storage => Author::Storage,
        };
        match failure.outcome(author) {
            Some(outcome) => classify(self.exchange.effect, self.options.retry.strict, outcome),
            None => Verdict { disposition: Disposition::Rejected, retry: false },
        }
    }

    fn final_error(&mut self, failure: Failure, disposition: Disposition, asked: Option<Duration>) -> Error {
        let mut exchange = std::mem::take(&mut self.exchange);
        exchange.elapsed = self.started.elapsed();
        if let (Peer::Api(shared), Some(Fault::Connect)) = (self.peer, failure.fault()) {
            let (host, port) = &shared.server;
            exchange.unreachable = Some(format!("{host}:{port}"));
        }
        // A transfer goes on after an error of one of its parts.
        self.exchange = Exchange {
            operation: exchange.operation,
            effect: exchange.effect,
            is_storage: exchange.is_storage,
            ..Exchange::default()
        };
        failure.into_error(exchange, disposition, asked, |text| match self.peer {
            Peer::Api(shared) => shared.excerpt(text),
            Peer::Storage => redact::excerpt(text),
        })
    }

    /// A submission that is one request by its policy goes past the throttle: its caller keeps the limits.
    fn throttle(&self) -> Option<(&'a Shared, &'a Throttle)> {
        match (self.peer, self.exchange.effect) {
            (Peer::Api(_), Effect::Pays) if self.options.retry.attempts == 1 => None,
            (Peer::Api(shared), Effect::Pays) => Some((shared, &shared.throttles.submit)),
            (Peer::Api(shared), _) => Some((shared, &shared.throttles.rest)),
            (Peer::Storage, _) => None,
        }
    }

    /// Waits for a limit that any task of the client has met, or says why that takes too long.
    async fn pass_throttle(&mut self) -> Result<()> {
        let Some((shared, throttle)) = self.throttle() else { return Ok(()) };
        let deadline = clock::after(self.started, self.options.retry.budget);
        let accept = |wait| self.backoff.waits_for_limit(self.started.elapsed(), wait);
        let Err(closed) = throttle.pass(deadline, accept).await else { return Ok(()) };
        self.exchange.elapsed = self.started.elapsed();
        Err(Error::RateLimited(Box::new(RateLimited {
            exchange: std::mem::take(&mut self.exchange),
            limit: closed.limit,
            retry_after: Some(closed.wait),
            rate_limit: shared.rate_limit(),
            detail: "an earlier response asked this client to wait".to_owned(),
        })))
    }

    /// What one task learns of a limit holds for all tasks of the client.
    fn close_throttle(&self, failure: &Failure, delay: Duration) {
        let (Failure::Status(response), Some((_, throttle))) = (failure, self.throttle()) else { return };
        let spacing = match (response.rate_limit, self.exchange.effect) {
            (Some(limit), _) => limit.spacing(),
            (None, Effect::Pays) => SUBMIT_SPACING,
            (None, _) => OTHER_SPACING,
        };
        throttle.close(delay, spacing, response.limit(self.exchange.effect));
    }
}

/// Warns when it is dropped: the caller went away while a paid request was under way.
struct Unfinished(Option<String>);

impl Unfinished {
    fn new(exchange: &Exchange) -> Self {
        Self(if exchange.effect == Effect::Pays { exchange.request_id_sent.clone() } else { None })
    }

    fn finish(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(request_id) = &self.0 {
            tracing::warn!(request_id, "a submission was dropped before its response: a job may exist");
        }
    }
}

fn asked(failure: &Failure) -> Option<Duration> {
    match failure {
        Failure::Status(response) => retry_after(&response.headers, SystemTime::now()),
        Failure::Attempt(_) | Failure::Local(_) => None,
    }
}

/// A random UUID as text, without the detour through a formatter.
fn new_id() -> String {
    Uuid::new_v4().hyphenated().encode_lower(&mut Uuid::encode_buffer()).to_owned()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
