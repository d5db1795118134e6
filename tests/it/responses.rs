//! Responses with a success status that do not match the API: the caller never gets a wrong value.

use std::{io::Write as _, time::Duration};

use luma_agents::{
    Error, Retry,
    types::{CreateGeneration, GenerationState},
};
use serde_json::{Value, json};
use uuid::{Uuid, uuid};

use crate::support::{
    KEY, SIGNATURE,
    capture::Capture,
    fast_builder,
    fault_server::{Action, FaultServer, Request, Then, response_bytes},
    printed, valid,
};

const ANOTHER: Uuid = uuid!("00000000-0000-4000-8000-000000000001");

/// A wrong response for a generation, and whether the id of the generation can still be read from it.
struct WrongResponse {
    name: String,
    body: fn(Uuid, &Value) -> String,
    detail: Value,
    has_id: bool,
}

fn with_field(id: Uuid, field: &Value) -> String {
    let mut generation = valid::generation(id, "completed");
    generation[field["name"].as_str().unwrap()] = field["value"].clone();
    generation.to_string()
}

fn without_field(id: Uuid, field: &Value) -> String {
    let mut generation = valid::generation(id, "completed");
    generation.as_object_mut().unwrap().remove(field.as_str().unwrap());
    generation.to_string()
}

/// Each of these fields missing, or of a wrong type.
fn with_wrong(fields: &[&str]) -> Vec<WrongResponse> {
    let mut wrong = Vec::new();
    for &field in fields {
        let has_id = field != "id";
        wrong.push(WrongResponse {
            name: format!("{field} is missing"),
            body: without_field,
            detail: json!(field),
            has_id,
        });
        for value in [json!(null), json!(42), json!([]), json!({})] {
            let name = format!("{field} is {value}");
            wrong.push(WrongResponse {
                name,
                body: with_field,
                detail: json!({ "name": field, "value": value }),
                has_id,
            });
        }
    }
    wrong
}

fn of_field((field, value): (&str, Value)) -> WrongResponse {
    let name = format!("{field} is {value}");
    WrongResponse { name, body: with_field, detail: json!({ "name": field, "value": value }), has_id: field != "id" }
}

/// Responses of which nothing can be used, whatever the request.
fn undecodable() -> Vec<WrongResponse> {
    let mut wrong = with_wrong(&["id", "state"]);
    wrong.push(of_field(("id", json!("no UUID"))));
    let whole = |name: &str, text: String| WrongResponse {
        name: name.to_owned(),
        body: |_, text| text.as_str().unwrap().to_owned(),
        detail: json!(text),
        has_id: false,
    };
    wrong.extend([
        whole("nothing", String::new()),
        whole("null", "null".to_owned()),
        whole("an array", "[]".to_owned()),
        whole("a string", format!("\"{KEY}\"")),
        whole("a number", "7".to_owned()),
        whole("an empty object", "{}".to_owned()),
        whole("an error", format!("{{\"error\":\"{}\"}}", valid::signed_url())),
        whole("half an object", format!("{{\"id\":\"{ANOTHER}\",\"sta")),
        whole("HTML", format!("<html><a href='{}'>{KEY}", valid::signed_url())),
        whole("ten thousand brackets", "[".repeat(10_000)),
    ]);
    wrong
}

/// Responses with a field that cannot be used, beside an id and a state that can.
fn usable() -> Vec<WrongResponse> {
    let mut usable = with_wrong(&["type", "model", "created_at"]);
    let fields = [
        ("output", json!({ "url": valid::signed_url() })),
        ("output", json!([{ "url": valid::signed_url() }])),
        ("output", json!([null, { "type": "image", "url": valid::signed_url() }, { "type": "image" }])),
        ("failure_code", json!(7)),
        ("failure_reason", json!({ KEY: valid::signed_url() })),
    ];
    usable.extend(fields.map(of_field));
    usable
}

