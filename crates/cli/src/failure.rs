//! What stops a command: one line for a person, one object for a program, and an exit code.

use std::{fmt, io, path::Path};

use luma_agents::{
    Error,
    error::{Outcome, WaitTimeout},
    reqwest::StatusCode,
    uuid::Uuid,
};
use luma_agents_batch as batch;
use serde_json::{Value, json};

use crate::{exit::Exit, text::one_line};

/// Why a command stops. The message is one line that says what to do next.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    message: String,
    /// What programs branch on, and the ids, beside the message.
    details: Value,
    /// The state of the job that it is about.
    state: &'static str,
}

impl Failure {
    pub(crate) fn new(exit: Exit, code: &str, message: impl Into<String>) -> Self {
        let state = match exit {
            Exit::JobFailed => "failed",
            Exit::Open => "open",
            _ => "unknown",
        };
        Self { exit, message: message.into(), details: json!({ "code": code }), state }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", message)
    }

    /// A name that is taken.
    pub(crate) fn exists(path: &Path) -> Self {
        let path = path.strip_prefix(".").unwrap_or(path).display();
        Self::new(Exit::Usage, "exists", format!("{path} exists; take another name, or --overwrite"))
    }

    pub(crate) fn io(action: &str, path: impl AsRef<Path>, error: &io::Error) -> Self {
        Self::new(Exit::Failure, "io", format!("cannot {action} {}: {error}", path.as_ref().display()))
    }

    /// Stops without a word: all that there is to say stands in the output, or nobody reads it.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self::new(exit, "", "")
    }

    /// With the job that it is about.
    pub(crate) fn about(self, generation: Uuid) -> Self {
        self.detail("generation_id", generation.to_string())
    }

    /// With the job that it is about, which has completed.
    pub(crate) fn of_completed(self, generation: Uuid) -> Self {
        Self { state: "completed", ..self.about(generation) }
    }

    /// With a field for programs.
    pub(crate) fn detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details[name] = value.into();
        self
    }

    /// The object that `--json` prints of a job without a result. None if it is about no job.
    pub(crate) fn to_job(&self) -> Option<Value> {
        let id = self.details.get("generation_id")?;
        Some(json!({ "id": id, "state": self.state, "files": [], "error": self.to_json() }))
    }

    /// Whether the name of an output is taken.
    pub(crate) fn is_exists(&self) -> bool {
        self.details["code"] == "exists"
    }

    /// With what the caller can do, where the message does not say it.
    pub(crate) fn next(self, advice: impl fmt::Display) -> Self {
        Self { message: format!("{}; {advice}", self.message), ..self }
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.message.is_empty()
    }

    /// The object that `--json` prints.
    pub(crate) fn to_json(&self) -> Value {
        let mut error = self.details.clone();
        error["message"] = self.message.clone().into();
        error["exit"] = self.exit.code().into();
        error
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&one_line(&self.message))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if let Error::Io(e) = &error
            && e.source.kind() == io::ErrorKind::AlreadyExists
        {
            return Self::exists(&e.path);
        }
        let (exit, code) = match &error {
            Error::InvalidInput(_) => (Exit::Usage, "invalid_input"),
            Error::Rejected(e) if is_about_account(e.status) => (Exit::Account, "rejected"),
            Error::Rejected(_) => (Exit::Failure, "rejected"),
            Error::RateLimited(_) => (Exit::Failure, "rate_limited"),
            Error::OutcomeUnknown(_) if matches!(error.outcome(), Outcome::Accepted(_)) => {
                (Exit::Open, "outcome_unknown")
            }
            Error::OutcomeUnknown(_) => (Exit::InDoubt, "outcome_unknown"),
            Error::NoResponse(_) => (Exit::Failure, "no_response"),
            Error::UnexpectedResponse(_) => (Exit::Failure, "unexpected_response"),
            Error::GenerationFailed(_) => (Exit::JobFailed, "generation_failed"),
            Error::FileFailed(_) => (Exit::Failure, "file_failed"),
            Error::WaitTimeout(_) => (Exit::Open, "wait_timeout"),
            Error::Io(_) => (Exit::Failure, "io"),
            _ => (Exit::Failure, "unknown"),
        };
        let message = match &error {
            Error::WaitTimeout(e) => timed_out(e),
            error => error.to_string(),
        };
        let mut failure = Self::new(exit, code, message);
        let details = [
            ("status", error.status().map(|it| it.as_u16().into())),
            ("request_id", error.request_id().map(Into::into)),
            ("generation_id", error.generation_id().map(|it| it.to_string().into())),
            ("file_id", error.file_id().map(|it| it.to_string().into())),
            ("failure_code", error.failure_code().map(|it| it.as_str().into())),
        ];
        for (name, value) in details {
            if let Some(value) = value {
                failure.details[name] = value;
            }
        }
        failure
    }
}

impl From<batch::Error> for Failure {
    fn from(error: batch::Error) -> Self {
        let (exit, code) = match &error {
            batch::Error::InvalidInput(_) => (Exit::Usage, "invalid_input"),
            batch::Error::Journal(_) => (Exit::Usage, "journal"),
            batch::Error::Doubt(_) => (Exit::Usage, "doubt"),
            batch::Error::ChangedRequest(_) => (Exit::Usage, "changed_request"),
            batch::Error::Cap(_) => (Exit::Cap, "cap"),
            batch::Error::Io(_) => (Exit::Failure, "io"),
            batch::Error::NotRecorded(_) => (Exit::InDoubt, "not_recorded"),
            _ => (Exit::Failure, "batch"),
        };
        match error {
            batch::Error::Api(error) => error.into(),
            error => Self::new(exit, code, error.to_string()),
        }
    }
}

/// With the advice of the library as a command.
fn timed_out(error: &WaitTimeout) -> String {
    let Some(id) = error.generation_id else { return error.to_string() };
    let cause = error.source.as_ref().map_or_else(String::new, |e| format!(" (last error: {e})"));
    format!("{}: luma wait {id}{cause}", error.summary())
}

/// Whether every further request would be rejected alike.
pub(crate) fn is_about_account(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::PAYMENT_REQUIRED | StatusCode::FORBIDDEN)
}
