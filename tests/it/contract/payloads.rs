//! Real payloads, copied literally from the documentation of the service and from its users.

use luma_agents::types::{CreateFileResponse, CreateGeneration, FilePage, Generation, GenerationFailureCode, MediaRef};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::wire::canonical;
use crate::support::document::violations;

fn round_trip<T: DeserializeOwned + Serialize>(schema: &str, text: &str) -> T {
    let given: Value = serde_json::from_str(text).unwrap();
    let problems = violations(&json!({ "$ref": format!("#/components/schemas/{schema}") }), &given);
    assert!(problems.is_empty(), "{text}: {problems:?}");
    let decoded: T = serde_json::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    assert_eq!(canonical(&serde_json::to_value(&decoded).unwrap()), canonical(&given));
    decoded
}

#[test]
fn the_documented_responses_decode() {
    for (text, outputs, code) in [
        (
            r#"{"id":"d290f1ee-6c54-4b01-90e6-d701748f0851","type":"image","state":"queued","model":"uni-1","created_at":"2026-04-08T12:00:00Z","output":[],"failure_reason":null,"failure_code":null}"#,
            0,
            None,
        ),
        (
            r#"{"id":"a1b2c3d4-e5f6-7890-abcd-ef1234567890","type":"image_edit","state":"completed","model":"uni-1","created_at":"2026-04-08T12:00:00Z","output":[{"type":"image","url":"https://storage.example.com/generations/a1b2c3d4/output.png?X-Amz-Expires=3600&..."}],"failure_reason":null,"failure_code":null}"#,
            1,
            None,
        ),
        (
            r#"{"id":"d290f1ee-6c54-4b01-90e6-d701748f0851","type":"image","state":"failed","model":"uni-1","created_at":"2026-04-08T12:00:00Z","output":[],"failure_reason":"Generation failed","failure_code":"generation_failed"}"#,
            0,
            Some("generation_failed"),
        ),
        // The sample of the API reference, which contains placeholders.
        (
            r#"{"id":"182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e","created_at":"created_at","model":"uni-1","state":"queued","type":"image","failure_code":"content_moderated","failure_reason":"failure_reason","output":[{"type":"type","url":"https://example.com"}]}"#,
            1,
            Some("content_moderated"),
        ),
    ] {
        let generation: Generation = round_trip("Generation", text);
        assert_eq!(generation.outputs().len(), outputs);
        assert_eq!(generation.failure_code.as_ref().map(GenerationFailureCode::as_str), code);
    }
}

#[test]
fn the_documented_requests_decode() {
    for text in [
        r#"{"prompt":"a lighthouse at dusk"}"#,
        r#"{"type":"image_edit","prompt":"make the sky orange","source":{"url":"https://example.com/in.jpg"}}"#,
        r#"{"type":"image_edit","prompt":"warmer","source":{"generation_id":"d290f1ee-6c54-4b01-90e6-d701748f0851"}}"#,
        r#"{"model":"ray-3.2","type":"video","prompt":"slow dolly","aspect_ratio":"16:9","video":{"resolution":"720p","duration":"5s"}}"#,
        r#"{"model":"ray-3.2","type":"video","prompt":"three beats","video":{"duration":"5s","keyframes":[{"file_id":"aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"},{"file_id":"bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"}],"keyframe_indexes":[0,120]}}"#,
        r#"{"model":"ray-3.2","type":"video_edit","prompt":"moonlit","source":{"url":"https://example.com/in.mp4","media_type":"video/mp4"},"video":{"resolution":"720p","edit":{"auto_controls":true}}}"#,
        r#"{"model":"ray-3.2","type":"video_reframe","prompt":"extend the room","aspect_ratio":"21:9","source":{"file_id":"cccccccc-cccc-4ccc-8ccc-cccccccccccc"},"video":{"resolution":"720p"}}"#,
        r#"{"model":"uni-1","type":"layering","prompt":"separate the car","source":{"url":"https://example.com/in.jpg"},"layering":{"resolution":"1k"}}"#,
    ] {
        round_trip::<CreateGeneration>("CreateGeneration", text);
    }
}

#[test]
fn the_undocumented_file_responses_decode() {
    round_trip::<FilePage>("FilePage", r#"{"data":[],"has_more":false,"next_cursor":null}"#);
    round_trip::<CreateFileResponse>(
        "CreateFileResponse",
        r#"{"id":"aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa","state":"pending","file":{"id":"aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa","created_at":"2026-06-23T11:00:00Z","mime_type":"image/png","purpose":"input","size_bytes":1,"state":"pending","filename":null,"expires_at":null,"deleted_at":null,"failure_reason":null,"user_id":null},"upload":{"url":"https://storage.example.com/files/a","method":"PUT","headers":{"Content-Type":"image/png"},"expires_at":"2026-06-23T12:00:00Z"}}"#,
    );
}

#[test]
fn an_absent_null_or_empty_output_means_no_output() {
    let mut generation = json!({
        "id": "d290f1ee-6c54-4b01-90e6-d701748f0851", "type": "image", "state": "failed",
        "model": "uni-1", "created_at": "2026-04-08T12:00:00Z",
    });
    let absent: Generation = serde_json::from_value(generation.clone()).unwrap();
    assert!(absent.outputs().is_empty());
    for output in [json!(null), json!([])] {
        generation["output"] = output;
        let other: Generation = serde_json::from_value(generation.clone()).unwrap();
        assert!(other.outputs().is_empty());
    }
}

#[test]
fn an_unknown_value_keeps_its_text() {
    let text = r#"{"id":"d290f1ee-6c54-4b01-90e6-d701748f0851","type":"audio","state":"paused","model":"of-tomorrow","created_at":"2027-01-01T00:00:00Z","failure_code":"sun_exploded"}"#;
    let generation: Generation = serde_json::from_str(text).unwrap();
    assert_eq!(generation.type_.to_string(), "audio");
    assert_eq!(generation.state.to_string(), "paused");
    assert_eq!(generation.model.to_string(), "of-tomorrow");
    assert_eq!(generation.failure_code.as_ref().unwrap().to_string(), "sun_exploded");
    assert!(!generation.state.is_terminal());
    assert!(!generation.failure_code.as_ref().unwrap().is_retryable());
    let again = serde_json::to_value(&generation).unwrap();
    assert_eq!(again, serde_json::from_str::<Value>(text).unwrap());
}

#[test]
fn an_invalid_media_reference_gives_an_error_that_says_what_is_wrong() {
    for (given, message) in [
        (json!({}), "expected exactly one of `url`, `data`, `generation_id`, `file_id`, found none"),
        (
            json!({ "url": "https://e.com/x", "file_id": null, "data": "AA==" }),
            "expected exactly one of `url`, `data`, `generation_id`, `file_id`, found `url`, `data`",
        ),
        (json!({ "data": "AA==" }), "missing field `media_type`"),
        (json!({ "url": "x.jpg" }), "not an absolute URL"),
        (
            json!({ "url": "https://e.com/x", "mime_type": "image/png" }),
            "unknown field `mime_type`, expected `media_type` or `url`",
        ),
        (json!({ "file_id": 7 }), "invalid type: integer `7`, expected a formatted UUID string"),
        (json!("https://e.com/x"), "invalid type: string \"https://e.com/x\", expected a map"),
    ] {
        let error = serde_json::from_value::<MediaRef>(given).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
}
