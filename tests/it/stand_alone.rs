//! The emulator as a server for programs in any language: scripts in JSON, jobs over HTTP, a log, a good end.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use luma_agents::{
    Error,
    mock::{Emulator, Reply, Script, Transfer},
};
use reqwest::StatusCode;
use serde_json::{Value, json};

async fn create(emulator: &Emulator, prompt: &str) -> (StatusCode, Value) {
    let request = reqwest::Client::new().post(format!("{}/generations", emulator.base_url()));
    let request = request.bearer_auth(emulator.api_key()).json(&json!({ "prompt": prompt }));
    let response = request.header("X-Request-Id", format!("id of {prompt}")).send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

async fn get(emulator: &Emulator, path: &str) -> (StatusCode, Value) {
    let request = reqwest::Client::new().get(format!("{}{path}", emulator.base_url()));
    let response = request.bearer_auth(emulator.api_key()).send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

fn root(emulator: &Emulator) -> String {
    emulator.base_url().trim_end_matches("/v1").to_owned()
}

#[tokio::test]
async fn jobs_are_listed_with_request_id_request_and_state() {
    let emulator = Emulator::start().await.unwrap();
    let url = format!("{}/_emulator/jobs", root(&emulator));
    let jobs = async || reqwest::get(&url).await.unwrap().json::<Value>().await.unwrap();
    assert_eq!(jobs().await, json!({ "jobs": [] }), "without a key");
    emulator.next_create(Reply::bad_gateway().after_effect());
    create(&emulator, "a duck").await;
    let (_, owl) = create(&emulator, "an owl").await;
    create(&emulator, "").await;
    for _ in 0..3 {
        get(&emulator, &format!("/generations/{}", owl["id"].as_str().unwrap())).await;
    }
    let listed = jobs().await;
    assert_eq!(listed["jobs"].as_array().unwrap().len(), 2, "one whose response was lost, and none that was refused");
    let expected = json!({
        "id": owl["id"], "x_request_id": "id of an owl", "request": { "prompt": "an owl" }, "state": "completed",
    });
    assert_eq!(listed["jobs"][1], expected);
    assert_eq!(listed["jobs"][0]["state"], "queued");
    let job = &emulator.jobs()[0];
    assert_eq!((job.x_request_id.as_str(), &job.request), ("id of a duck", &json!({ "prompt": "a duck" })));
    assert_eq!(emulator.requests().len(), 6, "reading the jobs is no request to the service");
}

#[tokio::test]
async fn a_job_sent_without_a_request_id_has_the_one_of_its_response() {
    let emulator = Emulator::start().await.unwrap();
    let request = reqwest::Client::new().post(format!("{}/generations", emulator.base_url()));
    let request = request.bearer_auth(emulator.api_key()).json(&json!({ "prompt": "p" }));
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["x-request-id"], emulator.jobs()[0].x_request_id.as_str());
}

#[tokio::test]
async fn paths_with_and_without_the_version_are_the_same() {
    let emulator = Emulator::start().await.unwrap();
    assert!(emulator.base_url().ends_with("/v1"));
    let root = root(&emulator);
    for (path, status) in [("/v1/files", 200), ("/files", 200), ("/v1files", 404), ("/v1/v1/files", 404)] {
        let request = reqwest::Client::new().get(format!("{root}{path}")).bearer_auth(emulator.api_key());
        assert_eq!(request.send().await.unwrap().status(), status, "{path}");
    }
}

#[tokio::test]
async fn a_script_in_json_is_played() {
    let script = r#"{
        "default": { "takes": 0 },
        "prompts": [{ "contains": "forbidden", "then": { "fails": "content_moderated", "takes": 0 } }],
        "generations": [{ "fails": "generation_failed", "reason": "too wet", "takes": 0 }],
        "downloads": [{ "cut_after": 10 }, { "status": 503 }],
        "replies": [
            { "operation": "create_generation", "reply": "insufficient_credits" },
            { "operation": "get_generation", "status": 502, "body": "<html>" }
        ]
    }"#;
    let emulator = Emulator::builder().script_json(script).unwrap().start().await.unwrap();
    assert_eq!(create(&emulator, "a duck").await.0, StatusCode::PAYMENT_REQUIRED);
    let mut ended = Vec::new();
    for prompt in ["a forbidden duck", "a wet duck", "a duck"] {
        let (_, job) = create(&emulator, prompt).await;
        let path = format!("/generations/{}", job["id"].as_str().unwrap());
        if ended.is_empty() {
            let request = reqwest::Client::new().get(format!("{}{path}", emulator.base_url()));
            let response = request.bearer_auth(emulator.api_key()).send().await.unwrap();
            assert_eq!((response.status().as_u16(), response.text().await.unwrap().as_str()), (502, "<html>"));
        }
        ended.push(get(&emulator, &path).await.1);
    }
    let seen: Vec<_> = ended.iter().map(|it| [&it["state"], &it["failure_code"], &it["failure_reason"]]).collect();
    assert_eq!(seen[0][1], "content_moderated");
    assert_eq!(seen[1], [&json!("failed"), &json!("generation_failed"), &json!("too wet")]);
    assert_eq!(seen[2][0], "completed");
    let url = ended[2]["output"][0]["url"].as_str().unwrap();
    assert!(reqwest::get(url).await.unwrap().bytes().await.is_err(), "the first download breaks");
    assert_eq!(reqwest::get(url).await.unwrap().status(), 503);
    assert!(reqwest::get(url).await.unwrap().bytes().await.unwrap().starts_with(b"\x89PNG"));
}

