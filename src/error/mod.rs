//! What can go wrong, named for what the caller does next.

mod exchange;
mod job;
mod outcome;
mod rejected;
#[cfg(test)]
mod tests;

use std::{fmt, path::PathBuf, time::Duration};

use http::StatusCode;
use uuid::Uuid;

use self::job::Redacted;
use crate::{
    types::{File, Generation, GenerationFailureCode, error::ConversionError},
    util::redact,
};

pub use crate::rate_limit::Limit;
pub(crate) use exchange::{Effect, Known};
pub use exchange::{Exchange, Fault, NoResponse, OutcomeUnknown, UnexpectedResponse};
pub use job::{FileFailed, GenerationFailed};
pub use outcome::Outcome;
pub(crate) use rejected::meaning_of_storage;
pub use rejected::{RateLimited, Rejected, RejectionKind};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, named for what to do next.
///
/// `Display` is one complete line: the operation, what happened, what to do, the request id to quote to support. `{:?}`
/// is the same line, for a `main` that returns a `Result`; `{:#?}` has all fields. None of them ever shows the key or a
/// signed URL.
///
/// For a paid request, [`outcome`](Self::outcome) says whether there is a job. [An example](crate::cookbook::errors)
/// handles each error.
#[non_exhaustive]
pub enum Error {
    /// An argument or setting cannot be used. Nothing was sent: correct it and call again. If the error has a
    /// [`generation_id`](Self::generation_id), that job exists: do not submit it again, download its outputs in another way.
    InvalidInput(Box<InvalidInput>),
    /// No usable response came, and nothing was changed on the service: calling again is safe.
    NoResponse(Box<NoResponse>),
    /// A request that may cost money or change something was sent, and no readable response says
    /// what became of it. **Do not simply call again**: for a generation that could pay twice.
    OutcomeUnknown(Box<OutcomeUnknown>),
    /// The service rejected the request; [`Rejected::kind`] says why.
    Rejected(Box<Rejected>),
    /// A limit of the account was reached (429), and nothing was created: wait, then call again.
    RateLimited(Box<RateLimited>),
    /// The response claims success but does not have the shape that the API documents: check the base URL.
    UnexpectedResponse(Box<UnexpectedResponse>),
    /// The generation ended in `failed`; [`GenerationFailed::code`] says why.
    GenerationFailed(Box<GenerationFailed>),
    /// The service could not use an uploaded file: upload another.
    FileFailed(Box<FileFailed>),
    /// The wait reached its limit. The job may go on: wait again with the same id.
    WaitTimeout(Box<WaitTimeout>),
    /// A local file could not be read or written.
    Io(Box<IoError>),
}

impl Error {
    pub(crate) fn invalid_input(message: impl Into<String>) -> Self {
        Self::InvalidInput(Box::new(InvalidInput { message: message.into(), generation_id: None }))
    }

