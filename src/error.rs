//! What can go wrong, named for what the caller does next.

use std::{fmt, path::PathBuf, time::Duration};

use http::StatusCode;
use uuid::Uuid;

use crate::{
    rate_limit::RateLimit,
    redact,
    types::{File, Generation, GenerationFailureCode},
};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, named for what to do next.
///
/// `Display` is one self-sufficient line: the operation, what happened, what to do, the request id
/// to quote to support. Neither `Display` nor `Debug` ever shows the key or a signed URL.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// An argument or setting cannot be used. Nothing was sent: correct it and call again.
    InvalidInput(Box<InvalidInput>),
    /// No usable answer came, and nothing was changed on the service: calling again is safe.
    NoAnswer(Box<NoAnswer>),
    /// A request that may cost money or change something was sent, and no readable answer tells
    /// what became of it. **Do not simply call again**: for a generation that could pay twice.
    OutcomeUnknown(Box<OutcomeUnknown>),
    /// The service answered with a refusal; [`Refused::kind`] says which.
    Refused(Box<Refused>),
    /// A limit of the account was met (429). Nothing was created.
    RateLimited(Box<RateLimited>),
    /// The answer claims success but does not have the shape that the API documents.
    UnexpectedAnswer(Box<UnexpectedAnswer>),
    /// The generation ended in `failed`; [`GenerationFailed::code`] says why.
    GenerationFailed(Box<GenerationFailed>),
    /// The service could not use an uploaded file.
    FileFailed(Box<FileFailed>),
    /// We stopped waiting. The job goes on: wait again with the same id.
    WaitTimeout(Box<WaitTimeout>),
    /// A local file could not be read or written.
    Io(Box<IoError>),
}

impl Error {
    pub(crate) fn invalid_input(message: impl Into<String>) -> Self {
        Self::InvalidInput(Box::new(InvalidInput { message: message.into() }))
    }

    /// The service did what its documents do not say.
    pub(crate) fn unexpected(exchange: Exchange, problem: impl Into<String>) -> Self {
        let (problem, excerpt) = (problem.into(), String::new());
        Self::UnexpectedAnswer(Box::new(UnexpectedAnswer { exchange, problem, excerpt, generation_id: None }))
    }