#[tokio::test]
async fn a_script_that_is_none_is_an_error_that_says_where() {
    let Err(error @ Error::InvalidInput(_)) = Emulator::builder().script_json(r#"{"generations": [{"take": 1}]}"#)
    else {
        panic!("there is no `take`")
    };
    assert!(error.to_string().contains("generations[0].take: unknown field `take`"), "{error}");
}

#[tokio::test]
async fn a_prompt_has_its_script_whatever_comes_next() {
    let emulator = Emulator::start().await.unwrap();
    emulator.prompts_with("forbidden", Script::fails("content_moderated").takes(Duration::ZERO));
    emulator.next(Script::new().takes(Duration::ZERO));
    for prompt in ["forbidden", "a duck", "also forbidden"] {
        create(&emulator, prompt).await;
    }
    let states: Vec<_> = emulator.jobs().iter().map(|it| it.state.to_string()).collect();
    assert_eq!(states, ["failed", "completed", "failed"]);
}

#[tokio::test]
async fn each_request_is_logged_with_its_status_and_time() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&log);
    let emulator = Emulator::builder()
        .on_request(move |request, took| {
            let status = request.status.map_or(0, |it| it.as_u16());
            lines.lock().unwrap().push((format!("{} {} {status}", request.method, request.path), took));
        })
        .start()
        .await
        .unwrap();
    emulator.next_create(Reply::normal().delay(Duration::from_millis(30)));
    emulator.next(Script::new().takes(Duration::ZERO).output("0123456789"));
    let (_, job) = create(&emulator, "a duck").await;
    let path = format!("/generations/{}", job["id"].as_str().unwrap());
    let (_, done) = get(&emulator, &path).await;
    let url = done["output"][0]["url"].as_str().unwrap();
    reqwest::get(url).await.unwrap();
    emulator.next_download(Transfer::rejected(503));
    reqwest::get(url).await.unwrap();
    let log = log.lock().unwrap();
    let storage = format!("GET {}/output.png", path);
    let expected = [
        "POST /v1/generations 201".to_owned(),
        format!("GET /v1{path} 200"),
        format!("{storage} 200"),
        format!("{storage} 503"),
    ];
    assert_eq!(log.iter().map(|it| &it.0).collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
    assert!(log[0].1 >= Duration::from_millis(30), "the delay is part of the time: {:?}", log[0].1);
}

#[tokio::test]
async fn a_shutdown_sends_the_responses_under_way_and_closes_the_ports() {
    let emulator = Emulator::start().await.unwrap();
    let (url, key) = (format!("{}/files", emulator.base_url()), emulator.api_key());
    emulator.next_reply(luma_agents::mock::Operation::ListFiles, Reply::normal().delay(Duration::from_millis(50)));
    let under_way = tokio::spawn(reqwest::Client::new().get(&url).bearer_auth(key).send());
    while emulator.requests().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    emulator.shutdown().await;
    assert_eq!(under_way.await.unwrap().unwrap().status(), 200);
    assert!(reqwest::Client::new().get(&url).send().await.unwrap_err().is_connect());
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_response_that_never_ends() {
    let emulator = Emulator::start().await.unwrap();
    emulator.next(Script::new().takes(Duration::ZERO).output("0123456789"));
    let (_, job) = create(&emulator, "a duck").await;
    let (_, done) = get(&emulator, &format!("/generations/{}", job["id"].as_str().unwrap())).await;
    emulator.next_download(Transfer::new().stall_after(4));
    let stalled = reqwest::get(done["output"][0]["url"].as_str().unwrap()).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), emulator.shutdown()).await.expect("it ends");
    assert!(stalled.bytes().await.is_err());
}
