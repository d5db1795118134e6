//! What the errors of storage lead to: a new URL, another attempt, or an end.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use luma_agents::{Client, Error, types::Generation};

use crate::support::{
    SIGNATURE, fast_builder,
    fault_server::{Action, FaultServer, Request, Then, response_bytes},
    valid,
};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n and so on";

fn code(code: &str) -> String {
    format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>no</Message></Error>")
}

fn picture() -> Action {
    let length = PNG.len().to_string();
    Action { then: Then::Stay, ..Action::send(response_bytes(200, [("content-length", length.as_str())], PNG)) }
}

/// Service and storage as one server. `storage` handles the requests to it.
async fn service(storage: impl Fn(&Request) -> Action + Send + Sync + 'static) -> (FaultServer, Client, Generation) {
    let address = Arc::new(OnceLock::<String>::new());
    let own = Arc::clone(&address);
    let generation = |url: &str, age: usize| {
        let mut generation = valid::generation(valid::ID, "completed");
        generation["output"][0]["url"] = format!("{url}/object-{age}?X-Amz-Signature={SIGNATURE}").into();
        generation
    };
    let server = FaultServer::start(move |request| match request.method.as_str() {
        "GET" if request.path.contains("/generations/") => {
            Action::api(200, &generation(own.get().unwrap(), request.number).to_string())
        }
        "POST" if request.path.ends_with("/files") => {
            let mut created = valid::created_file();
            created["upload"]["url"] = format!("{}/object?sig={SIGNATURE}", own.get().unwrap()).into();
            Action::api(201, &created.to_string())
        }
        "POST" => Action::api(200, &valid::file().to_string()),
        "GET" if request.path.contains("/files/") => Action::api(200, &valid::file().to_string()),
        _ => storage(request),
    })
    .await
    .unwrap();
    address.set(server.url()).unwrap();
    let first = serde_json::from_value(generation(&server.url(), 0)).unwrap();
    let luma = fast_builder(server.url()).idle_timeout(Duration::from_millis(300)).build().unwrap();
    (server, luma, first)
}

fn count(server: &FaultServer, part: &str) -> usize {
    server.requests().iter().filter(|request| request.path.contains(part)).count()
}

#[tokio::test]
async fn an_expired_url_is_replaced_once_whatever_its_status() {
    for expired in [
        Action::respond(400, &[], &code("ExpiredToken")),
        Action::respond(400, &[], &code("TokenRefreshRequired")),
        Action::respond(400, &[], &code("<![CDATA[ExpiredToken]]>")),
        Action::respond(401, &[], ""),
        Action::respond(403, &[], &code("AccessDenied")),
        Action::respond(404, &[], &code("NoSuchKey")),
        Action::respond(410, &[], ""),
    ] {
        let refused = expired.clone();
        let (server, luma, generation) =
            service(move |request| if request.path.contains("object-0") { refused.clone() } else { picture() }).await;
        assert_eq!(luma.download(&generation).bytes().await.unwrap(), PNG);
        assert_eq!(count(&server, "/generations/"), 1);

        let (server, luma, generation) = service(move |_| expired.clone()).await;
        let error = luma.download(&generation).bytes().await.unwrap_err();
        assert!(matches!(error, Error::Rejected(_)), "{error}");
        assert_eq!((count(&server, "/generations/"), count(&server, "/object-")), (1, 2), "one new URL, then the end");
    }
}

#[tokio::test]
async fn storage_that_asks_to_slow_down_is_asked_again() {
    for (status, reason) in [
        (400, "RequestTimeout"),
        (400, "SlowDown"),
        (400, "ThrottlingException"),
        (408, ""),
        (429, ""),
        (500, "InternalError"),
        (503, "SlowDown"),
    ] {
        let busy = move |request: &Request| match (request.number, request.method.as_str()) {
            (0 | 1, _) => Action::respond(status, &[], &code(reason)),
            (_, "PUT") => Action::respond(200, &[], ""),
            _ => picture(),
        };
        let (server, luma, generation) = service(busy).await;
        assert_eq!(luma.download(&generation).bytes().await.unwrap(), PNG, "{status} {reason}");
        assert_eq!(count(&server, "/object-"), 3);

        let (server, luma, _) = service(busy).await;
        let mut video = vec![0; 5 * 1024 * 1024];
        video[4..12].copy_from_slice(b"ftypisom");
        luma.files().upload(video).await.unwrap();
        assert_eq!(count(&server, "/object?"), 2, "{status} {reason}");
    }
}

#[tokio::test]
async fn the_text_of_an_error_that_comes_a_byte_at_a_time_holds_nobody_up() {
    let drip = Action::send(response_bytes(403, [("content-length", "10000")], "<"))
        .then(Then::Repeat(b"x".to_vec(), Duration::from_millis(20)));
    let (_server, luma, generation) = service(move |_| drip.clone()).await;
    let begun = tokio::time::Instant::now();
    let error = luma.download(&generation.outputs()[0]).bytes().await.unwrap_err();
    assert!(matches!(error, Error::Rejected(_)), "{error}");
    let mut video = vec![0; 5 * 1024 * 1024];
    video[4..12].copy_from_slice(b"ftypisom");
    let error = luma.files().upload(video).await.unwrap_err();
    assert!(matches!(error, Error::Rejected(_)), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_post_without_a_body_has_a_length() {
    let (server, luma, _) = service(|_| Action::respond(200, &[], "")).await;
    luma.files().complete(valid::ID).await.unwrap();
    assert_eq!(server.requests()[0].header("content-length"), Some("0"));
}
