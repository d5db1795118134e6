//! The emulator: what it accepts, rejects, runs, stores and reports.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::time::Duration;

use luma_agents::{
    Client, Error, Retry,
    error::{Limit, RejectionKind},
    mock::{Emulator, Ingest, Operation, Reply, Script, Transfer},
    types::{CreateGeneration, Generation, GenerationFailureCode, GenerationState, GenerationType, Model},
};
use reqwest::{Response, StatusCode, header};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_millis(5);

const IMAGE: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

async fn emulator() -> Emulator {
    Emulator::start().await.unwrap()
}

fn request() -> CreateGeneration {
    CreateGeneration::builder().prompt("a lighthouse at dusk").try_into().unwrap()
}

async fn completed(luma: &Client) -> luma_agents::Result<Generation> {
    let job = luma.generations().create(request()).await?;
    luma.generations().wait(&job).first_after(SOON).every(SOON).await
}

/// Sends JSON without the client, which would not send every body.
async fn post(emulator: &Emulator, path: &str, body: &Value) -> (StatusCode, Value) {
    let url = format!("{}{path}", emulator.base_url());
    let response = reqwest::Client::new().post(url).bearer_auth(emulator.api_key()).json(body).send().await.unwrap();
    assert_eq!(response.headers()["x-api-version"], "2026-04-01");
    (response.status(), response.json().await.unwrap_or_default())
}

