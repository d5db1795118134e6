//! Which connection a request goes out on, and what it proves when that connection ends.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use luma_agents::{
    Client, Error,
    error::Fault,
    types::{CreateGeneration, MediaRef},
};

use crate::support::{
    KEY, fast_builder,
    fault_server::{Action, FaultServer, Part, Request, Then},
    http2::{CANCEL, Http2, INTERNAL_ERROR, NO_ERROR, REFUSED_STREAM, data, go_away, headers, reset},
    printed, valid,
};

fn request() -> luma_agents::types::builder::CreateGeneration {
    CreateGeneration::builder().prompt("a lighthouse")
}

async fn submit(luma: &Client) -> luma_agents::Result<()> {
    luma.generations().create(request()).await.map(drop)
}

/// A server in a runtime of its own, so that it goes on while that of the test is blocked.
fn elsewhere(script: impl Fn(&Request) -> Action + Send + Sync + 'static) -> (FaultServer, mpsc::Sender<()>) {
    let (release, held) = mpsc::channel();
    let (send, started) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        send.send(runtime.block_on(FaultServer::start(script)).unwrap()).unwrap();
        held.recv().unwrap_err();
    });
    (started.recv().unwrap(), release)
}

#[tokio::test]
async fn a_submission_never_reuses_a_kept_connection() {
    let server = FaultServer::start(valid::response).await.unwrap();
    let luma = fast_builder(server.url()).build().unwrap();
    for _ in 0..3 {
        luma.generations().get(valid::ID).await.unwrap();
    }
    assert_eq!(server.connections(), 1, "reads share one");
    for submitted in 1..=3 {
        submit(&luma).await.unwrap();
        assert_eq!(server.connections(), 1 + submitted);
    }
    luma.generations().get(valid::ID).await.unwrap();
    assert_eq!(server.connections(), 4, "reads still share one");
}

#[tokio::test]
async fn a_submission_never_reuses_a_kept_connection_of_http_2() {
    let script = |request: &Request, stream| {
        let status = if request.method == "POST" { 201 } else { 200 };
        let body = data(stream, valid::body(request).to_string().as_bytes(), true);
        Action::send([headers(stream, status, &[], false), body].concat()).then(Then::Stay)
    };
    let (server, luma) = http2(65_535, script).await;
    for submitted in 1..=3 {
        submit(&luma).await.unwrap();
        assert_eq!(server.connections(), submitted);
    }
}

/// A server of HTTP/2 that is sent submissions only.
async fn http2(window: u32, script: impl Fn(&Request, u32) -> Action + Send + Sync + 'static) -> (FaultServer, Client) {
    let named = Arc::new(|_| ("POST", "/v1/generations".to_owned()));
    let server = Http2 { window, opens_window: window > 0, named, script: Arc::new(script) }.start().await.unwrap();
    let http = || reqwest::Client::builder().http2_prior_knowledge().retry(reqwest::retry::never());
    let luma = fast_builder(server.url())
        .http_client(http().build().unwrap())
        .submit_http_client(http().pool_max_idle_per_host(0).build().unwrap())
        .build()
        .unwrap();
    (server, luma)
}

#[tokio::test]
async fn no_submission_is_lost_to_a_server_that_hangs_up_while_the_runtime_is_blocked() {
    // Each connection serves one request, and is closed while the runtime computes.
    let (server, _hold) = elsewhere(|request| {
        let action = valid::response(request);
        Action { then: Then::Close, ..action }
    });
    let luma = fast_builder(server.url()).build().unwrap();
    for _ in 0..10 {
        submit(&luma).await.unwrap();
        luma.generations().get(valid::ID).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(server.jobs().len(), 10);
}

#[test]
fn no_submission_of_a_shared_client_is_lost_in_short_lived_runtimes() {
    let (server, _hold) = elsewhere(valid::response);
    let luma = fast_builder(server.url()).build().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(submit(&luma)).unwrap();
                }
            });
        }
    });
    assert_eq!(server.jobs().len(), 20);
}

#[tokio::test]
async fn a_stream_above_the_goaway_is_submitted_again_and_one_below_it_is_not() {
    for (last, jobs) in [(0, 1), (1, 1)] {
        let (server, luma) = http2(65_535, move |request, stream| {
            // The first one is read and, if it is not above, handled.
            if request.number == 0 {
                Action { creates_job: last > 0, ..Action::send(go_away(last, NO_ERROR)) }
            } else {
                let body = data(stream, valid::body(request).to_string().as_bytes(), true);
                Action::send([headers(stream, 201, &[], false), body].concat()).then(Then::Stay)
            }
        })
        .await;
        let result = submit(&luma).await;
        assert_eq!(server.jobs().len(), jobs);
        match last {
            0 => assert!(result.is_ok() && server.requests().len() == 2, "{result:?}"),
            _ => assert!(
                matches!(&result, Err(Error::OutcomeUnknown(e)) if e.fault == Some(Fault::Interrupted)),
                "{result:?}"
            ),
        }
    }
}

