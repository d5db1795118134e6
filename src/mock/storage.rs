//! The storage of the emulator: signed URLs, as S3 answers them, and connections that break.

use std::{
    io,
    net::SocketAddr,
    ops::Range,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, future, stream};
use http::{HeaderMap, Method, Request, Response, StatusCode, header, response};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};

use super::{
    answer::Operation,
    script::{End, Transfer},
    world::{self, Grant, Object, Shared, World},
};

const CHUNK: usize = 64 * 1024;

/// What was sent before a break gets this long to leave the buffers.
const FLUSH: Duration = Duration::from_millis(20);

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A running server. Dropping it closes the port and all connections.
pub(super) struct Storage {
    task: JoinHandle<()>,
}

impl Storage {
    /// A port for a server to come.
    pub(super) async fn listen() -> io::Result<(TcpListener, SocketAddr)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    }

    pub(super) fn start(listener: TcpListener, shared: Shared) -> Self {
        Self { task: tokio::spawn(accept(listener, shared)) }
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Shared) {
    // Owned by this task, so that connections end with it.
    let mut connections = JoinSet::new();
    loop {
        let connection = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((connection, _)) = connection else { continue };
        let shared = shared.clone();
        let service = service_fn(move |request| serve(shared.clone(), request));
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(connection), service));
    }
}

/// An error breaks the connection.
async fn serve(shared: Shared, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let result = if head.method == Method::PUT {
        let transfer = shared.lock().uploads.pop_front().unwrap_or_default();
        match receive(body, &transfer).await {
            Ok(bytes) => Ok(upload(&mut shared.lock(), &head, bytes, &transfer)),
            Err(broken) => Err(broken),
        }
    } else {
        Ok(download(&mut shared.lock(), &head))
    };
    let response = match result {
        Ok(response) => Ok(response.unwrap_or_else(Refusal::into_response)),
        Err(broken) => Err(broken),
    };
    shared.lock().requests.push(log(head, response.as_ref().ok().map(Response::status)));
    response
}

fn log(head: http::request::Parts, status: Option<StatusCode>) -> world::Request {
    let mut headers = head.headers;
    headers.values_mut().for_each(|value| value.set_sensitive(true));
    world::Request {
        operation: Some(Operation::Storage),
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers,
        body: Value::Null,
        status,
    }
}

/// An error in XML, as S3 writes it.
struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: &'static str,
    headers: Vec<(header::HeaderName, String)>,
}

fn refuse(status: StatusCode, code: &'static str, message: &'static str) -> Refusal {
    Refusal { status, code, message, headers: Vec::new() }
}

impl Refusal {
    fn into_response(self) -> Response<Body> {
        let Self { status, code, message, headers } = self;
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        );
        let response = Response::builder().status(status).header(header::CONTENT_TYPE, "application/xml");
        let response = headers.into_iter().fold(response, |response, (name, value)| response.header(name, value));
        finish(response, full(text.into()))
    }
}

