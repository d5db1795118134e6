//! Answers that claim success and are not what the API documents: no wrong value ever gets through.

use std::time::Duration;

use luma_agents::{
    Error, Retry,
    types::{CreateGeneration, GenerationState},
};
use serde_json::{Value, json};
use uuid::{Uuid, uuid};

use crate::support::{
    KEY, SIGNATURE,
    capture::Capture,
    fault_server::{Act, FaultServer, Request, Then},
    hasty, printed, valid,
};

const ANOTHER: Uuid = uuid!("00000000-0000-4000-8000-000000000001");

/// A wrong answer for the generation with that id, and whether the id can still be made out.
struct Wrong {
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

/// Wrong whoever asked: the types do not fit.
fn undecodable() -> Vec<Wrong> {
    let mut wrong = Vec::new();
    for field in ["id", "state", "type", "model", "created_at"] {
        let has_id = field != "id";
        wrong.push(Wrong { name: format!("{field} is missing"), body: without_field, detail: json!(field), has_id });
        for value in [json!(null), json!(42), json!([]), json!({})] {
            let name = format!("{field} is {value}");
            wrong.push(Wrong { name, body: with_field, detail: json!({ "name": field, "value": value }), has_id });
        }
    }
    let url = |url: Value| json!([{ "type": "image", "url": url }]);
    let fields = [
        ("id", json!("no UUID"), false),
        ("output", json!("text"), true),
        ("output", json!({ "url": valid::signed_url() }), true),
        ("output", json!([null]), true),
        ("output", json!([{ "type": "image" }]), true),
        ("output", json!([{ "url": valid::signed_url() }]), true),
        ("output", url(json!(null)), true),
        ("output", url(json!(7)), true),
        ("output", url(json!("")), true),
        ("output", url(json!(format!("/o.png?X-Amz-Signature={SIGNATURE}"))), true),
        ("failure_code", json!(7), true),
        ("failure_reason", json!({ KEY: valid::signed_url() }), true),
    ];
    for (field, value, has_id) in fields {
        let name = format!("{field} is {value}");
        wrong.push(Wrong { name, body: with_field, detail: json!({ "name": field, "value": value }), has_id });
    }
    let whole = |name: &str, text: String| Wrong {
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

/// Right by their types, and still no answer to the question.
fn unfit() -> Vec<Wrong> {
    let field = |name: &str, value: Value| Wrong {
        name: format!("completed, but {name} is {value}"),
        body: with_field,
        detail: json!({ "name": name, "value": value }),
        has_id: true,
    };
    vec![
        field("output", json!([])),
        field("output", json!(null)),
        Wrong {
            name: "completed without output".to_owned(),
            body: without_field,
            detail: json!("output"),
            has_id: true,
        },
        field("id", json!(ANOTHER)),
    ]
}

#[tokio::test]
async fn a_wrong_answer_to_a_read_is_an_error_that_tells_what_came() {
    for wrong in undecodable().into_iter().chain(unfit()) {
        let body = (wrong.body)(valid::ID, &wrong.detail);
        let (name, empty) = (wrong.name, body.is_empty());
        let server = FaultServer::start(move |_| Act::api(200, &body)).await.unwrap();
        let error = hasty(server.url()).build().unwrap().generations().get(valid::ID).await.expect_err(&name);
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
async fn a_wrong_answer_to_a_submission_leaves_its_outcome_unknown_but_saves_the_id() {
    for wrong in undecodable() {
        let (name, has_id) = (wrong.name.clone(), wrong.has_id);
        let server =
            FaultServer::start(move |request| Act::api(201, &(wrong.body)(request.id, &wrong.detail))).await.unwrap();
        let luma = hasty(server.url()).build().unwrap();
        let request = CreateGeneration::builder().prompt("a lighthouse");
        let error = luma.generations().create(request).await.expect_err(&name);
        assert!(matches!(error, Error::OutcomeUnknown(_)), "{name}: {error:?}");
        let told =
            if name == "half an object" { Some(ANOTHER) } else { server.jobs().first().copied().filter(|_| has_id) };
        assert_eq!(error.generation_id(), told, "{name}");
        assert_eq!(error.request_id(), Some("returned-1"), "{name}");
        assert!(!error.is_retryable(), "{name}");
        assert_eq!(server.requests().len(), 1, "{name}");
        let text = printed(&error);
        assert!(!text.contains(KEY) && !text.contains(SIGNATURE), "{name}: {text}");
    }
}

#[tokio::test]
async fn any_wrong_answer_is_one_lost_look_and_the_wait_goes_on() {
    let wrong = undecodable().into_iter().chain(unfit()).map(|it| Act::api(200, &(it.body)(valid::ID, &it.detail)));
    let limited = Act::api_with(429, &[("retry-after-ms", "2")], "{}");
    let faults = [Act::say("").then(Then::Reset), Act::say("HTTP/1.1 2"), limited, Act::answer(502, &[], "<html>")];
    let missing = Act::api(404, "{\"detail\":\"Generation not found\"}");
    let acts: Vec<_> = wrong.chain(faults).chain([missing]).collect();
    let count = acts.len();
    let server = FaultServer::start(move |request: &Request| {
        acts.get(request.number).cloned().unwrap_or_else(|| valid::answer(request))
    })
    .await
    .unwrap();
    let luma = hasty(server.url()).retry(Retry::none()).build().unwrap();
    let done = luma.generations().wait(valid::ID).every(Duration::from_millis(1)).await.unwrap();
    assert_eq!(done.state, GenerationState::Completed);
    assert_eq!(server.requests().len(), count + 1);
}

#[tokio::test]
async fn a_failure_told_in_the_words_of_a_careless_server_is_printed_on_one_line_without_secrets() {
    let told = json!({
        "id": valid::ID, "type": "image", "state": "failed", "model": "uni-1", "created_at": "2026-04-08T12:00:00Z",
        "failure_code": format!("new\n{KEY}"), "failure_reason": format!("{KEY}\n{}", valid::signed_url()),
    });
    let server = FaultServer::start(move |_| Act::api(200, &told.to_string())).await.unwrap();
    let error = hasty(server.url()).build().unwrap().generations().wait(valid::ID).await.unwrap_err();
    assert!(matches!(error, Error::GenerationFailed(_)), "{error:?}");
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
    let text = printed(&error);
    assert!(!text.contains(KEY) && !text.contains(SIGNATURE), "{text}");
}

#[tokio::test]
async fn a_state_told_in_the_words_of_a_careless_server_is_printed_on_one_line_without_secrets() {
    let (capture, _guard) = Capture::start();
    let mut told = valid::generation(valid::ID, "queued");
    told["state"] = json!(format!("new\n{KEY} {}", valid::signed_url()));
    let server = FaultServer::start(move |_| Act::api(200, &told.to_string())).await.unwrap();
    let luma = hasty(server.url()).build().unwrap();
    let wait = luma.generations().wait(valid::ID).every(Duration::from_millis(5)).timeout(Duration::from_millis(20));
    let error = wait.await.unwrap_err();
    assert!(matches!(error, Error::WaitTimeout(_)), "{error:?}");
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
    assert_eq!(capture.records().iter().filter(|it| it.target == "luma_agents::drift").count(), 1);
    let text = printed(&error) + &format!("{:?}", capture.records());
    assert!(!text.contains(KEY) && !text.contains(SIGNATURE), "{text}");
}
