//! The spans and events of a call identify it to the service, and contain nothing of its content.

use luma_agents::types::CreateGeneration;

use crate::support::{
    KEY, SIGNATURE,
    capture::Capture,
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
        assert_eq!(attempt.fields["status"], status);
        assert_eq!(attempt.fields["request_id_sent"], *id);
        assert_eq!(attempt.fields["request_id_returned"], "returned-1");
        assert!(attempt.fields["duration_ms"].parse::<u64>().is_ok(), "{attempt:?}");
        assert!(!attempt.fields.contains_key("fault"), "{attempt:?}");
    }
    assert_ne!(sent[0], sent[1]);
    let [retry] = &capture.named("sending again")[..] else { panic!("expected one retry") };
    assert_eq!(retry.parent, call.id);
    assert_eq!(retry.fields["reason"], "503 Service Unavailable");
    assert!(retry.fields["delay_ms"].parse::<u64>().unwrap() <= 8, "{retry:?}");
    for record in capture.records() {
        let text = format!("{record:?}");
        assert!(![KEY, SIGNATURE, prompt].iter().any(|it| text.contains(it)), "{text}");
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
        assert!(!attempt.fields.contains_key("status"), "{attempt:?}");
    }
}
