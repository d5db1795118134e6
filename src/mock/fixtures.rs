//! Bodies for mocks. Each is complete and valid; change the fields that a test is about.

use std::time::SystemTime;

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::document::Document;
use crate::types::{Error, File, FileState, Generation, GenerationFailureCode, GenerationState};

/// The id of every [`generation`] and [`file`] made here.
const ID: &str = "d290f1ee-6c54-4b01-90e6-d701748f0851";

/// An image in this state, submitted now: with an output if completed, with a code if failed. Its id is
/// always the same.
#[must_use]
#[expect(clippy::needless_pass_by_value, reason = "callers name a state, they have none to lend")]
pub fn generation(state: GenerationState) -> Generation {
    let output = json!({ "type": "image", "url": "https://storage.example.com/image.png?X-Amz-Expires=3600" });
    let outputs: Vec<_> = (state == GenerationState::Completed).then_some(output).into_iter().collect();
    let failed = state == GenerationState::Failed;
    example(
        "Generation",
        json!({
            "id": ID,
            "created_at": DateTime::<Utc>::from(SystemTime::now()).to_rfc3339(),
            "model": "uni-1",
            "type": "image",
            "state": state,
            "output": outputs,
            "failure_code": failed.then_some("generation_failed"),
            "failure_reason": failed.then_some("Generation failed"),
        }),
    )
}

/// An image that failed with this code.
#[must_use]
pub fn failed_generation(code: GenerationFailureCode) -> Generation {
    Generation { failure_code: Some(code), ..generation(GenerationState::Failed) }
}

/// An uploaded image in this state. Its id is always the same.
#[must_use]
#[expect(clippy::needless_pass_by_value, reason = "callers name a state, they have none to lend")]
pub fn file(state: FileState) -> File {
    example(
        "File",
        json!({
            "id": ID,
            "created_at": "2026-06-23T12:00:00Z",
            "deleted_at": (state == FileState::Deleted).then_some("2026-06-24T12:00:00Z"),
            "failure_reason": (state == FileState::Failed).then_some("The file could not be decoded"),
            "filename": "in.png",
            "mime_type": "image/png",
            "purpose": "input",
            "size_bytes": 1024,
            "state": state,
        }),
    )
}

/// The example of this schema in the document, with these fields instead: what the document adds is in it.
#[allow(clippy::panic, reason = "only if the examples in openapi.yaml are wrong, which the contract tests show")]
fn example<T: DeserializeOwned>(schema: &str, fields: Value) -> T {
    let value = Document::built_in(false).map(|document| serde_json::from_value(document.value(schema, fields)));
    match value {
        Ok(Ok(value)) => value,
        Ok(Err(error)) => panic!("the example of {schema} in openapi.yaml: {error}"),
        Err(error) => panic!("{error}"),
    }
}

/// The body of an error.
#[must_use]
pub fn error(detail: &str) -> Error {
    Error::of(detail.into())
}
