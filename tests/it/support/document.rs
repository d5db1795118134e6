//! `openapi.yaml` as written, without the changes of `build.rs`.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

pub(crate) static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| yaml_serde::from_str(include_str!("../../../openapi.yaml")).unwrap());

/// The target of a `$ref`, or the node itself.
pub(crate) fn resolve(node: &'static Value) -> &'static Value {
    match node["$ref"].as_str() {
        Some(reference) => {
            resolve(DOCUMENT.pointer(&reference[1..]).unwrap_or_else(|| panic!("{reference} is missing")))
        }
        None => node,
    }
}

/// The last part of a `$ref`.
pub(crate) fn reference(node: &Value) -> Option<&str> {
    node["$ref"].as_str().and_then(|it| it.rsplit('/').next())
}

pub(crate) fn object(node: &'static Value) -> impl Iterator<Item = (&'static String, &'static Value)> {
    node.as_object().into_iter().flatten()
}

pub(crate) fn list(node: &'static Value) -> impl Iterator<Item = &'static Value> {
    node.as_array().into_iter().flatten()
}

pub(crate) fn schemas() -> impl Iterator<Item = (&'static String, &'static Value)> {
    object(&DOCUMENT["components"]["schemas"])
}

pub(crate) struct Operation {
    pub(crate) id: &'static str,
    pub(crate) method: String,
    pub(crate) path: &'static str,
    pub(crate) node: &'static Value,
}

impl Operation {
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &'static Value> {
        list(&self.node["parameters"]).map(resolve)
    }
}

pub(crate) fn operations() -> impl Iterator<Item = Operation> {
    object(&DOCUMENT["paths"]).flat_map(|(path, item)| {
        object(item).map(move |(method, node)| Operation {
            id: node["operationId"].as_str().unwrap(),
            method: method.to_uppercase(),
            path,
            node,
        })
    })
}

pub(crate) struct Example {
    /// Where it is in the document, for messages.
    pub(crate) place: String,
    pub(crate) schema: &'static Value,
    pub(crate) value: &'static Value,
}

/// Every example in the document.
pub(crate) fn examples() -> Vec<Example> {
    let mut found = Vec::new();
    for (name, schema) in schemas() {
        // The example of a schema is inside the schema; its uses do not matter.
        let whole: &'static Value = Box::leak(Box::new(json!({ "$ref": format!("#/components/schemas/{name}") })));
        if let Some(value) = schema.get("example") {
            found.push(Example { place: format!("schema {name}"), schema: whole, value });
        }
    }
    for operation in operations() {
        let id = operation.id;
        in_content(&format!("{id}, request"), &operation.node["requestBody"], &mut found);
        for parameter in list(&operation.node["parameters"]) {
            in_value(&format!("{id}, parameter {}", parameter["name"]), parameter, &mut found);
        }
        for (status, response) in object(&operation.node["responses"]) {
            in_content(&format!("{id}, {status}"), response, &mut found);
        }
    }
    for (name, response) in object(&DOCUMENT["components"]["responses"]) {
        in_content(&format!("response {name}"), response, &mut found);
    }
    for kind in ["parameters", "headers"] {
        for (name, node) in object(&DOCUMENT["components"][kind]) {
            in_value(&format!("{kind} {name}"), node, &mut found);
        }
    }
    found
}

fn in_content(place: &str, node: &'static Value, found: &mut Vec<Example>) {
    for (media_type, content) in object(&node["content"]) {
        for (name, example) in object(&content["examples"]) {
            let place = format!("{place}, {media_type}, {name}");
            found.push(Example { place, schema: &content["schema"], value: &example["value"] });
        }
    }
}

fn in_value(place: &str, node: &'static Value, found: &mut Vec<Example>) {
    if let Some(value) = node.get("example") {
        found.push(Example { place: place.to_owned(), schema: &node["schema"], value });
    }
}

/// The violations of `schema` in `value`, each with its place. A field that is not in the document is
/// a violation too.
pub(crate) fn violations(schema: &Value, value: &Value) -> Vec<String> {
    let validator = validator(schema);
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

pub(crate) fn validator(schema: &Value) -> jsonschema::Validator {
    static COMPONENTS: LazyLock<Value> = LazyLock::new(|| {
        let schemas = schemas().map(|(name, schema)| (name.clone(), json_schema(schema)));
        json!({ "schemas": Value::Object(schemas.collect()) })
    });
    let mut whole = json_schema(schema);
    whole["components"] = COMPONENTS.clone();
    jsonschema::options()
        .should_validate_formats(true)
        .with_format("byte", |text: &str| {
            let text = text.trim_end_matches('=');
            text.chars().all(|c| c.is_ascii_alphanumeric() || "+/".contains(c))
        })
        .build(&whole)
        .unwrap()
}

/// Converts a schema of `OpenAPI` 3.0 to JSON Schema.
pub(crate) fn json_schema(schema: &Value) -> Value {
    let mut fields: Map<String, Value> = Map::new();
    for (key, value) in schema.as_object().into_iter().flatten() {
        let value = match (key.as_str(), value) {
            ("example" | "nullable" | "default" | "description", _)
            | ("exclusiveMinimum" | "exclusiveMaximum", Value::Bool(_)) => continue,
            ("properties", Value::Object(properties)) => {
                properties.iter().map(|(name, it)| (name.clone(), json_schema(it))).collect()
            }
            ("items" | "additionalProperties", Value::Object(_)) => json_schema(value),
            ("allOf" | "oneOf" | "anyOf", Value::Array(all)) => all.iter().map(json_schema).collect(),
            _ => value.clone(),
        };
        fields.insert(key.clone(), value);
    }
    for (limit, flag) in [("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")] {
        if schema[flag] == true {
            let limit = fields.remove(limit).unwrap();
            fields.insert(flag.to_owned(), limit);
        }
    }
    if fields.contains_key("properties") && !fields.contains_key("additionalProperties") {
        fields.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    if schema["nullable"] == true { json!({ "anyOf": [{ "type": "null" }, fields] }) } else { Value::Object(fields) }
}
