//! Every fault against every operation: requests, jobs, the error, the time, and leaked secrets. Writes
//! `docs/faults.md`.

mod case;
mod http1;
mod http2;
mod networks;
mod responses;
mod table;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use luma_agents::Client;
use tokio::time::Instant;

use self::case::{Before, Case, Front, Name, Operation, Outcome, Place};
use crate::support::{
    ATTEMPT, KEY, SIGNATURE,
    capture::{Capture, Record, log_crate_output},
    fast_builder,
    fault_server::FaultServer,
    http2::Http2,
    printed,
    snapshot::assert_snapshot,
    tls::Tls,
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

The rows about HTTP/2, TLS and proxies are measured with clients of the caller, those about kept connections and runtimes
with the clients that the crate builds: these send every POST on a connection of its own.

Further runs: `PROPTEST_CASES=10000 cargo test --test it properties::calls` gave 10,000 responses to each property of a whole
call (any value in any field, any byte, any end, any pieces, any headers). `just soak` submitted 10,000 generations over
HTTP/1 and 10,000 over HTTP/2, with a fault in every tenth exchange: no job was lost, no job was paid for twice, and memory
and file descriptors were in the end what they were before.

";

/// The result of one cell of the matrix.
struct Cell {
    name: Name,
    operation: Operation,
    requests: usize,
    jobs: usize,
    outcome: Outcome,
    /// What is not as it has to be.
    wrong: Vec<String>,
}

/// The clients of the cells, configured as the crate does it. Most cells share them: TLS setup takes
/// longer than a cell.
#[derive(Clone)]
struct Clients {
    http1: reqwest::Client,
    http2: reqwest::Client,
    http2_fresh: reqwest::Client,
}

fn http() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(ATTEMPT / 2)
}

impl Clients {
    fn new() -> Self {
        let http2 = || http().http2_prior_knowledge();
        Self {
            http1: http().build().unwrap(),
            http2: http2().build().unwrap(),
            http2_fresh: http2().pool_max_idle_per_host(0).build().unwrap(),
        }
    }
}

async fn start(case: &Case, operation: Operation) -> FaultServer {
    match case.place.clone() {
        Place::Serves(script) => {
            let start = |address: IpAddr| {
                let script = Arc::clone(&script);
                FaultServer::start_at(address, move |request| script(request))
            };
            match case.front {
                // A machine without IPv6 measures the row over IPv4.
                Front::Ipv6 => match start(Ipv6Addr::LOCALHOST.into()).await {
                    Ok(server) => Ok(server),
                    Err(_) => start(Ipv4Addr::LOCALHOST.into()).await,
                },
                _ => start(Ipv4Addr::LOCALHOST.into()).await,
            }
        }
        Place::Http2 { window, script } => {
            let first = if case.before == Before::Nothing { operation } else { Operation::ListFiles };
            let named = Arc::new(move |number| if number == 0 { first.request() } else { operation.request() });
            Http2 { window, opens_window: window > 0, named, script }.start().await
        }
        Place::NeverReads(then) => FaultServer::never_reading(then).await,
        Place::UnusedPort => FaultServer::unused_port(),
    }
    .unwrap()
}

/// The client of a cell. `None`: it uses what the crate builds.
async fn client(case: &Case, server: &FaultServer, clients: Option<&Clients>) -> (Client, Option<Tls>) {
    let Some(clients) = clients else { return (fast_builder(server.url()).build().unwrap(), None) };
    let url = server.url();
    let proxied = |url: &str| {
        let proxy = reqwest::Proxy::all(format!("http://{}", server.address())).unwrap();
        fast_builder(url).http_client(http().tls_certs_only([]).proxy(proxy).build().unwrap())
    };
    let mut tls = None;
    let builder = match (&case.place, case.front) {
        (Place::Http2 { .. }, _) => {
            fast_builder(url).http_client(clients.http2.clone()).submit_http_client(clients.http2_fresh.clone())
        }
        (_, Front::Nothing | Front::Ipv6) => fast_builder(url).http_client(clients.http1.clone()),
        (_, Front::NoTls) => fast_builder(url.replace("http://", "https://")).http_client(clients.http1.clone()),
        (_, Front::Tls(certificate)) => {
            let front = Tls::before(server.address(), certificate, &["http/1.1"]).await.unwrap();
            let http = http().tls_certs_only([front.authority.clone()]).build().unwrap();
            let builder = fast_builder(front.url()).http_client(http);
            tls = Some(front);
            builder
        }
        (_, Front::Proxy) => proxied("https://service.example/v1"),
        (_, Front::PlainProxy) => proxied("http://localhost:1/v1"),
    };
    (builder.build().unwrap(), tls)
}

/// Makes a call in a runtime of its own, which is then dropped, or kept and not driven until the
/// returned value is dropped.
async fn call_in_another_runtime(luma: Client, keeps: bool) -> std::sync::mpsc::Sender<()> {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (called, done) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(Operation::ListFiles.run(&luma)).unwrap();
        if keeps {
            called.send(()).unwrap();
            held.recv().unwrap_err();
        } else {
            drop(runtime);
            called.send(()).unwrap();
        }
    });
    done.await.unwrap();
    release
}

