//! JSON Schema of the wire types (feature `schemars`): structure comes from the types, limits from
//! the API's document, which knows more of them than types can hold.

use schemars::{Schema, json_schema, transform::Transform};
use serde_json::{Map, Value};

use super::document;

const LIMITS: [&str; 6] = ["minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems"];

/// Adds the limits found at a place in the document.
pub(crate) struct Limits(pub(crate) &'static str);

impl Transform for Limits {
    fn transform(&mut self, schema: &mut Schema) {
        if let (Some(schema), Some(documented)) = (schema.as_object_mut(), document::schemas().pointer(self.0)) {
            limit(schema, documented);
        }
    }
}

fn limit(schema: &mut Map<String, Value>, documented: &Value) {
    for key in LIMITS {
        if let Some(limit) = documented.get(key) {
            schema.insert(key.to_owned(), limit.clone());
        }
    }
    // OpenAPI 3.0 says with a flag what JSON Schema says with a number.
    if documented["exclusiveMinimum"] == true
        && let Some(limit) = schema.remove("minimum")
    {
        schema.insert("exclusiveMinimum".to_owned(), limit);
    }
    if let Some(items) = schema.get_mut("items").and_then(Value::as_object_mut) {
        limit(items, &documented["items"]);
    }
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, property) in properties {
            if let Some(property) = property.as_object_mut() {
                limit(property, &documented["properties"][name]);
            }
        }
    }
}

/// Offers the values known today and takes any other, as the type does.
pub(crate) fn open_enum<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Schema {
    json_schema!({
        "description": document::schema(name)["description"],
        "anyOf": [
            { "type": "string", "enum": known.collect::<Vec<_>>() },
            { "type": "string", "description": "A value that is newer than this list." },
        ],
    })
}

/// A text with a format, in the place where it is used.
macro_rules! text {
    ($name:ident, $schema:tt) => {
        impl schemars::JsonSchema for super::scalar::$name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

text!(Url, { "type": "string", "format": "uri" });
text!(Base64, { "type": "string", "contentEncoding": "base64" });
text!(Secret, { "type": "string" });