async fn get(emulator: &Emulator, path: &str) -> (StatusCode, Value) {
    let url = format!("{}{path}", emulator.base_url());
    let response = reqwest::Client::new().get(url).bearer_auth(emulator.api_key()).send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

fn detail(reply: &Value) -> &str {
    reply["detail"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_job_is_queued_then_processed_then_completed() {
    let emulator = emulator().await;
    let generations = emulator.client().generations();
    let accepted = generations.create(request()).response().await.unwrap();
    assert_eq!(accepted.value.state, GenerationState::Queued);
    assert_eq!(accepted.exchange.request_id_sent, accepted.exchange.request_id_returned);
    assert_eq!(accepted.rate_limit, None, "nothing is limited");

    let mut seen = Vec::new();
    let mut updates = generations.wait(&accepted.value).first_after(SOON).every(SOON).updates();
    while let Some(update) = updates.next().await {
        seen.push(update.unwrap().state.to_string());
    }
    assert_eq!(seen.last().unwrap(), "completed");
    assert!(seen.contains(&"processing".to_owned()), "{seen:?}");
    assert_eq!(emulator.jobs().len(), 1);
}

#[tokio::test]
async fn a_client_with_its_key_polls_fast_and_every_other_one_as_the_service_advises() {
    let pace = |key: &str| format!("{:?}", Client::new(key).unwrap());
    assert!(pace(emulator().await.api_key()).contains("first_after: Some(10ms)"));
    assert!(pace("luma-api-another").contains("first_after: None"));
}

#[tokio::test]
async fn a_job_follows_its_script_and_the_next_one_does_not() {
    let emulator = emulator().await;
    let luma = emulator.client();
    emulator.next(Script::new().states(["queued", "paused", "completed"]).model("uni-9").generation_type("hologram"));
    let job = luma.generations().create(request()).await.unwrap();
    assert_eq!(job.model, Model::from("uni-9"));
    assert_eq!(job.type_, GenerationType::from("hologram"));
    for state in ["queued", "paused", "completed", "completed"] {
        assert_eq!(luma.generations().get(job.id).await.unwrap().state.as_str(), state);
    }
    assert_eq!(completed(&luma).await.unwrap().model, Model::Uni1);
}

#[tokio::test]
async fn a_job_takes_its_time() {
    let emulator = emulator().await;
    let luma = emulator.client();
    emulator.next(Script::new().takes(Duration::from_millis(400)));
    let job = luma.generations().create(request()).await.unwrap();
    for _ in 0..3 {
        assert!(!luma.generations().get(job.id).await.unwrap().state.is_terminal());
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(luma.generations().get(job.id).await.unwrap().state, GenerationState::Completed);
}

#[tokio::test]
async fn a_job_fails_with_each_code_known_or_not() {
    let emulator = emulator().await;
    let luma = emulator.client();
    let unknown = GenerationFailureCode::from("out_of_paint");
    for code in GenerationFailureCode::KNOWN.iter().chain([&unknown]) {
        emulator.next(Script::fails(code.clone()));
        match completed(&luma).await {
            Err(Error::GenerationFailed(e)) => {
                assert_eq!(e.code(), Some(code));
                assert!(e.reason().is_some());
            }
            other => panic!("{code}: {other:?}"),
        }
    }
    emulator.next(Script::fails("content_moderated").reason("no"));
    match completed(&luma).await {
        Err(Error::GenerationFailed(e)) => assert_eq!(e.reason(), Some("no")),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn documented_errors_have_their_kind() {
    for (reply, status, kind) in [
        (Reply::unknown_model(), 400, RejectionKind::InvalidRequest),
        (Reply::unauthorized(), 401, RejectionKind::Unauthorized),
        (Reply::insufficient_credits(), 402, RejectionKind::InsufficientCredits),
        (Reply::forbidden(), 403, RejectionKind::Forbidden),
        (Reply::not_found(), 404, RejectionKind::NotFound),
        (Reply::too_large(), 413, RejectionKind::TooLarge),
        (Reply::unusable_media(), 422, RejectionKind::UnusableMedia),
        (Reply::bad_gateway(), 502, RejectionKind::Unavailable),
        (Reply::unavailable(), 503, RejectionKind::Unavailable),
    ] {
        let emulator = emulator().await;
        emulator.next_create(reply);
        match emulator.client().generations().create(request()).retry(Retry::none()).await {
            Err(Error::Rejected(e)) => assert_eq!((e.status.as_u16(), e.kind()), (status, kind)),
            other => panic!("{status}: {other:?}"),
        }
        assert!(emulator.jobs().is_empty(), "{status}: nothing was created");
    }
}

#[tokio::test]
async fn documented_limits_have_their_kind_and_time() {
    for (reply, limit, after) in
        [(Reply::rate_limited(7), Limit::Requests, 7), (Reply::too_many_jobs(), Limit::Concurrency, 60)]
    {
        let emulator = emulator().await;
        emulator.next_create(reply);
        match emulator.client().generations().create(request()).retry(Retry::none()).await {
            Err(Error::RateLimited(e)) => {
                assert_eq!((e.limit, e.retry_after), (limit, Some(Duration::from_secs(after))));
                assert_eq!(e.rate_limit.is_some(), limit == Limit::Requests);
            }
            other => panic!("{limit}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_reply_is_replaced_once_and_in_order() {
    let emulator = emulator().await;
    let generations = emulator.client().generations();
    let job = generations.create(request()).await.unwrap();
    emulator.next_reply(Operation::GetGeneration, Reply::not_found());
    emulator.next_reply(Operation::GetGeneration, Reply::raw(418, "short and stout").header("X-Tea", "yes"));
    assert_eq!(get(&emulator, &format!("/generations/{}", job.id)).await.0, 404);
    let url = format!("{}/generations/{}", emulator.base_url(), job.id);
    let tea = reqwest::get(url).await.unwrap();
    assert_eq!(tea.status(), 418);
    assert_eq!(tea.headers()["x-tea"], "yes");
    assert!(!tea.headers().contains_key("x-api-version"));
    assert_eq!(tea.text().await.unwrap(), "short and stout");
    assert!(generations.get(job.id).await.is_ok());
}

#[tokio::test]
async fn a_reply_is_delayed_once() {
    let emulator = emulator().await;
    emulator.next_create(Reply::normal().delay(Duration::from_millis(400)));
    let started = tokio::time::Instant::now();
    emulator.client().generations().create(request()).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(400));
    let started = tokio::time::Instant::now();
    emulator.client().generations().create(request()).await.unwrap();
    assert!(started.elapsed() < Duration::from_millis(400), "only once");
}

#[tokio::test]
async fn a_delayed_reply_holds_nobody_else_up() {
    let emulator = emulator().await;
    let generations = emulator.client().generations();
    let job = generations.create(request()).await.unwrap();
    emulator.next_create(Reply::normal().delay(Duration::from_secs(600)));
    emulator.next_reply(Operation::GetGeneration, Reply::normal().delay(Duration::from_secs(600)));
    let delayed = tokio::spawn(generations.create(request()).into_future());
    let delayed_poll = tokio::spawn(generations.get(job.id).into_future());
    while emulator.requests().len() < 3 {
        tokio::time::sleep(SOON).await;
    }
    assert_eq!(emulator.jobs().len(), 2, "a delayed submission takes effect at once");
    let others = (0..100).map(|_| generations.get(job.id).into_future());
    let others = tokio::time::timeout(Duration::from_secs(10), futures_util::future::join_all(others)).await.unwrap();
    assert!(others.into_iter().all(|it| it.is_ok()));
    generations.create(request()).await.unwrap();
    assert!(!delayed.is_finished() && !delayed_poll.is_finished());
    delayed.abort();
    delayed_poll.abort();
}

#[tokio::test]
async fn a_reply_that_cannot_be_sent_is_an_error_of_the_server() {
    let emulator = emulator().await;
    let unsendable = [
        Reply::raw(1000, ""),
        Reply::raw(200, "x").header("no name", "x"),
        Reply::rejected(404, "x").header("X-Tea", "line\nbreak"),
    ];
    for reply in unsendable {
        emulator.next_reply(Operation::ListFiles, reply.clone());
        let response = reqwest::get(format!("{}/files", emulator.base_url())).await.unwrap();
        assert_eq!(response.status(), 500, "{reply:?}");
    }
}

#[tokio::test]
async fn a_job_exists_though_its_response_is_lost() {
    let emulator = emulator().await;
    emulator.next_create(Reply::raw(504, "<html>gateway timeout</html>").after_effect());
    let outcome = emulator.client().generations().create(request()).await;
    assert!(matches!(outcome, Err(Error::OutcomeUnknown(_))), "{outcome:?}");
    assert_eq!(emulator.jobs().len(), 1, "and it is not submitted twice");
}

#[tokio::test]
async fn only_its_own_key_is_accepted() {
    let emulator = emulator().await;
    let key = emulator.api_key();
    let bearer = |key: &str| format!("Bearer {key}");
    for (sent, expected) in [
        (None, "Missing or invalid API key"),
        (Some(format!("bearer {key}")), "Missing or invalid API key"),
        (Some(bearer("sk-123")), "Missing or invalid API key"),
        (Some(bearer("luma-api-other")), "Invalid API key"),
    ] {
        let mut request = reqwest::Client::new().get(format!("{}/files", emulator.base_url()));
        if let Some(sent) = sent {
            request = request.header("Authorization", sent);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 401);
        assert!(response.headers().contains_key("x-request-id"));
        assert_eq!(detail(&response.json().await.unwrap()), expected);
    }
}

#[tokio::test]
async fn an_unknown_or_malformed_id_is_not_found() {
    let emulator = emulator().await;
    for id in ["d290f1ee-6c54-4b01-90e6-d701748f0851", "d290f1ee6c544b0190e6d701748f0851", "nonsense"] {
        let (status, reply) = get(&emulator, &format!("/generations/{id}")).await;
        assert_eq!((status.as_u16(), detail(&reply)), (404, "Generation not found"));
        assert_eq!(get(&emulator, &format!("/files/{id}")).await.0, 404);
    }
}

#[tokio::test]
async fn the_documented_examples_are_accepted() {
    let emulator = emulator().await;
    let edit = json!({"type": "video_edit", "model": "ray-3.2", "prompt": "p",
        "source": {"url": "https://example.com/in.mp4", "media_type": "video/mp4"}});
    let with = |video: Value| {
        let mut request = edit.clone();
        request["video"] = video;
        request
    };
    for request in [
        json!({"prompt": "a"}),
        json!({"prompt": "a", "aspect_ratio": null, "source": null, "video": null, "layering": null}),
        json!({"type": "image", "model": "uni-1-max", "prompt": "p", "aspect_ratio": "2:3", "style": "manga",
            "output_format": "png", "web_search": true, "user_id": "user-7f3a", "image_ref": [
                {"url": "https://example.com/style.jpg"}, {"data": IMAGE, "media_type": "image/png"}]}),
        json!({"type": "image_edit", "prompt": "p", "source": {"url": "https://example.com/in.jpg"}, "aspect_ratio": "4:3"}),
        json!({"model": "ray-3.2", "type": "video", "prompt": "p", "aspect_ratio": "16:9",
            "video": {"resolution": "720p", "duration": "5s"}}),
        json!({"model": "ray-3.2", "type": "video", "prompt": "p", "video": {"duration": "10s", "hdr": false,
            "keyframes": [{"url": "https://example.com/1.png"}, {"url": "https://example.com/2.png"}],
            "keyframe_indexes": [0, 240]}}),
        json!({"model": "ray-3.2", "type": "video", "prompt": "p",
            "video": {"resolution": "1080p", "duration": "5s", "hdr": true, "exr_export": true}}),
        with(json!({"resolution": "720p", "edit": {"auto_controls": true}})),
        with(json!({"edit": {"strength": "flex_2", "controls": {"depth": {"enabled": true, "blur": 0.25},
            "face": {"enabled": true}, "normals": {"augmentation": 0.5}, "pose": {"strength": "precise"},
            "trajectory": {"enabled": false, "sparsity": 0.75}}}})),
        with(json!({"guide_frame": {"url": "https://example.com/guide.png"}, "edit": {"auto_controls": true}})),
        json!({"model": "ray-3.2", "type": "video_reframe", "prompt": "p", "aspect_ratio": "1:1",
            "source": {"url": "https://example.com/in.mp4", "media_type": "video/mp4"}, "video": {"resolution": "720p",
            "source_position": {"x_norm": 0, "y_norm": 0.25, "w_norm": 1, "h_norm": 0.5}}}),
        json!({"model": "uni-1", "type": "layering", "prompt": "", "source": {"url": "https://example.com/in.jpg"},
            "layering": {"resolution": "1k"}}),
        // As a client sends it that writes null for each field that is not set.
        json!({"prompt": "p", "image_ref": [{"url": "https://example.com/a.png", "data": null, "media_type": null,
            "generation_id": null, "file_id": null}]}),
    ] {
        let (status, reply) = post(&emulator, "/generations", &request).await;
        assert_eq!(status, 201, "{request}: {reply}");
        assert_eq!(reply["state"], "queued");
        assert_eq!(reply["output"], json!([]));
        assert!(reply.get("failure_code").is_some_and(Value::is_null));
    }
}

#[tokio::test]
async fn a_request_that_breaks_a_documented_rule_gets_the_documented_text() {
    let emulator = emulator().await;
    let reference = json!({"url": "https://example.com/a.png"});
    let ten = vec![&reference; 10];
    let image = |field: &str, value: Value| json!({"prompt": "p", field: value});
    for (request, status, expected) in [
        (image("model", json!("super-model-v9")), 400, "Unknown model: super-model-v9"),
        (image("type", json!("video")), 400, "Type 'video' is not supported for model 'uni-1'"),
        (
            image("aspect_ratio", json!("4:3")),
            400,
            "Invalid aspect_ratio '4:3'. Valid: 1:1, 1:2, 1:3, 16:9, 2:1, 2:3, 3:1, 3:2, 9:16",
        ),
        (json!({"prompt": ""}), 400, "Prompt must be between 1 and 6000 characters"),
        (json!({"prompt": "ä".repeat(6001)}), 400, "Prompt must be between 1 and 6000 characters"),
        (
            image("image_ref", json!([{"url": "https://example.com/a.png", "data": IMAGE}])),
            400,
            "image_ref[0]: provide either 'url' or 'data', not both",
        ),
        (image("image_ref", json!([{}])), 400, "image_ref[0]: provide either 'url' or 'data', not neither"),
        (
            image("image_ref", json!([reference, {"data": IMAGE}])),
            400,
            "image_ref[1]: 'media_type' is required with 'data'",
        ),
        (
            json!({"prompt": "p", "type": "image_edit", "source": reference, "image_ref": ten[1..]}),
            400,
            "image_edit supports up to 8 reference images (source occupies one slot)",
        ),
        (image("image_ref", json!(ten)), 400, "image supports up to 9 reference images"),
        (image("source", reference.clone()), 400, "source is only valid for type 'image_edit'"),
        (image("type", json!("image_edit")), 400, "source is required for type 'image_edit'"),
        (
            image("image_ref", json!([{"data": "?", "media_type": "image/png"}])),
            422,
            "image_ref[0]: invalid base64 data",
        ),
        (image("image_ref", json!([{"url": "http://example.com/a.png"}])), 422, "image_ref[0]: failed to fetch URL"),
        (
            json!({"prompt": "p", "type": "image_edit", "source": {"data": IMAGE, "media_type": "application/pdf"}}),
            422,
            "source: content-type is not an image",
        ),
        (
            json!({"prompt": "p", "type": "image_edit",
                "source": {"data": "AAAA".repeat(17_500_000), "media_type": "image/png"}}),
            413,
            "source: image exceeds 50 MB limit",
        ),
    ] {
        let (got, reply) = post(&emulator, "/generations", &request).await;
        assert_eq!((got.as_u16(), detail(&reply)), (status, expected));
    }
    assert!(emulator.jobs().is_empty());
}

#[tokio::test]
async fn options_that_exclude_each_other_are_rejected() {
    let emulator = emulator().await;
    let frame = json!({"url": "https://example.com/a.png"});
    let earlier = json!({"generation_id": "d290f1ee-6c54-4b01-90e6-d701748f0851"});
    let of = |kind: &str, video: Value| {
        let mut request = json!({"prompt": "p", "type": kind, "model": "ray-3.2", "video": video});
        if kind != "video" {
            request["source"] = json!({"url": "https://example.com/in.mp4", "media_type": "video/mp4"});
        }
        if kind == "video_reframe" {
            request["aspect_ratio"] = json!("9:16");
        }
        request
    };
    let video = |options| of("video", options);
    let edit = |options| of("video_edit", options);
    let reframe = |options| of("video_reframe", options);
    let mut ratio_on_edit = edit(json!({}));
    ratio_on_edit["aspect_ratio"] = json!("16:9");
    let mut no_ratio = reframe(json!({}));
    no_ratio["aspect_ratio"] = Value::Null;
    for (request, part) in [
        (json!({"prompt": "p", "video": {}}), "video is only"),
        (json!({"prompt": "p", "layering": {}}), "layering is only"),
        (json!({"prompt": "p", "style": "manga", "aspect_ratio": "16:9"}), "manga"),
        (ratio_on_edit, "aspect_ratio is not valid"),
        (no_ratio, "aspect_ratio is required"),
        (edit(json!({"loop": true})), "loop"),
        (video(json!({"loop": true, "duration": "10s"})), "loop"),
        (video(json!({"loop": true, "hdr": true})), "loop"),
        (video(json!({"loop": true, "end_frame": frame})), "loop"),
        (video(json!({"loop": true, "keyframes": [frame], "keyframe_indexes": [0]})), "loop"),
        (reframe(json!({"hdr": true})), "hdr"),
        (video(json!({"hdr": true, "resolution": "360p"})), "hdr needs"),
        (video(json!({"hdr": true, "duration": "10s"})), "hdr"),
        (video(json!({"exr_export": true})), "exr_export needs hdr"),
        (reframe(json!({"start_frame": frame})), "start_frame"),
        (edit(json!({"end_frame": frame})), "end_frame"),
        (video(json!({"start_frame": frame, "duration": "10s"})), "start_frame"),
        (video(json!({"end_frame": frame, "duration": "10s"})), "end_frame"),
        (video(json!({"start_frame": earlier, "end_frame": frame})), "exactly one frame"),
        (video(json!({"start_frame": earlier, "hdr": true})), "SDR"),
        (edit(json!({"keyframes": [frame], "keyframe_indexes": [0]})), "keyframes are only"),
        (video(json!({"keyframes": [frame], "keyframe_indexes": [0], "start_frame": frame})), "start_frame"),
        (video(json!({"keyframes": [frame], "keyframe_indexes": [0], "end_frame": frame})), "end_frame"),
        (video(json!({"keyframes": [frame]})), "as many as"),
        (video(json!({"keyframe_indexes": [0]})), "as many as"),
        (video(json!({"keyframes": [frame, frame], "keyframe_indexes": [3, 3]})), "unique"),
        (video(json!({"keyframes": [frame], "keyframe_indexes": [121]})), "within the duration"),
        (video(json!({"source_position": {"x_norm": 0, "y_norm": 0, "w_norm": 1, "h_norm": 1}})), "source_position"),
        (reframe(json!({"resolution": "1080p"})), "1080p"),
        (video(json!({"edit": {}})), "edit is only"),
        (edit(json!({"edit": {"auto_controls": true, "controls": {}}})), "auto_controls"),
        (edit(json!({"start_frame": frame, "edit": {"keyframes": [frame], "keyframe_indexes": [0]}})), "start_frame"),
        (edit(json!({"edit": {"keyframes": [frame], "keyframe_indexes": []}})), "as many as"),
    ] {
        let (status, reply) = post(&emulator, "/generations", &request).await;
        assert_eq!(status, 422, "{request}");
        assert!(detail(&reply).contains(part), "{request}: {reply}");
    }
    for (request, part) in [
        (json!({"prompt": "p", "type": "video", "model": "ray-3.2", "image_ref": [frame]}), "image_ref is not valid"),
        (json!({"prompt": "p", "type": "video", "model": "ray-3.2", "aspect_ratio": "3:2"}), "1:1, 16:9, 21:9, 3:4"),
        (json!({"prompt": "p", "type": "layering", "model": "uni-1-max", "source": frame}), "not supported"),
        (json!({"prompt": "p".repeat(501), "type": "layering", "source": frame}), "between 0 and 500"),
        (json!({"prompt": "p", "type": "video_edit", "model": "ray-3.2", "source": frame}), "must be video/*"),
        (json!({"prompt": "p", "type": "image_edit", "source": {"file_id": "a", "url": "b"}}), "exactly one"),
    ] {
        let (status, reply) = post(&emulator, "/generations", &request).await;
        assert_eq!(status, 400, "{request}");
        assert!(detail(&reply).contains(part), "{request}: {reply}");
    }
}

#[tokio::test]
async fn an_unknown_field_or_wrong_type_is_named() {
    let emulator = emulator().await;
    for (request, place) in [
        (json!({}), "prompt"),
        (json!({"prompt": null}), "prompt"),
        (json!({"prompt": 3}), "prompt"),
        (json!({"prompt": "p", "seed": 3}), "seed"),
        (json!({"prompt": "p", "type": "hologram"}), "type"),
        (json!({"prompt": "p", "style": null}), "style"),
        (json!({"prompt": "p", "web_search": "yes"}), "web_search"),
        (json!({"prompt": "p", "user_id": "u".repeat(257)}), "user_id"),
        (json!({"prompt": "p", "image_ref": {}}), "image_ref"),
        (json!({"prompt": "p", "image_ref": [{"uri": "x"}]}), "uri"),
        (json!({"prompt": "p", "video": {"fps": 24}}), "fps"),
        (json!({"prompt": "p", "video": {"resolution": "8k"}}), "resolution"),
        (json!({"prompt": "p", "video": {"keyframe_indexes": [-1]}}), "keyframe_indexes"),
        (json!({"prompt": "p", "video": {"source_position": {"x_norm": 0}}}), "y_norm"),
        (
            json!({"prompt": "p", "video": {"source_position": {"x_norm": 0, "y_norm": 0, "w_norm": 0, "h_norm": 1}}}),
            "w_norm",
        ),
        (json!({"prompt": "p", "video": {"edit": {"controls": {"depth": {"blur": 1.5}}}}}), "blur"),
        (json!({"prompt": "p", "image_ref": [3]}), "0"),
        (json!({"prompt": "p", "image_ref": [null]}), "0"),
        (json!({"prompt": "p", "image_ref": [{"url": 3}]}), "url"),
        (json!({"prompt": "p", "source": 3}), "source"),
        (json!({"prompt": "p", "video": {"loop": 1}}), "loop"),
        (json!({"prompt": "p", "video": {"keyframe_indexes": [1.0]}}), "keyframe_indexes"),
        (json!({"prompt": "p", "video": {"keyframes": []}}), "keyframes"),
        (json!([]), "body"),
    ] {
        let (status, reply) = post(&emulator, "/generations", &request).await;
        assert_eq!(status, 422, "{request}");
        assert!(reply["detail"][0]["loc"].to_string().contains(place), "{request}: {reply}");
    }
}

#[tokio::test]
async fn a_reference_has_to_exist_and_be_finished_and_of_the_right_kind() {
    let emulator = emulator().await;
    let luma = emulator.client();
    let image = completed(&luma).await.unwrap().id;
    let unfinished = luma.generations().create(request()).await.unwrap().id;
    let pending = post(&emulator, "/files", &json!({"mime_type": "image/png", "size_bytes": 1})).await.1;
    let edit = |source: Value| json!({"prompt": "p", "type": "image_edit", "source": source});
    let video = |source: Value| json!({"prompt": "p", "type": "video_edit", "model": "ray-3.2", "source": source});
    for (request, expected) in [
        (edit(json!({"generation_id": image})), ""),
        (edit(json!({"generation_id": unfinished})), "source: generation is not completed"),
        (edit(json!({"generation_id": "d290f1ee-6c54-4b01-90e6-d701748f0851"})), "source: generation not found"),
        (edit(json!({"generation_id": "x"})), "source: generation not found"),
        (video(json!({"generation_id": image})), "source: generation has another kind of output"),
        (edit(json!({"file_id": pending["id"]})), "source: file is not ready"),
        (edit(json!({"file_id": image})), "source: file not found"),
    ] {
        let (status, reply) = post(&emulator, "/generations", &request).await;
        assert_eq!(detail(&reply), expected);
        assert_eq!(status.as_u16(), if expected.is_empty() { 201 } else { 422 });
    }
}

// Outputs

/// The first output of a new job, of which `bytes` is the content.
async fn output(emulator: &Emulator, bytes: &[u8]) -> String {
    emulator.next(Script::new().states(["completed"]).output(bytes.to_vec()));
    completed(&emulator.client()).await.unwrap().outputs()[0].url.as_str().to_owned()
}

async fn fetch(url: &str, headers: &[(header::HeaderName, &str)]) -> Response {
    let request = headers.iter().fold(reqwest::Client::new().get(url), |it, (name, value)| it.header(name, *value));
    request.send().await.unwrap()
}

#[tokio::test]
async fn a_picture_follows_prompt_and_ratio() {
    let emulator = emulator().await;
    let mut seen = Vec::new();
    for (prompt, ratio, size) in [("a", "16:9", (256, 144)), ("b", "16:9", (256, 144)), ("a", "1:2", (128, 256))] {
        let (_, job) = post(&emulator, "/generations", &json!({"prompt": prompt, "aspect_ratio": ratio})).await;
        let job = emulator
            .client()
            .generations()
            .wait(job["id"].as_str().unwrap())
            .first_after(SOON)
            .every(SOON)
            .await
            .unwrap();
        let response = fetch(job.outputs()[0].url.as_str(), &[]).await;
        assert_eq!(response.headers()[header::CONTENT_TYPE], "image/png");
        let bytes = response.bytes().await.unwrap();
        let side = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!((side(16), side(20)), size);
        assert!(!seen.contains(&bytes) && bytes.len() < 100_000);
        seen.push(bytes);
    }
}

#[tokio::test]
async fn a_video_comes_with_its_exr_and_a_layering_with_three_layers() {
    let emulator = emulator().await;
    let luma = emulator.client();
    let video = json!({"prompt": "p", "type": "video", "model": "ray-3.2", "video": {"hdr": true, "exr_export": true}});
    let (_, job) = post(&emulator, "/generations", &video).await;
    let done = luma.generations().wait(job["id"].as_str().unwrap()).first_after(SOON).every(SOON).await.unwrap();
    let mut content = Vec::new();
    for output in done.outputs() {
        content.push(fetch(output.url.as_str(), &[]).await.bytes().await.unwrap());
    }
    assert_eq!(infer::get(&content[0]).unwrap().mime_type(), "video/mp4");
    assert_eq!(content[1][..4], [0x76, 0x2f, 0x31, 0x01]);

    let layering = json!({"prompt": "p", "type": "layering", "source": {"url": "https://example.com/in.jpg"}});
    let (_, job) = post(&emulator, "/generations", &layering).await;
    let done = luma.generations().wait(job["id"].as_str().unwrap()).first_after(SOON).every(SOON).await.unwrap();
    let layers: Vec<_> = done.layers().iter().map(|it| it.layer.clone().unwrap()).collect();
    assert_eq!(layers.iter().map(|it| it.index).collect::<Vec<_>>(), [2, 1, 0]);
    assert_eq!(layers.iter().map(|it| it.alpha_hint.as_str()).collect::<Vec<_>>(), ["none", "soft", "hard"]);
    for (output, layer) in done.layers().iter().zip(layers) {
        let bytes = fetch(output.url.as_str(), &[]).await.bytes().await.unwrap();
        assert_eq!(i64::from(u32::from_be_bytes(bytes[16..20].try_into().unwrap())), layer.bounds.unwrap().width);
    }
}

#[tokio::test]
async fn urls_are_fresh_with_each_poll_and_expire() {
    let emulator = emulator().await;
    let generations = emulator.client().generations();
    let job = completed(&emulator.client()).await.unwrap();
    let url = |job: &Generation| job.outputs()[0].url.as_str().to_owned();
    let again = generations.get(job.id).await.unwrap();
    assert_ne!(url(&job), url(&again));
    emulator.expire_urls();
    let response = fetch(&url(&job), &[]).await;
    assert_eq!(response.status(), 403);
    assert!(response.text().await.unwrap().contains("<Message>Request has expired</Message>"));
    let fresh = generations.get(job.id).await.unwrap();
    assert_eq!(fetch(&url(&fresh), &[]).await.status(), 200);
    emulator.url_lifetime(Duration::ZERO);
    let stale = generations.get(job.id).await.unwrap();
    assert_eq!(fetch(&url(&stale), &[]).await.status(), 403);
}

#[tokio::test]
async fn storage_accepts_a_valid_signature_and_nothing_else() {
    let emulator = emulator().await;
    let url = output(&emulator, b"0123456789").await;
    assert_eq!(fetch(&format!("{url}0"), &[]).await.status(), 403);
    assert_eq!(fetch(&url.replace("output", "other"), &[]).await.status(), 403);
    assert_eq!(fetch(&url, &[(header::AUTHORIZATION, "Bearer luma-api-emulator")]).await.status(), 400);
    assert_eq!(reqwest::Client::new().head(&url).send().await.unwrap().status(), 403);
    assert_eq!(fetch(&url, &[]).await.status(), 200);
}

#[tokio::test]
async fn a_range_of_an_output_can_be_fetched() {
    let emulator = emulator().await;
    let url = output(&emulator, b"0123456789").await;
    let whole = fetch(&url, &[]).await;
    assert_eq!(whole.headers()[header::CONTENT_LENGTH], "10");
    assert_eq!(whole.headers()[header::ACCEPT_RANGES], "bytes");
    let etag = whole.headers()[header::ETAG].to_str().unwrap().to_owned();
    let modified = whole.headers()[header::LAST_MODIFIED].to_str().unwrap().to_owned();
    for (range, condition, status, expected) in [
        ("bytes=2-4", None, 206, "234"),
        ("bytes=7-", None, 206, "789"),
        ("bytes=-2", None, 206, "89"),
        ("bytes=8-99", Some(etag.as_str()), 206, "89"),
        ("bytes=8-", Some(modified.as_str()), 206, "89"),
        ("bytes=8-", Some("\"another\""), 200, "0123456789"),
        ("bytes=1-2,4-5", None, 200, "0123456789"),
        ("bytes=10-", None, 416, ""),
    ] {
        let mut headers = vec![(header::RANGE, range)];
        headers.extend(condition.map(|it| (header::IF_RANGE, it)));
        let response = fetch(&url, &headers).await;
        assert_eq!(response.status(), status, "{range}");
        let content_range = response.headers().get(header::CONTENT_RANGE).cloned();
        match status {
            206 => assert!(content_range.unwrap().to_str().unwrap().ends_with("/10")),
            416 => assert_eq!(content_range.unwrap(), "bytes */10"),
            _ => assert_eq!(content_range, None),
        }
        if status < 400 {
            assert_eq!(response.text().await.unwrap(), expected, "{range}");
        }
    }
}

#[tokio::test]
async fn a_download_breaks_where_the_script_says() {
    let emulator = emulator().await;
    let content: Vec<u8> = (0..200_000_u32).map(|at| at.to_le_bytes()[0]).collect();
    let url = output(&emulator, &content).await;
    for transfer in [
        Transfer::new().cut_after(150_000),
        Transfer::new().cut_after(150_000).without_length(),
        Transfer::new().cut_after(0),
    ] {
        emulator.next_download(transfer);
        let mut response = fetch(&url, &[]).await;
        let mut read = Vec::new();
        let error = loop {
            match response.chunk().await {
                Ok(Some(chunk)) => read.extend(chunk),
                Ok(None) => panic!("it is complete"),
                Err(error) => break error,
            }
        };
        assert!(!error.is_timeout());
        assert!(read.len() == 150_000 || read.is_empty(), "{}", read.len());
        assert!(content.starts_with(&read));
    }
    assert_eq!(fetch(&url, &[]).await.bytes().await.unwrap(), content, "the next one is whole");
}

#[tokio::test]
async fn a_download_stalls_where_the_script_says() {
    let emulator = emulator().await;
    let url = output(&emulator, b"0123456789").await;
    emulator.next_download(Transfer::new().stall_after(4));
    let mut response = fetch(&url, &[]).await;
    assert_eq!(response.chunk().await.unwrap().unwrap(), "0123");
    assert!(tokio::time::timeout(Duration::from_millis(30), response.chunk()).await.is_err());
}

#[tokio::test]
async fn a_download_can_lack_length_and_ranges_or_be_rejected_or_changed() {
    let emulator = emulator().await;
    let url = output(&emulator, b"0123456789").await;
    emulator.next_download(Transfer::new().without_length());
    let response = fetch(&url, &[]).await;
    assert!(!response.headers().contains_key(header::CONTENT_LENGTH));
    assert_eq!(response.text().await.unwrap(), "0123456789");

    emulator.next_download(Transfer::new().without_ranges());
    let response = fetch(&url, &[(header::RANGE, "bytes=3-")]).await;
    assert!(!response.headers().contains_key(header::ACCEPT_RANGES));
    assert_eq!((response.status().as_u16(), response.text().await.unwrap()), (200, "0123456789".to_owned()));

    emulator.next_download(Transfer::rejected(503));
    assert_eq!(fetch(&url, &[]).await.status(), 503);

    let before = fetch(&url, &[]).await;
    let etag = before.headers()[header::ETAG].to_str().unwrap().to_owned();
    emulator.next_download(Transfer::new().changed());
    let after = fetch(&url, &[(header::RANGE, "bytes=3-"), (header::IF_RANGE, &etag)]).await;
    assert_eq!(after.status(), 200);
    assert_ne!(after.headers()[header::ETAG].to_str().unwrap(), etag);
    let (before, after) = (before.bytes().await.unwrap(), after.bytes().await.unwrap());
    assert_eq!(before.len(), after.len());
    assert_ne!(before, after);
}

#[tokio::test]
async fn a_large_output_is_sent_whole() {
    let emulator = emulator().await;
    let content = vec![7; 64 * 1024 * 1024];
    let url = output(&emulator, &content).await;
    assert_eq!(fetch(&url, &[]).await.bytes().await.unwrap().len(), content.len());
}

// Files

async fn announce(emulator: &Emulator, size: usize) -> Value {
    let request = json!({"mime_type": "image/png", "size_bytes": size, "purpose": "reference", "filename": "in.png"});
    let (status, reply) = post(emulator, "/files", &request).await;
    assert_eq!((status.as_u16(), &reply["state"]), (201, &json!("pending")));
    reply
}

fn put(announced: &Value) -> reqwest::RequestBuilder {
    let upload = &announced["upload"];
    assert_eq!(upload["method"], "PUT");
    let request = reqwest::Client::new().put(upload["url"].as_str().unwrap());
    let headers = upload["headers"].as_object().unwrap();
    headers.iter().fold(request, |request, (name, value)| request.header(name, value.as_str().unwrap()))
}

fn picture() -> Vec<u8> {
    let mut picture = b"\x89PNG\r\n\x1a\n".to_vec();
    picture.resize(100, 0);
    picture
}

#[tokio::test]
async fn a_file_is_announced_sent_completed_and_ready() {
    let emulator = emulator().await;
    let announced = announce(&emulator, 100).await;
    let path = format!("/files/{}", announced["id"].as_str().unwrap());
    let complete = format!("{path}/complete");
    assert_eq!(post(&emulator, &complete, &Value::Null).await.0, 400, "before its bytes arrived");
    assert_eq!(put(&announced).body(picture()).send().await.unwrap().status(), 200);
    assert_eq!(get(&emulator, &path).await.1["state"], "pending", "before it is completed");
    let (status, file) = post(&emulator, &complete, &Value::Null).await;
    assert_eq!((status.as_u16(), &file["state"]), (200, &json!("pending")));
    assert_eq!(post(&emulator, &complete, &Value::Null).await.0, 409, "only once");
    assert_eq!(get(&emulator, &path).await.1["state"], "pending");
    let (_, file) = get(&emulator, &path).await;
    assert_eq!((&file["state"], &file["filename"]), (&json!("ready"), &json!("in.png")));

    let edit = json!({"prompt": "p", "type": "image_edit", "source": {"file_id": file["id"]}});
    assert_eq!(post(&emulator, "/generations", &edit).await.0, 201);
    let url = format!("{}{path}", emulator.base_url());
    let delete = || reqwest::Client::new().delete(&url).bearer_auth(emulator.api_key()).send();
    assert_eq!(delete().await.unwrap().status(), 204);
    assert_eq!(delete().await.unwrap().status(), 404);
    let (_, file) = get(&emulator, &path).await;
    assert_eq!(file["state"], "deleted");
    assert!(file["deleted_at"].is_string());
    assert_eq!(post(&emulator, "/generations", &edit).await.0, 422);
}

#[tokio::test]
async fn an_upload_needs_its_headers_its_length_and_no_key() {
    let emulator = emulator().await;
    let announced = announce(&emulator, 100).await;
    let status = async |request: reqwest::RequestBuilder| request.send().await.unwrap().status().as_u16();
    assert_eq!(status(put(&announced).bearer_auth(emulator.api_key()).body(picture())).await, 400);
    let bare = reqwest::Client::new().put(announced["upload"]["url"].as_str().unwrap());
    assert_eq!(status(bare.body(picture())).await, 403);
    assert_eq!(status(put(&announced).header("x-amz-acl", "public-read").body(picture())).await, 403);
    assert_eq!(status(put(&announced).body("too short")).await, 400);
    emulator.next_upload(Transfer::rejected(503));
    assert_eq!(status(put(&announced).body(picture())).await, 503);
    emulator.next_upload(Transfer::new().cut_after(10));
    assert!(put(&announced).body(picture()).send().await.is_err());
    assert_eq!(status(put(&announced).body(picture())).await, 200);
    emulator.expire_urls();
    assert_eq!(status(put(&announced).body(picture())).await, 403);
}

async fn send_form(emulator: &Emulator, form: reqwest::multipart::Form) -> (StatusCode, Value) {
    let url = format!("{}/files", emulator.base_url());
    let request = reqwest::Client::new().post(url).bearer_auth(emulator.api_key()).multipart(form);
    let response = request.send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

fn part(bytes: impl Into<std::borrow::Cow<'static, [u8]>>, media_type: &str) -> reqwest::multipart::Part {
    reqwest::multipart::Part::bytes(bytes).file_name("style.png").mime_str(media_type).unwrap()
}

#[tokio::test]
async fn a_file_is_sent_inside_the_request() {
    let emulator = emulator().await;
    let form = reqwest::multipart::Form::new()
        .part("file", part(picture(), "image/png"))
        .text("purpose", "reference")
        .text("user_id", "user-7f3a")
        .text("expires_at", "2026-07-23T12:00:00Z");
    let (status, reply) = send_form(&emulator, form).await;
    assert_eq!(status, 201);
    assert!(reply.get("upload").is_none_or(Value::is_null));
    let file = &reply["file"];
    for (name, expected) in [
        ("mime_type", json!("image/png")),
        ("size_bytes", json!(100)),
        ("purpose", json!("reference")),
        ("filename", json!("style.png")),
        ("user_id", json!("user-7f3a")),
        ("state", json!("pending")),
    ] {
        assert_eq!(file[name], expected);
    }
    let path = format!("/files/{}", reply["id"].as_str().unwrap());
    get(&emulator, &path).await;
    assert_eq!(get(&emulator, &path).await.1["state"], "ready", "without being completed");
    let (status, _) = send_form(&emulator, reqwest::multipart::Form::new().text("purpose", "input")).await;
    assert_eq!(status, 422, "without bytes");
}

#[tokio::test]
async fn a_file_can_fail_its_ingest() {
    let emulator = emulator().await;
    for (ingest, bytes, reason) in [
        (Ingest::fails("The file could not be decoded"), picture(), "The file could not be decoded"),
        (Ingest::new(), b"%PDF-1.7 not a picture".to_vec(), "Unsupported file type"),
        (Ingest::new().takes(Duration::ZERO), b"whatever".to_vec(), "Unsupported file type"),
    ] {
        emulator.next_file(ingest);
        let (_, reply) =
            send_form(&emulator, reqwest::multipart::Form::new().part("file", part(bytes, "image/png"))).await;
        let path = format!("/files/{}", reply["id"].as_str().unwrap());
        get(&emulator, &path).await;
        let (_, file) = get(&emulator, &path).await;
        assert_eq!((&file["state"], &file["failure_reason"]), (&json!("failed"), &json!(reason)));
    }
}

#[tokio::test]
async fn files_are_listed_newest_first_a_page_at_a_time() {
    let emulator = emulator().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.insert(0, announce(&emulator, 1).await["id"].clone());
    }
    let (mut seen, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let (_, page) = get(&emulator, &format!("/files{query}")).await;
        let data = page["data"].as_array().unwrap();
        assert!(data.len() <= 2);
        seen.extend(data.iter().map(|file| file["id"].clone()));
        // New files between two pages do not change the second.
        announce(&emulator, 1).await;
        match page["next_cursor"].as_str() {
            Some(cursor) if page["has_more"] == true => query = format!("?limit=2&cursor={cursor}"),
            _ => break,
        }
    }
    assert_eq!(seen, ids);
    assert_eq!(get(&emulator, "/files?purpose=input").await.1["data"], json!([]));
    assert_eq!(get(&emulator, "/files?state=pending&purpose=reference").await.1["data"].as_array().unwrap().len(), 8);
    for query in ["limit=0", "limit=101", "limit=x", "state=lost", "page=2"] {
        assert_eq!(get(&emulator, &format!("/files?{query}")).await.0, 422, "{query}");
    }
    assert_eq!(get(&emulator, "/files?cursor=x").await.0, 400);
}

#[tokio::test]
async fn an_impossible_file_is_rejected() {
    let emulator = emulator().await;
    for request in [
        json!({"mime_type": "image/png"}),
        json!({"mime_type": "", "size_bytes": 1}),
        json!({"mime_type": "image/png", "size_bytes": 0}),
        json!({"mime_type": "image/png", "size_bytes": 5_368_709_121_i64}),
        json!({"mime_type": "image/png", "size_bytes": 1, "purpose": "fun"}),
        json!({"mime_type": "image/png", "size_bytes": 1, "expires_at": "tomorrow"}),
        json!({"mime_type": "image/png", "size_bytes": 1, "name": "x"}),
        json!({"mime_type": "image/png", "size_bytes": 1.0}),
        json!(null),
    ] {
        assert_eq!(post(&emulator, "/files", &request).await.0, 422, "{request}");
    }
    assert!(emulator.files().is_empty());
}

// The handle

#[tokio::test]
async fn requests_are_kept_and_their_secrets_not_printed() {
    let emulator = emulator().await;
    let job = completed(&emulator.client()).await.unwrap();
    fetch(job.outputs()[0].url.as_str(), &[(header::RANGE, "bytes=0-3")]).await;
    let requests = emulator.requests();
    let (first, last) = (requests.first().unwrap(), requests.last().unwrap());
    assert_eq!((first.operation, first.path.as_str()), (Some(Operation::CreateGeneration), "/v1/generations"));
    assert_eq!(first.body["prompt"], "a lighthouse at dusk");
    assert_eq!(first.status, Some(StatusCode::CREATED));
    assert_eq!((last.operation, last.status), (Some(Operation::Storage), Some(StatusCode::PARTIAL_CONTENT)));
    assert_eq!(last.headers[header::RANGE], "bytes=0-3");
    let printed = format!("{emulator:?} {requests:?} {:?}", first.headers);
    for secret in [emulator.api_key(), "lighthouse", "Signature"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}

#[tokio::test]
async fn a_violation_is_listed_as_fastapi_lists_it() {
    let emulator = emulator().await;
    let request = json!({"seed": 3, "web_search": "a secret", "image_ref": [{"url": 4}]});
    let (status, reply) = post(&emulator, "/generations", &request).await;
    assert_eq!(status, 422);
    let entry = |loc: Value, msg: &str, kind: &str| json!({"loc": loc, "msg": msg, "type": kind});
    for expected in [
        entry(json!(["body", "prompt"]), "Field required", "missing"),
        entry(json!(["body", "seed"]), "Extra inputs are not permitted", "extra_forbidden"),
        entry(json!(["body", "web_search"]), "Input is not of type \"boolean\"", "value_error"),
        entry(json!(["body", "image_ref", 0, "url"]), "Input is not of types \"null\", \"string\"", "value_error"),
    ] {
        assert!(reply["detail"].as_array().unwrap().contains(&expected), "{expected} is not in {reply}");
    }
    assert_eq!(reply["detail"].as_array().unwrap().len(), 4, "{reply}");
}

#[tokio::test]
async fn unknown_fields_can_be_allowed_and_nothing_else() {
    let emulator = Emulator::builder().allow_unknown_fields().start().await.unwrap();
    let media = json!({"url": "https://example.com/a.png", "weight": 1});
    let request = json!({"prompt": "p", "seed": 3, "image_ref": [media], "style": "manga"});
    assert_eq!(post(&emulator, "/generations", &request).await.0, 201);
    assert_eq!(get(&emulator, "/files?page=2").await.0, 200);
    assert_eq!(get(&emulator, "/files?limit=0").await.0, 422);
    for request in [json!({"prompt": "p", "seed": 3, "web_search": "x"}), json!({"prompt": "p", "image_ref": [3]})] {
        assert_eq!(post(&emulator, "/generations", &request).await.0, 422, "{request}");
    }
    let both = json!({"url": "https://example.com/a.png", "file_id": "d290f1ee-6c54-4b01-90e6-d701748f0851"});
    assert_eq!(post(&emulator, "/generations", &json!({"prompt": "p", "image_ref": [both]})).await.0, 400);
}

#[tokio::test]
async fn ports_can_be_chosen_and_a_taken_one_is_an_error() {
    let free = async || tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (api, storage) = (free().await, free().await);
    let (port, storage_port) = (api.local_addr().unwrap().port(), storage.local_addr().unwrap().port());
    drop((api, storage));
    let start = || Emulator::builder().port(port).storage_port(storage_port).start();
    let emulator = start().await.unwrap();
    assert_eq!(emulator.base_url(), format!("http://127.0.0.1:{port}/v1"));
    assert!(output(&emulator, b"1").await.starts_with(&format!("http://127.0.0.1:{storage_port}/")));
    let Err(error @ Error::Io(_)) = start().await else { panic!("the port is taken") };
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
}

#[tokio::test]
async fn many_emulators_run_at_once() {
    let emulators = futures_util::future::join_all((0..40).map(|_| emulator())).await;
    for emulator in &emulators {
        assert_eq!(get(emulator, "/files").await.0, 200);
    }
}

#[tokio::test]
async fn http_2_is_spoken_too() {
    let emulator = emulator().await;
    let http = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let url = format!("{}/files", emulator.base_url());
    let response = http.get(url).bearer_auth(emulator.api_key()).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, reqwest::Version::HTTP_2));
    let url = output(&emulator, b"0123456789").await;
    emulator.next_download(Transfer::new().cut_after(4));
    assert!(http.get(&url).send().await.unwrap().bytes().await.is_err());
    assert_eq!(http.get(&url).send().await.unwrap().text().await.unwrap(), "0123456789");
}

#[tokio::test]
async fn storage_ends_with_the_emulator() {
    fn shared_between_threads<T: Send + Sync>(_: &T) {}
    let emulator = emulator().await;
    shared_between_threads(&emulator);
    let url = output(&emulator, b"0123456789").await;
    drop(emulator);
    tokio::task::yield_now().await;
    assert!(reqwest::get(&url).await.is_err());
}
