//! Every fault against every operation: how many requests, how many jobs, which error, how long,
//! and what it gives away.

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
    KEY, SIGNATURE,
    capture::{Capture, foreign_log},
    fault_server::{Act, FaultServer, Part, Request, Then, message},
    hasty, printed, valid,
};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/faults.md");

const PREFACE: &str = "\
# What becomes of a call when something breaks

Written by `UPDATE_DOCS=1 cargo test --test it faults`; the test fails when a line is no longer true.

Each fault is met by every request of the call, unless it says otherwise, with three attempts. *Requests* is what the
server counted. *Jobs* is what the server created in the worst case: wherever it may have created one, it did. A call
never makes more than one, and a job that the caller holds no id of is always reported as `OutcomeUnknown`. Every call
also ended within its limit of time, and neither the key nor the query of a signed URL, which the server puts into every
text it sends, was found in any `Display`, `Debug`, source or log line.

Beside the table: 1,000,000 random and mutated inputs were given once to each property in `tests/it/properties.rs`
(`PROPTEST_CASES=1000000 cargo test --release --test it properties`) without a panic, and `just soak` submitted
10,000 generations with a fault in every tenth exchange: no job lost, none paid for twice.

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

/// How a call ended, as far as a caller can act on it.
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

/// Where the calls of a case go.
#[derive(Clone)]
enum Place {
    Serving(Arc<dyn Fn(&Request) -> Act + Send + Sync>),
    Deaf(Then),
    Absent,
    /// A server without TLS behind a URL with it.
    PlainBehindHttps,
}

/// What is wrong, for the table. Statuses with the same consequences share a line of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Text(&'static str),
    Status(&'static str, u16),
}

#[derive(Clone)]
struct Case {
    name: Name,
    place: Place,
    /// A call before the one that counts, for a connection that is used again.
    warm: bool,
    /// How many attempts a call makes that must not be repeated blindly, and how it ends.
    write: (usize, Outcome),
    read: (usize, Outcome),
    /// Deleting has no answer to decode.
    delete: (usize, Outcome),
    jobs: usize,
}

impl Case {
    fn new(name: &'static str, place: Place, jobs: usize, write: (usize, Outcome), read: (usize, Outcome)) -> Self {
        Self { name: Name::Text(name), place, warm: false, write, read, delete: read, jobs }
    }

    /// Every request meets the same fault.
    fn always(name: &'static str, act: Act, jobs: usize, write: (usize, Outcome), read: (usize, Outcome)) -> Self {
        Self::serving(name, move |_| act.clone(), jobs, write, read)
    }

    fn serving(
        name: &'static str,
        script: impl Fn(&Request) -> Act + Send + Sync + 'static,
        jobs: usize,
        write: (usize, Outcome),
        read: (usize, Outcome),
    ) -> Self {
        Self::new(name, Place::Serving(Arc::new(script)), jobs, write, read)
    }

    /// The answer says success, and cannot be decoded.
    fn undecodable(name: &'static str, act: Act) -> Self {
        Self::always(name, act, 1, (1, Outcome::Unknown(None)), (1, Outcome::Unexpected)).deletes(1, Outcome::Ok)
    }

    /// Every request is answered as it deserves, but for the form.
    fn harmless(name: &'static str, script: impl Fn(&Request) -> Act + Send + Sync + 'static) -> Self {
        Self::serving(name, script, 1, (1, Outcome::Ok), (1, Outcome::Ok))
    }

    fn deletes(self, attempts: usize, outcome: Outcome) -> Self {
        Self { delete: (attempts, outcome), ..self }
    }

    fn warm(self) -> Self {
        Self { warm: true, ..self }
    }

    fn expected(&self, operation: Operation) -> (usize, Outcome) {
        match operation {
            Operation::CreateGeneration | Operation::CreateFile | Operation::CompleteFile => self.write,
            Operation::GetGeneration | Operation::ListFiles | Operation::GetFile => self.read,
            Operation::DeleteFile => self.delete,
        }
    }

    /// The requests that reach the server, out of so many attempts.
    fn requests(&self, attempts: usize) -> usize {
        match self.place {
            Place::Serving(_) | Place::Deaf(_) => attempts,
            Place::Absent | Place::PlainBehindHttps => 0,
        }
    }
}

/// A text as a careless server writes it.
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

/// A head that announces `length` bytes, and these bytes.
fn sized(status: u16, length: impl fmt::Display, body: &str) -> Vec<u8> {
    message(status, [JSON, ("content-length", &length.to_string())], body)
}

