//! The first hour: from a prompt to a file, a free check, builders and JSON that say what is wrong, and
//! fields that the API got yesterday.

use std::{
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use luma_agents::{
    ApiKey, Client, Error,
    error::Outcome,
    mock::{Emulator, Operation, Reply, Script},
    types::{
        AspectRatio, CreateFile, CreateGeneration, GenerationFailureCode, MediaRef, Model, UrlRef, VideoEditOptions,
        VideoOptions,
    },
};
use serde_json::json;

use crate::support::{SIGNATURE, fast_builder, fault_server::FaultServer, valid};

fn duck() -> luma_agents::types::builder::CreateGeneration {
    CreateGeneration::builder().prompt("a duck")
}

#[tokio::test]
async fn a_prompt_becomes_a_file_in_one_call() {
    let emulator = Emulator::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("duck.png");
    let (ids, created) = std::sync::mpsc::channel();
    let saved = emulator
        .client()
        .generations()
        .create_and_wait(duck())
        .on_created(move |generation| ids.send((generation.id, generation.state.is_terminal())).unwrap())
        .save(&path)
        .await
        .unwrap();
    assert_eq!(saved.path, path);
    assert_eq!(path.metadata().unwrap().len(), saved.bytes);
    assert_eq!(created.recv().unwrap(), (emulator.jobs()[0].id, false), "the id comes before the wait");
    assert_eq!(emulator.jobs().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_saved_is_not_paid_for() {
    let emulator = Emulator::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let taken = directory.path().join("taken.png");
    std::fs::write(&taken, "mine").unwrap();
    for path in [taken.clone(), directory.path().join("nowhere/duck.png")] {
        let error = emulator.client().generations().create_and_wait(duck()).save(&path).await.unwrap_err();
        assert!(matches!(error, Error::Io(_)), "{error:?}");
        assert_eq!(error.outcome(), Outcome::NotSent, "{error}");
        assert!(error.to_string().contains("(nothing was sent)"), "{error}");
    }
    assert_eq!((emulator.jobs().len(), emulator.requests().len()), (0, 0));
    // A directory can be saved into, whatever is in it.
    std::fs::write(directory.path().join("output.png"), "mine").unwrap();
    emulator.client().generations().create_and_wait(duck()).save(directory.path()).await.unwrap();
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 3, "nothing else was left");
    assert_eq!(std::fs::read(&taken).unwrap(), b"mine");
}

#[tokio::test]
async fn a_file_is_replaced_where_the_caller_says_so() {
    let emulator = Emulator::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let taken = directory.path().join("taken.png");
    std::fs::write(&taken, "mine").unwrap();
    let saved = emulator.client().generations().create_and_wait(duck()).overwrite().save(&taken).await.unwrap();
    assert_eq!(std::fs::read(&taken).unwrap().len() as u64, saved.bytes);
}

#[tokio::test]
async fn each_change_of_state_is_told() {
    let emulator = Emulator::start().await.unwrap();
    emulator.next(Script::new().takes(Duration::from_millis(50)));
    let states = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&states);
    let job = emulator.client().generations().create_and_wait(duck()).every(Duration::from_millis(10));
    let done = job.on_update(move |it| told.lock().unwrap().push(it.state.clone())).await.unwrap();
    let states = states.lock().unwrap();
    assert!(states.len() > 1 && states.last() == Some(&done.state), "{states:?}");
    assert!(states.windows(2).all(|pair| pair[0] != pair[1]), "{states:?}");
}

#[tokio::test]
async fn whatever_fails_after_the_payment_has_the_id() {
    let emulator = Emulator::start().await.unwrap();
    let generations = emulator.client().generations();
    let directory = tempfile::tempdir().unwrap();

    emulator.next(Script::fails(GenerationFailureCode::ContentModerated));
    let failed = generations.create_and_wait(duck()).await.unwrap_err();
    emulator.next(Script::new().takes(Duration::from_secs(60)));
    let late = generations.create_and_wait(duck()).timeout(Duration::from_millis(20)).await.unwrap_err();
    emulator.next_reply(Operation::GetGeneration, Reply::unauthorized());
    let revoked = generations.create_and_wait(duck()).await.unwrap_err();
    let path = directory.path().join("duck.png");
    let taken = path.clone();
    let unsaved = generations
        .create_and_wait(duck())
        .on_created(move |_| std::fs::write(taken, "mine").unwrap())
        .save(&path)
        .await
        .unwrap_err();
    let jobs = emulator.jobs();
    for (error, job) in [failed, late, revoked, unsaved].into_iter().zip(&jobs) {
        assert_eq!((error.generation_id(), error.outcome()), (Some(job.id), Outcome::Accepted(job.id)), "{error}");
        assert!(!error.is_retryable(), "the same call would pay for another job: {error}");
        let text = error.to_string();
        assert!(text.contains(&job.id.to_string()) && !text.contains("calling again"), "{text}");
    }
    assert_eq!(jobs.len(), 4);
}

#[tokio::test]
async fn several_outputs_are_not_paid_for_where_one_file_is_to_hold_them() {
    let emulator = Emulator::start().await.unwrap();
    let generations = emulator.client().generations();
    let directory = tempfile::tempdir().unwrap();
    let street = MediaRef::url("https://example.com/street.jpg").unwrap();
    let layers = CreateGeneration::builder().type_("layering").prompt("the street").source(street);
    let frames = VideoOptions::builder().hdr(true).exr_export(true);
    let video = CreateGeneration::builder().type_("video").model("ray-3.2").prompt("a storm").video(frames);
    for request in [layers.clone(), video] {
        let error = generations.create_and_wait(request).save(directory.path().join("one.png")).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::NotSent, "{error}");
        assert!(error.to_string().contains("`save_all`"), "{error}");
    }
    let error = generations.create_and_wait(layers.clone()).save_all(directory.path().join("nowhere")).await;
    let error = error.unwrap_err();
    assert_eq!((error.outcome(), emulator.jobs().len()), (Outcome::NotSent, 0), "{error}");
    let saved = generations.create_and_wait(layers).save_all(directory.path()).await.unwrap();
    assert!(saved.len() > 1 && saved.iter().all(|it| it.path.exists()), "{saved:?}");
}

