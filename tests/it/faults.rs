//! Every fault against every operation: requests, jobs, the error, the time, and leaked secrets. Writes
//! `docs/faults.md`.

use std::{collections::BTreeMap, fmt, fmt::Write as _, io::Write as _, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use luma_agents::{
    Client, Error, Result,
    error::{Fault, Limit, RejectionKind},
    raw,
    types::{CreateFile, CreateGeneration},
};
use serde_json::json;
use tokio::time::Instant;

use crate::support::{
    ATTEMPT, KEY, SIGNATURE,
    capture::{Capture, log_crate_output},
    fast_builder,
    fault_server::{Action, FaultServer, Part, Request, Then, response_bytes},
    printed,
    snapshot::assert_snapshot,
    valid,
};

const PREFACE: &str = "\
# How each fault ends a call

`UPDATE_SNAPSHOT=1 cargo test --test it faults` writes this file. The test fails if a line is wrong.

Unless the name says otherwise, every request of the call meets the fault. A call makes at most three attempts; a 429 does
not count as one. *Requests* is the number of requests that the server counted. *Jobs* is the number of jobs that the server
created in the worst case: if it may create one, it does. No call creates more than one job. A job whose id the caller does
not get is always reported as `OutcomeUnknown`. Every call ended within its time limit. The server puts the API key and the
query of a signed URL into every text that it sends; neither appeared in any `Display`, `Debug`, error source or log line.

Two further runs: `PROPTEST_CASES=1000000 cargo test --release --test it properties` gave 1,000,000 random and mutated
inputs to each property in `tests/it/properties.rs` without a panic. `just soak` submitted 10,000 generations with a fault
in every tenth exchange: no job was lost, and no job was paid for twice.

";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Operation {
    CreateGeneration,
    CreateFile,
    CompleteFile,
    GetGeneration,
    ListFiles,
    GetFile,
    DeleteFile,
}

impl Operation {
    const ALL: [Self; 7] = [
        Self::CreateGeneration,
        Self::CreateFile,
        Self::CompleteFile,
        Self::GetGeneration,
        Self::ListFiles,
        Self::GetFile,
        Self::DeleteFile,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::CreateGeneration => "create_generation",
            Self::CreateFile => "create_file",
            Self::CompleteFile => "complete_file",
            Self::GetGeneration => "get_generation",
            Self::ListFiles => "list_files",
            Self::GetFile => "get_file",
            Self::DeleteFile => "delete_file",
        }
    }

    async fn run(self, luma: &Client) -> Result<()> {
        let id = valid::ID;
        let file = || CreateFile::builder().mime_type("image/png").size_bytes(3);
        match self {
            Self::CreateGeneration => {
                luma.generations().create(CreateGeneration::builder().prompt("a lighthouse")).await.map(drop)
            }
            Self::CreateFile => {
                luma.call(async move |api: raw::Client| api.create_file().body(file()).send().await).await.map(drop)
            }
            Self::CompleteFile => {
                luma.call(async move |api: raw::Client| api.complete_file().file_id(id).send().await).await.map(drop)
            }
            Self::GetGeneration => luma.generations().get(id).await.map(drop),
            Self::ListFiles => luma.call(async |api: raw::Client| api.list_files().send().await).await.map(drop),
            Self::GetFile => {
                luma.call(async move |api: raw::Client| api.get_file().file_id(id).send().await).await.map(drop)
            }
            Self::DeleteFile => {
                luma.call(async move |api: raw::Client| api.delete_file().file_id(id).send().await).await
            }
        }
    }
}

/// How a call ended, in the detail that a caller can action on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Ok,
    NoResponse(Fault),
    Unknown(Option<Fault>),
    Rejected(RejectionKind),
    Limited(Limit),
    Unexpected,
    Other,
}

