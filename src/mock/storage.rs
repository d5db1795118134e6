//! The storage of the emulator: signed URLs, responses as S3 writes them, transfers that fail.

use std::{io, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, future, stream};
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    reply::Operation,
    requests::Record,
    script::{End, Transfer},
    server::{self, Body},
    signer::Invalid,
    state::{Object, Shared, State},
    upload::Upload,
};

const CHUNK: usize = 64 * 1024;

/// How much of the beginning of an upload is kept, to recognise its media type.
const START: usize = 8 * 1024;

/// Bytes sent before a break get this long to leave the buffers.
const FLUSH: Duration = Duration::from_millis(20);

/// The headers that an upload has to have.
pub(super) fn upload_headers(file: Uuid, mime_type: &str) -> [(&'static str, String); 2] {
    [("Content-Type", mime_type.to_owned()), ("x-amz-meta-file-id", file.to_string())]
}

/// An error breaks the connection.
pub(super) async fn serve(shared: Shared, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let started = Instant::now();
    let (head, body) = request.into_parts();
    let response = if head.method == Method::PUT {
        let transfer = shared.lock().scripts.uploads.pop_front().unwrap_or_default();
        let received = receive(body, &transfer).await;
        received.map(|received| upload(&mut shared.lock(), &head, &received, &transfer))
    } else {
        let found = find(&mut shared.lock(), &head);
        Ok(match found {
            Ok((key, object, transfer)) => {
                let bytes = shared.rendered.get(key, object.media.clone()).await;
                download(&head.headers, &object, &replaced(bytes, object.replaced), &transfer)
            }
            Err(error) => Err(error),
        })
    };
    let response = response.map(|it| it.unwrap_or_else(S3Error::into_response));
    let mut record = Record::new(Some(Operation::Storage), &head);
    record.status = response.as_ref().ok().map(Response::status);
    let record = Arc::new(record);
    shared.lock().requests.push(Arc::clone(&record), 0);
    shared.listener.call(&record, started.elapsed());
    response
}

/// An error in XML, as S3 writes it.
struct S3Error {
    status: StatusCode,
    code: &'static str,
    message: &'static str,
    header: Option<(HeaderName, String)>,
}

const MISMATCH: S3Error =
    S3Error::forbidden("SignatureDoesNotMatch", "The request signature we calculated does not match");

const NO_SUCH_KEY: S3Error = S3Error::new(StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist");

impl S3Error {
    const fn new(status: StatusCode, code: &'static str, message: &'static str) -> Self {
        Self { status, code, message, header: None }
    }

    const fn forbidden(code: &'static str, message: &'static str) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    fn into_response(self) -> Response<Body> {
        let Self { status, code, message, header } = self;
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        );
        let mut response = Response::builder().status(status).header(header::CONTENT_TYPE, "application/xml");
        if let Some((name, value)) = header {
            response = response.header(name, value);
        }
        server::response(response, server::full(text.into()))
    }
}

/// What the transfer is scripted to fail with.
fn scripted(transfer: &Transfer) -> Result<(), S3Error> {
    let Some(status) = transfer.rejected else { return Ok(()) };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let (code, message) = match status.as_u16() {
        400 => ("InvalidRequest", "The request is not valid"),
        401 | 403 => ("AccessDenied", "Access Denied"),
        404 => ("NoSuchKey", "The specified key does not exist"),
        500 => ("InternalError", "We encountered an internal error. Please try again."),
        _ => ("SlowDown", "Please reduce your request rate"),
    };
    Err(S3Error::new(status, code, message))
}

/// The key of the object that the URL is signed for.
fn authorize<'a>(state: &State, head: &'a Parts) -> Result<&'a str, S3Error> {
    if head.headers.contains_key(header::AUTHORIZATION) {
        return Err(S3Error::new(
            StatusCode::BAD_REQUEST,
            "InvalidArgument",
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string \
             parameter or the Authorization header should be specified",
        ));
    }
    let key = head.uri.path().strip_prefix('/').unwrap_or_default();
    match state.signer.verify(head, key) {
        Ok(()) => Ok(key),
        Err(Invalid::Signature) => Err(MISMATCH),
        Err(Invalid::Expired) => Err(S3Error::forbidden("AccessDenied", "Request has expired")),
    }
}

