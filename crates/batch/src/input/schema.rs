//! Whether a body is a request of the API: its fields, types, values and limits, as the SDK has them from the
//! API's document.

use std::{borrow::Cow, collections::BTreeSet};

use jsonschema::{ValidationError, Validator, error::ValidationErrorKind as Kind, paths::LocationSegment};
use luma_agents::types::CreateGeneration;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    line::{has_local, replace_local},
    problem::{Code, Problem},
};

/// How alike an unknown name and a known one must be for a typo.
const SIMILAR: f64 = 0.6;

/// The check of bodies, compiled once.
#[derive(Debug)]
pub(super) struct Schema {
    validator: Validator,
    /// The names of all fields.
    names: BTreeSet<String>,
}

impl Schema {
    /// With `takes_unknown`, also fields and values that are newer than the document.
    pub(super) fn new(takes_unknown: bool) -> Result<Self, String> {
        let mut schema = schemars::schema_for!(CreateGeneration).to_value();
        let mut names = BTreeSet::new();
        if !takes_unknown {
            close(&mut schema, &mut names);
        }
        let validator = jsonschema::options().build(&schema).map_err(|e| e.to_string())?;
        Ok(Self { validator, names })
    }

    /// What is wrong with a body.
    pub(super) fn problems(&self, number: u64, body: &Value) -> Vec<Problem> {
        let mut body = Cow::Borrowed(body);
        if has_local(&body) {
            replace_local(body.to_mut(), &mut |_| Uuid::nil());
        }
        if self.validator.is_valid(&body) {
            return Vec::new();
        }
        let mut problems: Vec<_> = self.validator.iter_errors(&body).flat_map(|it| explain(number, &it)).collect();
        for problem in problems.iter_mut().filter(|it| it.code == Code::UnknownParameter) {
            let name = problem.param.as_deref().and_then(|it| it.rsplit('.').next()).unwrap_or_default();
            if let Some(nearest) = self.nearest(name) {
                problem.message = format!("the API has no such field; did you mean {nearest}?");
            }
        }
        problems
    }

    fn nearest(&self, name: &str) -> Option<&str> {
        let similar = |it: &str| strsim::normalized_damerau_levenshtein(name, it);
        let nearest = self.names.iter().map(|it| (similar(it), it)).max_by(|a, b| a.0.total_cmp(&b.0));
        nearest.filter(|(similarity, _)| *similarity >= SIMILAR).map(|(_, name)| name.as_str())
    }
}

/// Takes only what the document has: the SDK's types also take fields and values that are newer than they are.
fn close(schema: &mut Value, names: &mut BTreeSet<String>) {
    if let Some(object) = schema.as_object_mut() {
        if let Some(properties) = object.get("properties").and_then(Value::as_object) {
            names.extend(properties.keys().cloned());
            object.insert("additionalProperties".to_owned(), Value::Bool(false));
        }
        if let Some(known) = known_values(object) {
            object.remove("anyOf");
            object.insert("enum".to_owned(), known);
        }
    }
    match schema {
        Value::Object(fields) => fields.values_mut().for_each(|it| close(it, names)),
        Value::Array(items) => items.iter_mut().for_each(|it| close(it, names)),
        _ => {}
    }
}

/// The known values of an open enum.
fn known_values(schema: &Map<String, Value>) -> Option<Value> {
    match schema.get("anyOf")?.as_array()?.as_slice() {
        [known, any] if any["type"] == "string" && any.get("enum").is_none() => known.get("enum").cloned(),
        _ => None,
    }
}

fn explain(number: u64, error: &ValidationError<'_>) -> Vec<Problem> {
    let at = param(error);
    let problem = |param: String, code, message: String| Problem::new(number, param, code, message);
    let invalid = |message: String| vec![problem(at.clone(), Code::InvalidValue, message)];
    match error.kind() {
        Kind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            vec![problem(format!("{at}.{name}"), Code::MissingRequiredParameter, "it is required".to_owned())]
        }
        Kind::AdditionalProperties { unexpected } => {
            let message = "the API has no such field".to_owned();
            unexpected.iter().map(|it| problem(format!("{at}.{it}"), Code::UnknownParameter, message.clone())).collect()
        }
        Kind::Enum { options } => {
            let texts = options.as_array().into_iter().flatten().filter_map(Value::as_str);
            invalid(format!("it must be one of {}", texts.collect::<Vec<_>>().join(", ")))
        }
        Kind::Type { .. } => invalid("it has the wrong type".to_owned()),
        Kind::MinLength { limit: 1 } => invalid("it must not be empty".to_owned()),
        Kind::MinLength { limit } => invalid(format!("it must have at least {limit} characters")),
        Kind::MaxLength { limit } => invalid(format!("it must have at most {limit} characters")),
        Kind::MinItems { limit } => invalid(format!("it must have at least {limit} items")),
        Kind::MaxItems { limit } => invalid(format!("it must have at most {limit} items")),
        Kind::Minimum { limit } => invalid(format!("it must be at least {limit}")),
        Kind::Maximum { limit } => invalid(format!("it must be at most {limit}")),
        Kind::ExclusiveMinimum { limit } => invalid(format!("it must be above {limit}")),
        Kind::OneOfNotValid { .. } | Kind::OneOfMultipleValid { .. } | Kind::AnyOf { .. } => {
            alternatives(number, at, error)
        }
        _ => invalid("the API does not take this value".to_owned()),
    }
}

