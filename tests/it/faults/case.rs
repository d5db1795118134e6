//! One row of the matrix: a fault, where it is, and how each operation has to end.

use std::{fmt, sync::Arc};

use luma_agents::{
    Client, Error, Result,
    error::{Fault, Limit, RejectionKind},
    raw,
    types::{CreateFile, CreateGeneration},
};
use serde_json::json;

use crate::support::{
    KEY,
    fault_server::{Action, Request, Then, response_bytes},
    http2::Script,
    tls::Certificate,
    valid,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    CreateGeneration,
    CreateFile,
    CompleteFile,
    GetGeneration,
    ListFiles,
    GetFile,
    DeleteFile,
}

impl Operation {
    pub(super) const ALL: [Self; 7] = [
        Self::CreateGeneration,
        Self::CreateFile,
        Self::CompleteFile,
        Self::GetGeneration,
        Self::ListFiles,
        Self::GetFile,
        Self::DeleteFile,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::CreateGeneration => "create_generation",
            Self::CreateFile => "create_file",
            Self::CompleteFile => "complete_file",
            Self::GetGeneration => "get_generation",
            Self::ListFiles => "list_files",
            Self::GetFile => "get_file",
            Self::DeleteFile => "delete_file",
        }
    }

    pub(super) fn is_write(self) -> bool {
        matches!(self, Self::CreateGeneration | Self::CreateFile | Self::CompleteFile)
    }

    /// Method and path of its request.
    pub(super) fn request(self) -> (&'static str, String) {
        let id = valid::ID;
        match self {
            Self::CreateGeneration => ("POST", "/v1/generations".to_owned()),
            Self::CreateFile => ("POST", "/v1/files".to_owned()),
            Self::CompleteFile => ("POST", format!("/v1/files/{id}/complete")),
            Self::GetGeneration => ("GET", format!("/v1/generations/{id}")),
            Self::ListFiles => ("GET", "/v1/files".to_owned()),
            Self::GetFile => ("GET", format!("/v1/files/{id}")),
            Self::DeleteFile => ("DELETE", format!("/v1/files/{id}")),
        }
    }

    pub(super) async fn run(self, luma: &Client) -> Result<()> {
        let id = valid::ID;
        let file = || CreateFile::builder().mime_type("image/png").size_bytes(3);
        match self {
            Self::CreateGeneration => {
                luma.generations().create(CreateGeneration::builder().prompt("a lighthouse")).await.map(drop)
            }
            Self::CreateFile => {
                luma.call(async move |api: raw::Client| api.create_file().body(file()).send().await).await.map(drop)
            }
            Self::CompleteFile => {
                luma.call(async move |api: raw::Client| api.complete_file().file_id(id).send().await).await.map(drop)
            }
            Self::GetGeneration => luma.generations().get(id).await.map(drop),
            Self::ListFiles => luma.call(async |api: raw::Client| api.list_files().send().await).await.map(drop),
            Self::GetFile => {
                luma.call(async move |api: raw::Client| api.get_file().file_id(id).send().await).await.map(drop)
            }
            Self::DeleteFile => {
                luma.call(async move |api: raw::Client| api.delete_file().file_id(id).send().await).await
            }
        }
    }
}

/// How a call ended, in the detail that a caller can action on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Ok,
    NoResponse(Fault),
    Unknown(Option<Fault>),
    Rejected(RejectionKind),
    Limited(Limit),
    Unexpected,
    Other,
}

impl Outcome {
    pub(super) fn of(result: &Result<()>) -> Self {
        match result {
            Ok(()) => Self::Ok,
            Err(Error::NoResponse(e)) => Self::NoResponse(e.fault),
            Err(Error::OutcomeUnknown(e)) => Self::Unknown(e.fault),
            Err(Error::Rejected(e)) => Self::Rejected(e.kind()),
            Err(Error::RateLimited(e)) => Self::Limited(e.limit),
            Err(Error::UnexpectedResponse(_)) => Self::Unexpected,
            Err(_) => Self::Other,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.write_str("success"),
            Self::NoResponse(fault) => write!(f, "`NoResponse`, {fault:?}"),
            Self::Unknown(Some(fault)) => write!(f, "`OutcomeUnknown`, {fault:?}"),
            Self::Unknown(None) => f.write_str("`OutcomeUnknown`"),
            Self::Rejected(kind) => write!(f, "`Rejected`, {kind:?}"),
            Self::Limited(limit) => write!(f, "`RateLimited`, {limit:?}"),
            Self::Unexpected => f.write_str("`UnexpectedResponse`"),
            Self::Other => f.write_str("something else"),
        }
    }
}

/// The server of a case.
#[derive(Clone)]
pub(super) enum Place {
    Serves(Arc<dyn Fn(&Request) -> Action + Send + Sync>),
    Http2 { window: u32, script: Arc<Script> },
    NeverReads(Then),
    UnusedPort,
}

