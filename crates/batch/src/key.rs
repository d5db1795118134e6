//! What a job is known by: the batch, and its id in the input.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use crate::error::{Error, Result};

/// What a job is known by in a ledger: the batch and the `custom_id` of its line.
///
/// Under one key at most one job is paid for, unless an earlier one is known not to exist or to have failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Key {
    /// The batch, as the first `run` line of its journal names it.
    pub batch: Uuid,
    /// The id of the line.
    pub custom_id: CustomId,
}

impl Key {
    /// The key of a line of a batch.
    #[must_use]
    pub fn new(batch: Uuid, custom_id: CustomId) -> Self {
        Self { batch, custom_id }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.custom_id.fmt(f)
    }
}

/// The id of a line of the input: 1 to 64 of `[A-Za-z0-9._-]`, the first a letter or a digit.
///
/// It names files, so two ids of a batch must differ also without case: see [`folded`](Self::folded).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct CustomId(Box<str>);

impl CustomId {
    /// The longest id, in bytes.
    pub const MAX: usize = 64;

    /// Checks an id.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] if it has another form.
    pub fn new(id: impl AsRef<str>) -> Result<Self> {
        Self::check(id.as_ref())?;
        Ok(Self(id.as_ref().into()))
    }

    /// As [`new`](Self::new), without a copy.
    pub(crate) fn from_text(id: String) -> Result<Self> {
        Self::check(&id)?;
        Ok(Self(id.into_boxed_str()))
    }

    fn check(id: &str) -> Result<()> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let first = id.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if first && id.len() <= Self::MAX && id.bytes().all(allowed) {
            return Ok(());
        }
        let shown: String = id.chars().take(Self::MAX).collect();
        Err(Error::invalid_input(format!(
            "the custom_id {shown:?} cannot be used: take 1 to 64 of A-Z a-z 0-9 . _ -, the first a letter or digit"
        )))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id in lower case: where this is equal, files would share a name on some systems.
    #[must_use]
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl fmt::Display for CustomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for CustomId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for CustomId {
    type Err = Error;

    fn from_str(id: &str) -> Result<Self> {
        Self::new(id)
    }
}

impl<'de> Deserialize<'de> for CustomId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let id = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::new(id).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_a_file_on_every_system() {
        for good in ["a", "7", "sku-001", "A.b_c-9", &"x".repeat(64)] {
            assert_eq!(CustomId::new(good).unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "-a", "_a", "a b", "a/b", "a~2", "ä", "a\n", &"x".repeat(65)] {
            assert!(CustomId::new(bad).is_err(), "{bad:?}");
            assert!(serde_json::from_value::<CustomId>(bad.into()).is_err(), "{bad:?}");
        }
    }
}
