use httpmock::MockServer;
use luma_agents::{
    ApiKey, Client,
    mock::MockServerExt,
    types::{CreateGeneration, Generation, GenerationState, Model},
};

fn client(server: &MockServer) -> Client {
    Client::builder(ApiKey::new("luma-api-test").unwrap()).base_url(server.base_url()).build().unwrap()
}

#[tokio::test]
async fn a_job_is_submitted_once_and_seen() {
    let server = MockServer::start_async().await;
    let answer: Generation = serde_json::from_value(serde_json::json!({
        "id": "d290f1ee-6c54-4b01-90e6-d701748f0851", "type": "image", "state": "queued",
        "model": "uni-1", "created_at": "2026-04-08T12:00:00Z", "output": []
    }))
    .unwrap();
    let create = server.create_generation(|when, then| {
        when.body(&CreateGeneration::builder().prompt("a lighthouse at dusk").try_into().unwrap());
        then.created(&answer);
    });
    let luma = client(&server);
    let job = luma.generations().create(CreateGeneration::builder().prompt("a lighthouse at dusk")).await.unwrap();
    assert_eq!(job.state, GenerationState::Queued);
    assert_eq!(job.model, Model::Uni1);
    create.assert();
}
