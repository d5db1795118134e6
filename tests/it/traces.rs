//! What a call tells the log: enough to find it at the service, and nothing of what it carries.

use luma_agents::types::CreateGeneration;

use crate::support::{
    KEY, SIGNATURE,
    capture::Capture,
    fault_server::{Act, FaultServer, Then},
    hasty, valid,
};

#[tokio::test]
async fn a_call_and_each_of_its_attempts_are_spans() {
    let (capture, _guard) = Capture::start();
    let server = FaultServer::start(|request| match request.number {
        0 => Act::api(503, "{\"detail\":\"Image URL ingestion unavailable\"}").refusing(),
        _ => valid::answer(request),
    })
    .await
    .unwrap();
    let luma = hasty(server.url()).build().unwrap();
    let prompt = "hush, a lighthouse";
    luma.generations().create(CreateGeneration::builder().prompt(prompt)).await.unwrap();

    let [call] = &capture.named("luma_agents.call")[..] else { panic!("not one call") };
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
    let [again] = &capture.named("sending again")[..] else { panic!("not one repetition") };
    assert_eq!(again.parent, call.id);
    assert_eq!(again.fields["reason"], "503 Service Unavailable");
    assert!(again.fields["delay_ms"].parse::<u64>().unwrap() <= 8, "{again:?}");
    for record in capture.records() {
        let text = format!("{record:?}");
        assert!(![KEY, SIGNATURE, prompt].iter().any(|it| text.contains(it)), "{text}");
    }
}

#[tokio::test]
async fn an_attempt_without_an_answer_names_its_fault() {
    let (capture, _guard) = Capture::start();
    let server = FaultServer::start(|_| Act::say("").then(Then::Reset)).await.unwrap();
    hasty(server.url()).build().unwrap().generations().get(valid::ID).await.unwrap_err();
    let attempts = capture.named("luma_agents.attempt");
    assert_eq!(attempts.len(), 3);
    for attempt in attempts {
        assert_eq!(attempt.fields["fault"], "the connection broke before the response was complete");
        assert!(!attempt.fields.contains_key("status"), "{attempt:?}");
    }
}
