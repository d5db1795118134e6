//! JSON Schema of the schemas in an `OpenAPI` 3.0 document.
//!
//! `OpenAPI` 3.0 builds on draft 4 of JSON Schema, so only two things are translated: `nullable`, which
//! draft 4 does not have, and unknown fields, which the document leaves open and the emulator rejects.

use jsonschema::{Draft, Registry, RegistryBuilder, Validator};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// What JSON Schema has no use for. Without it, equal schemas are equal.
const ANNOTATIONS: [&str; 5] = ["nullable", "default", "description", "example", "title"];

/// Where the named schemas are, for validators.
const NAMED: &str = "urn:named";

pub(super) struct Schemas<'a> {
    document: &'a Value,
    /// Whether fields that the document does not have are accepted.
    unknown_fields: bool,
    /// The named schemas, each also in a form that accepts null.
    named: Registry<'static>,
}

impl<'d> Schemas<'d> {
    pub(super) fn new(document: &'d Value, unknown_fields: bool) -> Result<Self, String> {
        let nothing = Registry::new().prepare().map_err(|e| e.to_string())?;
        let mut schemas = Self { document, unknown_fields, named: nothing };
        let named = |nullable| -> Map<String, Value> {
            let named = entries(&document["components"]["schemas"]);
            named.map(|(name, schema)| (name.clone(), schemas.convert(schema, nullable))).collect()
        };
        let named = json!({ "plain": named(false), "nullable": named(true) });
        let registry = Registry::new().draft(Draft::Draft4).add(NAMED, named).and_then(RegistryBuilder::prepare);
        schemas.named = registry.map_err(|e| e.to_string())?;
        Ok(schemas)
    }

    /// What a `$ref` leads to, or the node itself.
    pub(super) fn resolve<'a>(&'a self, node: &'a Value) -> &'a Value {
        match node["$ref"].as_str().and_then(|it| it.strip_prefix('#')) {
            Some(pointer) => self.document.pointer(pointer).map_or(&Value::Null, |it| self.resolve(it)),
            None => node,
        }
    }

    /// The schema with all that it consists of, as one.
    pub(super) fn merged(&self, schema: &Value) -> Value {
        let parts = self.parts(schema);
        let keywords = parts.into_iter().rev().flat_map(entries);
        keywords.map(|(keyword, value)| (keyword.clone(), value.clone())).collect()
    }

