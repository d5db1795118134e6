//! What errors say: one short line, without secrets, with advice that fits.

use luma_agents::{
    ApiKey, Client, Error, Retry,
    error::RejectionKind,
    types::{Generation, MediaRef},
};
use serde_json::json;

use crate::support::{
    KEY, SIGNATURE, fast_builder,
    fault_server::{Action, FaultServer},
    printed, valid,
};

#[tokio::test]
async fn an_error_does_not_grow_with_its_input() {
    let luma = Client::builder(ApiKey::new(KEY).unwrap()).base_url("http://127.0.0.1:1").build().unwrap();
    let long = "a".repeat(1_000_000);
    let url = format!("http://example.com/{long}");
    let builder = || Client::builder(ApiKey::new(KEY).unwrap());
    let directory = tempfile::tempdir().unwrap();
    for error in [
        MediaRef::url(&url).unwrap_err(),
        MediaRef::url(format!("data:image/png;base64,{long}")).unwrap_err(),
        builder().base_url(&url).build().unwrap_err(),
        builder().base_url(&long).build().unwrap_err(),
        builder().user_agent(format!("{long}\u{1}x")).build().unwrap_err(),
        ApiKey::new(format!("{long} {long}")).unwrap_err(),
        luma.generations().get(&long).await.unwrap_err(),
        luma.files().get(&long).await.unwrap_err(),
        luma.download(url.as_str()).bytes().await.unwrap_err(),
        luma.download(long.as_str()).bytes().await.unwrap_err(),
        luma.download("https://example.com").save(&long).await.unwrap_err(),
        luma.download("https://example.com").save_all(&long).await.unwrap_err(),
        luma.files().upload(long.as_str()).await.unwrap_err(),
        luma.files().upload(b"GIF89a").mime_type(&long).await.unwrap_err(),
        luma.files().upload(directory.path()).await.unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(text.len() < 1000 && text.lines().count() == 1, "{} bytes: {}", text.len(), &text[..200]);
    }
}

/// What a download says when storage responds like this.
async fn from_storage(action: Action) -> Error {
    let server = FaultServer::start(move |_| action.clone()).await.unwrap();
    let mut generation = valid::generation(valid::ID, "completed");
    generation["output"][0]["url"] = format!("{}/o.png?X-Amz-Signature={SIGNATURE}", server.url()).into();
    let generation: Generation = serde_json::from_value(generation).unwrap();
    let luma = fast_builder(server.url()).retry(Retry::none()).build().unwrap();
    luma.download(&generation.outputs()[0]).bytes().await.unwrap_err()
}

#[tokio::test]
async fn the_advice_about_storage_is_about_storage() {
    let location = [("location", "http://example.com/elsewhere")];
    for (action, advice) in [
        (Action::respond(302, &location, ""), "must not go"),
        (Action::respond(301, &[], ""), "must not go"),
        (Action::respond(404, &[], ""), "a new one"),
        (Action::respond(410, &[], ""), "a new one"),
        (Action::respond(403, &[], ""), "a new one"),
        (Action::respond(400, &[], ""), "a new URL"),
        (Action::respond(400, &[], "<Error><Code>ExpiredToken</Code></Error>"), "a new one"),
        (Action::respond(503, &[], ""), "call again"),
        (Action::respond(429, &[], ""), "call again"),
        (Action::respond(200, &[("content-type", "text/html")], "<html>"), "a new URL"),
        (Action::respond(200, &[], ""), "a new URL"),
        (Action::respond(204, &[], ""), "a new URL"),
    ] {
        let error = from_storage(action).await;
        let text = error.to_string();
        assert!(text.contains(advice), "{text}");
        for of_the_api in ["base URL", "API key", "the id", "change the request"] {
            assert!(!text.contains(of_the_api), "{text}");
        }
    }
}

#[tokio::test]
async fn no_header_or_text_of_storage_shows_a_signature() {
    let mark = |status| {
        let text = format!("X-Amz-Signature%3D{SIGNATURE} and {SIGNATURE}; \"x-amz-signature\": \"{SIGNATURE}\"");
        Action::respond(status, &[("content-type", &format!("text/html; {SIGNATURE}"))], &text)
    };
    let coded = Action::respond(200, &[("content-encoding", &format!("sig={SIGNATURE}{}", "x".repeat(2000)))], "x");
    for action in [mark(200), mark(400), mark(403), mark(500), coded] {
        let error = from_storage(action).await;
        let shown = printed(&error);
        assert!(!shown.contains(SIGNATURE), "{shown}");
        assert!(error.to_string().len() < 1000, "{error}");
    }
}

#[tokio::test]
async fn a_proxy_that_wants_a_password_is_not_taken_for_the_api() {
    let action = Action::respond(407, &[], "<html>");
    let server = FaultServer::start(move |_| action.clone()).await.unwrap();
    let luma = fast_builder(server.url()).build().unwrap();
    let error = luma.generations().get(valid::ID).await.unwrap_err().to_string();
    assert!(error.contains("proxy") && !error.contains("change the request"), "{error}");
}

#[tokio::test]
async fn a_rejection_says_what_half_a_text_says() {
    let body = json!({ "detail": "CUT" }).to_string().replace("CUT", r"a cat \ud83d");
    let server = FaultServer::start(move |_| Action::api(400, &body)).await.unwrap();
    let luma = fast_builder(server.url()).build().unwrap();
    let error = luma.generations().get(valid::ID).await.unwrap_err();
    assert!(matches!(&error, Error::Rejected(e) if e.detail == "a cat \u{fffd}"), "{error}");
}

/// A `main` that returns a `Result` prints `Debug`.
#[tokio::test]
async fn debug_of_an_error_is_the_line_that_display_prints() {
    let emulator = luma_agents::mock::Emulator::start().await.unwrap();
    let luma = emulator.client();
    let generations = luma.generations();
    emulator.next(luma_agents::mock::Script::new().takes(std::time::Duration::from_secs(60)));
    let job = generations.create(luma_agents::types::CreateGeneration::builder().prompt("hush")).await.unwrap();
    let errors = [
        generations.wait(&job).timeout(std::time::Duration::from_millis(20)).await.unwrap_err(),
        generations.get(uuid::Uuid::nil()).await.unwrap_err(),
        generations.get("no id").await.unwrap_err(),
        luma.download("/nothing").save("/missing/a.png").await.unwrap_err(),
    ];
    for error in errors {
        let debug = format!("{error:?}");
        assert_eq!((debug.lines().count(), &debug), (1, &error.to_string()));
        assert!(!debug.contains("hush"), "{debug}");
    }
}

#[tokio::test]
async fn a_status_that_does_not_exist_is_a_fault_of_the_server() {
    for status in [600, 999] {
        let server = FaultServer::start(move |_| Action::respond(status, &[], "")).await.unwrap();
        let luma = fast_builder(server.url()).build().unwrap();
        let error = luma.generations().get(valid::ID).await.unwrap_err();
        assert_eq!(server.requests().len(), 3, "it is sent again");
        assert!(error.is_retryable() && error.to_string().contains("call again in some seconds"), "{error}");
        let Error::Rejected(rejected) = &error else { panic!("{error}") };
        assert_eq!(rejected.kind(), RejectionKind::Unavailable);
    }
}
