//! A typical user program. It must compile and run with every later version of the API document.

use std::time::Duration;

use httpmock::MockServer;
use luma_agents::{
    ApiKey, Client, Error,
    types::{
        AspectRatio, CreateGeneration, FilePurpose, GenerationFailureCode, GenerationState, GenerationType, MediaRef,
        Model, VideoDuration, VideoOptions, VideoResolution,
    },
};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = MockServer::start_async().await;
    let mut generation = json!({
        "id": "d290f1ee-6c54-4b01-90e6-d701748f0851", "type": "of_tomorrow", "state": "queued", "model": "of_tomorrow",
        "created_at": "2026-04-08T12:00:00Z", "output": [], "of_tomorrow": "more", "unheard_of": { "more": true }, "a_model_of_tomorrow": "uni-1",
    });
    server.mock(|when, then| {
        when.method("POST").path("/generations");
        then.status(201).header("content-type", "application/json").json_body(generation.clone());
    });
    generation["state"] = json!("completed");
    generation["output"] = json!([{ "type": "of_tomorrow", "url": "https://e.com/x.png", "of_tomorrow": "more" }]);
    server.mock(|when, then| {
        when.method("GET").path_includes("/generations/");
        then.status(200).header("content-type", "application/json").json_body(generation);
    });
    server.mock(|when, then| {
        when.method("GET").path("/files");
        then.status(418).header("content-type", "application/json").json_body(json!({ "detail": "of tomorrow" }));
    });

    let luma = Client::builder(ApiKey::new("luma-api-test")?).base_url(server.base_url()).build()?;
    let request = CreateGeneration::builder()
        .type_(GenerationType::Video)
        .model(Model::Ray3_2)
        .prompt("The boats leave at dawn")
        .aspect_ratio(AspectRatio::Ratio16x9)
        .video(
            VideoOptions::builder()
                .resolution(VideoResolution::Resolution720p)
                .duration(VideoDuration::Duration5s)
                .start_frame(MediaRef::url("https://example.com/in.jpg")?),
        );
    let job = luma.generations().create(request).await?;
    match &job.model {
        Model::Uni1 | Model::Uni1Max | Model::Ray3_2 => return Err("the server sent an unknown model".into()),
        _ => {}
    }
    let done = luma.generations().wait(job.id).first_after(Duration::ZERO).every(Duration::from_millis(1)).await?;
    if done.state != GenerationState::Completed || done.failure_code == Some(GenerationFailureCode::GenerationFailed) {
        return Err("it should be completed".into());
    }
    match luma.files().list().purpose(FilePurpose::Input).limit(3).page().await {
        Err(Error::Rejected(_)) => {}
        other => return Err(format!("expected an error response, found {other:?}").into()),
    }
    println!("{} {}", done.state, done.model);
    Ok(())
}