    /// The fields of an object, each with its schema.
    pub(super) fn properties<'a>(&'a self, schema: &'a Value) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.parts(schema).into_iter().flat_map(|part| entries(&part["properties"]))
    }

    /// The schema and those that it consists of, by `$ref` and `allOf`.
    fn parts<'a>(&'a self, schema: &'a Value) -> Vec<&'a Value> {
        let schema = self.resolve(schema);
        let mut parts = vec![schema];
        parts.extend(items(&schema["allOf"]).flat_map(|it| self.parts(it)));
        parts
    }

    /// Compiles a schema of the document.
    pub(super) fn validator(&self, schema: &Value) -> Result<Validator, String> {
        jsonschema::options()
            .with_draft(Draft::Draft4)
            .with_registry(&self.named)
            .should_validate_formats(true)
            .with_format("uuid", |text: &str| uuid(text).is_some())
            .build(&self.place(schema))
            .map_err(|e| format!("{e}, at {}", e.instance_path()))
    }

    /// A schema where a value stands: a body, a field, an item. An object there has no other fields than
    /// those of the schema.
    fn place(&self, schema: &Value) -> Value {
        let converted = self.convert(schema, false);
        let Some(fields) = self.fields(schema) else { return converted };
        let mut object = json!({ "type": ["object", "null"], "properties": fields });
        if !self.unknown_fields {
            object["additionalProperties"] = json!(false);
        }
        json!({ "allOf": [converted, object] })
    }

    /// The fields that an object by this schema may have; `None` if any. Those of alternatives have their
    /// schema, so that a wrong one is named instead of no alternative being found.
    fn fields(&self, schema: &Value) -> Option<Map<String, Value>> {
        let open = |part: &Value| !matches!(part.get("additionalProperties"), None | Some(Value::Bool(false)));
        let mut fields = Map::new();
        let mut declared = false;
        for part in self.parts(schema) {
            if open(part) {
                return None;
            }
            declared |= part.get("properties").or(part.get("additionalProperties")).is_some();
            fields.extend(entries(&part["properties"]).map(|(name, _)| (name.clone(), json!({}))));
            for choice in items(&part["oneOf"]).chain(items(&part["anyOf"])) {
                if self.parts(choice).into_iter().any(open) {
                    return None;
                }
                for (name, field) in self.properties(choice) {
                    let field = self.convert(field, true);
                    match fields.get(name) {
                        Some(other) if *other != field => fields.insert(name.clone(), json!({})),
                        _ => fields.insert(name.clone(), field),
                    };
                }
            }
        }
        (declared || !fields.is_empty()).then_some(fields)
    }

    fn convert(&self, schema: &Value, nullable: bool) -> Value {
        if let Some(reference) = schema["$ref"].as_str() {
            let form = if nullable { "nullable" } else { "plain" };
            return json!({ "$ref": reference.replacen("#/components/schemas", &format!("{NAMED}#/{form}"), 1) });
        }
        let nullable = nullable || schema["nullable"] == true;
        let mut converted = Map::new();
        for (keyword, value) in entries(schema).filter(|(keyword, _)| !ANNOTATIONS.contains(&keyword.as_str())) {
            let value = match (keyword.as_str(), value) {
                ("type", _) if nullable => json!([value, "null"]),
                ("enum", Value::Array(values)) if nullable => values.iter().chain([&Value::Null]).cloned().collect(),
                ("properties", _) => entries(value).map(|(name, it)| (name.clone(), self.place(it))).collect(),
                // Where a value stands, `fields` closes the object.
                ("additionalProperties", Value::Bool(false)) => continue,
                ("items" | "additionalProperties", Value::Object(_)) => self.place(value),
                ("allOf", _) => items(value).map(|it| self.convert(it, nullable)).collect(),
                ("oneOf" | "anyOf", _) => self.alternatives(schema, value, nullable),
                ("not", _) => self.convert(value, false),
                _ => value.clone(),
            };
            converted.insert(keyword.clone(), value);
        }
        Value::Object(converted)
    }

    /// A closed alternative accepts null for the fields of the others: the service takes it as absent.
    fn alternatives(&self, schema: &Value, choices: &Value, nullable: bool) -> Value {
        let all = self.fields(schema).unwrap_or_default();
        let alternatives = items(choices).map(|choice| {
            let own = self.fields(choice).unwrap_or_default();
            let closed = self.parts(choice).iter().any(|part| part["additionalProperties"] == false);
            let others = all.keys().filter(|name| closed && !own.contains_key(*name));
            let others: Map<_, _> = others.map(|name| (name.clone(), json!({ "type": "null" }))).collect();
            json!({ "allOf": [self.convert(choice, false), { "properties": others }] })
        });
        alternatives.chain(nullable.then(|| json!({ "type": "null" }))).collect()
    }
}

/// A UUID in its canonical form, the only one that the service takes.
pub(super) fn uuid(text: &str) -> Option<Uuid> {
    let mut canonical = Uuid::encode_buffer();
    let is_canonical = |id: &Uuid| id.hyphenated().encode_lower(&mut canonical).eq_ignore_ascii_case(text);
    text.parse().ok().filter(is_canonical)
}

pub(super) fn entries(node: &Value) -> impl Iterator<Item = (&String, &Value)> {
    node.as_object().into_iter().flatten()
}

pub(super) fn items(node: &Value) -> impl Iterator<Item = &Value> {
    node.as_array().into_iter().flatten()
}
