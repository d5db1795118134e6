//! Fields of a request that the document does not have yet.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Fields that go flat into the object that holds this.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Extra(BTreeMap<String, Value>);

impl Extra {
    /// A name that has a setter would stand in the object twice.
    pub(crate) fn with(mut self, name: String, value: Value, known: &[&str]) -> Result<Self, String> {
        if known.contains(&name.as_str()) {
            return Err(format!("`{name}` has a setter of its own: use that instead of `extra`"));
        }
        self.0.insert(name, value);
        Ok(self)
    }
}