fn finish(response: response::Builder, body: Body) -> Response<Body> {
    response.body(body).unwrap_or_else(|_| {
        let mut response = Response::new(full(Bytes::new()));
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// Whether the request may do what its URL says.
fn admit<'a>(world: &'a World, head: &http::request::Parts) -> Result<&'a Grant, Refusal> {
    let forbidden = |code, message| Err(refuse(StatusCode::FORBIDDEN, code, message));
    if head.headers.contains_key(header::AUTHORIZATION) {
        return Err(refuse(
            StatusCode::BAD_REQUEST,
            "InvalidArgument",
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string \
             parameter or the Authorization header should be specified",
        ));
    }
    let mut parameters = head.uri.query().unwrap_or_default().split('&');
    let signature = parameters.find_map(|it| it.strip_prefix("X-Amz-Signature="));
    let grant = signature.and_then(|signature| world.grants.get(signature));
    let Some(grant) = grant.filter(|it| head.method == it.method && head.uri.path().strip_prefix('/') == Some(&it.key))
    else {
        return forbidden("SignatureDoesNotMatch", "The request signature we calculated does not match");
    };
    if grant.expires <= SystemTime::now() {
        return forbidden("AccessDenied", "Request has expired");
    }
    for (name, value) in &grant.headers {
        if head.headers.get(name).is_none_or(|sent| sent.as_bytes() != value.as_bytes()) {
            return forbidden("SignatureDoesNotMatch", "The request signature we calculated does not match");
        }
    }
    let unsigned =
        |name: &str| name.starts_with("x-amz-") && !grant.headers.keys().any(|it| it.eq_ignore_ascii_case(name));
    if head.headers.keys().any(|name| unsigned(name.as_str())) {
        return forbidden("AccessDenied", "There were headers present in the request which were not signed");
    }
    Ok(grant)
}

/// Reads the body of an upload, as far as it is to come.
async fn receive(mut body: Incoming, transfer: &Transfer) -> io::Result<Bytes> {
    let mut bytes = Vec::new();
    let limit = [transfer.cut_after, transfer.stall_after].into_iter().flatten().min();
    loop {
        if limit.is_some_and(|limit| bytes.len() >= limit) {
            if transfer.cut_after == limit {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            future::pending::<()>().await;
        }
        let Some(frame) = body.frame().await else { return Ok(bytes.into()) };
        if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
            bytes.extend(data);
        }
    }
}

fn upload(
    world: &mut World,
    head: &http::request::Parts,
    bytes: Bytes,
    transfer: &Transfer,
) -> Result<Response<Body>, Refusal> {
    scripted(transfer)?;
    let id = admit(world, head)?.file;
    if !head.headers.contains_key(header::CONTENT_LENGTH) {
        return Err(refuse(
            StatusCode::LENGTH_REQUIRED,
            "MissingContentLength",
            "You must provide the Content-Length HTTP header",
        ));
    }
    let Some(file) = world.files.iter_mut().find(|upload| Some(upload.file.id) == id) else {
        return Err(refuse(StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist"));
    };
    if i64::try_from(bytes.len()) != Ok(file.file.size_bytes) {
        return Err(refuse(
            StatusCode::BAD_REQUEST,
            "IncompleteBody",
            "The number of bytes is not the one that was announced",
        ));
    }
    let object = Object::new(bytes);
    file.bytes = Some(object.bytes);
    Ok(finish(Response::builder().header(header::ETAG, object.etag), full(Bytes::new())))
}

fn scripted(transfer: &Transfer) -> Result<(), Refusal> {
    let Some(status) = transfer.refused else { return Ok(()) };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    Err(refuse(status, "SlowDown", "Please reduce your request rate"))
}

fn download(world: &mut World, head: &http::request::Parts) -> Result<Response<Body>, Refusal> {
    let transfer = world.downloads.pop_front().unwrap_or_default();
    scripted(&transfer)?;
    let key = admit(world, head)?.key.clone();
    let Some(object) = world.objects.get_mut(&key) else {
        return Err(refuse(StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist"));
    };
    if transfer.changed {
        object.change();
    }
    let length = object.bytes.len();
    let asked = if transfer.without_ranges { Asked::Whole } else { asked(&head.headers, object) };
    let partial = matches!(asked, Asked::Part(_));
    let part = match asked {
        Asked::Whole => 0..length,
        Asked::Part(part) if part.is_empty() => {
            let error =
                refuse(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", "The requested range is not satisfiable");
            return Err(Refusal { headers: vec![(header::CONTENT_RANGE, format!("bytes */{length}"))], ..error });
        }
        Asked::Part(part) => part,
    };
    let mut response = Response::builder()
        .header(header::CONTENT_TYPE, infer::get(&object.bytes).map_or("application/octet-stream", |it| it.mime_type()))
        .header(header::ETAG, &object.etag)
        .header(header::LAST_MODIFIED, httpdate::fmt_http_date(object.modified));
    if !transfer.without_ranges {
        response = response.header(header::ACCEPT_RANGES, "bytes");
    }
    if partial {
        response = response
            .status(StatusCode::PARTIAL_CONTENT)
            .header(header::CONTENT_RANGE, format!("bytes {}-{}/{length}", part.start, part.end.saturating_sub(1)));
    }
    if !transfer.without_length {
        response = response.header(header::CONTENT_LENGTH, part.len());
    }
    Ok(finish(response, streamed(object.bytes.slice(part), &transfer)))
}

/// What a download is to bring.
enum Asked {
    Whole,
    /// Empty if the object has no such part.
    Part(Range<usize>),
}

/// A range counts only while the object is the one it is meant for.
fn asked(headers: &HeaderMap, object: &Object) -> Asked {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let bounds = text(header::RANGE).and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let Some((start, end)) = bounds else { return Asked::Whole };
    if let Some(condition) = text(header::IF_RANGE)
        && condition != object.etag
        && condition != httpdate::fmt_http_date(object.modified)
    {
        return Asked::Whole;
    }
    let length = object.bytes.len();
    match (start.parse::<usize>(), end.parse::<usize>()) {
        (Ok(start), Ok(end)) if start <= end => Asked::Part(start..end.saturating_add(1).min(length)),
        (Ok(start), _) if end.is_empty() => Asked::Part(start..length),
        (_, Ok(last)) if start.is_empty() => Asked::Part(length.saturating_sub(last)..length),
        // Several parts, or nothing that can be read: S3 sends the whole.
        _ => Asked::Whole,
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
