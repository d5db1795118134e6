//! The responses of the emulator, checked against the document.

use futures_util::TryStreamExt as _;
use luma_agents::{
    ApiKey, Client,
    mock::{Emulator, Ingest, Operation, Reply, Script},
    types::{CreateGeneration, GenerationFailureCode, GenerationType},
};

use crate::support::{contract_check::assert_conforms, recorder::Recorder};

/// The emulator sends no status, header or field that the document does not have for the operation.
#[tokio::test]
async fn the_emulator_responds_as_the_document_allows() {
    let emulator = Emulator::start().await.unwrap();
    let recorder = Recorder::in_front_of(emulator.base_url()).await;
    let client =
        || Client::builder(ApiKey::new(emulator.api_key()).unwrap()).base_url(recorder.base_url()).build().unwrap();
    let luma = client();
    let (generations, files) = (luma.generations(), luma.files());
    let pace = std::time::Duration::from_millis(1);
    let duck = || CreateGeneration::builder().prompt("a duck");

    let done = generations.create(duck()).await.unwrap();
    generations.wait(&done).first_after(pace).every(pace).await.unwrap();
    for code in GenerationFailureCode::KNOWN {
        emulator.next(Script::fails(code.clone()));
        let failed = generations.create(duck()).await.unwrap();
        generations.wait(&failed).first_after(pace).every(pace).await.unwrap_err();
    }
    for reply in [
        Reply::unknown_model(),
        Reply::unauthorized(),
        Reply::insufficient_credits(),
        Reply::forbidden(),
        Reply::too_large(),
        Reply::unusable_media(),
        Reply::rate_limited(1),
        Reply::too_many_jobs(),
        Reply::bad_gateway(),
        Reply::unavailable(),
    ] {
        // A new client each time, because an earlier rate limit would delay a shared one.
        emulator.next_create(reply);
        let result = client().generations().create(duck()).retry(luma_agents::Retry::none()).await;
        result.unwrap_err();
    }
    generations.get(uuid::Uuid::nil()).await.unwrap_err();
    generations.create(duck().type_(GenerationType::Video)).await.unwrap_err();

    emulator.next_file(Ingest::new().takes(std::time::Duration::ZERO));
    let file = files.upload(b"\x89PNG\r\n\x1a\n looks like a picture").await.unwrap();
    files.list().limit(1).page().await.unwrap();
    files.list().stream().try_collect::<Vec<_>>().await.unwrap();
    files.delete(&file).await.unwrap();
    files.get(uuid::Uuid::nil()).await.unwrap_err();
    emulator.next_reply(Operation::GetFile, Reply::unauthorized());
    files.get(&file).await.unwrap_err();

    let exchanges = recorder.exchanges();
    assert!(exchanges.len() > 40, "{}", exchanges.len());
    assert_conforms(&exchanges);
}
