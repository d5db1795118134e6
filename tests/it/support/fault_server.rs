//! An HTTP/1.1 server that breaks connections and responses byte by byte, as a script says.
//!
//! It records the requests, and the jobs that they created.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{self, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
    time::{Instant, sleep},
};
use uuid::Uuid;

/// How much of a request is read before the server acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Head,
    HalfOfBody,
    All,
}

/// What the server does after it has sent its bytes.
#[derive(Clone, Debug)]
pub(crate) enum Then {
    /// Serves the next request on the same connection.
    Stay,
    Close,
    /// Closes with a reset (RST) instead of FIN.
    Reset,
    /// Keeps the connection open and sends nothing more.
    Hang,
    /// Sends these bytes forever, with a pause after each time.
    Repeat(Vec<u8>, Duration),
}

/// What the server does with one request.
#[derive(Clone, Debug)]
pub(crate) struct Action {
    pub(crate) reads: Part,
    /// Whether a completely read submission creates a job.
    pub(crate) creates_job: bool,
    pub(crate) sends: Vec<u8>,
    /// Sends this many bytes at a time, with a pause after each.
    pub(crate) pieces: Option<(usize, Duration)>,
    pub(crate) then: Then,
}

impl Action {
    /// Reads the request, creates its job, sends `bytes`, and closes.
    pub(crate) fn send(bytes: impl Into<Vec<u8>>) -> Self {
        Self { reads: Part::All, creates_job: true, sends: bytes.into(), pieces: None, then: Then::Close }
    }

    /// Reads the request, creates its job, and sends a well-formed response.
    pub(crate) fn respond(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let length = ("content-length", body.len().to_string());
        let headers = headers.iter().copied().chain([(length.0, length.1.as_str())]);
        Self { then: Then::Stay, ..Self::send(response_bytes(status, headers, body)) }
    }

    /// A JSON response with the headers that the API adds to every response.
    pub(crate) fn api(status: u16, body: &str) -> Self {
        Self::api_with(status, &[], body)
    }

    pub(crate) fn api_with(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let api_headers =
            [("content-type", "application/json"), ("x-api-version", "2026-04-01"), ("x-request-id", "returned-1")];
        Self::respond(status, &[&api_headers, headers].concat(), body)
    }

    /// The same, but creates no job.
    pub(crate) fn without_job(self) -> Self {
        Self { creates_job: false, ..self }
    }

    pub(crate) fn reads(self, reads: Part) -> Self {
        Self { reads, ..self }
    }

    pub(crate) fn then(self, then: Then) -> Self {
        Self { then, ..self }
    }

    /// Sends `size` bytes at a time, with a pause after each.
    pub(crate) fn in_pieces(self, size: usize, pause: Duration) -> Self {
        Self { pieces: Some((size, pause)), ..self }
    }
}

/// The bytes of a response, without a `content-length` of its own.
pub(crate) fn response_bytes<'a>(
    status: u16,
    headers: impl IntoIterator<Item = (&'a str, &'a str)>,
    body: impl AsRef<[u8]>,
) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} Whatever\r\n");
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    [head.as_bytes(), b"\r\n", body.as_ref()].concat()
}

/// A received request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// From 0, over all connections.
    pub(crate) number: usize,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) head: String,
    /// The id of the job, if the request creates one.
    pub(crate) id: Uuid,
    pub(crate) at: Instant,
}

