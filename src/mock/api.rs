//! The API of the emulator: from a request to its response.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use chrono::SecondsFormat;
use futures_util::FutureExt as _;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, request::Parts};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    clock::timestamp,
    document::{Endpoint, Input, Violation},
    quota::Exceeded,
    reply::{Checked, HttpReply, Operation, Reply, unix_seconds},
    requests::Record,
    rules, schema,
    server::Body,
    state::{Shared, State},
    storage,
    upload::Upload,
};
pub(super) use crate::http::key::EMULATOR_KEY as KEY;
use crate::{
    rate_limit::Limit,
    types::{FileState, GenerationState},
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const API_VERSION: HeaderName = HeaderName::from_static("x-api-version");
const VERSION: HeaderValue = HeaderValue::from_static("2026-04-01");

/// The window of `X-RateLimit-Reset` after a request within the limit.
const MINUTE: Duration = Duration::from_secs(60);

/// What `expires_at` is at most from now.
const LONGEST_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// The beginning of every path, as in the base URL of the service. Requests without it are served too.
pub(super) const PREFIX: &str = "/v1";

/// The jobs as JSON, for tests in other languages. Needs no key, and is no request to the service.
const JOBS: &str = "/_emulator/jobs";

pub(super) async fn serve(shared: Shared, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let started = Instant::now();
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    if head.method == Method::GET && head.uri.path() == JOBS {
        let jobs = shared.lock().jobs();
        return Ok(HttpReply::json(200, &json!({ "jobs": jobs })).into_response());
    }
    let (reply, delay, record) = respond(&shared, &head, body);
    // A sleep of no time would still go through the timer.
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    shared.listener.call(&record, started.elapsed());
    Ok(reply.into_response())
}

/// The reply, and how much later it is sent.
fn respond(shared: &Shared, head: &Parts, body: Bytes) -> (HttpReply, Duration, Arc<Record>) {
    let path = head.uri.path();
    let path = path.strip_prefix(PREFIX).filter(|rest| rest.starts_with('/')).unwrap_or(path);
    let endpoint = shared.document.endpoint(&head.method, path);
    let operation = endpoint.and_then(|it| Operation::by_id(&it.id));
    let json: Option<Value> = if body.is_empty() { None } else { serde_json::from_slice(&body).ok() };
    let kept = if json.is_some() { body.len() } else { 0 };
    let header = |name: &str| head.headers.get(name)?.to_str().ok().map(str::to_owned);
    let request_id = header("x-request-id").unwrap_or_else(random_id);
    let call = Call { shared, head, path, request_id: &request_id, body, json: json.as_ref() };
    let mut record = Record::new(operation, head);
    let mut state = shared.lock();
    let scripted =
        operation.and_then(|it| state.scripts.replies.get_mut(&it)?.pop_front()).unwrap_or_else(Reply::normal);
    let normal = scripted.takes_effect.then(|| call.carry_out(&mut state, endpoint).unwrap_or_else(|error| error));
    let mut reply = scripted.http.or(normal).unwrap_or_else(|| HttpReply::empty(500));
    if reply.by_api {
        reply.headers.push((API_VERSION, VERSION));
        reply = reply.header(REQUEST_ID, &request_id);
    }
    record.body = json.unwrap_or_default();
    record.status = StatusCode::from_u16(reply.status).ok();
    let record = Arc::new(record);
    state.requests.push(Arc::clone(&record), kept);
    (reply, scripted.delay, record)
}

/// Any one. It is no secret, so that no system call is needed for it.
fn random_id() -> String {
    uuid::Builder::from_random_bytes(fastrand::u128(..).to_ne_bytes()).into_uuid().to_string()
}

/// A request with all that it takes to carry it out.
struct Call<'a> {
    shared: &'a Shared,
    head: &'a Parts,
    /// Without the prefix.
    path: &'a str,
    request_id: &'a str,
    body: Bytes,
    json: Option<&'a Value>,
}

