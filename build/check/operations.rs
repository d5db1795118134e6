//! Operations: their paths, parameters, requests and responses.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    Keywords,
    Shape::{Any, Bool, List, Object, Text},
    check_keywords, schemas,
};
use crate::{
    Result,
    node::Node,
    walk::{operations, parameters},
};

const PATH: &Keywords = &[
    ("delete", Object),
    ("description", Text),
    ("get", Object),
    ("head", Object),
    ("parameters", List),
    ("patch", Object),
    ("post", Object),
    ("put", Object),
    ("summary", Text),
];
const OPERATION: &Keywords = &[
    ("deprecated", Bool),
    ("description", Text),
    ("externalDocs", Object),
    ("operationId", Text),
    ("parameters", List),
    ("requestBody", Object),
    ("responses", Object),
    ("security", List),
    ("summary", Text),
    ("tags", List),
];
const PARAMETER: &Keywords = &[
    ("allowEmptyValue", Bool),
    ("allowReserved", Bool),
    ("deprecated", Bool),
    ("description", Text),
    ("example", Any),
    ("examples", Object),
    ("explode", Bool),
    ("in", Text),
    ("name", Text),
    ("required", Bool),
    ("schema", Object),
    ("style", Text),
];
const BODY: &Keywords = &[("content", Object), ("description", Text), ("required", Bool)];
const RESPONSE: &Keywords = &[("content", Object), ("description", Text), ("headers", Object), ("links", Object)];
const CONTENT: &Keywords = &[("example", Any), ("examples", Object), ("schema", Object)];

/// Headers that the client sets itself.
const OWN_HEADERS: [&str; 7] =
    ["accept", "accept-encoding", "authorization", "content-length", "content-type", "user-agent", "x-request-id"];

pub(super) fn check(document: &Node<'_>) -> Result<()> {
    let paths = document.get("paths");
    if !paths.value.is_object() {
        return Err(paths.refuse("is missing; write the operations there"));
    }
    for (path, item) in paths.fields() {
        check_keywords(&item, "a path", &[PATH])?;
        template(path, &item)?;
    }
    for (path, item, operation) in operations(document) {
        check_keywords(&operation, "an operation", &[OPERATION])?;
        let id = operation.get("operationId");
        if id.text().is_none_or(str::is_empty) {
            return Err(id.refuse("is missing; name the operation, as in `get_generation`"));
        }
        let mut names = BTreeSet::new();
        for parameter in parameters(&item, &operation)? {
            self::parameter(path, &parameter)?;
            if !names.insert(parameter.get("name").text()) {
                return Err(parameter
                    .get("name")
                    .refuse(&format!("stands twice in {}; rename one", operation.pointer)));
            }
        }
        for name in template(path, &item)? {
            if !names.contains(&Some(name)) {
                return Err(operation.refuse(&format!("has no parameter for `{{{name}}}` of its path; define it")));
            }
        }
        request(&operation)?;
        responses(&operation)?;
    }
    Ok(())
}

/// The names in the braces of a path.
fn template<'a>(path: &'a str, item: &Node<'_>) -> Result<Vec<&'a str>> {
    let mut names = Vec::new();
    let mut constant = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}').filter(|(name, _)| !name.is_empty()) else {
            return Err(item.refuse("has a brace that is not closed, or nothing in it; correct the path"));
        };
        if names.contains(&name) {
            return Err(item.refuse(&format!("has `{{{name}}}` twice; rename one")));
        }
        constant += before;
        names.push(name);
        rest = after;
    }
    constant += rest;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/-_.~:".contains(c);
    if !path.starts_with('/') || path.contains("//") || !constant.chars().all(is_plain) {
        return Err(item.refuse("is no path; begin with one slash, and use letters, digits and `-_.~:`"));
    }
    Ok(names)
}

