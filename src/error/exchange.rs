//! Errors of one exchange with the service or its storage, and what is known of the exchange.

use std::{fmt, time::Duration};

use http::StatusCode;
use uuid::Uuid;

/// What is known of one exchange with the service: the last attempt of a call.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Exchange {
    /// The operation of the API, such as `create_generation`.
    pub operation: &'static str,
    /// The status of the answer, if there was one.
    pub status: Option<StatusCode>,
    /// The `X-Request-Id` that was sent. The service logs it, even if its answer is lost.
    pub request_id_sent: Option<String>,
    /// The `X-Request-Id` that came back.
    pub request_id_returned: Option<String>,
    /// How many requests the call sent.
    pub attempts: u32,
    /// How long the call took.
    pub elapsed: Duration,
    /// The file that an upload had recorded by then: it can be deleted.
    pub file_id: Option<Uuid>,
    /// Whether the request changes nothing when sent twice.
    pub(crate) repeatable: bool,
}

impl Exchange {
    pub(crate) fn of(operation: &'static str) -> Self {
        Self { operation, ..Self::default() }
    }

    /// Whether it was with the storage behind a signed URL, not with the API.
    pub(super) fn is_storage(&self) -> bool {
        matches!(self.operation, "download" | "upload")
    }

    /// ` (request 4f1c…, 3 attempts, 1.2 s)`.
    pub(super) fn trailer(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(" (")?;
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

/// What broke between the request and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// No connection came about: DNS, TCP or TLS. The request was certainly not sent.
    Connect,
    /// No complete answer came in time.
    Timeout,
    /// The connection broke, or the answer was cut short.
    Interrupted,
    /// What came back is not HTTP.
    Protocol,
    /// The answer is larger than the limit of the client.
    TooLarge,
}

impl Fault {
    fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "no connection could be made",
            Self::Timeout => "no complete answer came in time",
            Self::Interrupted => "the connection broke before the answer was complete",
            Self::Protocol => "the answer was not valid HTTP",
            Self::TooLarge => "the answer was larger than the client's limit",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

type Source = Box<dyn std::error::Error + Send + Sync>;

/// The innermost cause, which is the one that says something.
fn write_root(source: Option<&Source>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Some(source) = source else { return Ok(()) };
    let mut root: &dyn std::error::Error = source.as_ref();
    while let Some(inner) = root.source() {
        root = inner;
    }
    write!(f, ": {root}")
}

/// No usable answer, and nothing changed.
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
        write_root(self.source.as_ref(), f)?;
        f.write_str(match self.fault {
            Fault::TooLarge => "; raise the limit to take it",
            _ => "; nothing was changed, calling again is safe",
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
    /// What broke, if no answer came at all; the status is in the exchange otherwise.
    pub fault: Option<Fault>,
    /// The generation, if the answer gave its id in spite of everything. It can be waited for.
    pub generation_id: Option<Uuid>,
    /// What is wrong with the answer, and its beginning.
    pub problem: Option<String>,
    pub(crate) source: Option<Source>,
}

impl fmt::Display for OutcomeUnknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: outcome unknown: ", self.exchange.operation)?;
        match (self.fault, self.exchange.status) {
            (Some(fault), _) => fault.fmt(f)?,
            (None, Some(status)) => write!(f, "answered {status}")?,
            (None, None) => f.write_str("the answer could not be used")?,
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

/// An answer that claims success but is not what the API documents.
#[derive(Debug)]
#[non_exhaustive]
pub struct UnexpectedResponse {
    /// How the exchange went.
    pub exchange: Exchange,
    /// What is wrong with the answer.
    pub problem: String,
    /// The beginning of the answer, without URLs' queries and keys.
    pub excerpt: String,
    /// The generation that was asked for, if the call was about one.
    pub generation_id: Option<Uuid>,
}

impl fmt::Display for UnexpectedResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: unexpected answer", self.exchange.operation)?;
        if let Some(status) = self.exchange.status {
            write!(f, " ({status})")?;
        }
        write!(f, ": {}", self.problem)?;
        if !self.excerpt.is_empty() {
            write!(f, ": {}", self.excerpt)?;
        }
        f.write_str("; check the base URL, or update this crate")?;
        self.exchange.trailer(f)
    }
}