async fn cell(case: Case, operation: Operation, clients: Option<Clients>) -> Cell {
    let place = format!("{:?}, {}", case.name, operation.name());
    let server = start(&case, operation).await;
    let (luma, _tls) = client(&case, &server, clients.as_ref()).await;
    let _runtime = match case.before {
        Before::Nothing => None,
        Before::Call => {
            Operation::ListFiles.run(&luma).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            None
        }
        Before::CallInStoppedRuntime => Some(call_in_another_runtime(luma.clone(), true).await),
        Before::CallInDroppedRuntime => Some(call_in_another_runtime(luma.clone(), false).await),
    };

    let begun = Instant::now();
    let result = operation.run(&luma).await;
    let took = begun.elapsed();

    let (attempts, outcome) = case.expected(operation);
    let requests = match case.place {
        // Unread requests cannot be counted, but each attempt opens its own connection.
        Place::NeverReads(_) => server.connections(),
        _ => server.requests().len() - usize::from(case.before != Before::Nothing),
    };
    let jobs = server.jobs().len();
    let mut wrong = Vec::new();
    let mut check = |holds: bool, what: &dyn std::fmt::Debug| {
        if !holds {
            wrong.push(format!("{place}: {what:?}"));
        }
    };
    check(Outcome::of(&result) == outcome, &format_args!("{outcome:?} expected, {result:?}"));
    let expected = case.requests(operation, attempts);
    check(requests == expected, &format_args!("{expected} requests expected, {requests} came"));
    let expected = if operation == Operation::CreateGeneration { case.jobs } else { 0 };
    check(jobs == expected, &format_args!("{expected} jobs expected, {jobs} created"));
    check(jobs == 0 || matches!(outcome, Outcome::Ok | Outcome::Unknown(_)), &"a job is not reported to the caller");
    // Each attempt has its limit; the delays between attempts are at most 8 ms.
    let limit = ATTEMPT * u32::try_from(attempts).unwrap();
    check(took <= limit.mul_f64(1.1) + Duration::from_millis(250), &format_args!("took {took:?}"));
    if let Err(error) = &result {
        let exchange = error.exchange().unwrap();
        check(exchange.attempts as usize == attempts, &format_args!("{} attempts", exchange.attempts));
        check(exchange.operation == operation.name(), &exchange.operation);
        check(error.to_string().lines().count() == 1, &format_args!("more than one line: {error}"));
        let text = printed(error);
        check(!text.contains(KEY) && !text.contains(SIGNATURE), &format_args!("a secret: {text}"));
    }
    Cell { name: case.name, operation, requests, jobs, outcome, wrong }
}

#[tokio::test]
async fn every_fault_ends_every_call_in_time_and_pays_at_most_once() {
    let (capture, _guard) = Capture::start();
    log_crate_output();
    let elsewhere = FaultServer::start(valid::response).await.unwrap();
    let clients = Clients::new();

    let mut cells = Vec::new();
    for (cases, clients, at_once) in [
        (http1::broken_connections(), Some(&clients), 32),
        (http1::endless_responses(), Some(&clients), 4),
        (http2::broken_streams(), Some(&clients), 32),
        (networks::networks(), Some(&clients), 3),
        (networks::runtimes(), None, 2),
        (responses::odd_responses(), Some(&clients), 16),
        (responses::redirects(&elsewhere.url()), None, 1),
        (responses::limits(), Some(&clients), 16),
        (responses::statuses(), Some(&clients), 16),
    ] {
        let family = cases
            .iter()
            .flat_map(|case| Operation::ALL.map(|operation| cell(case.clone(), operation, clients.cloned())));
        cells.extend(Box::pin(stream::iter(family).buffered(at_once).collect::<Vec<_>>()).await);
    }

    assert_eq!(elsewhere.connections(), 0, "a redirect was followed");
    let records = capture.records();
    assert!(records.iter().any(|it| it.target.starts_with("luma_agents")), "nothing was captured");
    assert!(records.iter().any(|it| it.target.starts_with("hyper")), "nothing of hyper was captured");
    let log_output = log_crate_output();
    assert!(log_output.contains("reqwest"), "nothing of reqwest was captured");
    // What a GOAWAY carries is logged by h2, which is not ours to prevent.
    let is_of_h2 = |record: &Record| record.target.starts_with("h2::") && format!("{record:?}").contains("GoAway");
    let records = records.iter().filter(|record| !is_of_h2(record)).map(|record| format!("{record:?}"));
    for record in records.chain(log_output.lines().map(str::to_owned)) {
        assert!(!record.contains(KEY) && !record.contains(SIGNATURE), "{record}");
    }

    let wrong: Vec<_> = cells.iter().flat_map(|cell| &cell.wrong).map(String::as_str).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cells.len() > 3000, "the matrix has {} cells", cells.len());
    assert_snapshot("docs/faults.md", &(PREFACE.to_owned() + &table::table(cells)));
}