fn chunked(body: &str) -> Vec<u8> {
    message(200, [JSON, ("transfer-encoding", "chunked")], body)
}

fn broken_connections() -> Vec<Case> {
    let lost = |fault| ((1, Outcome::Unknown(Some(fault))), (3, Outcome::NoResponse(fault)));
    let never_sent = (3, Outcome::NoResponse(Fault::Connect));
    let (cut_write, cut_read) = lost(Fault::Interrupted);
    let (late_write, late_read) = lost(Fault::Timeout);
    let (alien_write, alien_read) = lost(Fault::Protocol);
    let reset = |part| Act::say("").reads(part).then(Then::Reset);
    let cut = |name, jobs, act| Case::always(name, act, jobs, cut_write, cut_read);
    let late = |name, act| Case::always(name, act, 1, late_write, late_read);
    let alien = |name, says: Vec<u8>| Case::always(name, Act::say(says), 1, alien_write, alien_read);
    let pause = Duration::from_millis(5);
    vec![
        Case::new("nothing listens", Place::Absent, 0, never_sent, never_sent),
        Case::new("no TLS behind https", Place::PlainBehindHttps, 0, never_sent, never_sent),
        Case::new("reset before the request is read", Place::Deaf(Then::Reset), 0, cut_write, cut_read),
        Case::new("closed before the request is read", Place::Deaf(Then::Close), 0, cut_write, cut_read),
        Case::new("the request is never read", Place::Deaf(Then::Hang), 0, late_write, late_read),
        cut("reset before the body of the request", 0, reset(Part::Head)),
        cut("reset inside the body of the request", 0, reset(Part::HalfOfBody)),
        cut("reset after the request", 1, reset(Part::All)),
        cut("closed without an answer", 1, Act::say("")),
        cut("closed inside the head", 1, Act::say("HTTP/1.1 200 OK\r\ncontent-le")),
        late("no answer", Act::say("").then(Then::Hang)),
        late("half a head, then silence", Act::say("HTTP/1.1 200 OK\r\ncontent-le").then(Then::Hang)),
        late("a head, then silence", Act::say(sized(200, 100, "")).then(Then::Hang)),
        late("half a body, then silence", Act::say(sized(200, 100, "{\"id\":")).then(Then::Hang)),
        late("a head that drips", Act::say("HTTP/1.1 200 OK\r\n").then(Then::Repeat(b"a".to_vec(), pause))),
        late("a body that drips", Act::say(chunked("")).then(Then::Repeat(b"1\r\n \r\n".to_vec(), pause))),
        late("100 forever", Act::say("").then(Then::Repeat(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), pause))),
        cut("a body cut short", 1, Act::say(sized(200, 100, "{}"))),
        cut("a body cut short by a reset", 1, Act::say(sized(200, 100, "{}")).then(Then::Reset)),
        cut("a chunked body cut short", 1, Act::say(chunked("5\r\n{\"id\"\r\n"))),
        cut("chunks without sizes", 1, Act::say(chunked("nonsense\r\n{}\r\n"))),
        cut("chunks of impossible size", 1, Act::say(chunked("ffffffffffffffffff\r\n{}\r\n"))),
        alien("garbage instead of a status line", format!("{}\r\n\r\n", secrets()).into_bytes()),
        alien("another protocol", b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()),
        alien("a status that is no number", b"HTTP/1.1 abc OK\r\n\r\n".to_vec()),
        alien("a length that is no number", sized(200, "many", "{}")),
        alien("two lengths", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}".to_vec()),
        alien("a header that is none", format!("HTTP/1.1 200 OK\r\n{}\r\n\r\n{{}}", secrets()).into_bytes()),
        Case::always(
            "a head without end",
            Act::say("HTTP/1.1 200 OK\r\n").then(Then::Repeat(b"x-filler: x\r\n".repeat(5000), Duration::ZERO)),
            1,
            alien_write,
            alien_read,
        ),
        Case::always(
            "a body without end",
            Act::say(chunked("")).then(Then::Repeat(
                b"400\r\n".iter().copied().chain([b' '; 1024]).chain(*b"\r\n").collect(),
                Duration::ZERO,
            )),
            1,
            (1, Outcome::Unknown(Some(Fault::TooLarge))),
            (1, Outcome::NoResponse(Fault::TooLarge)),
        ),
        Case::serving(
            "closed on a connection used before",
            |request| if request.number == 0 { valid::answer(request) } else { Act::say("") },
            1,
            cut_write,
            cut_read,
        )
        .warm(),
        Case::serving(
            "closed between two calls",
            |request| {
                if request.number == 0 { valid::answer(request).then(Then::Close) } else { valid::answer(request) }
            },
            1,
            (1, Outcome::Ok),
            (1, Outcome::Ok),
        )
        .warm(),
        Case::serving(
            "reset once, then well",
            |request| if request.number == 0 { Act::say("").then(Then::Reset) } else { valid::answer(request) },
            1,
            cut_write,
            (2, Outcome::Ok),
        ),
    ]
}

