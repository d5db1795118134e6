//! The example `tool_schema`: a tool definition, and requests written by a language model.

#[expect(dead_code, unreachable_pub, reason = "an example is a separate program")]
#[path = "../../examples/tool_schema.rs"]
mod example;

use luma_agents::types::{CreateGeneration, MediaRef, Model};

#[test]
fn a_tool_has_a_name_a_purpose_and_a_schema() {
    let tool = example::tool();
    assert_eq!(tool["name"], "create_generation");
    assert_eq!(tool["input_schema"]["required"], serde_json::json!(["prompt"]));
    assert!(tool["input_schema"]["properties"]["video"].is_object());
}

/// The formats in a schema.
fn formats(value: &serde_json::Value, found: &mut std::collections::BTreeSet<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            found.extend(fields.get("format").and_then(|it| it.as_str()).map(str::to_owned));
            fields.values().for_each(|it| formats(it, found));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|it| formats(it, found)),
        _ => {}
    }
}

#[test]
fn a_tool_has_only_formats_that_json_schema_knows() {
    let mut found = std::collections::BTreeSet::new();
    formats(&example::tool(), &mut found);
    formats(schemars::schema_for!(luma_agents::types::Generation).as_value(), &mut found);
    formats(schemars::schema_for!(luma_agents::types::CreateFileResponse).as_value(), &mut found);
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), ["date-time", "uri", "uuid"]);
}

#[test]
fn the_arguments_of_a_model_become_a_request() {
    let request: CreateGeneration = example::request(
        r#"{ "prompt": "a duck", "model": "of-tomorrow", "style": null, "image_ref": [{ "url": "https://e.com/x.png", "data": null }] }"#,
    )
    .unwrap();
    assert_eq!(request.model, Some(Model::Unknown("of-tomorrow".to_owned())));
    assert_eq!(request.image_ref, [MediaRef::url("https://e.com/x.png").unwrap()]);
}

#[test]
fn invalid_arguments_give_one_line_that_says_where_they_are_wrong() {
    for (arguments, message) in [
        ("a duck", "this is not JSON: expected value at line 1 column 1"),
        ("{}", "missing field `prompt`"),
        (r#"{"prompt": "a"} and more"#, "this is not JSON: trailing characters at line 1 column 17"),
        (r#"{"prompt": 7}"#, "`prompt`: invalid type: integer `7`, expected a string"),
        (r#"{"prompt": ""}"#, "`prompt`: shorter than 1 characters"),
        (r#"{"prompt": "a", "aspectRatio": "1:1"}"#, "there is no field `aspectRatio`; did you mean `aspect_ratio`?"),
        (r#"{"prompt": "a", "video": {"fps": 24}}"#, "there is no field `video.fps`; there are `"),
        (
            r#"{"prompt": "a", "video": {"keyframes": [{"file_id": "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"}, {}]}}"#,
            "`video.keyframes[1]`: expected exactly one of `url`, `data`, `generation_id`, `file_id`, found none",
        ),
        (r#"{"prompt": "a", "source": {"data": "AA=="}}"#, "`source`: missing field `media_type`"),
        (
            r#"{"prompt": "a", "video": {"keyframe_indexes": [0, 241]}}"#,
            "video.keyframe_indexes.1: 241 is greater than the maximum of 240",
        ),
    ] {
        let problem = example::request(arguments).unwrap_err();
        assert!(problem.starts_with(message), "{arguments}: {problem}");
        assert!(!problem.contains('\n'), "{problem}");
    }
}
