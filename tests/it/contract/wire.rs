//! The generated types, by the names of their schemas.

use luma_agents::types;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Result, Value, json};

/// Decodes JSON into a type and encodes the result.
pub(crate) type Recode = fn(&Value) -> Result<Value>;

fn recode<T: DeserializeOwned + Serialize>(value: &Value) -> Result<Value> {
    serde_json::to_value(serde_json::from_str::<T>(&value.to_string())?)
}

macro_rules! table {
    ($($name:ident)*) => { &[$((stringify!($name), recode::<types::$name>)),*] };
}

const STRUCTS: &[(&str, Recode)] = table! {
    CreateFile CreateFileResponse CreateGeneration DataRef DepthControl Error FaceControl File FilePage FileRef
    Generation GenerationOutput GenerationRef Layer LayerBounds LayeringOptions MediaRef NormalsControl PoseControl
    PresignedUpload SourcePosition TrajectoryControl UrlRef VideoEditControls VideoEditOptions VideoOptions
};

const ENUMS: &[(&str, Recode)] = table! {
    AspectRatio FilePurpose FileState GenerationFailureCode GenerationState GenerationType LayeringResolution Model
    OutputFormat PoseStrength Style VideoDuration VideoEditStrength VideoResolution
};

/// A multipart form with bytes is not JSON and has no type.
pub(crate) const WITHOUT_TYPE: &str = "CreateFileMultipart";

pub(crate) fn by_name(name: &str) -> Recode {
    let found = STRUCTS.iter().chain(ENUMS).find(|(it, _)| *it == name);
    found.unwrap_or_else(|| panic!("add `{name}` to the tables in tests/it/contract/wire.rs")).1
}

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    STRUCTS.iter().chain(ENUMS).map(|(name, _)| *name)
}

/// Decodes a value as the type of `schema`, and encodes it again.
pub(crate) fn recode_as(schema: &Value, value: &Value) -> Result<Value> {
    if let Some(name) = crate::support::document::reference(schema) {
        return by_name(name)(value);
    }
    match (schema["type"].as_str(), schema["format"].as_str()) {
        (Some("string"), Some("uuid")) => recode::<uuid::Uuid>(value),
        (Some("string"), None) => recode::<String>(value),
        (Some("integer"), _) => recode::<i64>(value),
        _ => panic!("no type for {schema}"),
    }
}

/// Fields that are omitted when they are empty; the service treats both forms alike.
pub(crate) const OMITTED_IF_EMPTY: [(&str, &str); 2] =
    [("CreateGeneration", "image_ref"), ("PresignedUpload", "headers")];

/// The form of a value after decoding and encoding: without nulls and without the fields above if they
/// are empty. Every number is a float, so that 1 equals 1.0.
pub(crate) fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, value)| {
                let is_empty = **value == json!([]) || **value == json!({});
                let is_omitted = is_empty && OMITTED_IF_EMPTY.iter().any(|(_, it)| it == name);
                !value.is_null() && !is_omitted
            })
            .map(|(name, value)| (name.clone(), canonical(value)))
            .collect(),
        Value::Array(items) => items.iter().map(canonical).collect(),
        Value::Number(number) => number.as_f64().into(),
        _ => value.clone(),
    }
}