fn odd_answers() -> Vec<Case> {
    let wrap = |kind: &'static str| {
        move |request: &Request| Act::answer(200, &[("content-type", kind)], &valid::body(request).to_string())
    };
    let json = |body: &str| Act::api(200, body);
    let bomb = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![b' '; 1 << 20]).unwrap();
        encoder.finish().unwrap()
    };
    let bomb_length = bomb.len().to_string();
    let bomb = message(200, [JSON, ("content-encoding", "gzip"), ("content-length", &bomb_length)], bomb);
    vec![
        Case::undecodable("HTML with 200", Act::answer(200, &[("content-type", "text/html")], &html())),
        Case::undecodable("HTML that claims to be JSON", json(&html())),
        Case::undecodable("an empty 200", json("")),
        Case::undecodable("204", Act::answer(204, &[], "")),
        Case::undecodable("`null`", json("null")),
        Case::undecodable("an array", json(&format!("[\"{}\"]", secrets()))),
        Case::undecodable("a string", json(&format!("\"{}\"", secrets()))),
        Case::undecodable("a number", json("7")),
        Case::undecodable("an error with 200", json(&detail())),
        Case::undecodable("half of a JSON text", json(&detail()[..20])),
        Case::undecodable("a length too short", Act::say(sized(200, 9, &detail()))),
        Case::undecodable(
            "bytes that are no text",
            Act::say(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n\xff\xfe\x00".to_vec()),
        ),
        Case::undecodable("a gzip bomb", Act::say(bomb)),
        Case::harmless("JSON that claims to be text", wrap("text/plain")),
        Case::harmless("JSON that claims to be HTML", wrap("text/html")),
        Case::harmless("100 and 103 before the answer", |request| {
            let act = valid::answer(request);
            let early = format!(
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: <{}>\r\n\r\n",
                valid::signed_url()
            );
            Act { says: [early.as_bytes(), &act.says].concat(), ..act }
        }),
        Case::harmless("closed after the answer", |request| {
            let act = valid::answer(request);
            Act { says: act.says, then: Then::Close, ..act }
        }),
        Case::always(
            "101",
            Act::say("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"),
            1,
            (1, Outcome::Unknown(None)),
            (1, Outcome::Rejected(RejectionKind::InvalidRequest)),
        ),
    ]
}

fn redirects(elsewhere: &str) -> Vec<Case> {
    let refused = (1, Outcome::Rejected(RejectionKind::Redirected));
    let to = |status| {
        Act::answer(status, &[("location", &format!("{elsewhere}/generations?key={KEY}"))], &html()).refusing()
    };
    let case = |status, jobs, act, write| Case {
        name: Name::Status("to another host", status),
        ..Case::always("", act, jobs, write, refused)
    };
    let mut cases: Vec<_> = [301, 302, 307, 308].map(|status| case(status, 0, to(status), refused)).into();
    // See other: what was asked for is done, and its result is there.
    cases.push(case(303, 1, Act { creates: true, ..to(303) }, (1, Outcome::Unknown(None))));
    cases
}

/// What a status means, said a second time and on its own.
fn refusal(status: u16) -> RejectionKind {
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
        let refused = Outcome::Rejected(refusal(status));
        let transient = status == 408 || status >= 500;
        for by_api in [true, false] {
            let certain = match status {
                502 | 503 | 409 => by_api,
                _ => !transient,
            };
            let act = if by_api { Act::api(status, &detail()) } else { Act::answer(status, &[], &html()) };
            let act = Act { creates: !certain, ..act };
            let write = match (certain, transient) {
                (false, _) => (1, Outcome::Unknown(None)),
                (true, true) => (3, refused),
                (true, false) => (1, refused),
            };
            let read = (if transient { 3 } else { 1 }, refused);
            let from = if by_api { "by the API" } else { "by a gateway" };
            let case = Case::always("", act, usize::from(!certain), write, read);
            cases.push(Case { name: Name::Status(from, status), ..case });
        }
    }
    cases
}

