//! The API of the emulator: from a request to its answer.

use std::{collections::BTreeMap, time::SystemTime};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use httpmock::{HttpMockRequest, HttpMockResponse};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    answer::{Answer, Operation, Reply, unix_seconds},
    contract::{self, Checked},
    world::{Grant, Request, Upload, World},
};
use crate::types::{CreateFileResponse, File, FilePage, FilePurpose, FileState, Generation, PresignedUpload, Secret};

/// What every key of the emulator's clients is.
pub(super) const KEY: &str = "luma-api-emulator";

const API_VERSION: &str = "2026-04-01";
const REQUESTS_PER_MINUTE: usize = 30;

/// A request, taken apart.
pub(super) struct Call {
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    body: Bytes,
}

impl From<&HttpMockRequest> for Call {
    fn from(request: &HttpMockRequest) -> Self {
        let headers = request
            .headers_vec()
            .iter()
            .filter_map(|(name, value)| Some((name.parse::<HeaderName>().ok()?, value.parse::<HeaderValue>().ok()?)));
        let uri: Uri = request.uri_str().parse().unwrap_or_default();
        Self {
            method: request.method_str().parse().unwrap_or_default(),
            path: uri.path().to_owned(),
            query: uri.query().unwrap_or_default().to_owned(),
            headers: headers.collect(),
            body: request.body_bytes(),
        }
    }
}