/// A medium, or something that may be null.
fn alternatives(number: u64, at: String, error: &ValidationError<'_>) -> Vec<Problem> {
    let contexts = match error.kind() {
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => context.as_slice(),
        _ => &[],
    };
    // What is not null is meant to be the alternative that is an object or a value.
    let is_null = |errors: &Vec<ValidationError<'_>>| {
        errors
            .iter()
            .any(|it| matches!(it.kind(), Kind::Type { .. }) && it.schema_path().to_string().ends_with("/type"))
    };
    if let [meant, null] = contexts
        && is_null(null)
    {
        return meant.iter().flat_map(|it| explain(number, it)).collect();
    }
    let message =
        "a medium is exactly one of url, data with media_type, generation_id, file_id, or path of a local file";
    vec![Problem::new(number, at, Code::InvalidMedia, message)]
}

/// The place of an error: `body.image_ref[2].url`.
fn param(error: &ValidationError<'_>) -> String {
    let mut param = "body".to_owned();
    for segment in error.instance_path() {
        match segment {
            LocationSegment::Property(name) => param += &format!(".{name}"),
            LocationSegment::Index(index) => param += &format!("[{index}]"),
        }
    }
    param
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems(body: &Value) -> Vec<String> {
        let problems = Schema::new(false).unwrap().problems(1, body);
        let mut problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        problems.sort_unstable();
        problems
    }

    #[test]
    fn requests_of_the_document_pass() {
        for body in [
            json!({"prompt": "a"}),
            json!({"prompt": "a", "aspect_ratio": null, "source": null, "user_id": null, "video": null}),
            json!({"prompt": "a", "type": "image_edit", "source": {"path": "a.png"}, "image_ref": [{"path": "b.png"}]}),
            json!({"prompt": "a", "model": "ray-3.2", "type": "video_edit",
                "source": {"url": "https://example.com/a.mp4", "media_type": "video/mp4"},
                "video": {"resolution": "720p", "edit": {"controls": {"depth": {"blur": 0.5}}}}}),
            json!({"prompt": "a", "video": {"keyframes": [{"file_id": Uuid::nil()}], "keyframe_indexes": [240]}}),
        ] {
            assert_eq!(problems(&body), [""; 0], "{body}");
        }
    }

    #[test]
    fn everything_that_the_document_does_not_allow_is_named_with_its_place() {
        for (body, expected) in [
            (json!({}), vec!["line 1: missing_required_parameter: body.prompt: it is required"]),
            (json!({"prompt": ""}), vec!["line 1: invalid_value: body.prompt: it must not be empty"]),
            (
                json!({"prompt": "a".repeat(6001)}),
                vec!["line 1: invalid_value: body.prompt: it must have at most 6000 characters"],
            ),
            (json!({"prompt": 7}), vec!["line 1: invalid_value: body.prompt: it has the wrong type"]),
            (
                json!({"prompt": "a", "model": "uni-9", "colour": "red", "outptu_format": "png"}),
                vec![
                    "line 1: invalid_value: body.model: it must be one of uni-1, uni-1-max, ray-3.2",
                    "line 1: unknown_parameter: body.colour: the API has no such field",
                    "line 1: unknown_parameter: body.outptu_format: the API has no such field; did you mean output_format?",
                ],
            ),
            (
                json!({"prompt": "a", "image_ref": vec![json!({"file_id": Uuid::nil()}); 10]}),
                vec!["line 1: invalid_value: body.image_ref: it must have at most 9 items"],
            ),
            (
                json!({"prompt": "a", "video": {"resolution": "8k"}}),
                vec!["line 1: invalid_value: body.video.resolution: it must be one of 360p, 540p, 720p, 1080p"],
            ),
            (
                json!({"prompt": "a", "video": {"source_position": {"x_norm": 3, "y_norm": 0, "w_norm": 0, "h_norm": 1}}}),
                vec![
                    "line 1: invalid_value: body.video.source_position.w_norm: it must be above 0",
                    "line 1: invalid_value: body.video.source_position.x_norm: it must be at most 2",
                ],
            ),
            (
                json!({"prompt": "a", "image_ref": [{"url": "https://x/y", "data": "QUJD"}]}),
                vec![
                    "line 1: invalid_media: body.image_ref[0]: a medium is exactly one of url, data with media_type, \
                     generation_id, file_id, or path of a local file",
                ],
            ),
        ] {
            assert_eq!(problems(&body), expected);
        }
    }

    #[test]
    fn what_is_newer_than_the_document_passes_if_it_is_asked_for() {
        let body = json!({"prompt": "a", "model": "uni-2", "seed": 7, "video": {"fps": 24, "resolution": "8k"}});
        assert_eq!(problems(&body).len(), 4);
        let open = Schema::new(true).unwrap();
        assert_eq!(open.problems(1, &body), []);
        assert_eq!(open.problems(1, &json!({"seed": 7})).len(), 1, "what the document has is still checked");
    }

    #[test]
    fn a_problem_quotes_nothing_of_the_request() {
        let secret = "a prompt that nobody may see";
        for body in [
            json!({"prompt": [secret]}),
            json!({"prompt": "a", "model": secret}),
            json!({"prompt": "a", "source": {"url": secret, "data": secret}}),
        ] {
            assert!(problems(&body).iter().all(|it| !it.contains(secret)));
        }
    }
}
