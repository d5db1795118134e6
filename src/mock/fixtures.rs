//! Bodies for mocks. Each is complete and valid; change the fields that a test is about.

use std::time::SystemTime;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::types::{
    Error, File, FilePurpose, FileState, Generation, GenerationFailureCode, GenerationOutput, GenerationState,
    GenerationType, Model, Url,
};

/// The id of every [`generation`] and [`file`] made here.
const ID: Uuid = Uuid::from_u128(0xd290_f1ee_6c54_4b01_90e6_d701_748f_0851);

/// An image in this state, submitted now: with an output if completed, with a code if failed. Its id is
/// always the same.
#[must_use]
pub fn generation(state: GenerationState) -> Generation {
    let url = Url::try_from("https://storage.example.com/image.png?X-Amz-Expires=3600").ok();
    let output =
        url.filter(|_| state == GenerationState::Completed).map(|url| GenerationOutput::of("image".to_owned(), url));
    let failed = state == GenerationState::Failed;
    let created_at = DateTime::<Utc>::from(SystemTime::now()).to_rfc3339();
    Generation {
        output: Some(output.into_iter().collect()),
        failure_code: failed.then_some(GenerationFailureCode::GenerationFailed),
        failure_reason: failed.then(|| "Generation failed".to_owned()),
        ..Generation::of(created_at, ID, Model::Uni1, state, GenerationType::Image)
    }
}

/// An image that failed with this code.
#[must_use]
pub fn failed_generation(code: GenerationFailureCode) -> Generation {
    Generation { failure_code: Some(code), ..generation(GenerationState::Failed) }
}

/// An uploaded image in this state. Its id is always the same.
#[must_use]
pub fn file(state: FileState) -> File {
    let time = |seconds| DateTime::from_timestamp(seconds, 0).unwrap_or_default();
    File {
        filename: Some("in.png".to_owned()),
        deleted_at: (state == FileState::Deleted).then(|| time(1_782_298_800)),
        failure_reason: (state == FileState::Failed).then(|| "The file could not be decoded".to_owned()),
        ..File::of(time(1_782_212_400), ID, "image/png".to_owned(), FilePurpose::Input, 1024, state)
    }
}

/// The body of an error.
#[must_use]
pub fn error(detail: &str) -> Error {
    Error::of(detail.into())
}