#[tokio::test]
async fn the_wait_of_one_call_can_be_set_as_any_other() {
    let emulator = Emulator::start().await.unwrap();
    emulator.next(Script::new().takes(Duration::from_millis(50)));
    let begun = tokio::time::Instant::now();
    let wait = emulator.client().generations().create_and_wait(duck()).first_after(Duration::from_millis(150));
    let done = wait.every(Duration::from_millis(20)).poll_timeout(Duration::from_secs(5)).await.unwrap();
    assert!(done.state.is_terminal() && begun.elapsed() >= Duration::from_millis(150), "{:?}", begun.elapsed());
    let polls = emulator.requests().iter().filter(|it| it.method == "GET").count();
    assert_eq!(polls, 1);
}

#[tokio::test]
async fn a_dropped_call_that_was_never_polled_pays_for_nothing() {
    let emulator = Emulator::start().await.unwrap();
    let generations = emulator.client().generations();
    drop(generations.create_and_wait(duck()));
    drop(generations.create_and_wait(duck()).into_future());
    drop(generations.create_and_wait(duck()).save("never.png"));
    assert!(emulator.requests().is_empty());
    tokio::spawn(generations.create_and_wait(duck()).into_future()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_check_is_free_and_proves_key_and_base_url() {
    let emulator = Emulator::start().await.unwrap();
    emulator.client().check().await.unwrap();
    assert!(emulator.jobs().is_empty());
    let other = Client::builder(ApiKey::new("luma-api-other").unwrap()).base_url(emulator.base_url()).build().unwrap();
    let error = other.check().await.unwrap_err();
    assert!(error.to_string().contains("check the API key"), "{error}");
    let nobody = FaultServer::unused_port().unwrap();
    let error = fast_builder(nobody.url()).build().unwrap().check().await.unwrap_err();
    assert!(matches!(error, Error::NoResponse(_)), "{error}");
    let page = FaultServer::start(|_| crate::support::fault_server::Action::respond(200, &[], "<html>")).await.unwrap();
    let error = fast_builder(page.url()).build().unwrap().check().await.unwrap_err();
    assert!(error.to_string().contains("check the base URL"), "{error}");
}

#[test]
fn a_builder_names_what_is_wrong_as_the_api_does() {
    let prompt = "p".repeat(6001);
    for (builder, message) in [
        (CreateGeneration::builder(), "`prompt` is missing"),
        (duck().prompt(prompt), "`prompt`: longer than 6000 characters"),
        (duck().source(UrlRef::builder().media_type("image/png")), "`source`: `url` is missing"),
        (duck().user_id("u".repeat(257)), "`user_id`: longer than 256 characters"),
        (duck().extra("type", "video"), "`type` has a setter of its own: use that instead of `extra`"),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!(error.to_string(), message);
        assert!(matches!(Error::from(error), Error::InvalidInput(_)));
    }
    let error = CreateFile::builder().mime_type("image/png").build().unwrap_err();
    assert_eq!(error.to_string(), "`size_bytes` is missing");
}

#[test]
fn an_optional_field_takes_what_converts_to_its_value() {
    let request = duck()
        .model("uni-1-max")
        .aspect_ratio(AspectRatio::Ratio16x9)
        .style(None::<luma_agents::types::Style>)
        .user_id("somebody")
        .web_search(true)
        .source(valid_file())
        .video(VideoOptions::builder().hdr(true).loop_(false))
        .build()
        .unwrap();
    assert_eq!(request.model, Some(Model::Uni1Max));
    assert_eq!(request.source, Some(MediaRef::file(valid::ID)));
    assert_eq!(request.user_id.as_deref().map(String::as_str), Some("somebody"));
    let again = luma_agents::types::builder::CreateGeneration::from(request.clone()).build().unwrap();
    assert_eq!(again, request);
}

fn valid_file() -> luma_agents::types::File {
    serde_json::from_value(valid::file()).unwrap()
}

#[test]
fn json_is_read_or_the_error_names_the_place_and_the_nearest_name() {
    let text = r#"{"prompt": "a duck", "video": {"keyframes": [{"url": "https://e.com/a.png"}]}}"#;
    let request = CreateGeneration::from_json(text).unwrap();
    assert_eq!(serde_json::to_value(&request).unwrap(), serde_json::from_str::<serde_json::Value>(text).unwrap());
    for (text, message) in [
        ("{", "this is not JSON: EOF while parsing an object at line 1 column 1"),
        (r#"{"prompt": 7}"#, "`prompt`: invalid type: integer `7`, expected a string"),
        (r#"{"promt": "a"}"#, "there is no field `promt`; did you mean `prompt`?"),
        (r#"{"prompt": "a", "aspectRatio": "1:1"}"#, "there is no field `aspectRatio`; did you mean `aspect_ratio`?"),
        (
            r#"{"prompt": "a", "video": {"edit": {"controls": {"poze": {}}}}}"#,
            "there is no field `video.edit.controls.poze`; did you mean `pose`?",
        ),
        (
            r#"{"prompt": "a", "image_ref": [{"url": "https://e.com/a.png"}, {"uri": "https://e.com/a.png"}]}"#,
            "there is no field `image_ref[1].uri`; did you mean `url`?",
        ),
        (r#"{"prompt": "a", "zzz": 1}"#, "there is no field `zzz`; there are `aspect_ratio`, `"),
        (r#"{"prompt": "a", "user_id": 1}"#, "`user_id`: invalid type"),
    ] {
        let error = CreateGeneration::from_json(text).unwrap_err().to_string();
        assert!(error.starts_with(message), "{text}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
    assert!(VideoEditOptions::from_json("{}").is_ok());
    assert!(MediaRef::from_json(r#"{"file_id": "x"}"#).is_err());
}

#[tokio::test]
async fn a_field_that_the_api_got_yesterday_is_sent_flat() {
    let emulator = Emulator::builder().allow_unknown_fields().start().await.unwrap();
    let luma = emulator.client();
    let source = UrlRef::builder().url("https://e.com/a.png").extra("weight", 0.5);
    let video = VideoOptions::builder().extra("fps", json!({ "exact": 24 })).start_frame(source);
    let request = duck().type_("video").model("ray-3.2").extra("seed", 7).video(video);
    luma.generations().create(request.clone()).await.unwrap();
    let sent = &emulator.requests()[0].body;
    assert_eq!((&sent["seed"], &sent["video"]["fps"]["exact"]), (&json!(7), &json!(24)));
    assert_eq!(sent["video"]["start_frame"], json!({ "url": "https://e.com/a.png", "weight": 0.5 }));
    assert!(sent.get("extra_").is_none());

    let strict = Emulator::start().await.unwrap();
    let error = strict.client().generations().create(request).await.unwrap_err();
    assert!(error.to_string().contains("seed"), "{error}");
}

#[tokio::test]
async fn the_text_of_a_response_is_there_and_is_not_printed() {
    let server = FaultServer::start(|request| {
        let mut body = valid::body(request);
        body["seed"] = json!(7);
        crate::support::fault_server::Action::api(200, &body.to_string())
    })
    .await
    .unwrap();
    let luma = fast_builder(server.url()).build().unwrap();
    let response = luma.generations().get(valid::ID).response().await.unwrap();
    let raw: serde_json::Value = serde_json::from_str(&response.raw()).unwrap();
    assert_eq!(raw["seed"], json!(7));
    assert!(response.raw().contains(SIGNATURE) && !format!("{response:?}").contains(SIGNATURE));
}

#[test]
fn a_client_prints_what_a_report_needs() {
    let luma = Client::new(crate::support::KEY).unwrap();
    let printed = format!("{luma:?}");
    for part in [env!("CARGO_PKG_VERSION"), "https://agents.lumalabs.ai/v1", "submit_timeout: 180s", "\"rustls\""] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    assert!(!printed.contains(crate::support::KEY));
}

/// Not a test by itself: what `the_environment_is_named_where_it_is_wrong` runs in a process of its own.
#[test]
#[ignore = "run by another test"]
#[expect(clippy::print_stdout, reason = "its output is what the other test reads")]
fn prints_the_client_of_the_environment() {
    match Client::from_env() {
        Ok(luma) => println!("client {}", luma.base_url()),
        Err(error) => println!("error {error}"),
    }
}

#[test]
fn the_environment_is_named_where_it_is_wrong() {
    let good = "luma-api-good";
    for (key, base_url, parts) in [
        (None, None, &["LUMA_AGENTS_API_KEY", "not set", "platform.lumalabs.ai", "export"][..]),
        (Some(" "), None, &["LUMA_AGENTS_API_KEY", "empty", "export"]),
        (Some("'luma-api-x'"), None, &["LUMA_AGENTS_API_KEY", "quotes", "remove"]),
        (Some(good), Some("http://example.com"), &["LUMA_BASE_URL", "not https", "correct or unset"]),
        (Some(good), Some("HTTPS://Example.com/v1/"), &["client https://example.com/v1"]),
        (Some(good), Some(""), &["client https://agents.lumalabs.ai/v1"]),
    ] {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["starting::prints_the_client_of_the_environment", "--exact", "--ignored", "--nocapture"]);
        child.env_remove("LUMA_AGENTS_API_KEY").env_remove("LUMA_BASE_URL");
        child.envs(key.map(|key| ("LUMA_AGENTS_API_KEY", key))).envs(base_url.map(|url| ("LUMA_BASE_URL", url)));
        let printed = String::from_utf8(child.output().unwrap().stdout).unwrap();
        for part in parts {
            assert!(printed.contains(part), "{part}: {printed}");
        }
        assert!(!printed.contains(good));
    }
}

#[tokio::test]
async fn a_client_with_the_key_of_the_emulator_does_not_wait_as_for_the_service() {
    let emulator = luma_agents::mock::Emulator::start().await.unwrap();
    let builder = luma_agents::Client::builder(luma_agents::ApiKey::new(emulator.api_key()).unwrap());
    let luma = builder.base_url(emulator.base_url()).build().unwrap();
    let done = tokio::time::timeout(Duration::from_secs(10), luma.generations().create_and_wait(duck()).into_future());
    done.await.expect("the first poll of the service comes after 20 s").unwrap();
}
