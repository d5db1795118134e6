//! The spans and events of a call identify it to the service, and contain nothing of its content.

use std::time::Duration;

use luma_agents::{
    Retry,
    mock::{Emulator, Operation, Reply, Script},
    types::{CreateGeneration, GenerationType, Model},
};

use crate::support::{
    KEY, SIGNATURE,
    capture::{Capture, Record},
    fast_builder,
    fault_server::{Action, FaultServer, Then},
    valid,
};

#[tokio::test]
async fn a_call_and_each_of_its_attempts_are_spans() {
    let (capture, _guard) = Capture::start();
    let server = FaultServer::start(|request| match request.number {
        0 => Action::api(503, "{\"detail\":\"Image URL ingestion unavailable\"}").without_job(),
        _ => valid::response(request),
    })
    .await
    .unwrap();
    let luma = fast_builder(server.url()).build().unwrap();
    let prompt = "hush, a lighthouse";
    luma.generations().create(CreateGeneration::builder().prompt(prompt)).await.unwrap();

    let [call] = &capture.named("luma_agents.call")[..] else { panic!("expected one call") };
    assert_eq!(call.fields["operation"], "create_generation");
    let attempts = capture.named("luma_agents.attempt");
    let sent: Vec<_> = server.requests().iter().map(|it| it.header("x-request-id").unwrap().to_owned()).collect();
    assert_eq!(attempts.len(), sent.len());
    for ((number, status), (attempt, id)) in [(1, "503"), (2, "201")].into_iter().zip(attempts.iter().zip(&sent)) {
        assert_eq!(attempt.parent, call.id);
        assert_eq!(attempt.fields["attempt"], number.to_string());
        assert_eq!(attempt.fields["http.response.status_code"], status);
        assert_eq!(attempt.fields["request_id_sent"], *id);
        assert_eq!(attempt.fields["request_id_returned"], "returned-1");
        assert!(attempt.fields["duration_ms"].parse::<u64>().is_ok(), "{attempt:?}");
        assert!(!attempt.fields.contains_key("fault"), "{attempt:?}");
    }
    assert_eq!(attempts[0].fields["error.type"], "503");
    assert!(!attempts[0].fields.contains_key("http.request.resend_count"));
    assert_eq!(attempts[1].fields["http.request.resend_count"], "1");
    assert_ne!(sent[0], sent[1]);
    let [retry] = &capture.named("sending again")[..] else { panic!("expected one retry") };
    assert_eq!((retry.parent, retry.level.as_str()), (call.id, "WARN"));
    assert_eq!(retry.fields["reason"], "503 Service Unavailable");
    assert!(retry.fields["delay_ms"].parse::<u64>().unwrap() <= 8, "{retry:?}");
    for record in capture.records() {
        let text = format!("{record:?}");
        assert!(![KEY, SIGNATURE, prompt].iter().any(|it| text.contains(it)), "{text}");
    }
}

fn fields<const N: usize>(record: &Record, names: [&str; N]) -> [String; N] {
    names.map(|name| record.fields.get(name).cloned().unwrap_or_default())
}

#[tokio::test]
async fn spans_have_the_names_of_opentelemetry() {
    let (capture, _guard) = Capture::start();
    let emulator = Emulator::start().await.unwrap();
    let generations = emulator.client().generations();
    let job = generations.create(CreateGeneration::builder().prompt("hush").model("uni-1-max")).await.unwrap();
    generations.get(&job).await.unwrap();
    generations.get(valid::ID).retry(Retry::none()).await.unwrap_err();

    let port = emulator.base_url().rsplit([':', '/']).find_map(|it| it.parse::<u16>().ok()).unwrap();
    let calls = capture.named("luma_agents.call");
    let common = ["otel.kind", "gen_ai.provider.name", "server.address", "server.port"];
    for call in &calls {
        assert_eq!(fields(call, common), ["client", "luma", "127.0.0.1", &port.to_string()]);
    }
    let names =
        ["otel.name", "gen_ai.operation.name", "gen_ai.request.model", "gen_ai.output.type", "gen_ai.response.id"];
    let (id, missing) = (job.id.to_string(), valid::ID.to_string());
    let create = ["generate_content uni-1-max", "generate_content", "uni-1-max", "image", &id];
    assert_eq!(fields(&calls[0], names), create);
    assert_eq!(fields(&calls[1], names), ["fetch_response", "fetch_response", "", "", &id]);
    assert_eq!(fields(&calls[2], names), ["fetch_response", "fetch_response", "", "", &missing]);
    let errors: Vec<_> = calls.iter().map(|call| fields(call, ["error.type", "otel.status_code"])).collect();
    assert_eq!(errors, [["", ""], ["", ""], ["404", "ERROR"]]);
    let video = CreateGeneration::builder().prompt("hush").model(Model::Ray3_2).type_(GenerationType::Video);
    generations.create(video).await.unwrap();
    assert_eq!(fields(&capture.named("luma_agents.call")[3], ["gen_ai.output.type"]), ["video"]);

    let attempts = capture.named("luma_agents.attempt");
    let names = ["http.request.method", "url.template", "http.response.status_code"];
    assert_eq!(fields(&attempts[0], names), ["POST", "/generations", "201"]);
    assert_eq!(fields(&attempts[1], names), ["GET", "/generations/{generation_id}", "200"]);
}

#[tokio::test]
async fn a_file_is_no_response_of_a_model() {
    let (capture, _guard) = Capture::start();
    let server = FaultServer::start(valid::response).await.unwrap();
    fast_builder(server.url()).build().unwrap().files().get(valid::ID).await.unwrap();
    let [call] = &capture.named("luma_agents.call")[..] else { panic!("expected one call") };
    assert_eq!(fields(call, ["gen_ai.provider.name", "gen_ai.response.id"]), ["", ""]);
}

