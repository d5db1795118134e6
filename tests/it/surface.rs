//! The public types are small, can be shared between tasks, and print no secrets.

use std::{fmt::Debug, time::Duration};

use luma_agents::{
    ApiKey, Call, Client, ClientBuilder, Download, Error, Updates, Upload, Wait,
    mock::{Emulator, Script},
    types::{CreateFileResponse, CreateGeneration, File, Generation, GenerationFailureCode, MediaRef},
};

const KEY: &str = "luma-api-do-not-print";
const SIGNATURE: &str = "do-not-sign";

fn is_sync<T: Send + Sync + 'static>() {}
fn is_send<T: Send + 'static>() {}

#[test]
fn every_type_can_be_sent_to_another_task() {
    is_sync::<Client>();
    is_sync::<ClientBuilder>();
    is_sync::<Error>();
    is_sync::<Download>();
    is_sync::<Emulator>();
    is_send::<Call<Generation>>();
    is_send::<Wait<Generation>>();
    is_send::<Updates<File>>();
    is_send::<Upload>();
}

#[tokio::test]
async fn every_call_and_wait_can_be_spawned() {
    fn spawnable<T: Send + 'static>(_: &T) {}
    let luma = Client::new("luma-api-x").unwrap();
    let (generations, files) = (luma.generations(), luma.files());
    let request = || CreateGeneration::builder().prompt("a duck");
    let id = uuid::Uuid::nil();
    spawnable(&generations.create(request()).into_future());
    spawnable(&generations.create(request()).response());
    spawnable(&generations.get(id).into_future());
    spawnable(&generations.wait(id).into_future());
    spawnable(&generations.wait(id).updates());
    spawnable(&generations.wait_all([id]));
    spawnable(&files.list().page().into_future());
    spawnable(&files.list().stream());
    spawnable(&files.wait(id).into_future());
    spawnable(&files.delete(id).into_future());
    spawnable(&files.complete(id).into_future());
    spawnable(&files.upload(b"GIF89a").into_future());
    spawnable(&luma.call(async |api| api.list_files().send().await).into_future());
    let (mut updates, mut all) = (generations.wait(id).updates(), generations.wait_all([id]));
    spawnable(&async move { (updates.next().await, all.next().await) });
}

#[test]
fn an_error_is_small() {
    assert!(size_of::<Error>() <= 24);
}

#[tokio::test]
async fn futures_are_small() {
    let luma = Client::new(KEY).unwrap();
    let generations = luma.generations();
    let id = uuid::Uuid::nil();
    assert!(size_of_val(&generations.get(id).into_future()) <= 64);
    assert!(size_of_val(&generations.wait(id).into_future()) <= 64);
    assert!(size_of_val(&luma.download("https://example.com").save("x.png")) <= 4096);
}

fn prints<T: Debug>(value: &T) -> String {
    format!("{value:?} {value:#?}")
}

#[tokio::test]
async fn nothing_prints_the_key_or_a_signature() {
    let builder = Client::builder(ApiKey::new(KEY).unwrap()).base_url("http://127.0.0.1:1");
    let luma = builder.clone().build().unwrap();
    let signed = format!("https://storage.example.com/a.png?X-Amz-Signature={SIGNATURE}");
    let generation: Generation = serde_json::from_value(serde_json::json!({
        "id": uuid::Uuid::nil(), "type": "image", "state": "completed", "model": "uni-1", "created_at": "now",
        "output": [{ "type": "image", "url": signed }],
    }))
    .unwrap();
    let file = serde_json::json!({
        "id": uuid::Uuid::nil(), "created_at": "2026-06-23T12:00:00Z", "mime_type": "image/png",
        "purpose": "input", "size_bytes": 1, "state": "pending",
    });
    let created: CreateFileResponse = serde_json::from_value(serde_json::json!({
        "id": uuid::Uuid::nil(), "state": "pending", "file": file,
        "upload": {
            "url": signed, "method": "PUT", "expires_at": "2026-06-23T12:00:00Z",
            "headers": { "x-amz-security-token": SIGNATURE },
        },
    }))
    .unwrap();
    let inline = MediaRef::data(SIGNATURE, "image/png");
    let encoded = serde_json::to_value(&inline).unwrap()["data"].as_str().unwrap().to_owned();
    let request: CreateGeneration = CreateGeneration::builder()
        .prompt("p")
        .source(inline)
        .image_ref(vec![MediaRef::url(&signed).unwrap()])
        .try_into()
        .unwrap();
    let unreachable = luma.generations().get(uuid::Uuid::nil()).retry(luma_agents::Retry::none()).await.unwrap_err();
    let printed = [
        prints(&builder),
        prints(&luma),
        prints(&luma.generations()),
        prints(&luma.files()),
        prints(&luma.generations().get(uuid::Uuid::nil())),
        prints(&luma.generations().wait(&generation)),
        prints(&luma.generations().wait(&generation).updates()),
        prints(&luma.generations().wait_all([generation.id])),
        prints(&luma.download(&generation)),
        prints(&generation),
        prints(&created),
        prints(&request),
        prints(&unreachable),
        unreachable.to_string(),
    ];
    assert!(prints(&luma.files().upload("a.png")).contains("a.png"));
    assert!(prints(&luma.generations().wait_all([generation.id, generation.id])).contains("open: 2"));
    for text in printed {
        for secret in [KEY, SIGNATURE, &encoded] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(text.trim().len() > 8, "it says nothing: {text}");
    }
}

#[tokio::test]
async fn every_failure_code_is_one_line_with_its_own_advice() {
    let emulator = Emulator::start().await.unwrap();
    let generations = emulator.client().generations();
    let mut lines = Vec::new();
    for code in GenerationFailureCode::KNOWN {
        emulator.next(Script::fails(code.clone()).states(["failed"]));
        let job = generations.create(CreateGeneration::builder().prompt("a duck")).await.unwrap();
        let error = generations.wait(&job).first_after(Duration::ZERO).await.unwrap_err();
        assert_eq!((error.failure_code(), error.generation_id()), (Some(code), Some(job.id)));
        let line = error.to_string();
        assert!(!line.contains('\n') && line.contains(code.as_str()) && line.contains("; "), "{line}");
        lines.push(line.replace(&job.id.to_string(), ""));
    }
    assert_eq!(lines.len(), 9);
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), 9);
}