impl Outcome {
    fn of(result: &Result<()>) -> Self {
        match result {
            Ok(()) => Self::Ok,
            Err(Error::NoResponse(e)) => Self::NoResponse(e.fault),
            Err(Error::OutcomeUnknown(e)) => Self::Unknown(e.fault),
            Err(Error::Rejected(e)) => Self::Rejected(e.kind()),
            Err(Error::RateLimited(e)) => Self::Limited(e.limit),
            Err(Error::UnexpectedResponse(_)) => Self::Unexpected,
            Err(_) => Self::Other,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.write_str("success"),
            Self::NoResponse(fault) => write!(f, "`NoResponse`, {fault:?}"),
            Self::Unknown(Some(fault)) => write!(f, "`OutcomeUnknown`, {fault:?}"),
            Self::Unknown(None) => f.write_str("`OutcomeUnknown`"),
            Self::Rejected(kind) => write!(f, "`Rejected`, {kind:?}"),
            Self::Limited(limit) => write!(f, "`RateLimited`, {limit:?}"),
            Self::Unexpected => f.write_str("`UnexpectedResponse`"),
            Self::Other => f.write_str("something else"),
        }
    }
}

/// The server of a case.
#[derive(Clone)]
enum Place {
    Serves(Arc<dyn Fn(&Request) -> Action + Send + Sync>),
    NeverReads(Then),
    UnusedPort,
    /// A server without TLS behind an `https` URL.
    PlainBehindHttps,
}

/// The fault, for the table. Statuses with the same outcome share a line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Text(&'static str),
    Status(&'static str, u16),
}

#[derive(Clone)]
struct Case {
    name: Name,
    place: Place,
    /// Makes a call first, so that the measured call reuses its connection.
    reuses_connection: bool,
    /// Attempts and outcome of a call that is not idempotent.
    write: (usize, Outcome),
    read: (usize, Outcome),
    /// Of a submission, which is paid for, where it differs from other writes.
    submission: Option<(usize, Outcome)>,
    /// Separate, because the response to a deletion has no body to decode.
    delete: (usize, Outcome),
    jobs: usize,
}

impl Case {
    fn new(name: &'static str, place: Place, jobs: usize, write: (usize, Outcome), read: (usize, Outcome)) -> Self {
        Self {
            name: Name::Text(name),
            place,
            reuses_connection: false,
            write,
            submission: None,
            read,
            delete: read,
            jobs,
        }
    }

    /// Every request meets the same fault.
    fn always(
        name: &'static str,
        action: Action,
        jobs: usize,
        write: (usize, Outcome),
        read: (usize, Outcome),
    ) -> Self {
        Self::scripted(name, move |_| action.clone(), jobs, write, read)
    }

    fn scripted(
        name: &'static str,
        script: impl Fn(&Request) -> Action + Send + Sync + 'static,
        jobs: usize,
        write: (usize, Outcome),
        read: (usize, Outcome),
    ) -> Self {
        Self::new(name, Place::Serves(Arc::new(script)), jobs, write, read)
    }

    /// The status is a success, but the body cannot be decoded.
    fn undecodable(name: &'static str, action: Action) -> Self {
        Self::always(name, action, 1, (1, Outcome::Unknown(None)), (1, Outcome::Unexpected)).deletes(1, Outcome::Ok)
    }

    /// The response is correct in an unusual form, so every call succeeds.
    fn harmless(name: &'static str, script: impl Fn(&Request) -> Action + Send + Sync + 'static) -> Self {
        Self::scripted(name, script, 1, (1, Outcome::Ok), (1, Outcome::Ok))
    }

    fn deletes(self, attempts: usize, outcome: Outcome) -> Self {
        Self { delete: (attempts, outcome), ..self }
    }

    fn reusing_connection(self) -> Self {
        Self { reuses_connection: true, ..self }
    }

    fn expected(&self, operation: Operation) -> (usize, Outcome) {
        match operation {
            Operation::CreateGeneration => self.submission.unwrap_or(self.write),
            Operation::CreateFile | Operation::CompleteFile => self.write,
            Operation::GetGeneration | Operation::ListFiles | Operation::GetFile => self.read,
            Operation::DeleteFile => self.delete,
        }
    }

