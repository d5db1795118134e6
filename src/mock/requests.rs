//! The requests that the emulator received.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use serde_json::Value;

use super::reply::Operation;

/// How many requests are kept, and how many bytes of their bodies.
const REQUESTS: usize = 10_000;
const REQUEST_BYTES: usize = 256 * 1024 * 1024;

/// The last requests, so that an emulator that runs for long does not grow with them.
#[derive(Default)]
pub(super) struct Requests {
    kept: VecDeque<(Arc<Record>, usize)>,
    bytes: usize,
}

impl Requests {
    pub(super) fn push(&mut self, request: Arc<Record>, body_bytes: usize) {
        self.kept.push_back((request, body_bytes));
        self.bytes += body_bytes;
        while self.kept.len() > REQUESTS || (self.bytes > REQUEST_BYTES && self.kept.len() > 1) {
            self.bytes -= self.kept.pop_front().map_or(0, |(_, bytes)| bytes);
        }
    }

    pub(super) fn to_vec(&self) -> Vec<Request> {
        self.kept.iter().map(|(request, _)| request.to_request()).collect()
    }
}

type Call = dyn Fn(&Request, Duration) + Send + Sync;

/// What is called with each request, once its response is ready, and the time that it took.
#[derive(Clone, Default)]
pub(super) struct Listener(Option<Arc<Call>>);

impl Listener {
    pub(super) fn new(call: impl Fn(&Request, Duration) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(call)))
    }

    pub(super) fn call(&self, request: &Record, took: Duration) {
        if let Some(call) = &self.0 {
            call(&request.to_request(), took);
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}

/// A request as it is kept. A map of its headers would hold the buffer of the connection that it came from.
pub(super) struct Record {
    operation: Option<Operation>,
    method: Method,
    /// Path, query, and each header as `name:value`, with a line break after each. None can have one in it.
    head: Vec<u8>,
    pub(super) body: Value,
    pub(super) status: Option<StatusCode>,
}

impl Record {
    /// Without body and status, which come later.
    pub(super) fn new(operation: Option<Operation>, head: &Parts) -> Self {
        let mut text = Vec::with_capacity(512);
        let mut write = |parts: [&[u8]; 2]| parts.into_iter().for_each(|part| text.extend_from_slice(part));
        write([head.uri.path().as_bytes(), b"\n"]);
        write([head.uri.query().unwrap_or_default().as_bytes(), b"\n"]);
        for (name, value) in &head.headers {
            write([name.as_str().as_bytes(), b":"]);
            write([value.as_bytes(), b"\n"]);
        }
        Self { operation, method: head.method.clone(), head: text, body: Value::Null, status: None }
    }

    fn to_request(&self) -> Request {
        let text = |line: Option<&[u8]>| String::from_utf8_lossy(line.unwrap_or_default()).into_owned();
        let mut lines = self.head.split(|byte| *byte == b'\n');
        Request {
            operation: self.operation,
            method: self.method.clone(),
            path: text(lines.next()),
            query: text(lines.next()),
            headers: lines.filter_map(|line| self.header(line)).collect(),
            body: self.body.clone(),
            status: self.status,
        }
    }

    fn header(&self, line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
        let (name, value) = line.split_at_checked(line.iter().position(|byte| *byte == b':')?)?;
        let name = HeaderName::from_bytes(name).ok()?;
        let mut value = HeaderValue::from_bytes(value.strip_prefix(b":")?).ok()?;
        // Any header of a request to storage may belong to its signature.
        value.set_sensitive(self.operation == Some(Operation::Storage) || CREDENTIALS.contains(&name));
        Some((name, value))
    }
}

const CREDENTIALS: [HeaderName; 3] = [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE];

/// A request that the emulator received, and the status of its response.
#[derive(Clone)]
#[non_exhaustive]
pub struct Request {
    /// What it was for. `None` if the emulator has no such operation.
    pub operation: Option<Operation>,
    /// Its method.
    pub method: Method,
    /// Its path, without the query.
    pub path: String,
    /// Its query, empty if it had none. That of a storage URL has its signature.
    pub query: String,
    /// Its headers. Credentials in them are marked as sensitive.
    pub headers: HeaderMap,
    /// Its body, if that was JSON; else null.
    pub body: Value,
    /// The status of the response. `None` if the connection was broken instead.
    pub status: Option<StatusCode>,
}

/// Without headers, query and body: they may hold credentials, prompts and media.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("operation", &self.operation)
            .field("method", &self.method)
            .field("path", &self.path)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(request: http::request::Builder) -> Arc<Record> {
        let (head, ()) = request.body(()).expect("a request").into_parts();
        Arc::new(Record::new(None, &head))
    }

    fn request(number: usize) -> Arc<Record> {
        record(http::Request::get(format!("/{number}")))
    }

    #[test]
    fn a_request_is_shown_as_it_came() {
        let value = HeaderValue::from_bytes(b"\xfc: \"a\", b").expect("a value");
        let request = http::Request::put("/a%20b?c=d:e").header("x-two", value.clone()).header("x-two", "");
        let request = record(request.header("authorization", "Bearer key")).to_request();
        assert_eq!((request.method, request.path.as_str(), request.query.as_str()), (Method::PUT, "/a%20b", "c=d:e"));
        let values: Vec<_> = request.headers.get_all("x-two").iter().collect();
        assert_eq!((values, request.headers.len()), (vec![&value, &HeaderValue::from_static("")], 3));
        let sensitive = |name: &str| request.headers.get(name).is_some_and(HeaderValue::is_sensitive);
        assert!(sensitive("authorization") && !sensitive("x-two"), "{:?}", request.headers);
    }

    #[test]
    fn the_oldest_requests_give_way() {
        let mut requests = Requests::default();
        (0..REQUESTS + 5).for_each(|at| requests.push(request(at), 10));
        let kept = requests.to_vec();
        assert_eq!((kept.len(), kept[0].path.as_str()), (REQUESTS, "/5"));
        requests.push(request(0), REQUEST_BYTES - 25);
        assert_eq!(requests.to_vec().len(), 3, "two of ten bytes, and the large one");
        requests.push(request(1), REQUEST_BYTES + 1);
        assert_eq!(requests.to_vec().len(), 1, "the last one is always there");
    }
}
