//! The HTTP server under the API and the storage: one port, many connections, bodies that can break off.

use std::{io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, Response, StatusCode, response};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::{JoinHandle, JoinSet},
};

use crate::error::{Error, Result};

/// How long the server pauses when the system has no more sockets.
const PAUSE: Duration = Duration::from_millis(10);

pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Takes a port of this machine, any free one for 0.
pub(super) async fn listen(port: u16) -> Result<(TcpListener, SocketAddr)> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let failed = |e| Error::io("listen on", address.to_string(), e);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// How long responses under way may take while the server shuts down.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// A running server. Dropping it closes the port and all connections.
pub(super) struct Server {
    task: JoinHandle<()>,
    stop: Option<oneshot::Sender<()>>,
}

impl Server {
    /// Serves each request by `handler`, whose error breaks the connection.
    pub(super) fn start<F, Fut>(listener: TcpListener, handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = io::Result<Response<Body>>> + Send + 'static,
    {
        let (stop, stopped) = oneshot::channel();
        Self { task: tokio::spawn(accept(listener, handler, stopped)), stop: Some(stop) }
    }

    /// Closes the port, and the connections once their responses are sent.
    pub(super) async fn shutdown(mut self) {
        self.stop.take();
        tokio::time::timeout(SHUTDOWN, &mut self.task).await.ok();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept<F, Fut>(listener: TcpListener, handler: F, mut stopped: oneshot::Receiver<()>)
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = io::Result<Response<Body>>> + Send + 'static,
{
    // Owned by this task, so that connections end with it.
    let mut connections = JoinSet::new();
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = &mut stopped => break,
        };
        let Ok((connection, _)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        // Small responses go out at once.
        connection.set_nodelay(true).ok();
        let handler = handler.clone();
        let server = auto::Builder::new(TokioExecutor::new());
        let connection = server.serve_connection(TokioIo::new(connection), service_fn(handler)).into_owned();
        // An error is the end of this connection, and of no interest to the others.
        connections.spawn(graceful.watch(connection).map(drop));
    }
    drop(listener);
    graceful.shutdown().await;
}

pub(super) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// 500 if a status or header cannot be sent.
pub(super) fn response(head: response::Builder, body: Body) -> Response<Body> {
    head.body(body).unwrap_or_else(|_| {
        let mut response = Response::new(full(Bytes::new()));
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}