impl Call<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    /// The id in the path.
    fn id(&self) -> Option<Uuid> {
        schema::uuid(self.path.trim_matches('/').split('/').nth(1)?)
    }

    fn json(&self) -> Checked<&Value> {
        self.json.ok_or_else(|| Violation::new(&["body"], "JSON decode error").into())
    }

    fn checked_json(&self, endpoint: &Endpoint) -> Checked<&Value> {
        let json = self.json()?;
        if let Some(input) = &endpoint.json {
            input.check(json)?;
        }
        Ok(json)
    }

    fn carry_out(&self, state: &mut State, endpoint: Option<&Endpoint>) -> Checked<HttpReply> {
        self.authorize()?;
        let endpoint = endpoint.ok_or_else(|| HttpReply::detail(404, "Not Found"))?;
        let url = self.head.uri.query().and_then(|it| reqwest::Url::parse(&format!("http://localhost/?{it}")).ok());
        let query = url.iter().flat_map(reqwest::Url::query_pairs).filter(|(name, _)| !name.is_empty());
        let query = endpoint.query.read(query.map(|(name, text)| (name.into_owned(), text.into_owned())))?;
        match Operation::by_id(&endpoint.id) {
            Some(Operation::CreateGeneration) => self.create_generation(state, endpoint),
            Some(Operation::GetGeneration) => self.get_generation(state),
            Some(Operation::CreateFile) => self.create_file(state, endpoint),
            Some(Operation::ListFiles) => self.list_files(state, &query),
            Some(Operation::GetFile) => self.get_file(state),
            Some(Operation::CompleteFile) => self.complete_file(state),
            Some(Operation::DeleteFile) => self.delete_file(state),
            Some(Operation::Storage) | None => self.example(endpoint),
        }
    }

    /// The scheme is case sensitive; a key without the prefix is the same as none.
    fn authorize(&self) -> Checked {
        match self.header("authorization").and_then(|value| value.strip_prefix("Bearer ")) {
            Some(KEY) => Ok(()),
            Some(key) if key.starts_with(crate::util::redact::KEY_PREFIX) => {
                Err(HttpReply::detail(401, "Invalid API key"))
            }
            _ => Err(HttpReply::detail(401, "Missing or invalid API key")),
        }
    }

    /// An operation that the document has and the emulator does not: the example in the document.
    fn example(&self, endpoint: &Endpoint) -> Checked<HttpReply> {
        if endpoint.json.is_some() {
            self.checked_json(endpoint)?;
        }
        let (status, body) = &endpoint.success;
        Ok(body.as_ref().map_or_else(|| HttpReply::empty(*status), |body| HttpReply::json(*status, body)))
    }

    fn create_generation(&self, state: &mut State, endpoint: &Endpoint) -> Checked<HttpReply> {
        let request = self.json()?;
        if let Some(input) = &endpoint.json {
            rules::check_generation(input, request, state)?;
        }
        let id = Uuid::new_v4();
        let admitted = state.admit(id, request).map_err(|(exceeded, weight)| self.too_many(exceeded, weight))?;
        state.accept(id, self.request_id.to_owned(), request.clone());
        let accepted = state.generation(&self.shared.document, id, Some(GenerationState::Queued));
        let reply = HttpReply::json_text(201, accepted.unwrap_or_default());
        Ok(match (state.quota().per_minute, admitted.remaining) {
            (Some(limit), Some(remaining)) => self.rate_headers(reply, limit, remaining, MINUTE),
            _ => reply,
        })
    }

    /// A 429 as the service sends it.
    fn too_many(&self, exceeded: Exceeded, weight: u32) -> HttpReply {
        let Exceeded { limit, units, retry_after } = exceeded;
        let reply = if limit == Limit::Requests {
            self.rate_headers(HttpReply::detail(429, "Rate limit exceeded"), units, 0, retry_after)
        } else {
            HttpReply::detail(
                429,
                format!(
                    "Concurrent generation capacity reached (limit={units} weight units; this request needs \
                     {weight}). Wait for existing jobs to complete."
                ),
            )
        };
        reply.header("Retry-After", self.shared.clock.seconds_for_caller(retry_after))
    }

    fn rate_headers(&self, reply: HttpReply, limit: u32, remaining: u32, reset: Duration) -> HttpReply {
        reply
            .header("X-RateLimit-Limit", limit)
            .header("X-RateLimit-Remaining", remaining)
            .header("X-RateLimit-Reset", unix_seconds().saturating_add(self.shared.clock.seconds_for_caller(reset)))
    }

    fn get_generation(&self, state: &mut State) -> Checked<HttpReply> {
        let missing = || HttpReply::detail(404, "Generation not found");
        let id = self.id().ok_or_else(missing)?;
        state.poll(id);
        let found = state.generation(&self.shared.document, id, None);
        found.map(|it| HttpReply::json_text(200, it)).ok_or_else(missing)
    }

    fn create_file(&self, state: &mut State, endpoint: &Endpoint) -> Checked<HttpReply> {
        let boundary = self.header("content-type").and_then(|media_type| multer::parse_boundary(media_type).ok());
        let (request, bytes) = if let (Some(boundary), Some(form)) = (boundary, &endpoint.form) {
            let (request, bytes) = read_form(form, self.body.clone(), boundary)?;
            (request, Some(bytes))
        } else {
            (self.checked_json(endpoint)?.clone(), None)
        };
        rules::check_file(&request)?;
        let ingest = state.scripts.files.pop_front().unwrap_or_default();
        let mut file = Upload::new(Uuid::new_v4(), request, ingest);
        let upload = match bytes {
            Some(bytes) => {
                file.receive(&bytes);
                file.completed = Some(state.now());
                Value::Null
            }
            None => self.presign(state, &file),
        };
        let response = json!({
            "id": file.id, "state": file.state, "file": file.to_json(&self.shared.document), "upload": upload,
        });
        state.files.push(file);
        Ok(HttpReply::json(201, &self.shared.document.value("CreateFileResponse", response)))
    }

    fn presign(&self, state: &mut State, file: &Upload) -> Value {
        let headers = storage::upload_headers(file.id, file.mime_type());
        let lifetime = self.shared.clock.for_caller(state.signer.lifetime).min(LONGEST_LIFETIME);
        let expires_at = timestamp(SystemTime::now() + lifetime, SecondsFormat::Millis);
        let upload = json!({
            "url": state.signer.sign(&http::Method::PUT, &format!("files/{}", file.id)),
            "method": "PUT",
            "headers": headers.map(|(name, value)| (name.to_owned(), value)).into_iter().collect::<Value>(),
            "expires_at": expires_at,
        });
        self.shared.document.value("PresignedUpload", upload)
    }

    fn list_files(&self, state: &mut State, query: &Value) -> Checked<HttpReply> {
        let limit = query["limit"].as_u64().and_then(|limit| usize::try_from(limit).ok()).unwrap_or(25);
        let wanted = |name: &str, value: &str| query[name].as_str().is_none_or(|wanted| wanted == value);
        let now = state.now();
        state.files.iter_mut().for_each(|file| file.advance(now));
        // The cursor is the last file of the page before; those newer than it are left out.
        let end = match query["cursor"].as_str() {
            None => state.files.len(),
            Some(cursor) => state
                .files
                .iter()
                .position(|file| cursor_of(file) == cursor)
                .ok_or_else(|| HttpReply::detail(400, "Invalid cursor"))?,
        };
        let files = state.files.iter().take(end).rev();
        let mut files = files.filter(|it| wanted("purpose", it.purpose()) && wanted("state", it.state.as_str()));
        let page: Vec<_> = files.by_ref().take(limit).collect();
        let has_more = files.next().is_some();
        let fields = json!({
            "data": page.iter().map(|file| file.to_json(&self.shared.document)).collect::<Value>(),
            "has_more": has_more,
            "next_cursor": page.last().filter(|_| has_more).map(|file| cursor_of(file)),
        });
        Ok(HttpReply::json(200, &self.shared.document.value("FilePage", fields)))
    }

    fn find<'s>(&self, state: &'s mut State) -> Checked<&'s mut Upload> {
        let missing = || HttpReply::detail(404, "File not found");
        let id = self.id().ok_or_else(missing)?;
        state.file_mut(id).ok_or_else(missing)
    }

    fn get_file(&self, state: &mut State) -> Checked<HttpReply> {
        let now = state.now();
        let file = self.find(state)?;
        if file.completed.is_some() {
            file.polls += 1;
        }
        file.advance(now);
        Ok(HttpReply::json(200, &file.to_json(&self.shared.document)))
    }

    fn complete_file(&self, state: &mut State) -> Checked<HttpReply> {
        let now = state.now();
        let file = self.find(state)?;
        if file.state != FileState::Pending || file.completed.is_some() {
            return Err(HttpReply::detail(409, "File is not ready for this operation"));
        }
        if file.is_media.is_none() {
            return Err(HttpReply::detail(400, "File has not been uploaded"));
        }
        file.completed = Some(now);
        Ok(HttpReply::json(200, &file.to_json(&self.shared.document)))
    }

    fn delete_file(&self, state: &mut State) -> Checked<HttpReply> {
        let file = self.find(state)?;
        if file.state == FileState::Deleted {
            return Err(HttpReply::detail(404, "File not found"));
        }
        file.state = FileState::Deleted;
        file.deleted = Some(SystemTime::now());
        Ok(HttpReply::empty(204))
    }
}

