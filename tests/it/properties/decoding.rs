//! Decoding a type by itself invents nothing and loses nothing.

use luma_agents::types::{CreateFileResponse, File, FilePage, Generation, GenerationOutput, GenerationState};
use proptest::{collection::vec, prelude::*, sample::Index};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{any_json, layered, places};
use crate::support::valid;

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