impl Request {
    pub(crate) fn submits(&self) -> bool {
        self.method == "POST" && self.path.ends_with("/generations")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

pub(super) type Script = dyn Fn(&Request) -> Action + Send + Sync;

/// The server, which stops on drop.
#[derive(Debug)]
pub(crate) struct FaultServer {
    address: SocketAddr,
    log: Arc<Log>,
    resource: Resource,
}

#[derive(Debug)]
enum Resource {
    Accepting(JoinHandle<()>),
    Port(#[expect(dead_code, reason = "held until dropped")] TcpSocket),
}

/// What all connections of a server have seen.
#[derive(Debug, Default)]
pub(super) struct Log {
    connections: AtomicUsize,
    requests: Mutex<Vec<Request>>,
    jobs: Mutex<Vec<(Uuid, Vec<u8>)>>,
}

impl Log {
    /// The number of the request that comes next.
    pub(super) fn next_number(&self) -> usize {
        locked(&self.requests).len()
    }

    pub(super) fn request(&self, method: String, path: String, head: String) -> Request {
        let mut requests = locked(&self.requests);
        let request = Request { number: requests.len(), method, path, head, id: Uuid::new_v4(), at: Instant::now() };
        requests.push(request.clone());
        request
    }

    /// The request was read as far as `action` says.
    pub(super) fn read(&self, request: &Request, action: &Action, body: Vec<u8>) {
        if action.creates_job && action.reads == Part::All && request.submits() {
            locked(&self.jobs).push((request.id, body));
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FaultServer {
    /// Handles each request as `script` says.
    pub(crate) async fn start(script: impl Fn(&Request) -> Action + Send + Sync + 'static) -> io::Result<Self> {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), script).await
    }

    /// The same, at another address of this machine.
    pub(crate) async fn start_at(
        address: IpAddr,
        script: impl Fn(&Request) -> Action + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let script: Arc<Script> = Arc::new(script);
        Self::listen(address, move |stream, log| serve(stream, log, Arc::clone(&script))).await
    }

    /// Accepts connections and never reads: resets, closes or hangs.
    pub(crate) async fn never_reading(then: Then) -> io::Result<Self> {
        Self::listen(Ipv4Addr::LOCALHOST.into(), move |stream, _| {
            let then = then.clone();
            async move {
                // The client has sent bytes by now, so it cannot know whether the request had an effect.
                stream.readable().await?;
                end(stream, &then).await
            }
        })
        .await
    }

    /// Reserves a port on which nothing listens.
    pub(crate) fn unused_port() -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = socket.local_addr()?;
        Ok(Self { address, log: Arc::default(), resource: Resource::Port(socket) })
    }

    /// Handles each connection with `handle`.
    pub(super) async fn listen<F, Fut>(address: IpAddr, handle: F) -> io::Result<Self>
    where
        F: Fn(TcpStream, Arc<Log>) -> Fut + Send + 'static,
        Fut: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind((address, 0)).await?;
        let address = listener.local_addr()?;
        let log = Arc::<Log>::default();
        let shared = Arc::clone(&log);
        let accepting = tokio::spawn(async move {
            // An abort of this task also drops the connections.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(handle(stream, Arc::clone(&shared)));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, log, resource: Resource::Accepting(accepting) })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn connections(&self) -> usize {
        self.log.connections.load(Ordering::Relaxed)
    }

    /// Every request whose head was read.
    pub(crate) fn requests(&self) -> Vec<Request> {
        locked(&self.log.requests).clone()
    }

    /// Every job that was created.
    pub(crate) fn jobs(&self) -> Vec<Uuid> {
        locked(&self.log.jobs).iter().map(|(id, _)| *id).collect()
    }

    /// The submitted body of each job.
    pub(crate) fn submissions(&self) -> Vec<Vec<u8>> {
        locked(&self.log.jobs).iter().map(|(_, body)| body.clone()).collect()
    }
}

impl Drop for FaultServer {
    fn drop(&mut self) {
        if let Resource::Accepting(accepting) = &self.resource {
            accepting.abort();
        }
    }
}

async fn serve(mut stream: TcpStream, log: Arc<Log>, script: Arc<Script>) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let Some(head) = read_head(&mut stream, &mut buffer).await? else { return Ok(()) };
        let mut words = head.split_whitespace().map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let request = log.request(method, path, head);
        let action = script(&request);
        let length: usize = request.header("content-length").and_then(|it| it.parse().ok()).unwrap_or(0);
        let wanted = match action.reads {
            Part::Head => 0,
            Part::HalfOfBody => length / 2,
            Part::All => length,
        };
        while buffer.len() < wanted {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        let body: Vec<u8> = buffer.drain(..wanted).collect();
        log.read(&request, &action, body);
        send(&mut stream, &action).await?;
        if !matches!(action.then, Then::Stay) {
            return end(stream, &action.then).await;
        }
    }
}

/// The next head on the connection, or `None` if the connection ended or the client does not speak HTTP.
async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<String>> {
    loop {
        if let Some(end) = buffer.windows(4).position(|it| it == b"\r\n\r\n") {
            let head = buffer.drain(..end + 4).collect();
            return Ok(String::from_utf8(head).ok());
        }
        if buffer.first().is_some_and(|first| !first.is_ascii_uppercase()) {
            stream.write_all(b"HTTP/1.1 400 This is not TLS\r\ncontent-length: 0\r\n\r\n").await?;
            return Ok(None);
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

pub(super) async fn send(stream: &mut TcpStream, action: &Action) -> io::Result<()> {
    let Some((size, pause)) = action.pieces else { return stream.write_all(&action.sends).await };
    stream.set_nodelay(true)?;
    for piece in action.sends.chunks(size) {
        stream.write_all(piece).await?;
        sleep(pause).await;
    }
    Ok(())
}

pub(super) async fn end(mut stream: TcpStream, then: &Then) -> io::Result<()> {
    match then {
        Then::Stay => Ok(()),
        Then::Close => stream.shutdown().await,
        Then::Reset => stream.set_zero_linger(),
        Then::Hang => std::future::pending().await,
        Then::Repeat(bytes, pause) => loop {
            stream.write_all(bytes).await?;
            sleep(*pause).await;
        },
    }
}
