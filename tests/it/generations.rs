//! Images and videos: one call creates one job; a wait follows it to its end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use httpmock::MockServer;

use luma_agents::{
    ApiKey, Client, Error,
    error::Fault,
    mock::{Emulator, MockServerExt, Operation, Reply},
    types::{CreateGeneration, Generation, GenerationState, Model},
};

use crate::support::{
    fast_builder,
    fault_server::{Action, FaultServer, Then},
    valid,
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
    emulator.next_reply(Operation::GetGeneration, Reply::not_found());
    let call = emulator.client().call(async |api| {
        api.get_generation().generation_id(uuid::Uuid::nil()).send().await.unwrap_err();
        api.create_generation().body(CreateGeneration::builder().prompt("a duck")).send().await
    });
    let generation = call.await.unwrap();
    assert_eq!(emulator.jobs()[0].id, generation.id);
}

#[tokio::test]
async fn many_are_waited_for_at_once_in_the_order_in_which_they_end() {
    let ids = [1, 2, 3, 4].map(uuid::Uuid::from_u128);
    let order = [3, 1, 2, 0];
    // The next job ends when the outcome of the one before it has arrived.
    let ended = Arc::new(AtomicUsize::new(0));
    let so_far = Arc::clone(&ended);
    let server = FaultServer::start(move |request| {
        let id = request.path.rsplit('/').next().unwrap().parse().unwrap();
        let place = order.iter().position(|index| ids[*index] == id).unwrap();
        let state = match place {
            _ if place > so_far.load(Ordering::SeqCst) => "processing",
            0 => "failed",
            _ => "completed",
        };
        Action::api(200, &valid::generation(id, state).to_string())
    })
    .await
    .unwrap();
    let generations = fast_builder(server.url()).timeout(Duration::from_secs(10)).build().unwrap().generations();
    let mut outcomes = generations.wait_all(ids.map(|id| id.to_string())).every(Duration::from_millis(10));
    for index in order {
        let (id, outcome) = outcomes.next().await.unwrap();
        assert_eq!(id, ids[index]);
        assert_eq!(outcome.is_err(), index == order[0]);
        ended.fetch_add(1, Ordering::SeqCst);
    }
    assert!(outcomes.next().await.is_none());
    let mut malformed = generations.wait_all(["nonsense"]);
    assert!(matches!(malformed.next().await, Some((_, Err(Error::InvalidInput(_))))));
}

#[tokio::test]
async fn a_poll_that_hangs_costs_its_own_limit_and_not_that_of_a_call() {
    let server = FaultServer::start(|request| match request.number {
        0 => Action::send("").then(Then::Hang),
        _ => valid::response(request),
    })
    .await
    .unwrap();
    let luma = fast_builder(server.url()).timeout(Duration::from_secs(30)).build().unwrap();
    let begun = tokio::time::Instant::now();
    let wait = luma.generations().wait(valid::ID).every(Duration::from_millis(10));
    let done = wait.poll_timeout(Duration::from_millis(50)).await.unwrap();
    assert_eq!(done.state, GenerationState::Completed);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_error_about_a_job_has_its_id() {
    for status in [401, 404] {
        let server = FaultServer::start(move |_| Action::api(status, "{\"detail\":\"no\"}")).await.unwrap();
        let luma = fast_builder(server.url()).build().unwrap();
        let error = luma.generations().get(valid::ID).await.unwrap_err();
        assert_eq!(error.generation_id(), Some(valid::ID), "{error}");
        let limit = Duration::from_millis(30);
        let error = luma.generations().wait(valid::ID).timeout(limit).await.unwrap_err();
        assert_eq!(error.generation_id(), Some(valid::ID), "{error}");
        let error = luma.files().wait(valid::ID).timeout(limit).await.unwrap_err();
        assert_eq!(error.file_id(), Some(valid::ID), "{error}");
    }
}

#[tokio::test]
async fn a_wait_that_got_no_usable_response_says_so_and_has_the_id() {
    let server = FaultServer::start(|_| Action::respond(200, &[], "<html>")).await.unwrap();
    let luma = fast_builder(server.url()).build().unwrap();
    let error = luma.generations().wait(valid::ID).timeout(Duration::from_millis(30)).await.unwrap_err();
    assert!(error.to_string().contains("its state is unknown"), "{error}");
    assert_eq!(error.generation_id(), Some(valid::ID));
}

#[tokio::test]
async fn a_response_that_is_too_large_still_gives_the_id() {
    let server = FaultServer::start(|request| {
        let mut body = valid::generation(request.id, "queued").to_string();
        body.push_str(&" ".repeat(100_000));
        Action::api(201, &body)
    })
    .await
    .unwrap();
    let luma = fast_builder(server.url()).max_response_bytes(1000).build().unwrap();
    let error = luma.generations().create(CreateGeneration::builder().prompt("a lighthouse")).await.unwrap_err();
    assert!(matches!(&error, Error::OutcomeUnknown(e) if e.fault == Some(Fault::TooLarge)), "{error}");
    assert_eq!(error.generation_id(), Some(server.jobs()[0]));
}
