//! Errors of one exchange with the service or its storage, and what is known of the exchange.

use std::{fmt, time::Duration};

use http::StatusCode;
use uuid::Uuid;

use crate::util::redact;

/// What is known of one exchange with the service: the last attempt of a call.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Exchange {
    /// The operation of the API, such as `create_generation`.
    pub operation: &'static str,
    /// The status of the response, if there was one.
    pub status: Option<StatusCode>,
    /// The `X-Request-Id` that was sent. The service logs it, even if its response is lost.
    pub request_id_sent: Option<String>,
    /// The `X-Request-Id` that came back.
    pub request_id_returned: Option<String>,
    /// How many requests the call sent.
    pub attempts: u32,
    /// How long the call took.
    pub elapsed: Duration,
    /// The generation that the call was about.
    pub generation_id: Option<Uuid>,
    /// The file that an upload had recorded by then: it can be deleted.
    pub file_id: Option<Uuid>,
    pub(crate) known: Known,
    pub(crate) effect: Effect,
    /// Whether it was with the storage behind a signed URL, not with the API.
    pub(crate) is_storage: bool,
    /// Host and port of the API, if no connection could be made to it.
    pub(crate) unreachable: Option<String>,
}

impl Exchange {
    pub(crate) fn of(operation: &'static str) -> Self {
        Self { operation, ..Self::default() }
    }

    /// Whether the path of the operation has an id in it.
    pub(super) fn has_id(&self) -> bool {
        !["create_", "list_"].iter().any(|it| self.operation.starts_with(it))
    }

    /// The generation that the failed call has submitted.
    pub(super) fn submitted(&self) -> Option<Uuid> {
        self.generation_id.filter(|_| self.known == Known::Submitted)
    }

    /// ` (generation 7c9e…, request 4f1c…, 3 attempts, 1.2 s)`, and before it what to do about a job that is paid for.
    pub(super) fn trailer(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(id) = self.submitted() {
            write!(f, "; the job exists: wait for {id}")?;
        }
        f.write_str(" (")?;
        if let Some(id) = self.generation_id.filter(|_| self.known != Known::Submitted) {
            write!(f, "generation {id}, ")?;
        }
        if let Some(id) = self.file_id {
            write!(f, "file {id}, ")?;
        }
        if let Some(id) = self.request_id_returned.as_ref().or(self.request_id_sent.as_ref()) {
            write!(f, "request {id}, ")?;
        }
        match self.attempts {
            0 => f.write_str("not sent")?,
            1 => f.write_str("1 attempt")?,
            attempts => write!(f, "{attempts} attempts")?,
        }
        write!(f, ", {:.1} s)", self.elapsed.as_secs_f64())
    }
}

/// What is certain about the generation that a call was about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Known {
    #[default]
    Nothing,
    /// It exists: a response has shown it.
    Exists,
    /// It exists, and the call that failed has submitted it: the same call would pay for another one.
    Submitted,
}

/// What a request does on the service, which decides when it may be sent again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Sending it twice changes nothing more: GET, DELETE, PUT.
    #[default]
    Idempotent,
    /// It changes something, and no money is lost if it happens twice.
    Changes,
    /// It creates a job that is paid for.
    Pays,
}

/// What broke between a request and its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// No connection could be made: DNS, TCP or TLS. The request was certainly not sent.
    Connect,
    /// The server reports by HTTP/2 that it did not process the request (`REFUSED_STREAM`, `GOAWAY`).
    NotProcessed,
    /// No complete response came in time.
    Timeout,
    /// The connection broke, or the response was cut short.
    Interrupted,
    /// What came back is not HTTP.
    Protocol,
    /// The response is larger than the limit of the client.
    TooLarge,
}

impl Fault {
    fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "no connection could be made",
            Self::NotProcessed => "the server did not process the request",
            Self::Timeout => "no complete response came in time",
            Self::Interrupted => "the connection broke before the response was complete",
            Self::Protocol => "the response was not valid HTTP",
            Self::TooLarge => "the response was larger than the client's limit",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

type Source = Box<dyn std::error::Error + Send + Sync>;

fn write_root(source: Option<&Source>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    source.map_or(Ok(()), |source| write!(f, ": {}", redact::root(source.as_ref())))
}

/// No usable response, and nothing changed.
#[derive(Debug)]
#[non_exhaustive]
pub struct NoResponse {
    /// How the exchange went.
    pub exchange: Exchange,
    /// What broke.
    pub fault: Fault,
    pub(crate) source: Option<Source>,
}

impl fmt::Display for NoResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.exchange.operation, self.fault)?;
        if let Some(server) = &self.exchange.unreachable {
            write!(f, " to {server}")?;
        }
        write_root(self.source.as_ref(), f)?;
        f.write_str(match (self.fault, self.exchange.submitted()) {
            (Fault::TooLarge, _) => "; raise the limit to take it",
            (_, None) => "; nothing was changed, calling again is safe",
            (_, Some(_)) => "",
        })?;
        self.exchange.trailer(f)
    }
}

/// A request was sent and may have taken effect.
#[derive(Debug)]
#[non_exhaustive]
pub struct OutcomeUnknown {
    /// How the exchange went. Quote its request id to support to learn the outcome.
    pub exchange: Exchange,
    /// What broke, if no complete response came; else the status is in the exchange.
    pub fault: Option<Fault>,
    /// The generation, if the response had its id in spite of everything. It can be waited for.
    pub generation_id: Option<Uuid>,
    /// What is wrong with the response, and its beginning.
    pub problem: Option<String>,
    pub(crate) source: Option<Source>,
}

impl fmt::Display for OutcomeUnknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: outcome unknown: ", self.exchange.operation)?;
        match (self.fault, self.exchange.status) {
            (Some(fault), _) => fault.fmt(f)?,
            (None, Some(status)) if status.is_redirection() => {
                write!(f, "status {status}: check the base URL; redirects are not followed")?;
            }
            (None, Some(status)) => write!(f, "status {status}")?,
            (None, None) => f.write_str("the response could not be used")?,
        }
        write_root(self.source.as_ref(), f)?;
        if let Some(problem) = &self.problem {
            write!(f, ": {problem}")?;
        }
        match self.generation_id {
            Some(id) => write!(f, "; the job exists: wait for {id}")?,
            None => f.write_str("; it may have taken effect: ask support with the request id before repeating it")?,
        }
        self.exchange.trailer(f)
    }
}

/// A response that claims success but is not what the API documents.
#[derive(Debug)]
#[non_exhaustive]
pub struct UnexpectedResponse {
    /// How the exchange went.
    pub exchange: Exchange,
    /// What is wrong with the response.
    pub problem: String,
    /// The beginning of the response, without keys and the queries of URLs.
    pub excerpt: String,
}

impl fmt::Display for UnexpectedResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: unexpected response", self.exchange.operation)?;
        if let Some(status) = self.exchange.status {
            write!(f, " ({status})")?;
        }
        write!(f, ": {}", self.problem)?;
        if !self.excerpt.is_empty() {
            write!(f, ": {}", self.excerpt)?;
        }
        f.write_str(if self.exchange.is_storage {
            "; ask the service for a new URL, and if that does not help, contact support"
        } else {
            "; check the base URL, or update this crate"
        })?;
        self.exchange.trailer(f)
    }
}