#[tokio::test]
async fn the_life_of_a_job_is_a_few_lines() {
    let (capture, _guard) = Capture::start();
    let emulator = Emulator::start().await.unwrap();
    emulator.next(Script::new().takes(Duration::from_millis(500)));
    emulator.next_reply(Operation::GetGeneration, Reply::rejected(503, "no time for the prompt \"hush\""));
    let directory = tempfile::tempdir().unwrap();
    let request = CreateGeneration::builder().prompt("hush");
    let one = emulator.client().generations().create_and_wait(request);
    one.first_after(Duration::from_millis(5)).save(directory.path()).await.unwrap();

    let id = emulator.jobs()[0].id.to_string();
    let lines: Vec<_> = capture
        .records()
        .into_iter()
        .filter(|it| it.target.starts_with("luma_agents") && ["INFO", "WARN"].contains(&it.level.as_str()))
        .collect();
    let said: Vec<_> = lines.iter().map(|it| (it.level.as_str(), it.name.as_str())).collect();
    let (first, rest) = said.split_first().unwrap();
    assert_eq!(*first, ("INFO", "generation created"));
    assert_eq!(rest[0], ("WARN", "a poll failed: the wait goes on"));
    assert_eq!(rest[rest.len() - 2..], [("INFO", "generation has ended"), ("INFO", "output saved")]);
    assert!(rest.contains(&("INFO", "generation is under way")) && lines.len() <= 6, "{said:?}");
    for line in &lines {
        assert_eq!(line.fields["id"], id, "{line:?}");
        let text = format!("{line:?}");
        assert!(!["hush", "X-Amz", emulator.api_key()].iter().any(|it| text.contains(it)), "{text}");
    }
    assert_eq!(lines[0].fields["attempts"], "1");
    assert_eq!(lines[1].fields["error.type"], "503");
    for line in lines.iter().filter(|it| it.level == "INFO") {
        assert!(line.fields["seconds"].parse::<f64>().unwrap() < 60.0, "{line:?}");
    }
}

#[tokio::test]
async fn an_attempt_without_a_response_records_its_fault() {
    let (capture, _guard) = Capture::start();
    let server = FaultServer::start(|_| Action::send("").then(Then::Reset)).await.unwrap();
    fast_builder(server.url()).build().unwrap().generations().get(valid::ID).await.unwrap_err();
    let attempts = capture.named("luma_agents.attempt");
    assert_eq!(attempts.len(), 3);
    for attempt in attempts {
        assert_eq!(attempt.fields["fault"], "the connection broke before the response was complete");
        assert!(!attempt.fields.contains_key("http.response.status_code"), "{attempt:?}");
        assert_eq!(attempt.fields["error.type"], "interrupted");
        assert_eq!(attempt.fields["otel.status_code"], "ERROR");
    }
}

#[tokio::test]
async fn bytes_go_to_storage_in_an_attempt_without_a_template() {
    let (capture, _guard) = Capture::start();
    let emulator = Emulator::start().await.unwrap();
    emulator.next_reply(Operation::CreateFile, Reply::rejected(413, "too large for a form"));
    let file = emulator.client().files().upload(b"\x89PNG\r\n\x1a\n".to_vec()).await.unwrap();
    let attempts = capture.named("luma_agents.attempt");
    let names = ["http.request.method", "url.template", "http.response.status_code"];
    let said: Vec<_> = attempts.iter().map(|it| fields(it, names)).filter(|it| it[0] == "PUT").collect();
    assert_eq!(said, [["PUT", "", "200"]]);
    let [ended] = &capture.named("file has ended")[..] else { panic!("expected one end") };
    assert_eq!(fields(ended, ["id", "state"]), [file.id.to_string().as_str(), "ready"]);
}

#[tokio::test]
async fn a_job_without_a_good_end_has_a_warning_that_says_so() {
    let (capture, _guard) = Capture::start();
    let emulator = Emulator::start().await.unwrap();
    let generations = emulator.client().generations();
    let duck = || CreateGeneration::builder().prompt("hush");
    emulator.next(Script::new().takes(Duration::from_secs(60)));
    let late = generations.create_and_wait(duck()).timeout(Duration::from_millis(20)).await.unwrap_err();
    emulator.next_reply(Operation::GetGeneration, Reply::unauthorized());
    let revoked = generations.create_and_wait(duck()).await.unwrap_err();
    emulator.next_reply(Operation::CreateGeneration, Reply::insufficient_credits());
    let refused = generations.create(duck()).await.unwrap_err();
    emulator.next_reply(Operation::CreateGeneration, Reply::raw(201, "no JSON").after_effect());
    let unknown = generations.create(duck()).await.unwrap_err();

    let ended = capture.named("the wait has ended before the generation");
    let ids: Vec<_> = ended.iter().map(|it| it.fields["id"].clone()).collect();
    assert_eq!(ids, [late, revoked].map(|it| it.generation_id().unwrap().to_string()));
    assert_eq!(ended.iter().map(|it| it.fields["error.type"].as_str()).collect::<Vec<_>>(), ["timeout", "401"]);
    let [not_created] = &capture.named("no generation was created")[..] else { panic!("one") };
    assert_eq!(not_created.fields["error.type"], refused.status().unwrap().as_str());
    let [may_exist] = &capture.named("a job may exist: ask support with the request id")[..] else { panic!("one") };
    assert_eq!(may_exist.fields["request_id"], unknown.request_id().unwrap());
    for line in ended.iter().chain([not_created, may_exist]) {
        assert_eq!(line.level, "WARN", "{line:?}");
        assert!(!format!("{line:?}").contains("hush"), "{line:?}");
    }
}
