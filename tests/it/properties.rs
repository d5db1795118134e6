//! For any input, decoding never panics, invents nothing, and loses nothing.
//!
//! `PROPTEST_CASES` sets the number of cases; the default is 256.

use luma_agents::types::{CreateFileResponse, File, FilePage, Generation, GenerationOutput, GenerationState};
use proptest::{collection::vec, prelude::*, sample::Index};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Number, Value, json};

use crate::support::valid;

/// Any JSON, which often contains names and values of the API.
fn any_json() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        "[a-z_]{0,8}",
        proptest::sample::select(vec!["id", "state", "output", "url", "data", "detail", "loc", "msg", "layer"])
            .prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|it| Number::from_f64(it).map_or(Value::Null, Value::Number)),
        any::<String>().prop_map(Value::from),
        Just(json!(valid::ID)),
        Just(json!(valid::signed_url())),
    ];
    leaf.prop_recursive(3, 24, 6, move |inner| {
        let object = vec((name.clone(), inner.clone()), 0..6);
        prop_oneof![
            vec(inner, 0..6).prop_map(Value::from),
            object.prop_map(|it| Value::from(it.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// JSON pointers to all values inside a value.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, inner)| places(inner, &format!("{at}/{name}"), found)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, inner)| places(inner, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

/// The bytes of a valid payload, with a few values replaced and a few bytes changed.
fn mutated(valid: Value) -> impl Strategy<Value = Vec<u8>> {
    let edits = vec((any::<Index>(), any_json()), 0..3);
    let byte_edits = vec((any::<Index>(), any::<u8>()), 0..2);
    (edits, byte_edits).prop_map(move |(edits, byte_edits)| {
        let mut value = valid.clone();
        for (place, other) in edits {
            let mut found = Vec::new();
            places(&value, "", &mut found);
            *value.pointer_mut(&found[place.index(found.len())]).unwrap() = other;
        }
        let mut bytes = serde_json::to_vec(&value).unwrap();
        for (place, byte) in byte_edits {
            let at = place.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

fn bytes_like(valid: Value) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => mutated(valid),
        1 => any_json().prop_map(|it| serde_json::to_vec(&it).unwrap()),
        1 => vec(any::<u8>(), 0..64),
    ]
}

/// Decodes a body and encodes it again. `None` if it cannot be decoded.
fn recoded<T: DeserializeOwned + Serialize + std::fmt::Debug>(body: &[u8]) -> Option<Value> {
    let value: T = serde_json::from_slice(body).ok()?;
    let _ = format!("{value:?}");
    serde_json::to_value(value).ok()
}

/// A second round of decoding and encoding changes nothing: no value is lost.
fn is_stable<T: DeserializeOwned + Serialize + std::fmt::Debug>(body: &[u8]) -> Result<(), TestCaseError> {
    if let Some(once) = recoded::<T>(body) {
        let bytes = serde_json::to_vec(&once).unwrap();
        prop_assert_eq!(recoded::<T>(&bytes), Some(once));
    }
    Ok(())
}

fn layered() -> Value {
    let bounds = json!({ "x": 2, "y": 4, "width": 6, "height": 3, "canvas_width": 10, "canvas_height": 10 });
    let layer = json!({ "index": 0, "label": "car", "description": "red", "alpha_hint": "hard", "bounds": bounds });
    let mut generation = valid::generation(valid::ID, "completed");
    generation["output"][0]["layer"] = layer;
    generation
}

proptest! {
    #[test]
    fn a_generation_decodes_or_is_an_error(body in bytes_like(layered())) {
        is_stable::<Generation>(&body)?;
    }

    #[test]
    fn an_output_decodes_or_is_an_error(body in bytes_like(layered()["output"][0].clone())) {
        is_stable::<GenerationOutput>(&body)?;
    }

    #[test]
    fn a_file_decodes_or_is_an_error(body in bytes_like(valid::file())) {
        is_stable::<File>(&body)?;
    }

    #[test]
    fn a_page_of_files_decodes_or_is_an_error(body in bytes_like(valid::file_page())) {
        is_stable::<FilePage>(&body)?;
    }

    #[test]
    fn the_response_to_a_new_file_decodes_or_is_an_error(body in bytes_like(valid::created_file())) {
        is_stable::<CreateFileResponse>(&body)?;
    }

    #[test]
    fn an_unknown_value_is_kept(state in any::<String>(), model in any::<String>()) {
        let mut body = valid::generation(valid::ID, "queued");
        body["state"] = json!(state);
        body["model"] = json!(model);
        let read = recoded::<Generation>(body.to_string().as_bytes()).unwrap();
        prop_assert_eq!((&read["state"], &read["model"]), (&body["state"], &body["model"]));
        let parsed = GenerationState::from(state.as_str());
        prop_assert_eq!(parsed.as_str(), state);
    }
}