impl Call {
    pub(super) fn operation(&self) -> Option<Operation> {
        Operation::of(&self.method, &self.path)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The id in the path.
    fn id(&self) -> Option<Uuid> {
        // The canonical form only: `Uuid` would take others too.
        let id = self.path.trim_matches('/').split('/').nth(1)?;
        id.parse::<Uuid>().ok().filter(|parsed| parsed.to_string().eq_ignore_ascii_case(id))
    }
}

/// Answers a request and writes down that it came.
pub(super) fn answer(world: &mut World, call: &Call) -> HttpMockResponse {
    let operation = call.operation();
    let scripted = operation.and_then(|operation| world.answers.get_mut(&operation)?.pop_front());
    let Answer { reply, acts, .. } = scripted.unwrap_or_else(Answer::usual);
    let body = serde_json::from_slice(&call.body).ok();
    let usual = acts.then(|| carry_out(world, operation, call, body.as_ref()).unwrap_or_else(|refusal| refusal));
    let reply = reply.or(usual).unwrap_or_else(|| Reply::empty(500));
    let request_id = call.header("x-request-id").map_or_else(|| Uuid::new_v4().to_string(), str::to_owned);

    let mut headers = call.headers.clone();
    for secret in ["authorization", "proxy-authorization", "cookie"] {
        if let Some(value) = headers.get_mut(secret) {
            value.set_sensitive(true);
        }
    }
    world.requests.push(Request {
        operation,
        method: call.method.clone(),
        path: call.path.clone(),
        query: call.query.clone(),
        headers,
        body: body.unwrap_or_default(),
        status: StatusCode::from_u16(reply.status).ok(),
    });

    let response = HttpMockResponse::builder().status(reply.status).headers(reply.headers).body(reply.body);
    if reply.by_api {
        response.header("X-Request-Id", request_id).header("X-API-Version", API_VERSION).build()
    } else {
        response.build()
    }
}

fn carry_out(world: &mut World, operation: Option<Operation>, call: &Call, body: Option<&Value>) -> Checked<Reply> {
    authorize(call)?;
    let body = || body.ok_or_else(|| contract::malformed("body", "JSON decode error"));
    match operation {
        Some(Operation::CreateGeneration) => create_generation(world, body()?),
        Some(Operation::GetGeneration) => get_generation(world, call),
        Some(Operation::CreateFile) => create_file(world, call, body),
        Some(Operation::ListFiles) => list_files(world, call),
        Some(Operation::GetFile) => get_file(world, call),
        Some(Operation::CompleteFile) => complete_file(world, call),
        Some(Operation::DeleteFile) => delete_file(world, call),
        Some(Operation::Storage) | None => Err(Reply::detail(404, "Not Found")),
    }
}

/// The scheme is case sensitive; a key without the prefix is answered like a missing one.
fn authorize(call: &Call) -> Checked {
    match call.header("authorization").and_then(|value| value.strip_prefix("Bearer ")) {
        Some(KEY) => Ok(()),
        Some(key) if key.starts_with(crate::util::redact::KEY_PREFIX) => Err(Reply::detail(401, "Invalid API key")),
        _ => Err(Reply::detail(401, "Missing or invalid API key")),
    }
}

fn create_generation(world: &mut World, request: &Value) -> Checked<Reply> {
    contract::check_generation(request, world)?;
    let reply = Reply::json(201, &shown(&world.accept(Uuid::new_v4(), request.clone())));
    let used = world.jobs.iter().filter(|job| job.submitted.elapsed().is_ok_and(|age| age.as_secs() < 60)).count();
    Ok(reply
        .header("X-RateLimit-Limit", &REQUESTS_PER_MINUTE)
        .header("X-RateLimit-Remaining", &REQUESTS_PER_MINUTE.saturating_sub(used))
        .header("X-RateLimit-Reset", &(unix_seconds() + 60)))
}

fn get_generation(world: &mut World, call: &Call) -> Checked<Reply> {
    let missing = || Reply::detail(404, "Generation not found");
    let id = call.id().ok_or_else(missing)?;
    if let Some(job) = world.jobs.iter_mut().find(|job| job.accepted.id == id) {
        job.looks += 1;
    }
    world.show(id).map(|generation| Reply::json(200, &shown(&generation))).ok_or_else(missing)
}

/// With the nulls that the service sends.
fn shown(generation: &Generation) -> Value {
    let mut shown = json!(generation);
    for name in ["failure_code", "failure_reason"] {
        if shown.get(name).is_none() {
            shown[name] = Value::Null;
        }
    }
    shown
}

fn create_file<'a>(world: &mut World, call: &Call, body: impl Fn() -> Checked<&'a Value>) -> Checked<Reply> {
    let form = call.header("content-type").and_then(|media_type| multer::parse_boundary(media_type).ok());
    let (request, bytes) = match form {
        Some(boundary) => {
            let (request, bytes) = read_form(call.body.clone(), boundary)?;
            (request, Some(bytes))
        }
        None => (body()?.clone(), None),
    };
    contract::check_file(&request)?;
    let text = |name: &str| request[name].as_str().map(str::to_owned);
    let expires_at = text("expires_at").map(|it| it.parse::<DateTime<Utc>>()).transpose();
    let purpose = text("purpose").map_or(FilePurpose::Input, FilePurpose::from);
    let size = request["size_bytes"].as_i64().unwrap_or_default();
    let mime_type = text("mime_type").unwrap_or_default();
    let file = File {
        filename: text("filename"),
        expires_at: expires_at
            .map_err(|_| contract::malformed("body.expires_at", "Input should be a valid datetime"))?,
        user_id: text("user_id"),
        ..File::of(now(), Uuid::new_v4(), mime_type, purpose, size, FileState::Pending)
    };
    let upload = if bytes.is_some() { None } else { presign(world, &file) };
    let answer = CreateFileResponse { upload, ..CreateFileResponse::of(file.clone(), file.id, file.state.clone()) };
    let complete = bytes.is_some().then(SystemTime::now);
    let ingest = world.ingests.pop_front().unwrap_or_default();
    world.files.push(Upload { file, bytes, ingest, complete, looks: 0 });
    Ok(Reply::json(201, &json!(answer)))
}

fn presign(world: &mut World, file: &File) -> Option<PresignedUpload> {
    let headers = BTreeMap::from([
        ("Content-Type".to_owned(), file.mime_type.clone()),
        ("x-amz-meta-file-id".to_owned(), file.id.to_string()),
    ]);
    let expires_at = now() + world.url_lifetime;
    let url = world.sign(Grant::put(file.id, headers.clone()))?;
    Some(PresignedUpload {
        headers: headers.into_iter().map(|(name, value)| (name, Secret::from(value))).collect(),
        ..PresignedUpload::of(expires_at, "PUT".to_owned(), url)
    })
}