    /// The number of requests that reach the server in this many attempts.
    fn requests(&self, attempts: usize) -> usize {
        match self.place {
            Place::Serves(_) | Place::NeverReads(_) => attempts,
            Place::UnusedPort | Place::PlainBehindHttps => 0,
        }
    }
}

/// A text that contains secrets, as a careless server may send it.
fn secrets() -> String {
    format!("your key {KEY} and your file {}", valid::signed_url())
}

fn html() -> String {
    format!("<html><a href=\"{}\">502 Bad Gateway</a> {KEY}</html>", valid::signed_url())
}

fn detail() -> String {
    json!({ "detail": secrets() }).to_string()
}

const JSON: (&str, &str) = ("content-type", "application/json");

/// A head with `content-length: length`, followed by `body`.
fn sized(status: u16, length: impl fmt::Display, body: &str) -> Vec<u8> {
    response_bytes(status, [JSON, ("content-length", &length.to_string())], body)
}

fn chunked(body: &str) -> Vec<u8> {
    response_bytes(200, [JSON, ("transfer-encoding", "chunked")], body)
}

fn broken_connections() -> Vec<Case> {
    let ends = |fault| ((1, Outcome::Unknown(Some(fault))), (3, Outcome::NoResponse(fault)));
    let never_sent = (3, Outcome::NoResponse(Fault::Connect));
    let (interrupted_write, interrupted_read) = ends(Fault::Interrupted);
    let (timeout_write, timeout_read) = ends(Fault::Timeout);
    let (protocol_write, protocol_read) = ends(Fault::Protocol);
    let reset = |part| Action::send("").reads(part).then(Then::Reset);
    let interrupted = |name, jobs, action| Case::always(name, action, jobs, interrupted_write, interrupted_read);
    let timeout = |name, action| Case::always(name, action, 1, timeout_write, timeout_read);
    let protocol = |name, bytes: Vec<u8>| Case::always(name, Action::send(bytes), 1, protocol_write, protocol_read);
    let pause = Duration::from_millis(5);
    vec![
        Case::new("nothing listens", Place::UnusedPort, 0, never_sent, never_sent),
        Case::new("no TLS behind https", Place::PlainBehindHttps, 0, never_sent, never_sent),
        Case::new(
            "reset before the request is read",
            Place::NeverReads(Then::Reset),
            0,
            interrupted_write,
            interrupted_read,
        ),
        Case::new(
            "closed before the request is read",
            Place::NeverReads(Then::Close),
            0,
            interrupted_write,
            interrupted_read,
        ),
        Case::new("the server never reads the request", Place::NeverReads(Then::Hang), 0, timeout_write, timeout_read),
        interrupted("reset before the request body is read", 0, reset(Part::Head)),
        interrupted("reset inside the request body", 0, reset(Part::HalfOfBody)),
        interrupted("reset after the request", 1, reset(Part::All)),
        interrupted("closed without a response", 1, Action::send("")),
        interrupted("closed inside the head", 1, Action::send("HTTP/1.1 200 OK\r\ncontent-le")),
        timeout("no response", Action::send("").then(Then::Hang)),
        timeout("half a head, then silence", Action::send("HTTP/1.1 200 OK\r\ncontent-le").then(Then::Hang)),
        timeout("a head, then silence", Action::send(sized(200, 100, "")).then(Then::Hang)),
        timeout("half a body, then silence", Action::send(sized(200, 100, "{\"id\":")).then(Then::Hang)),
        timeout(
            "a head that arrives byte by byte",
            Action::send("HTTP/1.1 200 OK\r\n").then(Then::Repeat(b"a".to_vec(), pause)),
        ),
        timeout(
            "a body that arrives byte by byte",
            Action::send(chunked("")).then(Then::Repeat(b"1\r\n \r\n".to_vec(), pause)),
        ),
        timeout(
            "100 Continue forever",
            Action::send("").then(Then::Repeat(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), pause)),
        ),
        interrupted("a truncated body", 1, Action::send(sized(200, 100, "{}"))),
        interrupted("a body truncated by a reset", 1, Action::send(sized(200, 100, "{}")).then(Then::Reset)),
        interrupted("a truncated chunked body", 1, Action::send(chunked("5\r\n{\"id\"\r\n"))),
        interrupted("chunks without sizes", 1, Action::send(chunked("nonsense\r\n{}\r\n"))),
        interrupted("chunks of impossible size", 1, Action::send(chunked("ffffffffffffffffff\r\n{}\r\n"))),
        protocol("garbage instead of a status line", format!("{}\r\n\r\n", secrets()).into_bytes()),
        protocol("another protocol", b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()),
        protocol("a status that is not a number", b"HTTP/1.1 abc OK\r\n\r\n".to_vec()),
        protocol("a content-length that is not a number", sized(200, "many", "{}")),
        protocol(
            "two different content-lengths",
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}".to_vec(),
        ),
        protocol("a malformed header line", format!("HTTP/1.1 200 OK\r\n{}\r\n\r\n{{}}", secrets()).into_bytes()),
        Case::scripted(
            "closed on a reused connection",
            |request| if request.number == 0 { valid::response(request) } else { Action::send("") },
            1,
            interrupted_write,
            interrupted_read,
        )
        .reusing_connection(),
        Case::scripted(
            "closed between two calls",
            |request| {
                if request.number == 0 { valid::response(request).then(Then::Close) } else { valid::response(request) }
            },
            1,
            (1, Outcome::Ok),
            (1, Outcome::Ok),
        )
        .reusing_connection(),
        Case::scripted(
            "reset once, then served",
            |request| if request.number == 0 { Action::send("").then(Then::Reset) } else { valid::response(request) },
            1,
            interrupted_write,
            (2, Outcome::Ok),
        ),
    ]
}