    /// Remembers the file that a failed upload has left behind.
    pub(crate) fn about_file(mut self, id: Uuid) -> Self {
        let exchange = match &mut self {
            Self::NoAnswer(e) => &mut e.exchange,
            Self::OutcomeUnknown(e) => &mut e.exchange,
            Self::Refused(e) => &mut e.exchange,
            Self::RateLimited(e) => &mut e.exchange,
            Self::UnexpectedAnswer(e) => &mut e.exchange,
            _ => return self,
        };
        exchange.file_id = Some(id);
        self
    }

    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io(Box::new(IoError { action, path: path.into(), source }))
    }

    /// The status of the HTTP answer that led to this error, if there was one.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.exchange()?.status
    }

    /// The request id to quote to support: the one the service returned, else the one that was sent.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        let exchange = self.exchange()?;
        exchange.request_id_returned.as_deref().or(exchange.request_id_sent.as_deref())
    }

    /// How the exchange with the service went, if there was one.
    #[must_use]
    pub fn exchange(&self) -> Option<&Exchange> {
        match self {
            Self::NoAnswer(e) => Some(&e.exchange),
            Self::OutcomeUnknown(e) => Some(&e.exchange),
            Self::Refused(e) => Some(&e.exchange),
            Self::RateLimited(e) => Some(&e.exchange),
            Self::UnexpectedAnswer(e) => Some(&e.exchange),
            Self::WaitTimeout(e) => e.source.as_ref()?.exchange(),
            Self::InvalidInput(_) | Self::GenerationFailed(_) | Self::FileFailed(_) | Self::Io(_) => None,
        }
    }

    /// How long the service asks to wait before the next request.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited(e) => e.retry_after,
            Self::Refused(e) => e.retry_after,
            Self::WaitTimeout(e) => e.source.as_ref()?.retry_after(),
            _ => None,
        }
    }

    /// The generation that this is about, if its id is known. It can be waited for.
    #[must_use]
    pub fn generation_id(&self) -> Option<Uuid> {
        match self {
            Self::GenerationFailed(e) => Some(e.generation.id),
            Self::WaitTimeout(e) => e.generation.as_ref().map(|it| it.id).or(e.generation_id),
            Self::OutcomeUnknown(e) => e.generation_id,
            Self::UnexpectedAnswer(e) => e.generation_id,
            _ => None,
        }
    }

    /// The file that this is about, if its id is known.
    #[must_use]
    pub fn file_id(&self) -> Option<Uuid> {
        match self {
            Self::FileFailed(e) => Some(e.file.id),
            Self::WaitTimeout(e) => e.file_id,
            _ => self.exchange()?.file_id,
        }
    }

    /// Why the generation failed, if it did.
    #[must_use]
    pub fn failure_code(&self) -> Option<&GenerationFailureCode> {
        match self {
            Self::GenerationFailed(e) => e.generation.failure_code.as_ref(),
            _ => None,
        }
    }

    /// Whether the same call, made again, may succeed without paying for anything twice.
    ///
    /// Never true for [`OutcomeUnknown`](Self::OutcomeUnknown). A failed generation is not
    /// retryable in this sense either: see [`GenerationFailureCode::is_retryable`].
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NoAnswer(e) => e.fault != Fault::TooLarge,
            Self::RateLimited(_) | Self::WaitTimeout(_) => true,
            Self::Refused(e) => e.kind() == Refusal::Unavailable,
            _ => false,
        }
    }

    /// Whether time ran out: for one answer, or for a wait.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::NoAnswer(e) => e.fault == Fault::Timeout,
            Self::OutcomeUnknown(e) => e.fault == Some(Fault::Timeout),
            Self::WaitTimeout(_) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidInput(e) => e.fmt(f),
            Self::NoAnswer(e) => e.fmt(f),
            Self::OutcomeUnknown(e) => e.fmt(f),
            Self::Refused(e) => e.fmt(f),
            Self::RateLimited(e) => e.fmt(f),
            Self::UnexpectedAnswer(e) => e.fmt(f),
            Self::GenerationFailed(e) => e.fmt(f),
            Self::FileFailed(e) => e.fmt(f),
            Self::WaitTimeout(e) => e.fmt(f),
            Self::Io(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoAnswer(e) => e.source.as_deref().map(|it| it as _),
            Self::OutcomeUnknown(e) => e.source.as_deref().map(|it| it as _),
            Self::WaitTimeout(e) => e.source.as_ref().map(|it| it as _),
            Self::Io(e) => Some(&e.source),
            _ => None,
        }
    }
}

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
    fn is_storage(&self) -> bool {
        matches!(self.operation, "download" | "upload")
    }

    /// ` (request 4f1c…, 3 attempts, 1.2 s)`.
    fn trailer(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

/// What the service told, for `Debug`: its free texts may hold anything.
struct Told<'a, T>(&'a T);

impl<T: fmt::Debug> fmt::Debug for Told<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if f.alternate() { format!("{:#?}", self.0) } else { format!("{:?}", self.0) };
        f.write_str(&redact::scrub(&text))
    }
}

/// An argument or setting that cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub struct InvalidInput {
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for InvalidInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (nothing was sent)", self.message)
    }
}

/// No usable answer, and nothing changed.
#[derive(Debug)]
#[non_exhaustive]
pub struct NoAnswer {
    /// How the exchange went.
    pub exchange: Exchange,
    /// What broke.
    pub fault: Fault,
    pub(crate) source: Option<Source>,
}