/// What is between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Front {
    Nothing,
    /// The server is at an IPv6 address.
    Ipv6,
    /// An `https` URL, and no TLS behind it.
    NoTls,
    Tls(Certificate),
    /// The server is a proxy on the way to an `https` URL.
    Proxy,
    /// The server is a proxy on the way to an `http` URL.
    PlainProxy,
}

/// What happens before the measured call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    Nothing,
    /// A call, whose connection is kept.
    Call,
    /// The same in another runtime, which is then kept and not driven.
    CallInStoppedRuntime,
    /// The same in another runtime, which is then dropped.
    CallInDroppedRuntime,
}

/// The fault, for the table. Statuses with the same outcome share a line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    Text(&'static str),
    Status(&'static str, u16),
}

#[derive(Clone)]
pub(super) struct Case {
    pub(super) name: Name,
    pub(super) place: Place,
    pub(super) front: Front,
    pub(super) before: Before,
    /// Attempts and outcome of a call that is not idempotent.
    pub(super) write: (usize, Outcome),
    pub(super) read: (usize, Outcome),
    /// Attempts and outcome of a submission, where it differs from other writes.
    pub(super) submission: Option<(usize, Outcome)>,
    /// Separate, because the response to a deletion has no body to decode.
    pub(super) delete: (usize, Outcome),
    pub(super) jobs: usize,
    /// How many attempts of an idempotent call never reach the server.
    pub(super) lost: usize,
}

impl Case {
    pub(super) fn new(
        name: &'static str,
        place: Place,
        jobs: usize,
        write: (usize, Outcome),
        read: (usize, Outcome),
    ) -> Self {
        Self {
            name: Name::Text(name),
            place,
            front: Front::Nothing,
            before: Before::Nothing,
            lost: 0,
            write,
            submission: None,
            read,
            delete: read,
            jobs,
        }
    }

    /// Every request meets the same fault.
    pub(super) fn always(
        name: &'static str,
        action: Action,
        jobs: usize,
        write: (usize, Outcome),
        read: (usize, Outcome),
    ) -> Self {
        Self::scripted(name, move |_| action.clone(), jobs, write, read)
    }

    pub(super) fn scripted(
        name: &'static str,
        script: impl Fn(&Request) -> Action + Send + Sync + 'static,
        jobs: usize,
        write: (usize, Outcome),
        read: (usize, Outcome),
    ) -> Self {
        Self::new(name, Place::Serves(Arc::new(script)), jobs, write, read)
    }

    /// The status is a success, but the body cannot be decoded.
    pub(super) fn undecodable(name: &'static str, action: Action) -> Self {
        Self::always(name, action, 1, (1, Outcome::Unknown(None)), (1, Outcome::Unexpected)).deletes(1, Outcome::Ok)
    }

    /// The response is correct in an unusual form, so every call succeeds.
    pub(super) fn harmless(name: &'static str, script: impl Fn(&Request) -> Action + Send + Sync + 'static) -> Self {
        Self::scripted(name, script, 1, (1, Outcome::Ok), (1, Outcome::Ok))
    }

    pub(super) fn deletes(self, attempts: usize, outcome: Outcome) -> Self {
        Self { delete: (attempts, outcome), ..self }
    }

    pub(super) fn after(self, before: Before) -> Self {
        Self { before, ..self }
    }

    pub(super) fn behind(self, front: Front) -> Self {
        Self { front, ..self }
    }

    pub(super) fn expected(&self, operation: Operation) -> (usize, Outcome) {
        match operation {
            Operation::CreateGeneration => self.submission.unwrap_or(self.write),
            Operation::CreateFile | Operation::CompleteFile => self.write,
            Operation::GetGeneration | Operation::ListFiles | Operation::GetFile => self.read,
            Operation::DeleteFile => self.delete,
        }
    }

    /// The number of requests that reach the server in this many attempts.
    pub(super) fn requests(&self, operation: Operation, attempts: usize) -> usize {
        match (&self.place, self.front) {
            // They cannot be counted, but each attempt opens its own connection.
            (Place::NeverReads(_), _) => attempts,
            (Place::UnusedPort, _) | (_, Front::NoTls) => 0,
            (_, Front::Tls(certificate)) if certificate != Certificate::Good => 0,
            _ if operation.is_write() => attempts,
            _ => attempts - self.lost,
        }
    }
}

/// A text that contains secrets, as a careless server may send it.
pub(super) fn secrets() -> String {
    format!("your key {KEY} and your file {}", valid::signed_url())
}

pub(super) fn html() -> String {
    format!("<html><a href=\"{}\">502 Bad Gateway</a> {KEY}</html>", valid::signed_url())
}

pub(super) fn detail() -> String {
    json!({ "detail": secrets() }).to_string()
}

pub(super) const JSON: (&str, &str) = ("content-type", "application/json");

/// A head with `content-length: length`, followed by `body`.
pub(super) fn sized(status: u16, length: impl fmt::Display, body: &str) -> Vec<u8> {
    response_bytes(status, [JSON, ("content-length", &length.to_string())], body)
}

pub(super) fn chunked(body: &str) -> Vec<u8> {
    response_bytes(200, [JSON, ("transfer-encoding", "chunked")], body)
}
