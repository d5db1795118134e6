use futures_util::TryStreamExt as _;
use luma_agents::{
    ApiKey, Client,
    mock::{Answer, Emulator, Ingest, Operation, Script},
    types::{CreateGeneration, GenerationFailureCode, GenerationType},
};

use crate::support::{contract_check::assert_conforms, recorder::Recorder};

/// Whatever is not documented for an operation is not answered by it either.
#[tokio::test]
async fn what_the_emulator_says_is_what_the_document_allows() {
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
    for answer in [
        Answer::unknown_model(),
        Answer::unauthorized(),
        Answer::insufficient_credits(),
        Answer::forbidden(),
        Answer::too_large(),
        Answer::unusable_media(),
        Answer::rate_limited(1),
        Answer::too_many_jobs(),
        Answer::bad_gateway(),
        Answer::unavailable(),
    ] {
        // Of a client of its own, which has not been told to wait.
        emulator.refuse(answer);
        let refused = client().generations().create(duck()).retry(luma_agents::Retry::none()).await;
        refused.unwrap_err();
    }
    generations.get(uuid::Uuid::nil()).await.unwrap_err();
    generations.create(duck().type_(GenerationType::Video)).await.unwrap_err();

    emulator.next_file(Ingest::new().takes(std::time::Duration::ZERO));
    let file = files.upload(b"\x89PNG\r\n\x1a\n a picture, as far as one can see").await.unwrap();
    files.list().limit(1).page().await.unwrap();
    files.list().stream().try_collect::<Vec<_>>().await.unwrap();
    files.delete(&file).await.unwrap();
    files.get(uuid::Uuid::nil()).await.unwrap_err();
    emulator.answer(Operation::GetFile, Answer::unauthorized());
    files.get(&file).await.unwrap_err();

    let exchanges = recorder.exchanges();
    assert!(exchanges.len() > 40, "{}", exchanges.len());
    assert_conforms(&exchanges);
}