/// Responses that contradict themselves or the request.
fn inconsistent() -> Vec<WrongResponse> {
    let url = |url: Value| json!([{ "type": "image", "url": url }]);
    let fields = [
        ("output", json!([])),
        ("output", json!(null)),
        ("output", json!("text")),
        ("output", json!([null])),
        ("output", json!([{ "type": "image" }])),
        ("output", url(json!(null))),
        ("output", url(json!(7))),
        ("output", url(json!(""))),
        ("output", url(json!(format!("/o.png?X-Amz-Signature={SIGNATURE}")))),
        ("id", json!(ANOTHER)),
    ];
    let without_output = WrongResponse {
        name: "completed without output".to_owned(),
        body: without_field,
        detail: json!("output"),
        has_id: true,
    };
    fields.map(of_field).into_iter().chain([without_output]).collect()
}

#[tokio::test]
async fn a_field_that_cannot_be_used_costs_neither_the_response_nor_the_id() {
    for wrong in usable() {
        let name = wrong.name.clone();
        let server = FaultServer::start(move |request| {
            let (status, id) = if request.submits() { (201, request.id) } else { (200, valid::ID) };
            Action::api(status, &(wrong.body)(id, &wrong.detail))
        })
        .await
        .unwrap();
        let luma = fast_builder(server.url()).build().unwrap();
        let created = luma.generations().create(CreateGeneration::builder().prompt("a lighthouse")).await.expect(&name);
        assert_eq!(server.jobs(), [created.id], "{name}");
        let read = luma.generations().get(valid::ID).await.expect(&name);
        assert_eq!(
            (read.id, read.state, read.output.unwrap().len()),
            (valid::ID, GenerationState::Completed, 1),
            "{name}"
        );
        assert_eq!(server.requests().len(), 2, "{name}");
    }
}

#[tokio::test]
async fn a_wrong_response_to_a_read_is_an_error_with_an_excerpt_of_the_response() {
    for wrong in undecodable().into_iter().chain(inconsistent()) {
        let body = (wrong.body)(valid::ID, &wrong.detail);
        let (name, empty) = (wrong.name, body.is_empty());
        let server = FaultServer::start(move |_| Action::api(200, &body)).await.unwrap();
        let error = fast_builder(server.url()).build().unwrap().generations().get(valid::ID).await.expect_err(&name);
        assert_eq!(error.status().map(|it| it.as_u16()), Some(200), "{name}");
        assert_eq!(error.request_id(), Some("returned-1"), "{name}");
        assert_eq!(error.generation_id(), Some(valid::ID), "{name}");
        assert_eq!(server.requests().len(), 1, "{name}");
        let text = printed(&error);
        assert!(!text.contains(KEY) && !text.contains(SIGNATURE), "{name}: {text}");
        let Error::UnexpectedResponse(error) = error else { panic!("{name}: {error:?}") };
        assert!(!error.problem.is_empty() && error.excerpt.is_empty() == empty, "{name}: {error}");
    }
}

#[tokio::test]
async fn a_wrong_response_to_a_submission_is_outcome_unknown_and_keeps_the_id() {
    for wrong in undecodable() {
        let (name, has_id) = (wrong.name.clone(), wrong.has_id);
        let server = FaultServer::start(move |request| Action::api(201, &(wrong.body)(request.id, &wrong.detail)))
            .await
            .unwrap();
        let luma = fast_builder(server.url()).build().unwrap();
        let request = CreateGeneration::builder().prompt("a lighthouse");
        let error = luma.generations().create(request).await.expect_err(&name);
        assert!(matches!(error, Error::OutcomeUnknown(_)), "{name}: {error:?}");
        let expected_id =
            if name == "half an object" { Some(ANOTHER) } else { server.jobs().first().copied().filter(|_| has_id) };
        assert_eq!(error.generation_id(), expected_id, "{name}");
        assert_eq!(error.request_id(), Some("returned-1"), "{name}");
        assert!(!error.is_retryable(), "{name}");
        assert_eq!(server.requests().len(), 1, "{name}");
        let text = printed(&error);
        assert!(!text.contains(KEY) && !text.contains(SIGNATURE), "{name}: {text}");
    }
}

