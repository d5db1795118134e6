//! A server on loopback, in its own process. It stores no jobs: the id of a job encodes when it
//! completes.

use std::{
    cell::Cell,
    env,
    io::{BufRead as _, BufReader},
    pin::Pin,
    process::{Child, Command, Stdio},
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use http_body_util::BodyExt as _;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt as _, net::TcpListener};
use uuid::Uuid;

use super::{Figures, Result, measure, one_thread, table};

/// The argument that starts a benchmark as the server.
pub(crate) const SERVE: &str = "serve";

/// Bytes per write of the server.
const CHUNK: u64 = 64 * 1024;

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// The id of the `n`th job, which completes at `done` on the monotonic clock.
pub(crate) fn id(done: Duration, n: u64) -> Uuid {
    Uuid::from_u64_pair(u64::try_from(done.as_nanos()).unwrap_or(u64::MAX), n)
}

/// When the job with this id completes.
pub(crate) fn done(id: Uuid) -> Duration {
    Duration::from_nanos(id.as_u64_pair().0)
}

/// A running server, which is killed on drop.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
}

impl Server {
    pub(crate) fn start() -> Result<Self> {
        let mut child =
            Command::new(env::current_exe()?).arg(SERVE).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut address = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut address)?;
        Ok(Self { child, address: address.trim().to_owned() })
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The statistics of the server so far.
    pub(crate) fn seen(&self) -> Result<Figures> {
        let url = format!("http://{}/seen", self.address);
        let body = one_thread()?.block_on(async { reqwest::get(url).await?.bytes().await })?;
        Ok(serde_json::from_slice(&body)?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The statistics behind `/seen`.
#[derive(Default)]
struct Seen {
    requests: Cell<u32>,
    connections: Cell<u32>,
    most_connections: Cell<u32>,
    /// Of the last `PUT`, from its headers to its last byte.
    put_seconds: Cell<f64>,
}

/// Serves until standard input closes, at the latest when the parent process ends.
pub(crate) fn serve() -> Result {
    let runtime = one_thread()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        table::line(&listener.local_addr()?.to_string());
        tokio::select! {
            result = accept(listener) => result,
            _ = async { tokio::io::stdin().read_to_end(&mut Vec::new()).await } => Ok(()),
        }
    })
}

async fn accept(listener: TcpListener) -> Result {
    let seen = Rc::new(Seen::default());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let seen = Rc::clone(&seen);
        tokio::task::spawn_local(async move {
            seen.connections.update(|it| it + 1);
            seen.most_connections.set(seen.most_connections.get().max(seen.connections.get()));
            let service = service_fn(|request| respond(request, &seen));
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
            seen.connections.update(|it| it - 1);
        });
    }
}

async fn respond(request: Request<Incoming>, seen: &Seen) -> Result<Response<ResponseBody>, hyper::Error> {
    seen.requests.update(|it| it + 1);
    let request_id = request.headers().get("x-request-id").cloned();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let host = request.headers().get("host").and_then(|it| it.to_str().ok()).unwrap_or_default().to_owned();
    let segments: Vec<_> = path.split('/').skip(1).collect();
    let began = measure::monotonic();
    read(request.into_body()).await?;

    let (status, body) = match (&method, segments.as_slice()) {
        (&Method::GET, ["v1", "generations", id]) => (StatusCode::OK, generation(id.parse().unwrap_or_default())),
        (&Method::POST, ["v1", "generations"]) => (StatusCode::CREATED, generation(Uuid::max())),
        (&Method::POST, ["v1", "files"]) => (StatusCode::CREATED, recorded(&host)),
        (_, ["v1", "files", ..]) => (StatusCode::OK, file("ready")),
        (&Method::GET, ["seen"]) => (
            StatusCode::OK,
            json!({
                "requests": seen.requests.get() - 1,
                "connections": seen.most_connections.get(),
                "put_seconds": seen.put_seconds.get(),
            }),
        ),
        (&Method::GET, ["object", size]) => {
            return Ok(Response::new(ResponseBody::Zeros(size.parse().unwrap_or_default())));
        }
        (&Method::PUT, ["object"]) => {
            seen.put_seconds.set(measure::monotonic().saturating_sub(began).as_secs_f64());
            (StatusCode::OK, Value::Null)
        }
        _ => (StatusCode::NOT_FOUND, json!({ "detail": "Not found" })),
    };
    let mut response = Response::new(ResponseBody::Text(Some(body.to_string().into())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let mut set = |name, value| headers.insert(name, hyper::header::HeaderValue::from_static(value));
    set("content-type", "application/json");
    set("x-api-version", "2026-04-01");
    if status == StatusCode::CREATED {
        set("x-ratelimit-limit", "30");
        set("x-ratelimit-remaining", "28");
        set("x-ratelimit-reset", "1712592060");
    }
    if let Some(request_id) = request_id {
        headers.insert("x-request-id", request_id);
    }
    Ok(response)
}

async fn read(mut body: Incoming) -> Result<(), hyper::Error> {
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(())
}

fn generation(id: Uuid) -> Value {
    // Recent, because a wait polls an old job less often.
    let now: DateTime<Utc> = SystemTime::now().into();
    let mut generation = json!({
        "id": id, "type": "image", "model": "uni-1", "state": "processing", "output": [],
        "created_at": now.to_rfc3339_opts(SecondsFormat::Secs, true), "failure_reason": null, "failure_code": null,
    });
    if done(id) <= measure::monotonic() {
        generation["state"] = "completed".into();
        generation["output"] = json!([{ "type": "image", "url": signed_url() }]);
    }
    generation
}

/// About as long as a real signed URL.
fn signed_url() -> String {
    format!("https://storage.example.com/generations/output.png?X-Amz-Expires=3600&X-Amz-Signature={}", "0".repeat(400))
}

fn recorded(host: &str) -> Value {
    json!({
        "id": Uuid::nil(), "state": "pending", "file": file("pending"),
        "upload": {
            "url": format!("http://{host}/object"), "method": "PUT", "headers": {},
            "expires_at": "2999-01-01T00:00:00Z",
        },
    })
}

fn file(state: &str) -> Value {
    json!({
        "id": Uuid::nil(), "state": state, "purpose": "generation", "mime_type": "video/mp4", "size_bytes": 1,
        "created_at": "2026-04-08T12:00:00Z",
    })
}

/// A short text, or that many zeros.
enum ResponseBody {
    Text(Option<Bytes>),
    Zeros(u64),
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Self::Error>>> {
        let bytes = match self.get_mut() {
            Self::Text(bytes) => bytes.take(),
            Self::Zeros(0) => None,
            Self::Zeros(left) => {
                let size = CHUNK.min(*left);
                *left -= size;
                Some(Bytes::from_static(&ZEROS).split_to(usize::try_from(size).unwrap_or_default()))
            }
        };
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Text(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Self::Zeros(left) => *left,
        })
    }
}
