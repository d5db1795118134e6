use httpmock::MockServer;
use std::time::Duration;

use luma_agents::{
    ApiKey, Client,
    mock::{Answer, Emulator, MockServerExt, Operation, Script},
    types::{CreateGeneration, Generation, GenerationFailureCode, GenerationState, Model},
};

fn client(server: &MockServer) -> Client {
    Client::builder(ApiKey::new("luma-api-test").unwrap()).base_url(server.base_url()).build().unwrap()
}

#[tokio::test]
async fn a_job_is_submitted_once_and_seen() {
    let server = MockServer::start_async().await;
    let queued: Generation = serde_json::from_value(serde_json::json!({
        "id": "d290f1ee-6c54-4b01-90e6-d701748f0851", "type": "image", "state": "queued",
        "model": "uni-1", "created_at": "2026-04-08T12:00:00Z", "output": []
    }))
    .unwrap();
    let create = server.create_generation(|when, then| {
        when.body(&CreateGeneration::builder().prompt("a lighthouse at dusk").try_into().unwrap());
        then.created(&queued);
    });
    let luma = client(&server);
    let job = luma.generations().create(CreateGeneration::builder().prompt("a lighthouse at dusk")).await.unwrap();
    assert_eq!(job.state, GenerationState::Queued);
    assert_eq!(job.model, Model::Uni1);
    create.assert();
}

#[tokio::test]
async fn what_one_operation_of_a_call_learns_does_not_stand_for_the_next() {
    let emulator = Emulator::start().await.unwrap();
    emulator.answer(Operation::GetGeneration, Answer::not_found());
    let call = emulator.client().call(async |api| {
        api.get_generation().generation_id(uuid::Uuid::nil()).send().await.unwrap_err();
        api.create_generation().body(CreateGeneration::builder().prompt("a duck")).send().await
    });
    let generation = call.await.unwrap();
    assert_eq!(emulator.jobs()[0].id, generation.id);
}

#[tokio::test]
async fn many_are_waited_for_at_once_in_the_order_in_which_they_end() {
    let emulator = Emulator::start().await.unwrap();
    let generations = emulator.client().generations();
    let mut ids = Vec::new();
    for millis in [300, 20, 150] {
        emulator.next(Script::new().takes(Duration::from_millis(millis)));
        ids.push(generations.create(CreateGeneration::builder().prompt("a duck")).await.unwrap().id);
    }
    emulator.next(Script::fails(GenerationFailureCode::GenerationFailed).takes(Duration::ZERO));
    ids.push(generations.create(CreateGeneration::builder().prompt("a duck")).await.unwrap().id);
    let mut outcomes = generations.wait_all(ids.iter().map(ToString::to_string));
    let mut order = Vec::new();
    while let Some((id, outcome)) = outcomes.next().await {
        assert_eq!(outcome.is_err(), id == ids[3]);
        order.push(ids.iter().position(|it| *it == id).unwrap());
    }
    assert_eq!(order, [3, 1, 2, 0]);
    let mut malformed = generations.wait_all(["nonsense"]);
    assert!(matches!(malformed.next().await, Some((_, Err(luma_agents::Error::InvalidInput(_))))));
}