    /// What is wrong, without the words that `Display` adds to an input that cannot be used.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::InvalidInput(e) => e.message.clone(),
            other => other.to_string(),
        }
    }

    /// The service did what its documentation does not say.
    pub(crate) fn unexpected(exchange: Exchange, problem: impl Into<String>) -> Self {
        // It may quote what a server sent.
        let (problem, excerpt) = (redact::excerpt(&problem.into()), String::new());
        Self::UnexpectedResponse(Box::new(UnexpectedResponse { exchange, problem, excerpt }))
    }

    /// Adds the file that a failed upload has left behind.
    pub(crate) fn about_file(mut self, id: Uuid) -> Self {
        if let Self::Io(e) = &mut self {
            e.file_id = Some(id);
        }
        if let Some(exchange) = self.exchange_mut() {
            exchange.file_id = Some(id);
        }
        self
    }

    /// Adds the generation that the call was about.
    pub(crate) fn about_generation(mut self, id: Option<Uuid>) -> Self {
        if let Self::Io(e) = &mut self {
            e.generation_id = id;
        }
        if let Some(exchange) = self.exchange_mut() {
            exchange.generation_id = id;
        }
        self
    }

    /// Adds what is certain about the generation that the call was about.
    pub(crate) fn about_known(mut self, known: Known) -> Self {
        if let Self::WaitTimeout(e) = &mut self {
            e.known = e.known.max(known);
        }
        if let Some(exchange) = self.exchange_mut() {
            exchange.known = exchange.known.max(known);
        }
        self
    }

    /// Adds the generation whose outputs were to be downloaded: it exists.
    pub(crate) fn about_download(mut self, id: Option<Uuid>) -> Self {
        if id.is_none() {
            return self;
        }
        if let Self::InvalidInput(e) = &mut self {
            e.generation_id = id;
        }
        self.about_generation(id).about_known(Known::Exists)
    }

    /// Adds the generation that the failed call has submitted.
    pub(crate) fn about_submitted(mut self, id: Uuid) -> Self {
        if let Self::WaitTimeout(e) = &mut self {
            e.source = e.source.take().map(|source| source.about_submitted(id));
        }
        self.about_download(Some(id)).about_known(Known::Submitted)
    }

    /// What broke, in a word. The text of an error may quote a request, so that it is not for the log.
    pub(crate) fn type_for_log(&self) -> String {
        let fault = match self {
            Self::NoResponse(e) => Some(e.fault),
            Self::OutcomeUnknown(e) => e.fault,
            _ => None,
        };
        error_type(self.status().map(|status| status.as_u16()), fault)
    }

    fn exchange_mut(&mut self) -> Option<&mut Exchange> {
        match self {
            Self::NoResponse(e) => Some(&mut e.exchange),
            Self::OutcomeUnknown(e) => Some(&mut e.exchange),
            Self::Rejected(e) => Some(&mut e.exchange),
            Self::RateLimited(e) => Some(&mut e.exchange),
            Self::UnexpectedResponse(e) => Some(&mut e.exchange),
            _ => None,
        }
    }

    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io(Box::new(IoError {
            action,
            path: path.into(),
            generation_id: None,
            file_id: None,
            source,
            is_unsent: false,
        }))
    }

    /// Notes that the call has sent nothing so far.
    pub(crate) fn before_sending(mut self) -> Self {
        if let Self::Io(e) = &mut self {
            e.is_unsent = true;
        }
        self
    }

    /// The status of the HTTP response that led to this error, if there was one.
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
            Self::NoResponse(e) => Some(&e.exchange),
            Self::OutcomeUnknown(e) => Some(&e.exchange),
            Self::Rejected(e) => Some(&e.exchange),
            Self::RateLimited(e) => Some(&e.exchange),
            Self::UnexpectedResponse(e) => Some(&e.exchange),
            Self::WaitTimeout(e) => e.source.as_ref()?.exchange(),
            Self::InvalidInput(_) | Self::GenerationFailed(_) | Self::FileFailed(_) | Self::Io(_) => None,
        }
    }

    /// How long the service asks to wait before the next request.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited(e) => e.retry_after,
            Self::Rejected(e) => e.retry_after,
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
            Self::OutcomeUnknown(e) => e.generation_id.or(e.exchange.generation_id),
            Self::InvalidInput(e) => e.generation_id,
            Self::Io(e) => e.generation_id,
            _ => self.exchange()?.generation_id,
        }
    }

    /// The file that this is about, if its id is known.
    #[must_use]
    pub fn file_id(&self) -> Option<Uuid> {
        match self {
            Self::FileFailed(e) => Some(e.file.id),
            Self::WaitTimeout(e) => e.file_id,
            Self::Io(e) => e.file_id,
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
    /// Never true for [`OutcomeUnknown`](Self::OutcomeUnknown), nor for an error of
    /// [`create_and_wait`](crate::Generations::create_and_wait) once there is a job: wait for its
    /// [`generation_id`](Self::generation_id) instead. A failed generation is not retryable in this sense
    /// either: see [`GenerationFailureCode::is_retryable`].
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::WaitTimeout(e) => e.known != Known::Submitted,
            _ if self.exchange().is_some_and(|it| it.known == Known::Submitted) => false,
            Self::NoResponse(e) => e.fault != Fault::TooLarge,
            Self::RateLimited(_) => true,
            Self::Rejected(e) => e.kind() == RejectionKind::Unavailable,
            _ => false,
        }
    }

    /// Whether time ran out: for one response, or for a wait.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::NoResponse(e) => e.fault == Fault::Timeout,
            Self::OutcomeUnknown(e) => e.fault == Some(Fault::Timeout),
            Self::WaitTimeout(_) => true,
            _ => false,
        }
    }
}

/// A request that cannot be built, or read from JSON.
impl From<ConversionError> for Error {
    fn from(error: ConversionError) -> Self {
        Self::invalid_input(error.to_string())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidInput(e) => e.fmt(f),
            Self::NoResponse(e) => e.fmt(f),
            Self::OutcomeUnknown(e) => e.fmt(f),
            Self::Rejected(e) => e.fmt(f),
            Self::RateLimited(e) => e.fmt(f),
            Self::UnexpectedResponse(e) => e.fmt(f),
            Self::GenerationFailed(e) => e.fmt(f),
            Self::FileFailed(e) => e.fmt(f),
            Self::WaitTimeout(e) => e.fmt(f),
            Self::Io(e) => e.fmt(f),
        }
    }
}

