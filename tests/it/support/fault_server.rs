//! An HTTP/1.1 server that misbehaves byte by byte as it is told.
//!
//! It counts what it was asked, and the jobs that it was made to create.

use std::{
    net::SocketAddr,
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

/// What the server does after it has said its bytes.
#[derive(Clone, Debug)]
pub(crate) enum Then {
    /// Serves the next request on the same connection.
    Stay,
    Close,
    /// Closes with a reset instead of a farewell.
    Reset,
    /// Keeps the connection and says nothing more.
    Hang,
    /// Says this over and over, with a pause after each time.
    Repeat(Vec<u8>, Duration),
}

/// What the server does with one request.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    pub(crate) reads: Part,
    /// Whether a submission that was read whole becomes a job.
    pub(crate) creates: bool,
    pub(crate) says: Vec<u8>,
    pub(crate) then: Then,
}

impl Act {
    /// Reads the request, creates its job, says `bytes`, and closes.
    pub(crate) fn say(bytes: impl Into<Vec<u8>>) -> Self {
        Self { reads: Part::All, creates: true, says: bytes.into(), then: Then::Close }
    }

    /// Reads the request, creates its job, and answers properly.
    pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let length = ("content-length", body.len().to_string());
        let headers = headers.iter().copied().chain([(length.0, length.1.as_str())]);
        Self { then: Then::Stay, ..Self::say(message(status, headers, body)) }
    }

    /// An answer in JSON, with the headers that the API puts on every answer.
    pub(crate) fn api(status: u16, body: &str) -> Self {
        Self::api_with(status, &[], body)
    }

    pub(crate) fn api_with(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let own =
            [("content-type", "application/json"), ("x-api-version", "2026-04-01"), ("x-request-id", "returned-1")];
        Self::answer(status, &[&own, headers].concat(), body)
    }

    /// The same without a job.
    pub(crate) fn refusing(self) -> Self {
        Self { creates: false, ..self }
    }

    pub(crate) fn reads(self, reads: Part) -> Self {
        Self { reads, ..self }
    }

    pub(crate) fn then(self, then: Then) -> Self {
        Self { then, ..self }
    }
}

/// The bytes of an answer; its length is up to the caller.
pub(crate) fn message<'a>(
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

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// From 0, over all connections.
    pub(crate) number: usize,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) head: String,
    /// The id of its job, if it submits one and the server creates it.
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

type Script = dyn Fn(&Request) -> Act + Send + Sync;

/// The server; it ends when dropped.
#[derive(Debug)]
pub(crate) struct FaultServer {
    address: SocketAddr,
    log: Arc<Log>,
    held: Held,
}

#[derive(Debug)]
enum Held {
    Accepting(JoinHandle<()>),
    Port(#[expect(dead_code, reason = "held until dropped")] TcpSocket),
}

#[derive(Debug, Default)]
struct Log {
    connections: AtomicUsize,
    requests: Mutex<Vec<Request>>,
    jobs: Mutex<Vec<(Uuid, Vec<u8>)>>,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FaultServer {
    /// Does with each request what `script` says.
    pub(crate) async fn start(script: impl Fn(&Request) -> Act + Send + Sync + 'static) -> io::Result<Self> {
        let script: Arc<Script> = Arc::new(script);
        Self::listen(move |stream, log| serve(stream, log, Arc::clone(&script))).await
    }

    /// Never reads a byte of what is sent to it: resets, closes or hangs.
    pub(crate) async fn deaf(then: Then) -> io::Result<Self> {
        Self::listen(move |stream, _| {
            let then = then.clone();
            async move {
                // By then the client has sent something, and cannot know what became of it.
                stream.readable().await?;
                end(stream, &then).await
            }
        })
        .await
    }

    /// A port at which nothing listens, and that nobody else gets meanwhile.
    pub(crate) fn absent() -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = socket.local_addr()?;
        Ok(Self { address, log: Arc::default(), held: Held::Port(socket) })
    }

    async fn listen<F, Fut>(handle: F) -> io::Result<Self>
    where
        F: Fn(TcpStream, Arc<Log>) -> Fut + Send + 'static,
        Fut: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let log = Arc::<Log>::default();
        let shared = Arc::clone(&log);
        let accepting = tokio::spawn(async move {
            // Dropped with the task, and the connections with it.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(handle(stream, Arc::clone(&shared)));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, log, held: Held::Accepting(accepting) })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub(crate) fn connections(&self) -> usize {
        self.log.connections.load(Ordering::Relaxed)
    }

    /// Every request whose head arrived.
    pub(crate) fn requests(&self) -> Vec<Request> {
        locked(&self.log.requests).clone()
    }

    /// Every job that was created.
    pub(crate) fn jobs(&self) -> Vec<Uuid> {
        locked(&self.log.jobs).iter().map(|(id, _)| *id).collect()
    }

    /// What was submitted for each of them.
    pub(crate) fn submissions(&self) -> Vec<Vec<u8>> {
        locked(&self.log.jobs).iter().map(|(_, body)| body.clone()).collect()
    }
}

impl Drop for FaultServer {
    fn drop(&mut self) {
        if let Held::Accepting(accepting) = &self.held {
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
        let request = {
            let mut requests = locked(&log.requests);
            let number = requests.len();
            let request = Request { number, method, path, head, id: Uuid::new_v4(), at: Instant::now() };
            requests.push(request.clone());
            request
        };
        let act = script(&request);
        let length: usize = request.header("content-length").and_then(|it| it.parse().ok()).unwrap_or(0);
        let wanted = match act.reads {
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
        if act.creates && act.reads == Part::All && request.submits() {
            locked(&log.jobs).push((request.id, body));
        }
        stream.write_all(&act.says).await?;
        if !matches!(act.then, Then::Stay) {
            return end(stream, &act.then).await;
        }
    }
}

/// The next head on the connection, or `None` if there is none: the end, or no HTTP.
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

async fn end(mut stream: TcpStream, then: &Then) -> io::Result<()> {
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