#[tokio::test]
async fn a_body_that_the_server_never_takes_ends_in_time() {
    let (server, luma) = http2(0, |_, _| Action::send("").then(Then::Stay)).await;
    let request = request().image_ref(vec![MediaRef::data(vec![0; 1 << 20], "image/png")]);
    let error = luma.generations().create(request).await.unwrap_err();
    assert!(error.is_timeout() && matches!(error, Error::OutcomeUnknown(_)), "{error}");
    assert!(server.jobs().is_empty());
}

#[tokio::test]
async fn a_goaway_at_a_stream_whose_body_is_on_its_way_proves_nothing() {
    for code in [NO_ERROR, INTERNAL_ERROR] {
        let (server, luma) =
            http2(0, move |_, stream| Action::send(go_away(stream, code)).reads(Part::Head).then(Then::Close)).await;
        let request = request().image_ref(vec![MediaRef::data(vec![0; 1 << 20], "image/png")]);
        let error = luma.generations().create(request).await.unwrap_err();
        assert!(matches!(error, Error::OutcomeUnknown(_)), "{error}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn the_reason_of_a_goaway_is_shown_and_the_text_with_it_is_not() {
    let (_server, luma) = http2(65_535, |_, _| Action::send(go_away(0, NO_ERROR)).then(Then::Stay)).await;
    let error = printed(&submit(&luma).await.unwrap_err());
    assert!(error.contains("the server ended the connection") && !error.contains(KEY), "{error}");
}

#[tokio::test]
async fn a_stream_that_the_server_resets_is_submitted_again_only_if_it_was_refused() {
    for (code, requests) in [(CANCEL, 1), (INTERNAL_ERROR, 1), (REFUSED_STREAM, 2)] {
        let (server, luma) = http2(65_535, move |request, stream| {
            let body = data(stream, valid::body(request).to_string().as_bytes(), true);
            let created = [headers(stream, 201, &[], false), body].concat();
            Action::send(if request.number == 0 { reset(stream, code) } else { created }).then(Then::Stay)
        })
        .await;
        let result = submit(&luma).await;
        assert_eq!((server.requests().len(), result.is_ok()), (requests, requests == 2), "{code}: {result:?}");
    }
}

#[tokio::test]
async fn the_clients_of_the_crate_do_not_send_again_by_themselves() {
    // Both are HTTP/1, where reqwest has no proof; the count shows that each attempt is one request.
    let server = FaultServer::start(|_| Action::send("").reads(Part::Head).then(Then::Reset)).await.unwrap();
    let luma = fast_builder(server.url()).build().unwrap();
    let error = luma.generations().get(valid::ID).await.unwrap_err();
    assert_eq!(error.exchange().unwrap().attempts, 3);
    assert_eq!(server.requests().len(), 3);
}

/// Runs one test of this file in a process of its own, in which there are no CA certificates.
fn without_certificates(test: &str) {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--test-threads=1", test])
        .env("SSL_CERT_FILE", "/nonexistent")
        .env("SSL_CERT_DIR", "/nonexistent")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_machine_without_ca_certificates_is_a_clear_error_and_can_talk_to_itself() {
    without_certificates("connections::in_a_process_without_ca_certificates");
}

#[tokio::test]
#[ignore = "run by the test above, in a process of its own"]
async fn in_a_process_without_ca_certificates() {
    if std::env::var("SSL_CERT_FILE").as_deref() != Ok("/nonexistent") {
        return;
    }
    let key = || luma_agents::ApiKey::new(KEY).unwrap();
    let error = Client::builder(key()).build().unwrap_err().to_string();
    assert!(error.contains("ca-certificates") && error.contains("http_client"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    // With TLS, this machine is as any other.
    let error = Client::builder(key()).base_url("https://localhost/v1").build().unwrap_err().to_string();
    assert!(error.contains("ca-certificates"), "{error}");
    let server = FaultServer::start(valid::response).await.unwrap();
    submit(&fast_builder(server.url()).build().unwrap()).await.unwrap();
    assert_eq!(server.jobs().len(), 1);
}