fn cursor_of(file: &Upload) -> String {
    format!("c-{}", file.id.simple())
}

/// The form as the JSON that would announce its file, and the bytes of the file.
fn read_form(input: &Input, body: Bytes, boundary: String) -> Checked<(Value, Bytes)> {
    let body = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(body)]);
    let read = async {
        let mut form = multer::Multipart::new(body, boundary);
        let (mut texts, mut file) = (Vec::new(), None);
        while let Some(part) = form.next_field().await? {
            let name = part.name().unwrap_or_default().to_owned();
            if name == "file" {
                let media_type = part.content_type().map_or("application/octet-stream", AsRef::as_ref).to_owned();
                let filename = part.file_name().map(str::to_owned);
                file = Some((media_type, filename, part.bytes().await?));
                // The schema only asks whether there is a file.
                texts.push((name, String::new()));
            } else {
                texts.push((name, part.text().await?));
            }
        }
        Ok::<_, multer::Error>((texts, file))
    };
    // The body is all here: nothing in it can pend.
    let Some(Ok((texts, file))) = read.now_or_never() else {
        return Err(HttpReply::detail(400, "There was an error parsing the body"));
    };
    let mut request = input.read(texts)?;
    let (media_type, filename, bytes) =
        file.ok_or_else(|| HttpReply::from(Violation::new(&["body", "file"], "Field required")))?;
    request["mime_type"] = media_type.into();
    request["size_bytes"] = bytes.len().into();
    if request["filename"].is_null() {
        request["filename"] = filename.into();
    }
    Ok((request, bytes))
}
