//! A proxy that records the requests and responses between a client and a server.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use luma_agents::{ApiKey, Client};
use tokio::{net::TcpListener, task::JoinHandle};

use super::contract_check::Exchange;

/// A proxy in front of a server such as httpmock or the emulator. It stops on drop.
pub(crate) struct Recorder {
    address: SocketAddr,
    exchanges: Arc<Mutex<Vec<Exchange>>>,
    accepting: JoinHandle<()>,
}

impl Recorder {
    /// Forwards to the API with the base URL `upstream`.
    pub(crate) async fn in_front_of(upstream: impl Into<String>) -> Self {
        let upstream: Arc<str> = upstream.into().trim_end_matches('/').into();
        let exchanges = Arc::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let recorded = Arc::clone(&exchanges);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (http, upstream, recorded) = (http.clone(), Arc::clone(&upstream), Arc::clone(&recorded));
                let service = service_fn(move |request| {
                    let (http, upstream, recorded) = (http.clone(), Arc::clone(&upstream), Arc::clone(&recorded));
                    async move { Ok::<_, Infallible>(forward(&http, &upstream, request, &recorded).await) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, exchanges, accepting }
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn client(&self) -> Client {
        Client::builder(ApiKey::new("luma-api-test").unwrap()).base_url(self.base_url()).build().unwrap()
    }

    /// The exchanges so far, in the order of the responses.
    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        self.exchanges.lock().unwrap().clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn forward(
    http: &reqwest::Client,
    upstream: &str,
    request: Request<Incoming>,
    recorded: &Mutex<Vec<Exchange>>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let request_body = body.collect().await.unwrap().to_bytes();
    let target = head.uri.path_and_query().map_or("/", |it| it.as_str());
    let response = http
        .request(head.method.clone(), format!("{upstream}{target}"))
        .headers(end_to_end(&head.headers))
        .body(request_body.clone())
        .send()
        .await
        .unwrap();
    let (status, response_headers) = (response.status(), response.headers().clone());
    let response_body = response.bytes().await.unwrap();
    recorded.lock().unwrap().push(Exchange {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        request_headers: head.headers,
        request_body: request_body.into(),
        status,
        response_headers: response_headers.clone(),
        response_body: response_body.to_vec(),
    });
    let mut response = Response::new(Full::new(response_body));
    *response.status_mut() = status;
    *response.headers_mut() = end_to_end(&response_headers);
    response
}

/// The headers without those that apply to a single connection.
fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        headers.remove(name);
    }
    headers
}