impl fmt::Display for NoAnswer {
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

/// A refusal by the service.
#[derive(Debug)]
#[non_exhaustive]
pub struct Refused {
    /// How the exchange went.
    pub exchange: Exchange,
    /// The status of the answer.
    pub status: StatusCode,
    /// What the service says, for people: its wording changes, never match on it.
    pub detail: String,
    /// How long the service asks to wait, if it does.
    pub retry_after: Option<Duration>,
}

impl Refused {
    /// What kind of refusal this is, by its status.
    #[must_use]
    pub fn kind(&self) -> Refusal {
        match self.status.as_u16() {
            401 | 403 if self.exchange.is_storage() => Refusal::Expired,
            300..=399 => Refusal::Redirected,
            401 => Refusal::Unauthorized,
            402 => Refusal::InsufficientCredits,
            403 => Refusal::Forbidden,
            404 | 410 => Refusal::NotFound,
            413 => Refusal::TooLarge,
            422 => Refusal::UnusableMedia,
            408 | 500..=599 => Refusal::Unavailable,
            _ => Refusal::InvalidRequest,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} refused: {}", self.exchange.operation, self.status)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        write!(f, "; {}", self.kind().advice())?;
        self.exchange.trailer(f)
    }
}

/// The kinds of refusal, each with something else to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// 400 and other 4xx: the parameters are wrong or contradict each other. Change the request.
    InvalidRequest,
    /// 401: the key is missing, wrong, revoked or expired. Check `LUMA_AGENTS_API_KEY`.
    Unauthorized,
    /// 402: no credits. Top up, then call again; nothing was queued or charged.
    InsufficientCredits,
    /// 403: the account is suspended or deactivated. Contact support.
    Forbidden,
    /// 401 or 403 by the storage: a signed URL has expired. Get the generation again for a new one.
    Expired,
    /// 404: there is no such thing, or it belongs to another account.
    NotFound,
    /// 413: a medium is too large. Shrink it (50 MB for an image).
    TooLarge,
    /// 422: a medium cannot be fetched or decoded, or parameters do not go together.
    UnusableMedia,
    /// 5xx that the service itself wrote, or 408: nothing was created. Call again later.
    Unavailable,
    /// 3xx: the base URL leads elsewhere. Redirects are not followed, so that neither the key nor
    /// a paid request ends up on another host.
    Redirected,
}

impl Refusal {
    fn advice(self) -> &'static str {
        match self {
            Self::InvalidRequest => "change the request",
            Self::Unauthorized => "check the API key",
            Self::InsufficientCredits => "add credits, then call again",
            Self::Forbidden => "contact support about the account",
            Self::Expired => "the signed URL has expired: ask the service for a new one",
            Self::NotFound => "check the id and that the key belongs to the same account",
            Self::TooLarge => "shrink the media",
            Self::UnusableMedia => "replace the media or change the parameters",
            Self::Unavailable => "call again in some seconds",
            Self::Redirected => "check the base URL; redirects are not followed",
        }
    }
}

/// A limit of the account was met.
#[derive(Debug)]
#[non_exhaustive]
pub struct RateLimited {
    /// How the exchange went. Its attempts are 0 if the client knew from an earlier answer and
    /// sent nothing.
    pub exchange: Exchange,
    /// Which limit.
    pub limit: Limit,
    /// When to try again, counted from now, if the service said so.
    pub retry_after: Option<Duration>,
    /// The numbers of the limit on requests, if the service sent them.
    pub rate_limit: Option<RateLimit>,
    /// What the service says, for people.
    pub detail: String,
}

impl fmt::Display for RateLimited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.exchange.operation, self.limit)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        match (self.retry_after, self.limit) {
            (Some(after), Limit::Concurrency) => {
                write!(f, "; try again in {:.1} s, or when one of your jobs has ended", after.as_secs_f64())?;
            }
            (Some(after), _) => write!(f, "; try again in {:.1} s", after.as_secs_f64())?,
            (None, Limit::Concurrency) => f.write_str("; try again when one of your jobs has ended")?,
            (None, _) => f.write_str("; try again later")?,
        }
        self.exchange.trailer(f)
    }
}

/// The limits that the service answers with 429.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// Requests per minute.
    Requests,
    /// Jobs (or their weight) at the same time: it frees when a job ends.
    Concurrency,
    /// The answer does not tell.
    Unknown,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requests => "too many requests per minute",
            Self::Concurrency => "too many concurrent jobs",
            Self::Unknown => "rate limited",
        })
    }
}