fn limits() -> Vec<Case> {
    let numbers = [("x-ratelimit-limit", "30"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1712592060")];
    let hour = |headers: &[(&str, &str)], body: &str| {
        Act::api_with(429, &[headers, &[("retry-after", "3600")]].concat(), body).refusing()
    };
    let limited = |name, act, write, read| {
        let ends = |limit| (1, Outcome::Limited(limit));
        Case::always(name, act, 0, ends(write), ends(read))
    };
    let concurrent = json!({ "detail": format!("Too many concurrent jobs {}", secrets()) }).to_string();
    vec![
        limited("429 for an hour, with numbers", hour(&numbers, &detail()), Limit::Requests, Limit::Requests),
        limited("429 for an hour, \"concurrent\"", hour(&[], &concurrent), Limit::Concurrency, Limit::Concurrency),
        limited(
            "429 for an hour, by a gateway",
            Act::answer(429, &[("retry-after", "3600")], &html()).refusing(),
            Limit::Unknown,
            Limit::Unknown,
        ),
        Case::serving(
            "429 four times for a moment, then well",
            |request| match request.number {
                0..4 => Act::api_with(429, &[("retry-after-ms", "5")], &detail()).refusing(),
                _ => valid::answer(request),
            },
            1,
            (5, Outcome::Ok),
            (5, Outcome::Ok),
        ),
    ]
}

/// What one cell of the matrix came to.
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
        Place::Serving(script) => FaultServer::start(move |request| script(request)).await,
        Place::Deaf(then) => FaultServer::deaf(then).await,
        Place::Absent => FaultServer::absent(),
        Place::PlainBehindHttps => FaultServer::start(valid::answer).await,
    }
    .unwrap();
    let url = match case.place {
        Place::PlainBehindHttps => server.url().replace("http://", "https://"),
        _ => server.url(),
    };
    let luma = match http {
        Some(http) => hasty(url).http_client(http),
        None => hasty(url),
    };
    let luma = luma.build().unwrap();
    if case.warm {
        Operation::ListFiles.run(&luma).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let begun = Instant::now();
    let result = operation.run(&luma).await;
    let took = begun.elapsed();

    let (attempts, outcome) = case.expected(operation);
    let requests = match case.place {
        // What is not read cannot be counted, but each attempt makes a connection of its own.
        Place::Deaf(_) => server.connections(),
        _ => server.requests().len() - usize::from(case.warm),
    };
    let jobs = server.jobs().len();
    assert_eq!(Outcome::of(&result), outcome, "{place}: {result:?}");
    assert_eq!(requests, case.requests(attempts), "{place}: requests");
    assert_eq!(jobs, if operation == Operation::CreateGeneration { case.jobs } else { 0 }, "{place}: jobs");
    assert!(
        jobs == 0 || matches!(outcome, Outcome::Ok | Outcome::Unknown(_)),
        "{place}: a job that the caller is not told of"
    );
    // Each attempt has 300 ms, and the delays between them are a few milliseconds.
    let limit = Duration::from_millis(300) * u32::try_from(attempts).unwrap();
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

/// The lines of one fault: operations with the same consequences share one.
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

/// `[400, 405, 406, 407]` reads `400, 405 to 407`.
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
    foreign_log();
    let elsewhere = FaultServer::start(valid::answer).await.unwrap();
    // To set up TLS takes longer than a cell: most share one client, set as the crate sets its own.
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();

    let mut cells = Vec::new();
    for (cases, http, at_once) in [
        (broken_connections(), Some(&http), 64),
        (odd_answers(), Some(&http), 16),
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
    let foreign = foreign_log();
    assert!(foreign.contains("reqwest"), "nothing of reqwest was captured");
    for record in records.iter().map(|it| format!("{it:?}")).chain(foreign.lines().map(str::to_owned)) {
        assert!(!record.contains(KEY) && !record.contains(SIGNATURE), "{record}");
    }

    assert!(cells.len() > 3000, "the matrix has {} cells", cells.len());
    let table = PREFACE.to_owned() + &table(cells);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(TABLE, table).unwrap();
    } else {
        assert_eq!(std::fs::read_to_string(TABLE).unwrap_or_default(), table, "run again with UPDATE_DOCS=1");
    }
}