#[tokio::test]
async fn a_wrong_response_to_a_poll_does_not_end_the_wait() {
    let wrong =
        undecodable().into_iter().chain(inconsistent()).map(|it| Action::api(200, &(it.body)(valid::ID, &it.detail)));
    let limited = Action::api_with(429, &[("retry-after-ms", "2")], "{}");
    let faults =
        [Action::send("").then(Then::Reset), Action::send("HTTP/1.1 2"), limited, Action::respond(502, &[], "<html>")];
    let missing = Action::api(404, "{\"detail\":\"Generation not found\"}");
    let actions: Vec<_> = wrong.chain(faults).chain([missing]).collect();
    let count = actions.len();
    let server = FaultServer::start(move |request: &Request| {
        actions.get(request.number).cloned().unwrap_or_else(|| valid::response(request))
    })
    .await
    .unwrap();
    let luma = fast_builder(server.url()).retry(Retry::none()).build().unwrap();
    let done = luma.generations().wait(valid::ID).every(Duration::from_millis(1)).await.unwrap();
    assert_eq!(done.state, GenerationState::Completed);
    assert_eq!(server.requests().len(), count + 1);
}

#[tokio::test]
async fn a_failure_reason_with_secrets_and_line_breaks_is_printed_on_one_line_without_secrets() {
    let failed = json!({
        "id": valid::ID, "type": "image", "state": "failed", "model": "uni-1", "created_at": "2026-04-08T12:00:00Z",
        "failure_code": format!("new\n{KEY}"), "failure_reason": format!("{KEY}\n{}", valid::signed_url()),
    });
    let server = FaultServer::start(move |_| Action::api(200, &failed.to_string())).await.unwrap();
    let error = fast_builder(server.url()).build().unwrap().generations().wait(valid::ID).await.unwrap_err();
    assert!(matches!(error, Error::GenerationFailed(_)), "{error:?}");
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
    let text = printed(&error);
    assert!(!text.contains(KEY) && !text.contains(SIGNATURE), "{text}");
}

#[tokio::test]
async fn an_unknown_state_with_secrets_and_line_breaks_is_printed_on_one_line_without_secrets() {
    let (capture, _guard) = Capture::start();
    let mut queued = valid::generation(valid::ID, "queued");
    queued["state"] = json!(format!("new\n{KEY} {}", valid::signed_url()));
    let server = FaultServer::start(move |_| Action::api(200, &queued.to_string())).await.unwrap();
    let luma = fast_builder(server.url()).build().unwrap();
    let wait = luma.generations().wait(valid::ID).every(Duration::from_millis(5)).timeout(Duration::from_millis(20));
    let error = wait.await.unwrap_err();
    assert!(matches!(error, Error::WaitTimeout(_)), "{error:?}");
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
    let text = printed(&error) + &format!("{:?}", capture.records());
    assert!(!text.contains(KEY) && !text.contains(SIGNATURE), "{text}");
}

#[tokio::test]
async fn the_id_in_a_compressed_response_that_is_cut_short_is_kept() {
    for (coding, times) in [("gzip", 1), ("gzip, x-gzip", 2)] {
        let server = FaultServer::start(move |request| {
            let mut body = valid::body(request).to_string().into_bytes();
            let id = body.windows(4).position(|it| it == b"\"id\"").unwrap();
            assert!(id + 50 < body.len());
            for _ in 0..times {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
                encoder.write_all(&body).unwrap();
                body = encoder.finish().unwrap();
            }
            let length = body.len().to_string();
            body.truncate(body.len() - 40);
            Action::send(response_bytes(201, [("content-encoding", coding), ("content-length", &length)], body))
        })
        .await
        .unwrap();
        let luma = fast_builder(server.url()).build().unwrap();
        let error = luma.generations().create(CreateGeneration::builder().prompt("a duck")).await.unwrap_err();
        assert!(matches!(error, Error::OutcomeUnknown(_)), "{error}");
        assert_eq!(error.generation_id(), Some(server.jobs()[0]), "{coding}: {error}");
    }
}