/// An answer that claims success but is not what the API documents.
#[derive(Debug)]
#[non_exhaustive]
pub struct UnexpectedAnswer {
    /// How the exchange went.
    pub exchange: Exchange,
    /// What is wrong with the answer.
    pub problem: String,
    /// The beginning of the answer, without URLs' queries and keys.
    pub excerpt: String,
    /// The generation that was asked for, if the call was about one.
    pub generation_id: Option<Uuid>,
}

impl fmt::Display for UnexpectedAnswer {
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

/// A generation ended in `failed`.
#[non_exhaustive]
pub struct GenerationFailed {
    /// The generation as the service last told it.
    pub generation: Generation,
}

impl GenerationFailed {
    /// Why, for programs. `None` if the service did not say.
    #[must_use]
    pub fn code(&self) -> Option<&GenerationFailureCode> {
        self.generation.failure_code.as_ref()
    }

    /// Why, for people: its wording changes, never match on it.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.generation.failure_reason.as_deref()
    }
}

impl fmt::Debug for GenerationFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GenerationFailed").field("generation", &Told(&self.generation)).finish()
    }
}

impl fmt::Display for GenerationFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "generation {} failed", self.generation.id)?;
        if let Some(code) = self.code() {
            write!(f, ": {}", redact::excerpt(code.as_str()))?;
        }
        if let Some(reason) = self.reason() {
            write!(f, ": {}", redact::excerpt(reason))?;
        }
        write!(f, "; {}", self.code().map_or("contact support with this id", GenerationFailureCode::advice))
    }
}

/// The service could not use an uploaded file.
#[non_exhaustive]
pub struct FileFailed {
    /// The file as the service last told it.
    pub file: File,
}

impl fmt::Debug for FileFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileFailed").field("file", &Told(&self.file)).finish()
    }
}

impl fmt::Display for FileFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file {} is {}", self.file.id, redact::excerpt(self.file.state.as_str()))?;
        if let Some(reason) = &self.file.failure_reason {
            write!(f, ": {}", redact::excerpt(reason))?;
        }
        f.write_str("; upload another one")
    }
}

/// The deadline of a wait passed. The job goes on, and so does its price.
#[non_exhaustive]
pub struct WaitTimeout {
    /// What was waited for.
    pub waited_for: String,
    /// The id of the generation, if it was one.
    pub generation_id: Option<Uuid>,
    /// The id of the file, if it was one.
    pub file_id: Option<Uuid>,
    /// The generation as last seen, if it was ever seen.
    pub generation: Option<Generation>,
    /// How long the wait took.
    pub elapsed: Duration,
    /// How many times the service was asked.
    pub polls: u32,
    /// What was wrong with the last answer, if something was.
    pub source: Option<Error>,
}

impl fmt::Debug for WaitTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitTimeout")
            .field("waited_for", &self.waited_for)
            .field("generation_id", &self.generation_id)
            .field("file_id", &self.file_id)
            .field("generation", &self.generation.as_ref().map(Told))
            .field("elapsed", &self.elapsed)
            .field("polls", &self.polls)
            .field("source", &self.source)
            .finish()
    }
}

impl fmt::Display for WaitTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.waited_for)?;
        match &self.generation {
            Some(generation) => write!(f, "was still {}", redact::excerpt(generation.state.as_str()))?,
            None => f.write_str("had not finished")?,
        }
        write!(
            f,
            " after {:.1} s and {} polls; it goes on: wait again with this id",
            self.elapsed.as_secs_f64(),
            self.polls
        )?;
        if let Some(source) = &self.source {
            write!(f, " (last poll: {source})")?;
        }
        Ok(())
    }
}

/// A local file could not be read or written.
#[derive(Debug)]
#[non_exhaustive]
pub struct IoError {
    /// What was being done, such as `write`.
    pub action: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Why it failed.
    pub source: std::io::Error,
}

impl fmt::Display for IoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}: {}", self.action, self.path.display(), self.source)
    }
}
