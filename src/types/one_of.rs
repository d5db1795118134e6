//! Decodes a `oneOf` of the API by the one field that names the alternative, so that the error about a
//! wrong one says what is wrong with it. `build.rs` writes the `Deserialize` that uses this.

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error},
};
use serde_json::{Map, Value};

/// An object that has exactly one of the fields which tell the alternatives apart.
pub(crate) struct TaggedObject {
    fields: Map<String, Value>,
    tags: &'static [&'static str],
}

impl TaggedObject {
    /// A null counts as absent, as everywhere in this API.
    pub(crate) fn read<'de, D: Deserializer<'de>>(
        deserializer: D,
        tags: &'static [&'static str],
    ) -> Result<Self, D::Error> {
        let mut fields = Map::deserialize(deserializer)?;
        fields.retain(|_, value| !value.is_null());
        let object = Self { fields, tags };
        if object.tags.iter().filter(|tag| object.has(tag)).count() == 1 { Ok(object) } else { Err(object.no_match()) }
    }

    pub(crate) fn has(&self, tag: &str) -> bool {
        self.fields.contains_key(tag)
    }

    pub(crate) fn decode<T: DeserializeOwned, E: Error>(self) -> Result<T, E> {
        T::deserialize(Value::Object(self.fields)).map_err(E::custom)
    }

    /// Names of fields only: values may be secrets.
    pub(crate) fn no_match<E: Error>(&self) -> E {
        let quoted = |names: Vec<&str>| format!("`{}`", names.join("`, `"));
        let found: Vec<_> = self.tags.iter().copied().filter(|tag| self.has(tag)).collect();
        let found = if found.is_empty() { "none".to_owned() } else { quoted(found) };
        E::custom(format_args!("expected exactly one of {}, found {found}", quoted(self.tags.to_vec())))
    }
}