fn parameter(path: &str, node: &Node<'_>) -> Result<()> {
    check_keywords(node, "a parameter", &[PARAMETER])?;
    let (name, place, schema) = (node.get("name"), node.get("in"), node.get("schema"));
    let Some(text) = name.text().filter(|name| !name.is_empty()) else {
        return Err(name.refuse("is missing; name the parameter"));
    };
    if !schema.exists() {
        return Err(schema.refuse("is missing; say what the parameter holds"));
    }
    schemas::used(&schema)?;
    let (style, lists) = match place.text() {
        Some("path") if !path.contains(&format!("{{{text}}}")) => {
            return Err(name.refuse(&format!("`{text}` is not in braces in {path}; correct one of them")));
        }
        Some("path") if node.get("required").value != true => {
            return Err(node.get("required").refuse("has to be true, since a path without it is another path; add it"));
        }
        Some("query") => ("form", true),
        Some("header") if OWN_HEADERS.contains(&text.to_ascii_lowercase().as_str()) => {
            return Err(name.refuse("is a header that the client sets itself; remove the parameter"));
        }
        Some("header") if !text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') => {
            return Err(name.refuse("is no name of a header; use letters, digits and `-`"));
        }
        Some("path" | "header") => ("simple", false),
        _ => return Err(place.refuse("is no place that a parameter can be sent in; write path, query or header")),
    };
    for (key, usual) in [("style", Value::from(style)), ("explode", Value::from(style == "form"))] {
        let said = node.get(key);
        if said.exists() && *said.value != usual {
            return Err(said.refuse(&format!("is not sent so; write {usual} or remove it")));
        }
    }
    match schema.follow("schemas")?.get("type").text() {
        Some("string" | "integer" | "number" | "boolean") => Ok(()),
        Some("array") if lists => match schema.follow("schemas")?.get("items").follow("schemas")?.get("type").text() {
            Some("string" | "integer" | "number" | "boolean") => Ok(()),
            _ => Err(schema.get("items").refuse("cannot be sent in a list; use texts, numbers or booleans")),
        },
        _ => Err(schema.refuse("cannot be sent as a parameter there; use a text, a number or a boolean")),
    }
}

fn request(operation: &Node<'_>) -> Result<()> {
    let body = operation.get("requestBody");
    if !body.exists() {
        return Ok(());
    }
    let body = body.follow("requestBodies")?;
    check_keywords(&body, "a request", &[BODY])?;
    let json = body.get("content").get("application/json");
    if !json.exists() {
        return Err(json.refuse("is missing, and is the one form that can be sent; add it"));
    }
    check_keywords(&json, "a JSON form", &[CONTENT])?;
    let schema = json.get("schema");
    schemas::used(&schema)?;
    let target = schema.follow("schemas")?;
    if !schema.get("$ref").exists() || !(target.get("properties").exists() || target.get("oneOf").exists()) {
        return Err(schema.refuse("has to refer to an object in /components/schemas; define it there"));
    }
    Ok(())
}

fn responses(operation: &Node<'_>) -> Result<()> {
    let responses = operation.get("responses");
    let mut success: Option<(Node<'_>, Node<'_>)> = None;
    for (status, place) in responses.fields().filter(|(status, _)| !status.starts_with("x-")) {
        let is_status = |text: &str| {
            let (class, rest) = text.split_at_checked(1).unwrap_or_default();
            ("2"..="5").contains(&class) && (rest == "XX" || rest.len() == 2 && rest.parse::<u8>().is_ok())
        };
        if status != "default" && !is_status(status) {
            return Err(place.refuse(&format!("`{status}` is no status; write one such as 200, 4XX or default")));
        }
        let response = place.follow("responses")?;
        check_keywords(&response, "a response", &[RESPONSE])?;
        if !response.get("description").exists() {
            return Err(response.get("description").refuse("is missing, which OpenAPI does not allow; add one"));
        }
        let content = response.get("content");
        let json = content.get("application/json");
        if json.exists() {
            check_keywords(&json, "a JSON form", &[CONTENT])?;
            if !json.get("schema").exists() {
                return Err(json.get("schema").refuse("is missing; say what the response holds"));
            }
            schemas::used(&json.get("schema"))?;
        }
        if !status.starts_with('2') {
            continue;
        }
        if !json.exists() && content.fields().next().is_some() {
            return Err(content.refuse("holds no application/json, the one form that can be read; add it"));
        }
        match &success {
            Some((first, schema)) if schema.value != json.get("schema").value => {
                return Err(place.refuse(&format!("is another success than {}; make them the same", first.pointer)));
            }
            Some(_) => {}
            None => success = Some((place, json.get("schema"))),
        }
    }
    match success {
        Some(_) => Ok(()),
        None => Err(responses.refuse("holds no success; add a response with a status such as 200")),
    }
}
