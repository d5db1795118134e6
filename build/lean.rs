//! The third step: lean copies of the document, which hold only what progenitor and typify make good of.
//!
//! Left out are error responses of the client, so that every failure keeps its status, headers and body;
//! defaults, so that an absent field stays absent; what would be a closed enum; limits of what the service
//! sends; and limits that would need a type of their own without a good name.

use std::collections::BTreeSet;

use openapiv3::OpenAPI;
use serde_json::{Map, Value, json};

use crate::{
    Result,
    node::Node,
    walk::{children, is_form, operations, parameters},
};

const JSON: &str = "application/json";

pub(crate) struct Lean {
    pub(crate) client: OpenAPI,
    pub(crate) mocks: OpenAPI,
}

pub(crate) fn copy(document: &Node<'_>) -> Result<Lean> {
    let received = received(document)?;
    let mut schemas = Map::new();
    for (name, schema) in document.components("schemas").fields().filter(|(_, schema)| !is_form(schema)) {
        let limits = if received.contains(name) { Limits::None } else { Limits::All };
        schemas.insert(name.to_owned(), self::schema(&schema, limits));
    }
    let whole = |mocks: bool| {
        let whole = json!({
            "openapi": "3.0.3",
            "info": {
                "title": document.get("info").get("title").value,
                "version": document.get("info").get("version").value,
                "description": prose(&document.get("info").get("description")),
            },
            "paths": paths(document, mocks)?,
            "components": { "schemas": schemas },
        });
        serde_json::from_value(whole).map_err(|e| document.refuse(&format!("is not OpenAPI 3.0: {e}")))
    };
    Ok(Lean { client: whole(false)?, mocks: whole(true)? })
}

/// The schemas that the service sends.
fn received<'a>(document: &Node<'a>) -> Result<BTreeSet<&'a str>> {
    let mut open = Vec::new();
    for (_, _, operation) in operations(document) {
        for (_, response) in operation.get("responses").fields() {
            open.push(response.follow("responses")?.get("content").get(JSON).get("schema"));
        }
    }
    let mut found = BTreeSet::new();
    while let Some(schema) = open.pop() {
        open.extend(children(&schema));
        if let Some(name) = schema.reference("schemas")
            && found.insert(name)
        {
            open.push(schema.follow("schemas")?);
        }
    }
    Ok(found)
}

/// Which limits the types hold values to.
#[derive(Clone, Copy)]
enum Limits {
    None,
    Numbers,
    All,
}

