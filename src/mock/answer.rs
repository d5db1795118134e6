//! Answers other than the usual ones, and which operation they are for.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// `POST /generations`
    CreateGeneration,
    /// `GET /generations/{generation_id}`
    GetGeneration,
    /// `POST /files`
    CreateFile,
    /// `GET /files`
    ListFiles,
    /// `GET /files/{file_id}`
    GetFile,
    /// `POST /files/{file_id}/complete`
    CompleteFile,
    /// `DELETE /files/{file_id}`
    DeleteFile,
    /// A request to storage: the download of an output or the upload of a file.
    Storage,
}

impl Operation {
    pub(super) fn of(method: &Method, path: &str) -> Option<Self> {
        let parts: Vec<_> = path.trim_matches('/').split('/').collect();
        Some(match (method.as_str(), parts.as_slice()) {
            ("POST", ["generations"]) => Self::CreateGeneration,
            ("GET", ["generations", _]) => Self::GetGeneration,
            ("POST", ["files"]) => Self::CreateFile,
            ("GET", ["files"]) => Self::ListFiles,
            ("GET", ["files", _]) => Self::GetFile,
            ("POST", ["files", _, "complete"]) => Self::CompleteFile,
            ("DELETE", ["files", _]) => Self::DeleteFile,
            _ => return None,
        })
    }
}

/// One answer to one request, other than the usual one.
///
/// The ready-made ones have the status, headers and text that the service documents; the numbers of
/// a limit are examples.
#[derive(Clone, Debug)]
#[must_use]
pub struct Answer {
    pub(super) reply: Option<Reply>,
    pub(super) delay: Option<Duration>,
    pub(super) acts: bool,
}

impl Answer {
    /// The usual answer: for [`delay`](Self::delay).
    pub fn usual() -> Self {
        Self { reply: None, delay: None, acts: true }
    }

    /// Whatever you like, as a gateway in front of the service might write it: without
    /// `X-Request-Id` and `X-API-Version`.
    pub fn raw(status: u16, body: impl Into<Bytes>) -> Self {
        Self::with(Reply { status, headers: Vec::new(), body: body.into(), by_api: false })
    }

    /// A refusal by the service itself, with this text.
    pub fn refused(status: u16, detail: impl Into<Value>) -> Self {
        Self::with(Reply::detail(status, detail))
    }

    /// 400: the model does not exist, or the account may not use it.
    pub fn unknown_model() -> Self {
        Self::refused(400, "Unknown model: super-model-v9")
    }

    /// 401: no such key.
    pub fn unauthorized() -> Self {
        Self::refused(401, "Invalid API key")
    }

    /// 402: the balance does not cover the job.
    pub fn insufficient_credits() -> Self {
        Self::refused(402, "Insufficient credits. Please add credits to continue.")
    }

    /// 403: the account is suspended.
    pub fn forbidden() -> Self {
        Self::refused(403, "API client is suspended")
    }

    /// 404: there is no such generation.
    pub fn not_found() -> Self {
        Self::refused(404, "Generation not found")
    }

    /// 413: an image is too large.
    pub fn too_large() -> Self {
        Self::refused(413, "source: image exceeds 50 MB limit")
    }

    /// 422: an image cannot be fetched.
    pub fn unusable_media() -> Self {
        Self::refused(422, "image_ref[0]: failed to fetch URL")
    }

    /// 429: too many requests in a minute, with the rate headers.
    pub fn rate_limited(retry_after_seconds: u64) -> Self {
        Self::refused(429, "Rate limit exceeded")
            .header("Retry-After", retry_after_seconds.to_string())
            .header("X-RateLimit-Limit", "30")
            .header("X-RateLimit-Remaining", "0")
            .header("X-RateLimit-Reset", (unix_seconds() + retry_after_seconds).to_string())
    }

    /// 429: too many jobs at once; without rate headers, and always a minute.
    pub fn too_many_jobs() -> Self {
        Self::refused(429, "Too many concurrent jobs").header("Retry-After", "60")
    }

    /// 502: a service behind the API is down. Nothing was created.
    pub fn bad_gateway() -> Self {
        Self::refused(502, "Upstream service unavailable")
    }

    /// 503: images cannot be fetched by URL for now. Nothing was created.
    pub fn unavailable() -> Self {
        Self::refused(503, "Image URL ingestion unavailable")
    }

    /// Adds a header. No effect on the [`usual`](Self::usual) answer.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        if let Some(reply) = &mut self.reply {
            reply.headers.push((name.into(), value.into()));
        }
        self
    }

    /// The answer comes this much later. Other requests of the same operation meanwhile wait as long.
    pub fn delay(self, delay: Duration) -> Self {
        Self { delay: Some(delay), ..self }
    }

    /// The operation is carried out all the same, and only its answer replaced: a job exists and is
    /// paid for, and the client does not learn of it.
    pub fn after_acting(self) -> Self {
        Self { acts: true, ..self }
    }

    fn with(reply: Reply) -> Self {
        Self { reply: Some(reply), delay: None, acts: false }
    }
}

/// What goes back over the wire.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
    /// Whether it carries the headers that the service puts on each of its answers.
    pub(super) by_api: bool,
}

impl Reply {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
        Self { status, headers, body: body.to_string().into(), by_api: true }
    }

    pub(super) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new(), by_api: true }
    }

    pub(super) fn detail(status: u16, detail: impl Into<Value>) -> Self {
        Self::json(status, &json!({ "detail": detail.into() }))
    }

    pub(super) fn header(mut self, name: &str, value: &impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }
}

pub(super) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