/// The line of `Display`; with `{:#?}`, as of `dbg!`, all fields.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            return fmt::Display::fmt(self, f);
        }
        let (name, fields): (_, &dyn fmt::Debug) = match self {
            Self::InvalidInput(e) => ("InvalidInput", e),
            Self::NoResponse(e) => ("NoResponse", e),
            Self::OutcomeUnknown(e) => ("OutcomeUnknown", e),
            Self::Rejected(e) => ("Rejected", e),
            Self::RateLimited(e) => ("RateLimited", e),
            Self::UnexpectedResponse(e) => ("UnexpectedResponse", e),
            Self::GenerationFailed(e) => ("GenerationFailed", e),
            Self::FileFailed(e) => ("FileFailed", e),
            Self::WaitTimeout(e) => ("WaitTimeout", e),
            Self::Io(e) => ("Io", e),
        };
        f.debug_tuple(name).field(fields).finish()
    }
}

/// The fault, or else the status: `error.type` of OpenTelemetry's conventions.
pub(crate) fn error_type(status: Option<u16>, fault: Option<Fault>) -> String {
    match (fault, status) {
        (Some(fault), _) => format!("{fault:?}").to_ascii_lowercase(),
        (None, Some(status)) => status.to_string(),
        (None, None) => "_OTHER".to_owned(),
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoResponse(e) => e.source.as_deref().map(|it| it as _),
            Self::OutcomeUnknown(e) => e.source.as_deref().map(|it| it as _),
            Self::WaitTimeout(e) => e.source.as_ref().map(|it| it as _),
            Self::Io(e) => Some(&e.source),
            _ => None,
        }
    }
}

/// An argument or setting that cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub struct InvalidInput {
    /// What is wrong with it.
    pub message: String,
    /// The generation that was to be downloaded: it exists.
    pub generation_id: Option<Uuid>,
}

impl fmt::Display for InvalidInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.generation_id {
            Some(id) => write!(f, "{} (generation {id} exists)", self.message),
            None => write!(f, "{} (nothing was sent)", self.message),
        }
    }
}

/// A wait reached its limit. The job may go on and is paid for all the same.
#[non_exhaustive]
pub struct WaitTimeout {
    /// What was waited for.
    pub waited_for: String,
    /// The id of the generation, if it was one.
    pub generation_id: Option<Uuid>,
    /// The id of the file, if it was one.
    pub file_id: Option<Uuid>,
    /// The generation as the last successful poll showed it, if there was one.
    pub generation: Option<Generation>,
    /// The same of a file.
    pub file: Option<File>,
    /// How long the wait took.
    pub elapsed: Duration,
    /// How many polls were sent.
    pub polls: u32,
    /// The error of the last poll, if it failed.
    pub source: Option<Error>,
    /// Whether the caller or a poll has seen the job, or the call has submitted it.
    pub(crate) known: Known,
}

impl WaitTimeout {
    /// What happened, in one line without advice: how the job stood, after how long and how many polls.
    #[must_use]
    pub fn summary(&self) -> String {
        let generation = self.generation.as_ref().map(|it| it.state.as_str());
        let state = generation.or_else(|| self.file.as_ref().map(|it| it.state.as_str()));
        let polls = match self.polls {
            1 => "1 poll".to_owned(),
            polls => format!("{polls} polls"),
        };
        let (what, seconds) = (&self.waited_for, self.elapsed.as_secs_f64());
        match (state, self.polls) {
            (Some(state), _) => {
                let state = redact::excerpt(state);
                format!("{what} was still {state} after {seconds:.1} s and {polls}; it goes on")
            }
            (None, 0) => format!("{what} was never polled in {seconds:.1} s; its state is unknown"),
            (None, _) => format!("{what} had no usable response in {seconds:.1} s and {polls}; its state is unknown"),
        }
    }
}

impl fmt::Debug for WaitTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitTimeout")
            .field("waited_for", &self.waited_for)
            .field("generation_id", &self.generation_id)
            .field("file_id", &self.file_id)
            .field("generation", &self.generation.as_ref().map(Redacted))
            .field("file", &self.file.as_ref().map(Redacted))
            .field("elapsed", &self.elapsed)
            .field("polls", &self.polls)
            .field("source", &self.source)
            .field("known", &self.known)
            .finish()
    }
}

impl fmt::Display for WaitTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: wait again with this id", self.summary())?;
        if let Some(source) = &self.source {
            write!(f, " (last error: {source})")?;
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
    /// The finished generation that was to be saved there: it can be downloaded again.
    pub generation_id: Option<Uuid>,
    /// The file of the service that an upload had recorded by then: it can be deleted.
    pub file_id: Option<Uuid>,
    /// Why it failed.
    pub source: std::io::Error,
    /// Whether it happened before anything was sent to the service.
    pub(crate) is_unsent: bool,
}

impl fmt::Display for IoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display().to_string();
        write!(f, "cannot {} {}: {}", self.action, redact::short(&path), self.source)?;
        if self.is_unsent {
            f.write_str(" (nothing was sent)")?;
        }
        self.generation_id.map_or(Ok(()), |id| write!(f, "; generation {id} is finished and can be downloaded again"))
    }
}
