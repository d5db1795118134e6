//! The requests that the emulator received.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;

use super::reply::Operation;

/// How many requests are kept, and how many bytes of their bodies.
const REQUESTS: usize = 10_000;
const REQUEST_BYTES: usize = 256 * 1024 * 1024;

/// The last requests, so that an emulator that runs for long does not grow with them.
#[derive(Default)]
pub(super) struct Requests {
    kept: VecDeque<(Arc<Request>, usize)>,
    bytes: usize,
}

impl Requests {
    pub(super) fn push(&mut self, request: Arc<Request>, body_bytes: usize) {
        self.kept.push_back((request, body_bytes));
        self.bytes += body_bytes;
        while self.kept.len() > REQUESTS || (self.bytes > REQUEST_BYTES && self.kept.len() > 1) {
            self.bytes -= self.kept.pop_front().map_or(0, |(_, bytes)| bytes);
        }
    }

    pub(super) fn to_vec(&self) -> Vec<Request> {
        self.kept.iter().map(|(request, _)| Request::clone(request)).collect()
    }
}

/// What is called with each request, once its response is ready, and the time that it took.
#[derive(Clone, Default)]
pub(super) struct Listener(Option<Arc<dyn Fn(&Request, Duration) + Send + Sync>>);

impl Listener {
    pub(super) fn new(call: impl Fn(&Request, Duration) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(call)))
    }

    pub(super) fn call(&self, request: &Request, took: Duration) {
        if let Some(call) = &self.0 {
            call(request, took);
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}

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

    fn request(path: usize) -> Arc<Request> {
        let (method, path) = (Method::GET, path.to_string());
        let (operation, query, headers) = (None, String::new(), HeaderMap::new());
        Arc::new(Request { operation, method, path, query, headers, body: Value::Null, status: None })
    }

    #[test]
    fn the_oldest_requests_give_way() {
        let mut requests = Requests::default();
        (0..REQUESTS + 5).for_each(|at| requests.push(request(at), 10));
        let kept = requests.to_vec();
        assert_eq!((kept.len(), kept[0].path.as_str()), (REQUESTS, "5"));
        requests.push(request(0), REQUEST_BYTES - 25);
        assert_eq!(requests.to_vec().len(), 3, "two of ten bytes, and the large one");
        requests.push(request(1), REQUEST_BYTES + 1);
        assert_eq!(requests.to_vec().len(), 1, "the last one is always there");
    }
}