/// An upload needs the headers that its URL was signed with, and no others of this kind.
fn check_headers(head: &Parts, signed: &[(&'static str, String)]) -> Result<(), S3Error> {
    let sent = |name: &str| head.headers.get(name).map(http::HeaderValue::as_bytes);
    if signed.iter().any(|(name, value)| sent(name) != Some(value.as_bytes())) {
        return Err(MISMATCH);
    }
    let unsigned =
        |name: &str| name.starts_with("x-amz-") && !signed.iter().any(|(it, _)| it.eq_ignore_ascii_case(name));
    if head.headers.keys().any(|name| unsigned(name.as_str())) {
        let message = "There were headers present in the request which were not signed";
        return Err(S3Error::forbidden("AccessDenied", message));
    }
    Ok(())
}

/// The body of an upload: its first bytes and how many there are.
#[derive(Default)]
struct Received {
    start: Vec<u8>,
    length: u64,
}

/// Reads the body of an upload, as far as it is scripted to be sent.
async fn receive(mut body: Incoming, transfer: &Transfer) -> io::Result<Received> {
    let mut received = Received::default();
    let limit = [transfer.cut_after, transfer.stall_after].into_iter().flatten().min();
    loop {
        if limit.is_some_and(|limit| received.length >= limit as u64) {
            if transfer.cut_after == limit {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            future::pending::<()>().await;
        }
        let Some(frame) = body.frame().await else { return Ok(received) };
        if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
            received.length += data.len() as u64;
            let missing = START.saturating_sub(received.start.len());
            received.start.extend(data.iter().take(missing));
        }
    }
}

fn upload(
    state: &mut State,
    head: &Parts,
    received: &Received,
    transfer: &Transfer,
) -> Result<Response<Body>, S3Error> {
    scripted(transfer)?;
    let key = authorize(state, head)?;
    let id = key.strip_prefix("files/").and_then(|id| id.parse::<Uuid>().ok());
    let file: &mut Upload = id.and_then(|id| state.file_mut(id)).ok_or(NO_SUCH_KEY)?;
    check_headers(head, &upload_headers(file.id, file.mime_type()))?;
    if !head.headers.contains_key(header::CONTENT_LENGTH) {
        let message = "You must provide the Content-Length HTTP header";
        return Err(S3Error::new(StatusCode::LENGTH_REQUIRED, "MissingContentLength", message));
    }
    if received.length != file.size() {
        let message = "The number of bytes is not the one that was announced";
        return Err(S3Error::new(StatusCode::BAD_REQUEST, "IncompleteBody", message));
    }
    file.receive(&received.start);
    let etag = format!("\"{}\"", Uuid::new_v4().simple());
    Ok(server::response(Response::builder().header(header::ETAG, etag), server::full(Bytes::new())))
}

/// The object that the URL is signed for, and how its download goes.
fn find<'a>(state: &mut State, head: &'a Parts) -> Result<(&'a str, Object, Transfer), S3Error> {
    let transfer = state.scripts.downloads.pop_front().unwrap_or_default();
    scripted(&transfer)?;
    let key = authorize(state, head)?;
    if transfer.changed {
        state.replace(key.to_owned());
    }
    Ok((key, state.object(key).ok_or(NO_SUCH_KEY)?, transfer))
}

/// Other bytes of the same length and format, for an object that was replaced.
fn replaced(bytes: Bytes, times: u8) -> Bytes {
    if times == 0 {
        return bytes;
    }
    let kept = bytes.len().min(32) / 2;
    let mut bytes = bytes.to_vec();
    bytes.iter_mut().skip(kept).for_each(|byte| *byte = byte.wrapping_add(times));
    bytes.into()
}

fn download(
    headers: &HeaderMap,
    object: &Object,
    bytes: &Bytes,
    transfer: &Transfer,
) -> Result<Response<Body>, S3Error> {
    let length = bytes.len();
    let range = if transfer.without_ranges { None } else { requested_range(headers, object, length) };
    if range.as_ref().is_some_and(Range::is_empty) {
        let message = "The requested range is not satisfiable";
        let error = S3Error::new(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", message);
        return Err(S3Error { header: Some((header::CONTENT_RANGE, format!("bytes */{length}"))), ..error });
    }
    let content_type = infer::get(bytes).map_or("application/octet-stream", |it| it.mime_type());
    let mut response = Response::builder()
        .header(header::CONTENT_TYPE, content_type)
        .header(header::ETAG, &object.etag)
        .header(header::LAST_MODIFIED, httpdate::fmt_http_date(object.modified));
    if !transfer.without_ranges {
        response = response.header(header::ACCEPT_RANGES, "bytes");
    }
    if let Some(range) = &range {
        response = response
            .status(StatusCode::PARTIAL_CONTENT)
            .header(header::CONTENT_RANGE, format!("bytes {}-{}/{length}", range.start, range.end.saturating_sub(1)));
    }
    let range = range.unwrap_or(0..length);
    if !transfer.without_length {
        response = response.header(header::CONTENT_LENGTH, range.len());
    }
    Ok(server::response(response, streamed(bytes.slice(range), transfer)))
}

/// The range that the request asks for, empty if the object has no such part. `None` for the whole
/// object: also where `If-Range` names another one.
fn requested_range(headers: &HeaderMap, object: &Object, length: usize) -> Option<Range<usize>> {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let (start, end) = text(header::RANGE)?.strip_prefix("bytes=")?.split_once('-')?;
    if let Some(condition) = text(header::IF_RANGE)
        && condition != object.etag
        && condition != httpdate::fmt_http_date(object.modified)
    {
        return None;
    }
    match (start.parse::<usize>(), end.parse::<usize>()) {
        (Ok(start), Ok(end)) if start <= end => Some(start..end.saturating_add(1).min(length)),
        (Ok(start), _) if end.is_empty() => Some(start..length),
        (_, Ok(last)) if start.is_empty() => Some(length.saturating_sub(last)..length),
        // Several ranges, or no readable one: S3 sends the whole.
        _ => None,
    }
}

fn streamed(bytes: Bytes, transfer: &Transfer) -> Body {
    let (length, end) = transfer.end(bytes.len());
    let chunks = (0..length).step_by(CHUNK).map(move |at| Ok(Frame::data(bytes.slice(at..length.min(at + CHUNK)))));
    let ending = stream::once(async move {
        match end {
            End::Whole => None,
            End::Stall => future::pending().await,
            End::Cut => {
                tokio::time::sleep(FLUSH).await;
                Some(Err(io::ErrorKind::ConnectionReset.into()))
            }
        }
    });
    StreamBody::new(stream::iter(chunks).chain(ending.filter_map(future::ready))).boxed_unsync()
}
