//! A job ended badly: a generation that failed, a file that cannot be used.

use std::fmt;

use crate::{
    types::{File, Generation, GenerationFailureCode},
    util::redact,
};

/// A value of the service for `Debug`: its free texts may hold anything.
pub(super) struct Redacted<'a, T>(pub(super) &'a T);

impl<T: fmt::Debug> fmt::Debug for Redacted<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if f.alternate() { format!("{:#?}", self.0) } else { format!("{:?}", self.0) };
        f.write_str(&redact::scrub(&text))
    }
}

/// A generation ended in `failed`.
#[non_exhaustive]
pub struct GenerationFailed {
    /// The generation as the service last sent it.
    pub generation: Generation,
}

impl GenerationFailed {
    /// Why, for programs. `None` if the service did not say.
    #[must_use]
    pub fn code(&self) -> Option<&GenerationFailureCode> {
        self.generation.failure_code.as_ref()
    }

    /// Why, for people: its wording changes, never match on it.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.generation.failure_reason.as_deref()
    }
}

impl fmt::Debug for GenerationFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GenerationFailed").field("generation", &Redacted(&self.generation)).finish()
    }
}

impl fmt::Display for GenerationFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "generation {} failed", self.generation.id)?;
        if let Some(code) = self.code() {
            write!(f, ": {}", redact::excerpt(code.as_str()))?;
        }
        if let Some(reason) = self.reason() {
            write!(f, ": {}", redact::excerpt(reason).trim_end_matches('.'))?;
        }
        write!(f, "; {}", self.code().map_or("contact support with this id", GenerationFailureCode::advice))
    }
}

/// The service could not use an uploaded file.
#[non_exhaustive]
pub struct FileFailed {
    /// The file as the service last sent it.
    pub file: File,
}

impl fmt::Debug for FileFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileFailed").field("file", &Redacted(&self.file)).finish()
    }
}

impl fmt::Display for FileFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file {} is {}", self.file.id, redact::excerpt(self.file.state.as_str()))?;
        if let Some(reason) = &self.file.failure_reason {
            write!(f, ": {}", redact::excerpt(reason).trim_end_matches('.'))?;
        }
        f.write_str("; upload another one")
    }
}