fn endless_responses() -> Vec<Case> {
    vec![
        Case::always(
            "an endless head",
            Action::send("HTTP/1.1 200 OK\r\n").then(Then::Repeat(b"x-filler: x\r\n".repeat(5000), Duration::ZERO)),
            1,
            (1, Outcome::Unknown(Some(Fault::Protocol))),
            (3, Outcome::NoResponse(Fault::Protocol)),
        ),
        Case::always(
            "an endless body",
            Action::send(chunked("")).then(Then::Repeat(
                b"400\r\n".iter().copied().chain([b' '; 1024]).chain(*b"\r\n").collect(),
                Duration::ZERO,
            )),
            1,
            (1, Outcome::Unknown(Some(Fault::TooLarge))),
            (1, Outcome::NoResponse(Fault::TooLarge)),
        ),
    ]
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn odd_responses() -> Vec<Case> {
    let wrap = |kind: &'static str| {
        move |request: &Request| Action::respond(200, &[("content-type", kind)], &valid::body(request).to_string())
    };
    let json = |body: &str| Action::api(200, body);
    let bomb = gzip(&vec![b' '; 1 << 20]);
    let bomb_length = bomb.len().to_string();
    let bomb = response_bytes(200, [JSON, ("content-encoding", "gzip"), ("content-length", &bomb_length)], bomb);
    vec![
        Case::undecodable("HTML with 200", Action::respond(200, &[("content-type", "text/html")], &html())),
        Case::undecodable("HTML that claims to be JSON", json(&html())),
        Case::undecodable("an empty 200", json("")),
        Case::undecodable("204", Action::respond(204, &[], "")),
        Case::undecodable("`null`", json("null")),
        Case::undecodable("an array", json(&format!("[\"{}\"]", secrets()))),
        Case::undecodable("a string", json(&format!("\"{}\"", secrets()))),
        Case::undecodable("a number", json("7")),
        Case::undecodable("an error with 200", json(&detail())),
        Case::undecodable("half of a JSON text", json(&detail()[..20])),
        Case::undecodable("a content-length that is too short", Action::send(sized(200, 9, &detail()))),
        Case::undecodable(
            "bytes that are not UTF-8",
            Action::send(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n\xff\xfe\x00".to_vec()),
        ),
        Case::always(
            "a gzip bomb",
            Action::send(bomb),
            1,
            (1, Outcome::Unknown(Some(Fault::TooLarge))),
            (1, Outcome::NoResponse(Fault::TooLarge)),
        ),
        Case::harmless("gzip that nobody asked for", |request| {
            let action = valid::response(request);
            let sends = String::from_utf8(action.sends).unwrap();
            let (head, body) = sends.split_once("\r\n\r\n").unwrap();
            let body = gzip(body.as_bytes());
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            let length = body.len().to_string();
            let headers = [JSON, ("content-encoding", "gzip"), ("content-length", &length)];
            let sends = if status == 204 { sends.into_bytes() } else { response_bytes(status, headers, body) };
            Action { sends, ..action }
        }),
        Case::harmless("JSON that claims to be text", wrap("text/plain")),
        Case::harmless("JSON that claims to be HTML", wrap("text/html")),
        Case::harmless("100 and 103 before the response", |request| {
            let action = valid::response(request);
            let early = format!(
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: <{}>\r\n\r\n",
                valid::signed_url()
            );
            Action { sends: [early.as_bytes(), &action.sends].concat(), ..action }
        }),
        Case::harmless("closed after the response", |request| {
            let action = valid::response(request);
            Action { sends: action.sends, then: Then::Close, ..action }
        }),
        Case::always(
            "101",
            Action::send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"),
            1,
            (1, Outcome::Unknown(None)),
            (1, Outcome::Rejected(RejectionKind::InvalidRequest)),
        ),
    ]
}

fn redirects(elsewhere: &str) -> Vec<Case> {
    let rejected = (1, Outcome::Rejected(RejectionKind::Redirected));
    let to = |status| {
        Action::respond(status, &[("location", &format!("{elsewhere}/generations?key={KEY}"))], &html()).without_job()
    };
    let case = |status, jobs, action, write| Case {
        name: Name::Status("to another host", status),
        ..Case::always("", action, jobs, write, rejected)
    };
    // A redirect does not say that nothing was done; 303 See Other even says that it was.
    let unknown = (1, Outcome::Unknown(None));
    let mut cases: Vec<_> = [301, 302, 307, 308].map(|status| case(status, 0, to(status), unknown)).into();
    cases.push(case(303, 1, Action { creates_job: true, ..to(303) }, unknown));
    cases
}

/// The kind for a status, written independently of the crate.
fn rejection_kind(status: u16) -> RejectionKind {
    match status {
        401 => RejectionKind::Unauthorized,
        402 => RejectionKind::InsufficientCredits,
        403 => RejectionKind::Forbidden,
        404 | 410 => RejectionKind::NotFound,
        413 => RejectionKind::TooLarge,
        422 => RejectionKind::UnusableMedia,
        408 | 500.. => RejectionKind::Unavailable,
        _ => RejectionKind::InvalidRequest,
    }
}

fn statuses() -> Vec<Case> {
    let mut cases = Vec::new();
    for status in (400..=599).filter(|it| *it != 429) {
        let rejected = Outcome::Rejected(rejection_kind(status));
        let transient = status == 408 || status >= 500;
        for by_api in [true, false] {
            let certain = match status {
                502 | 503 | 409 => by_api,
                _ => !transient,
            };
            let action = if by_api { Action::api(status, &detail()) } else { Action::respond(status, &[], &html()) };
            let action = Action { creates_job: !certain, ..action };
            let write = match (certain, transient) {
                (false, _) => (1, Outcome::Unknown(None)),
                (true, true) => (3, rejected),
                (true, false) => (1, rejected),
            };
            let read = (if transient { 3 } else { 1 }, rejected);
            let from = if by_api { "by the API" } else { "by a gateway" };
            let case = Case::always("", action, usize::from(!certain), write, read);
            // 409 is documented for files only: of a submission it may mean that the job exists.
            let submission = (status == 409).then_some((1, Outcome::Unknown(None)));
            cases.push(Case { name: Name::Status(from, status), submission, ..case });
        }
    }
    cases
}

fn limits() -> Vec<Case> {
    let numbers = [("x-ratelimit-limit", "30"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1712592060")];
    let hour = |headers: &[(&str, &str)], body: &str| {
        Action::api_with(429, &[headers, &[("retry-after", "3600")]].concat(), body).without_job()
    };
    let limited = |name, action, write, read| {
        let ends = |limit| (1, Outcome::Limited(limit));
        Case::always(name, action, 0, ends(write), ends(read))
    };
    let concurrent = json!({ "detail": format!("Too many concurrent jobs {}", secrets()) }).to_string();
    vec![
        limited("429 for an hour, with numbers", hour(&numbers, &detail()), Limit::Requests, Limit::Requests),
        limited("429 for an hour, \"concurrent\"", hour(&[], &concurrent), Limit::Concurrency, Limit::Concurrency),
        limited(
            "429 for an hour, by a gateway",
            Action::respond(429, &[("retry-after", "3600")], &html()).without_job(),
            Limit::Unknown,
            Limit::Unknown,
        ),
        Case::scripted(
            "429 four times with a short delay, then served",
            |request| match request.number {
                0..4 => Action::api_with(429, &[("retry-after-ms", "5")], &detail()).without_job(),
                _ => valid::response(request),
            },
            1,
            (5, Outcome::Ok),
            (5, Outcome::Ok),
        ),
    ]
}

/// The result of one cell of the matrix.
struct Cell {
    name: Name,
    operation: Operation,
    requests: usize,
    jobs: usize,
    outcome: Outcome,
}

async fn cell(case: Case, operation: Operation, http: Option<reqwest::Client>) -> Cell {
    let place = format!("{:?}, {}", case.name, operation.name());
    let server = match case.place.clone() {
        Place::Serves(script) => FaultServer::start(move |request| script(request)).await,
        Place::NeverReads(then) => FaultServer::never_reading(then).await,
        Place::UnusedPort => FaultServer::unused_port(),
        Place::PlainBehindHttps => FaultServer::start(valid::response).await,
    }
    .unwrap();
    let url = match case.place {
        Place::PlainBehindHttps => server.url().replace("http://", "https://"),
        _ => server.url(),
    };
    let luma = match http {
        Some(http) => fast_builder(url).http_client(http),
        None => fast_builder(url),
    };
    let luma = luma.build().unwrap();
    if case.reuses_connection {
        Operation::ListFiles.run(&luma).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let begun = Instant::now();
    let result = operation.run(&luma).await;
    let took = begun.elapsed();

    let (attempts, outcome) = case.expected(operation);
    let requests = match case.place {
        // Unread requests cannot be counted, but each attempt opens its own connection.
        Place::NeverReads(_) => server.connections(),
        _ => server.requests().len() - usize::from(case.reuses_connection),
    };
    let jobs = server.jobs().len();
    assert_eq!(Outcome::of(&result), outcome, "{place}: {result:?}");
    assert_eq!(requests, case.requests(attempts), "{place}: requests");
    assert_eq!(jobs, if operation == Operation::CreateGeneration { case.jobs } else { 0 }, "{place}: jobs");
    assert!(
        jobs == 0 || matches!(outcome, Outcome::Ok | Outcome::Unknown(_)),
        "{place}: a job is not reported to the caller"
    );
    // Each attempt has its limit; the delays between attempts are at most 8 ms.
    let limit = ATTEMPT * u32::try_from(attempts).unwrap();
    assert!(took <= limit.mul_f64(1.1) + Duration::from_millis(250), "{place}: took {took:?}");
    if let Err(error) = &result {
        let exchange = error.exchange().unwrap();
        assert_eq!(exchange.attempts as usize, attempts, "{place}: attempts");
        assert_eq!(exchange.operation, operation.name(), "{place}");
        assert_eq!(error.to_string().lines().count(), 1, "{place}: {error}");
        let text = printed(error);
        assert!(!text.contains(KEY) && !text.contains(SIGNATURE), "{place}: {text}");
    }
    Cell { name: case.name, operation, requests, jobs, outcome }
}

/// The table lines of one fault. Operations with the same outcome share a line.
fn lines(cells: &[Cell]) -> Vec<String> {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for cell in cells {
        let rest = format!("{} | {} | {}", cell.requests, cell.jobs, cell.outcome);
        match groups.iter_mut().find(|(known, _)| *known == rest) {
            Some((_, operations)) => operations.push(cell.operation.name()),
            None => groups.push((rest, vec![cell.operation.name()])),
        }
    }
    groups.into_iter().map(|(rest, operations)| format!("{} | {rest}", operations.join(", "))).collect()
}

/// Formats `[400, 405, 406, 407]` as `400, 405 to 407`.
fn ranges(statuses: &[u16]) -> String {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for &status in statuses {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == status => *last = status,
            _ => ranges.push((status, status)),
        }
    }
    let shown = ranges.into_iter().map(|(first, last)| match last - first {
        0 => first.to_string(),
        _ => format!("{first} to {last}"),
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn table(mut cells: Vec<Cell>) -> String {
    let mut faults: Vec<(String, Vec<String>)> = Vec::new();
    let mut families: BTreeMap<(&str, Vec<String>), Vec<u16>> = BTreeMap::new();
    while let Some(first) = cells.first() {
        let name = first.name.clone();
        let (mut of_fault, others): (Vec<_>, Vec<_>) = cells.into_iter().partition(|it| it.name == name);
        of_fault.sort_by_key(|it| it.operation);
        cells = others;
        match name {
            Name::Text(text) => faults.push((text.to_owned(), lines(&of_fault))),
            Name::Status(family, status) => families.entry((family, lines(&of_fault))).or_default().push(status),
        }
    }
    let mut families: Vec<_> = families.into_iter().collect();
    families.sort_by_key(|(_, statuses)| statuses[0]);
    faults.extend(
        families.into_iter().map(|((family, lines), statuses)| (format!("{} {family}", ranges(&statuses)), lines)),
    );

    let mut text = "| Fault | Operations | Requests | Jobs | Outcome |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for (fault, lines) in faults {
        for (at, line) in lines.into_iter().enumerate() {
            let fault = if at == 0 { fault.as_str() } else { "" };
            writeln!(text, "| {fault} | {line} |").unwrap();
        }
    }
    text
}

#[tokio::test]
async fn every_fault_ends_every_call_in_time_and_pays_at_most_once() {
    let (capture, _guard) = Capture::start();
    log_crate_output();
    let elsewhere = FaultServer::start(valid::response).await.unwrap();
    // TLS setup takes longer than a cell, so most share one client, configured as the crate does it.
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();

    let mut cells = Vec::new();
    for (cases, http, at_once) in [
        (broken_connections(), Some(&http), 32),
        (endless_responses(), Some(&http), 4),
        (odd_responses(), Some(&http), 16),
        (redirects(&elsewhere.url()), None, 1),
        (limits(), Some(&http), 16),
        (statuses(), Some(&http), 16),
    ] {
        let family =
            cases.iter().flat_map(|case| Operation::ALL.map(|operation| cell(case.clone(), operation, http.cloned())));
        cells.extend(stream::iter(family).buffered(at_once).collect::<Vec<_>>().await);
    }

    assert_eq!(elsewhere.connections(), 0, "a redirect was followed");
    let records = capture.records();
    assert!(records.iter().any(|it| it.target.starts_with("luma_agents")), "nothing was captured");
    assert!(records.iter().any(|it| it.target.starts_with("hyper")), "nothing of hyper was captured");
    let log_output = log_crate_output();
    assert!(log_output.contains("reqwest"), "nothing of reqwest was captured");
    for record in records.iter().map(|it| format!("{it:?}")).chain(log_output.lines().map(str::to_owned)) {
        assert!(!record.contains(KEY) && !record.contains(SIGNATURE), "{record}");
    }

    assert!(cells.len() > 3000, "the matrix has {} cells", cells.len());
    assert_snapshot("docs/faults.md", &(PREFACE.to_owned() + &table(cells)));
}