/// The form as the JSON that would announce its file, and the bytes of the file.
fn read_form(body: Bytes, boundary: String) -> Checked<(Value, Bytes)> {
    let body = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(body)]);
    let read = async {
        let mut form = multer::Multipart::new(body, boundary);
        let (mut request, mut bytes) = (json!({}), None);
        while let Some(part) = form.next_field().await? {
            let name = part.name().unwrap_or_default().to_owned();
            if name == "file" {
                let media_type = part.content_type().map_or("application/octet-stream", AsRef::as_ref);
                request["mime_type"] = media_type.into();
                if let (Some(filename), None) = (part.file_name(), request.get("filename")) {
                    request["filename"] = filename.into();
                }
                let content = part.bytes().await?;
                request["size_bytes"] = content.len().into();
                bytes = Some(content);
            } else {
                request[name] = part.text().await?.into();
            }
        }
        Ok::<_, multer::Error>((request, bytes))
    };
    // The body is all here: nothing in it can pend.
    match read.now_or_never() {
        Some(Ok((request, Some(bytes)))) => Ok((request, bytes)),
        Some(Ok((_, None))) => Err(contract::malformed("body.file", "Field required")),
        _ => Err(Reply::detail(400, "There was an error parsing the body")),
    }
}

fn list_files(world: &mut World, call: &Call) -> Checked<Reply> {
    let mut query = json!({});
    for (name, value) in
        reqwest::Url::parse(&format!("http://localhost/?{}", call.query)).iter().flat_map(reqwest::Url::query_pairs)
    {
        let number = (name == "limit").then(|| value.parse::<i64>().ok()).flatten();
        query[name.as_ref()] = number.map_or_else(|| value.into(), Value::from);
    }
    contract::check_page(&query)?;
    let limit = query["limit"].as_u64().and_then(|limit| usize::try_from(limit).ok()).unwrap_or(25);
    let wanted = |name: &str, value: &str| query[name].as_str().is_none_or(|wanted| wanted == value);
    world.files.iter_mut().for_each(Upload::advance);
    // The cursor is the last file of the page before; those newer than it are left out.
    let end = match query["cursor"].as_str() {
        None => world.files.len(),
        Some(cursor) => world
            .files
            .iter()
            .position(|upload| cursor_of(&upload.file) == cursor)
            .ok_or_else(|| Reply::detail(400, "Invalid cursor"))?,
    };
    let mut files = world.files[..end]
        .iter()
        .rev()
        .map(|upload| &upload.file)
        .filter(|file| wanted("purpose", file.purpose.as_str()) && wanted("state", file.state.as_str()));
    let data: Vec<_> = files.by_ref().take(limit).cloned().collect();
    let has_more = files.next().is_some();
    let next_cursor = data.last().filter(|_| has_more).map(cursor_of);
    Ok(Reply::json(200, &json!(FilePage { next_cursor, ..FilePage::of(data, has_more) })))
}

fn cursor_of(file: &File) -> String {
    format!("c-{}", file.id.simple())
}

fn find<'a>(world: &'a mut World, call: &Call) -> Checked<&'a mut Upload> {
    let missing = || Reply::detail(404, "File not found");
    let id = call.id().ok_or_else(missing)?;
    world.files.iter_mut().find(|upload| upload.file.id == id).ok_or_else(missing)
}

fn get_file(world: &mut World, call: &Call) -> Checked<Reply> {
    let upload = find(world, call)?;
    if upload.complete.is_some() {
        upload.looks += 1;
    }
    upload.advance();
    Ok(Reply::json(200, &json!(upload.file)))
}

fn complete_file(world: &mut World, call: &Call) -> Checked<Reply> {
    let upload = find(world, call)?;
    if upload.file.state != FileState::Pending || upload.complete.is_some() {
        return Err(Reply::detail(409, "File is not ready for this operation"));
    }
    if upload.bytes.is_none() {
        return Err(Reply::detail(400, "File has not been uploaded"));
    }
    upload.complete = Some(SystemTime::now());
    Ok(Reply::json(200, &json!(upload.file)))
}

fn delete_file(world: &mut World, call: &Call) -> Checked<Reply> {
    let upload = find(world, call)?;
    if upload.file.state == FileState::Deleted {
        return Err(Reply::detail(404, "File not found"));
    }
    upload.file.state = FileState::Deleted;
    upload.file.deleted_at = Some(now());
    upload.bytes = None;
    Ok(Reply::empty(204))
}

fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}
