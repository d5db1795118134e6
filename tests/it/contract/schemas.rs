//! The derived `JsonSchema` of a type agrees with its schema in the document.

use std::collections::BTreeSet;

use luma_agents::types;
use schemars::{JsonSchema, schema_for};
use serde_json::{Map, Value, json};

use super::wire::{WITHOUT_TYPE, names};
use crate::support::document::{
    DOCUMENT, examples, json_schema, list, object, reference, resolve, schemas, violations,
};

fn derived<T: JsonSchema>() -> Value {
    schema_for!(T).to_value()
}

macro_rules! table {
    ($($name:ident)*) => { &[$((stringify!($name), derived::<types::$name> as Derive)),*] };
}

type Derive = fn() -> Value;

const TYPES: &[(&str, Derive)] = table! {
    CreateFile CreateFileResponse CreateGeneration DataRef DepthControl Error FaceControl File FilePage FileRef
    Generation GenerationOutput GenerationRef Layer LayerBounds LayeringOptions MediaRef NormalsControl PoseControl
    PresignedUpload SourcePosition TrajectoryControl UrlRef VideoEditControls VideoEditOptions VideoOptions
    AspectRatio FilePurpose FileState GenerationFailureCode GenerationState GenerationType LayeringResolution Model
    OutputFormat PoseStrength Style VideoDuration VideoEditStrength VideoResolution
};

#[test]
fn every_type_has_a_json_schema() {
    assert_eq!(TYPES.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>(), names().collect());
}

/// A schema in the form that both sides share: references are resolved; nulls (optional fields always
/// accept them), descriptions and number formats are removed.
fn reduced(schema: &Value, definitions: &Value) -> Value {
    if let Some(name) = reference(schema) {
        return reduced(&definitions[name], definitions);
    }
    let mut fields: Map<String, Value> = schema.as_object().cloned().unwrap_or_default();
    fields.retain(|key, _| {
        !["$schema", "$defs", "components", "title", "description", "default"].contains(&key.as_str())
    });
    if let Some(Value::Array(types)) = fields.get("type") {
        let rest: Vec<_> = types.iter().filter(|it| **it != "null").cloned().collect();
        fields.insert("type".to_owned(), rest[0].clone());
    }
    if let Some(Value::Array(values)) = fields.get_mut("enum") {
        values.retain(|it| !it.is_null());
    }
    match fields.get("format").and_then(Value::as_str) {
        Some("byte") => {
            fields.remove("format");
            fields.insert("contentEncoding".to_owned(), json!("base64"));
        }
        Some("password" | "int64" | "uint64" | "uint" | "float" | "double") => drop(fields.remove("format")),
        _ => {}
    }
    for key in ["minimum", "maximum", "exclusiveMinimum"] {
        if let Some(limit) = fields.get_mut(key) {
            *limit = json!(limit.as_f64());
        }
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        let Some(Value::Array(all)) = fields.remove(key) else { continue };
        let all: Vec<_> = all.iter().filter(|it| it["type"] != "null").map(|it| reduced(it, definitions)).collect();
        match all.as_slice() {
            [only] => fields.extend(only.as_object().unwrap().clone()),
            // An open enum is one of its known values or any other text.
            [known, any] if known.get("enum").is_some() && *any == json!({ "type": "string" }) => {
                fields.extend(known.as_object().unwrap().clone());
            }
            _ => {
                // Each alternative has its own type.
                fields.remove("type");
                fields.insert("oneOf".to_owned(), all.into());
            }
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner @ Value::Object(_)) = fields.get_mut(key) {
            *inner = reduced(inner, definitions);
        }
    }
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        properties.values_mut().for_each(|it| *it = reduced(it, definitions));
    }
    if let Some(Value::Array(required)) = fields.get_mut("required") {
        required.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    }
    // The document leaves objects open without saying so.
    if fields.contains_key("properties") {
        fields.entry("additionalProperties").or_insert(Value::Bool(false));
    }
    if *schema == Value::Bool(true) { json!({}) } else { Value::Object(fields) }
}

#[test]
fn derived_schemas_and_the_document_agree() {
    let documented: Value = schemas().map(|(name, it)| (name.clone(), json_schema(it))).collect::<Map<_, _>>().into();
    for (name, derived) in TYPES {
        let derived = derived();
        let (of_type, of_document) = (reduced(&derived, &derived["$defs"]), reduced(&documented[name], &documented));
        for (field, documented) in of_document["properties"].as_object().into_iter().flatten() {
            assert_eq!(of_type["properties"][field], *documented, "{name}.{field}");
        }
        assert_eq!(of_type, of_document, "{name}");
    }
}

#[test]
fn derived_schemas_accept_every_example() {
    for example in examples() {
        let Some(name) = reference(example.schema).filter(|it| *it != WITHOUT_TYPE) else { continue };
        let Some((_, derived)) = TYPES.iter().find(|(it, _)| *it == name) else { continue };
        let problem =
            jsonschema::validator_for(&derived()).unwrap().validate(example.value).err().map(|e| e.to_string());
        assert_eq!(problem, None, "{}", example.place);
    }
}

#[test]
fn derived_schemas_enforce_the_limits_of_the_document() {
    let schema = jsonschema::validator_for(&derived::<types::CreateGeneration>()).unwrap();
    let refs = |count| vec![json!({ "url": "https://e.com/x.png" }); count];
    for (request, fits) in [
        (json!({ "prompt": "a" }), true),
        (json!({ "prompt": "" }), false),
        (json!({ "prompt": "ä".repeat(6000) }), true),
        (json!({ "prompt": "ä".repeat(6001) }), false),
        (json!({}), false),
        (json!({ "prompt": "a", "model": "of-tomorrow" }), true),
        (json!({ "prompt": "a", "model": 9 }), false),
        (json!({ "prompt": "a", "user_id": "u".repeat(257) }), false),
        (json!({ "prompt": "a", "image_ref": refs(9) }), true),
        (json!({ "prompt": "a", "image_ref": refs(10) }), false),
        (json!({ "prompt": "a", "source": {} }), false),
        (json!({ "prompt": "a", "video": { "keyframe_indexes": [240] } }), true),
        (json!({ "prompt": "a", "video": { "keyframe_indexes": [241] } }), false),
        (json!({ "prompt": "a", "video": { "keyframe_indexes": [] } }), false),
        (
            json!({ "prompt": "a", "video": { "source_position": { "x_norm": 0, "y_norm": 0, "w_norm": 0, "h_norm": 1 } } }),
            false,
        ),
    ] {
        assert_eq!(schema.is_valid(&request), fits, "{request}");
    }
}

#[test]
fn a_derived_schema_has_the_descriptions_of_the_document() {
    let schema = derived::<types::CreateGeneration>();
    for (field, node) in object(&resolve(&DOCUMENT["components"]["schemas"]["CreateGeneration"])["properties"]) {
        let text = |node: &Value| node["description"].as_str().map(str::trim).unwrap_or_default().to_owned();
        let derived = &schema["properties"][field];
        if node.get("description").is_some() {
            let words = |it: &str| it.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(words(&text(derived)), words(&text(node)), "{field}");
        }
    }
    let model = schema["$defs"]["Model"]["description"].as_str().unwrap();
    for value in list(&DOCUMENT["components"]["schemas"]["Model"]["enum"]) {
        assert!(model.contains(&format!("`{}`: ", value.as_str().unwrap())), "{value}");
    }
    assert_eq!(violations(&json!({ "$ref": "#/components/schemas/Model" }), &json!("of-tomorrow")).len(), 1);
}