fn schema(node: &Node<'_>, limits: Limits) -> Value {
    if let Some(name) = node.get("$ref").text() {
        return json!({ "$ref": name });
    }
    let mut lean = keep(node, &["type", "format", "nullable", "required"]);
    describe(node, &mut lean);
    match (node.get("type").text(), limits) {
        (Some("integer"), Limits::Numbers | Limits::All) => {
            let mut limits = keep(node, &["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]);
            limits.retain(|_, limit| !limit.is_number() || limit.is_i64());
            lean.extend(limits);
        }
        // A format is a type of its own, without limits.
        (Some("string"), Limits::All) if !node.get("format").exists() => {
            lean.extend(keep(node, &["minLength", "maxLength"]));
        }
        _ => {}
    }
    let inner = match limits {
        Limits::None => Limits::None,
        Limits::Numbers | Limits::All => Limits::Numbers,
    };
    let properties =
        node.get("properties").fields().map(|(name, property)| (name.to_owned(), schema(&property, limits)));
    let properties: Map<_, _> = properties.collect();
    if !properties.is_empty() {
        lean.insert("properties".to_owned(), properties.into());
    }
    for key in ["allOf", "oneOf"] {
        if node.get(key).exists() {
            lean.insert(key.to_owned(), node.get(key).items().map(|it| schema(&it, inner)).collect());
        }
    }
    for key in ["items", "additionalProperties"] {
        let child = node.get(key);
        if child.value.is_object() {
            lean.insert(key.to_owned(), schema(&child, inner));
        } else if child.value == false && !matches!(limits, Limits::None) {
            lean.insert(key.to_owned(), false.into());
        }
    }
    lean.into()
}

fn paths(document: &Node<'_>, mocks: bool) -> Result<Value> {
    let mut paths = json!({});
    for (path, item, operation) in operations(document) {
        let mut lean = keep(&operation, &["operationId", "summary"]);
        describe(&operation, &mut lean);
        let mut arguments = Vec::new();
        for parameter in parameters(&item, &operation)? {
            let schema = schema(&parameter.get("schema"), Limits::Numbers);
            // The mocks compare the text of a parameter; a list has none.
            if mocks && parameter.get("schema").follow("schemas")?.get("type").value == "array" {
                continue;
            }
            let mut lean = keep(&parameter, &["name", "in", "required"]);
            describe(&parameter, &mut lean);
            lean.insert("schema".to_owned(), schema);
            arguments.push(Value::from(lean));
        }
        lean.insert("parameters".to_owned(), arguments.into());
        let body = operation.get("requestBody");
        if body.exists() {
            let body = body.follow("requestBodies")?;
            let mut request = json!({ "required": true, "content": json_form(&body) });
            request["description"] = prose(&body.get("description"));
            lean.insert("requestBody".to_owned(), request);
        }
        let responses = if mocks { mock_responses(&operation)? } else { client_responses(&operation)? };
        lean.insert("responses".to_owned(), responses.into());
        let method = operation.pointer.rsplit('/').next().unwrap_or_default();
        paths[path][method] = lean.into();
    }
    Ok(paths)
}

/// One response, the success, under any 2xx status.
fn client_responses(operation: &Node<'_>) -> Result<Map<String, Value>> {
    let responses = operation.get("responses");
    let success = responses.fields().find(|(status, _)| status.starts_with('2'));
    success.map(|(_, response)| Ok(("2XX".to_owned(), response_of(&response)?))).into_iter().collect()
}

/// All responses whose status has a name, since a mock's method is called so.
fn mock_responses(operation: &Node<'_>) -> Result<Map<String, Value>> {
    let is_named = |status: &str| match status.parse() {
        Ok(status) => http::StatusCode::from_u16(status).is_ok_and(|status| status.canonical_reason().is_some()),
        Err(_) => !status.starts_with("x-"),
    };
    let responses = operation.get("responses");
    let named = responses.fields().filter(|(status, _)| is_named(status));
    named.map(|(status, response)| Ok((status.to_owned(), response_of(&response)?))).collect()
}

fn response_of(place: &Node<'_>) -> Result<Value> {
    Ok(json!({ "description": "", "content": json_form(&place.follow("responses")?) }))
}

fn json_form(node: &Node<'_>) -> Value {
    let json = node.get("content").get(JSON);
    if json.exists() { json!({ JSON: { "schema": schema(&json.get("schema"), Limits::Numbers) } }) } else { json!({}) }
}

fn keep(node: &Node<'_>, keys: &[&str]) -> Map<String, Value> {
    let kept = keys.iter().map(|key| (*key, node.get(key))).filter(|(_, value)| value.exists());
    kept.map(|(key, value)| (key.to_owned(), value.value.clone())).collect()
}

fn describe(node: &Node<'_>, lean: &mut Map<String, Value>) {
    let description = node.get("description");
    if description.exists() {
        lean.insert("description".to_owned(), prose(&description));
    }
}

/// A description as documentation. rustdoc takes code without a language for Rust, and would run it.
fn prose(description: &Node<'_>) -> Value {
    let Some(text) = description.text() else { return Value::Null };
    let mut lines = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        let fence = line.trim_start().starts_with("```");
        lines.push(if fence && !in_code && matches!(line.trim(), "```" | "```rust") {
            line.replace("```rust", "```").replace("```", "```text")
        } else if in_code || fence || !line.starts_with("    ") {
            line.to_owned()
        } else {
            // Four spaces would be code as well.
            format!("   {}", line.trim_start())
        });
        in_code ^= fence;
    }
    (lines.join("\n") + if text.ends_with('\n') { "\n" } else { "" }).into()
}
