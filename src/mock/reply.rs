//! Replies: which operation they are for, and what goes over the wire.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use super::{
    document::Violation,
    server::{self, Body},
};

/// What a request is for.
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
    /// Those of the API, by their `operationId` in the document.
    pub(super) const BY_ID: [(&'static str, Self); 7] = [
        ("create_generation", Self::CreateGeneration),
        ("get_generation", Self::GetGeneration),
        ("create_file", Self::CreateFile),
        ("list_files", Self::ListFiles),
        ("get_file", Self::GetFile),
        ("complete_file", Self::CompleteFile),
        ("delete_file", Self::DeleteFile),
    ];

    pub(super) fn by_id(id: &str) -> Option<Self> {
        Self::BY_ID.iter().find(|(it, _)| *it == id).map(|(_, operation)| *operation)
    }
}

/// The reply to one request, instead of the normal one.
///
/// The ready-made ones have the status, headers and text that the service documents; the numbers of
/// a limit are examples.
#[derive(Clone, Debug)]
#[must_use]
pub struct Reply {
    /// `None` for the normal one.
    pub(super) http: Option<HttpReply>,
    pub(super) delay: Duration,
    pub(super) takes_effect: bool,
}

impl Reply {
    /// The normal reply, to put a [`delay`](Self::delay) before it.
    pub fn normal() -> Self {
        Self { http: None, delay: Duration::ZERO, takes_effect: true }
    }

    /// Any status and body, as a gateway in front of the service may write them: without
    /// `X-Request-Id` and `X-API-Version`.
    pub fn raw(status: u16, body: impl Into<Bytes>) -> Self {
        Self::with(HttpReply { status, headers: Vec::new(), body: body.into(), by_api: false })
    }

    /// An error of the service itself, with this text.
    pub fn rejected(status: u16, detail: impl Into<Value>) -> Self {
        Self::with(HttpReply::detail(status, detail))
    }

    /// 400: the model does not exist, or the account may not use it.
    pub fn unknown_model() -> Self {
        Self::rejected(400, "Unknown model: super-model-v9")
    }

    /// 401: the key does not exist.
    pub fn unauthorized() -> Self {
        Self::rejected(401, "Invalid API key")
    }

    /// 402: the balance does not cover the job.
    pub fn insufficient_credits() -> Self {
        Self::rejected(402, "Insufficient credits. Please add credits to continue.")
    }

    /// 403: the account is suspended.
    pub fn forbidden() -> Self {
        Self::rejected(403, "API client is suspended")
    }

    /// 404: there is no such generation.
    pub fn not_found() -> Self {
        Self::rejected(404, "Generation not found")
    }

    /// 413: an image is too large.
    pub fn too_large() -> Self {
        Self::rejected(413, "source: image exceeds 50 MB limit")
    }

    /// 422: an image cannot be fetched.
    pub fn unusable_media() -> Self {
        Self::rejected(422, "image_ref[0]: failed to fetch URL")
    }

    /// 429: too many requests in a minute, with the rate headers.
    pub fn rate_limited(retry_after_seconds: u64) -> Self {
        Self::rejected(429, "Rate limit exceeded")
            .header("Retry-After", retry_after_seconds.to_string())
            .header("X-RateLimit-Limit", "30")
            .header("X-RateLimit-Remaining", "0")
            .header("X-RateLimit-Reset", (unix_seconds() + retry_after_seconds).to_string())
    }

    /// 429: too many jobs at once. It has no rate headers, and its `Retry-After` is always 60.
    pub fn too_many_jobs() -> Self {
        Self::rejected(429, "Too many concurrent jobs").header("Retry-After", "60")
    }

    /// 502: a service behind the API is down. Nothing was created.
    pub fn bad_gateway() -> Self {
        Self::rejected(502, "Upstream service unavailable")
    }

    /// 503: images cannot be fetched by URL for now. Nothing was created.
    pub fn unavailable() -> Self {
        Self::rejected(503, "Image URL ingestion unavailable")
    }

    /// Adds a header. Has no effect on the [`normal`](Self::normal) reply.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.http = self.http.map(|reply| reply.header(name.into(), value.into()));
        self
    }

    /// Sends the reply this much later. The operation itself takes effect at once, and other requests do
    /// not wait.
    pub fn delay(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Carries the operation out before this reply is sent in place of the normal one: a job exists and is
    /// paid for, and the client does not learn its id.
    pub fn after_effect(self) -> Self {
        Self { takes_effect: true, ..self }
    }

    fn with(http: HttpReply) -> Self {
        Self { http: Some(http), delay: Duration::ZERO, takes_effect: false }
    }
}

/// What a request asks for, or the reply that rejects it.
pub(super) type Checked<T = ()> = Result<T, HttpReply>;

/// What goes over the wire.
#[derive(Clone, Debug)]
pub(super) struct HttpReply {
    pub(super) status: u16,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
    /// Whether it has the headers that the service puts on each of its responses.
    pub(super) by_api: bool,
}

impl HttpReply {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self::json_text(status, body.to_string())
    }

    pub(super) fn json_text(status: u16, body: String) -> Self {
        // Room for the two headers that each response of the service has.
        let mut headers = Vec::with_capacity(3);
        headers.push((header::CONTENT_TYPE, HeaderValue::from_static("application/json")));
        Self { status, headers, body: body.into(), by_api: true }
    }

    pub(super) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new(), by_api: true }
    }

    pub(super) fn detail(status: u16, detail: impl Into<Value>) -> Self {
        Self::json(status, &json!({ "detail": detail.into() }))
    }

    /// 500 if it cannot be sent.
    pub(super) fn header(mut self, name: impl TryInto<HeaderName>, value: impl TryInto<HeaderValue>) -> Self {
        let (Ok(name), Ok(value)) = (name.try_into(), value.try_into()) else {
            return Self { by_api: self.by_api, ..Self::empty(500) };
        };
        self.headers.push((name, value));
        self
    }

    /// 500 if the status cannot be sent.
    pub(super) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(server::full(self.body));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().extend(self.headers);
        response
    }
}

/// 422 with a list, as `FastAPI` writes it, which the service seems to use.
impl From<Vec<Violation>> for HttpReply {
    fn from(violations: Vec<Violation>) -> Self {
        Self::detail(422, violations.into_iter().map(|it| it.entry).collect::<Value>())
    }
}

impl From<Violation> for HttpReply {
    fn from(violation: Violation) -> Self {
        vec![violation].into()
    }
}

pub(super) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
