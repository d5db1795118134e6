//! Checks HTTP exchanges against `openapi.yaml`, independently of the generated code.

use http::{HeaderMap, Method, StatusCode};
use serde_json::{Map, Value};

use super::document::{DOCUMENT, Operation, object, operations, resolve, violations};

/// One request and its response, as sent over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) method: Method,
    /// Below the base URL.
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) request_headers: HeaderMap,
    pub(crate) request_body: Vec<u8>,
    pub(crate) status: StatusCode,
    pub(crate) response_headers: HeaderMap,
    pub(crate) response_body: Vec<u8>,
}

/// Asserts that every request and response conforms to the document. Panics with all violations.
#[track_caller]
pub(crate) fn assert_conforms(exchanges: &[Exchange]) {
    assert!(!exchanges.is_empty(), "there is nothing to check");
    let problems: Vec<_> = exchanges.iter().flat_map(problems).collect();
    assert!(problems.is_empty(), "not as openapi.yaml says:\n{}", problems.join("\n"));
}

/// The violations in an exchange.
pub(crate) fn problems(it: &Exchange) -> Vec<String> {
    let mut problems = check_request(&it.method, &it.path, &it.query, &it.request_headers, &it.request_body);
    problems.extend(check_response(&it.method, &it.path, it.status, &it.response_headers, &it.response_body));
    problems.into_iter().map(|problem| format!("{} {}: {problem}", it.method, it.path)).collect()
}

/// The violations in a request.
pub(crate) fn check_request(method: &Method, path: &str, query: &str, headers: &HeaderMap, body: &[u8]) -> Vec<String> {
    let Some((operation, in_path)) = find(method, path) else { return vec!["there is no such operation".to_owned()] };
    let mut problems = Vec::new();
    let url = reqwest::Url::parse(&format!("http://localhost/?{query}")).unwrap();
    let in_query: Vec<_> = url.query_pairs().into_owned().filter(|(name, _)| !name.is_empty()).collect();
    for (place, given) in [("path", &in_path), ("query", &in_query)] {
        for (name, value) in given {
            match operation.parameters().find(|it| it["in"] == place && it["name"] == **name) {
                Some(parameter) => {
                    let value = typed(&parameter["schema"], value);
                    problems.extend(violations(&parameter["schema"], &value).into_iter().map(|e| format!("{name}{e}")));
                }
                None => problems.push(format!("`{name}` is no parameter in the {place}")),
            }
        }
        for parameter in operation.parameters().filter(|it| it["in"] == place && it["required"] == true) {
            if !given.iter().any(|(name, _)| parameter["name"] == **name) {
                problems.push(format!("the parameter {} is missing", parameter["name"]));
            }
        }
    }
    problems.extend(check_request_headers(headers));
    problems.extend(check_request_body(&operation, headers, body));
    problems
}

/// The document defines one request header; the others are plain HTTP.
fn check_request_headers(headers: &HeaderMap) -> Vec<String> {
    const PLAIN: [&str; 8] = [
        "accept",
        "accept-encoding",
        "authorization",
        "content-length",
        "content-type",
        "host",
        "transfer-encoding",
        "user-agent",
    ];
    let mut problems = Vec::new();
    if !text(headers, "authorization").is_some_and(|it| it.starts_with("Bearer luma-api-")) {
        problems.push("there is no `Authorization: Bearer luma-api-…`".to_owned());
    }
    for name in headers.keys().map(http::HeaderName::as_str) {
        if !PLAIN.contains(&name) && name != "x-request-id" {
            problems.push(format!("the header `{name}` is not in the document"));
        }
    }
    problems
}

fn check_request_body(operation: &Operation, headers: &HeaderMap, body: &[u8]) -> Vec<String> {
    let content = &operation.node["requestBody"]["content"];
    if content.is_null() {
        return if body.is_empty() { Vec::new() } else { vec!["there is a body".to_owned()] };
    }
    let content_type = text(headers, "content-type").unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default();
    let Some(schema) = content.get(essence).map(|it| &it["schema"]) else {
        return vec![format!("`{content_type}` is no media type of the request")];
    };
    let body = match essence {
        "application/json" => serde_json::from_slice(body).map_err(|e| e.to_string()),
        _ => form(content_type, body),
    };
    match body {
        Ok(body) => violations(schema, &body).into_iter().map(|e| format!("request{e}")).collect(),
        Err(e) => vec![format!("the request cannot be read: {e}")],
    }
}

/// The violations in a response.
pub(crate) fn check_response(
    method: &Method,
    path: &str,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> Vec<String> {
    let Some((operation, _)) = find(method, path) else { return vec!["there is no such operation".to_owned()] };
    let Some(response) = operation.node["responses"].get(status.as_str()).map(resolve) else {
        return vec![format!("{status} is not in the document")];
    };
    let mut problems = Vec::new();
    for (name, header) in object(&DOCUMENT["components"]["headers"]) {
        let Some(value) = text(headers, name) else { continue };
        if response["headers"].get(name).is_none() {
            problems.push(format!("{status} has no header `{name}`"));
        }
        let value = typed(&header["schema"], value);
        problems.extend(violations(&header["schema"], &value).into_iter().map(|e| format!("{name}{e}")));
    }
    let content = &response["content"];
    if content.is_null() {
        if !body.is_empty() {
            problems.push(format!("{status} has a body"));
        }
        return problems;
    }
    let content_type = text(headers, "content-type").unwrap_or_default();
    match (content.get(content_type.split(';').next().unwrap_or_default()), serde_json::from_slice(body)) {
        (None, _) => problems.push(format!("{status} is `{content_type}`")),
        (_, Err(e)) => problems.push(format!("{status} cannot be read: {e}")),
        (Some(content), Ok(body)) => {
            problems.extend(violations(&content["schema"], &body).into_iter().map(|e| format!("{status}{e}")));
        }
    }
    problems
}

/// The operation, and the values of its path parameters.
fn find(method: &Method, path: &str) -> Option<(Operation, Vec<(String, String)>)> {
    operations().filter(|it| it.method == method.as_str()).find_map(|operation| {
        let (template, path): (Vec<_>, Vec<_>) = (operation.path.split('/').collect(), path.split('/').collect());
        let mut values = Vec::new();
        for (expected, given) in template.iter().zip(&path) {
            match expected.strip_prefix('{').and_then(|it| it.strip_suffix('}')) {
                Some(name) => values.push((name.to_owned(), (*given).to_owned())),
                None if expected == given => {}
                None => return None,
            }
        }
        (template.len() == path.len()).then_some((operation, values))
    })
}

/// Converts a text to the type that the schema requires.
fn typed(schema: &'static Value, text: &str) -> Value {
    match resolve(schema)["type"].as_str() {
        Some("integer" | "number" | "boolean") => text.parse().unwrap_or_else(|_| text.into()),
        _ => text.into(),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("(not a text)"))
}

/// The parts of a multipart form, each as a text.
fn form(content_type: &str, body: &[u8]) -> Result<Value, String> {
    let boundary = content_type.split_once("boundary=").ok_or("it has no boundary")?.1;
    let body = String::from_utf8_lossy(body);
    let mut parts = Map::new();
    for part in body.split(&format!("--{boundary}")).filter(|part| part.contains("\r\n\r\n")) {
        let (head, value) = part.split_once("\r\n\r\n").ok_or("a part has no end of its head")?;
        let name = head.split(" name=\"").nth(1).and_then(|it| it.split('"').next()).ok_or("a part has no name")?;
        if name == "file" && !head.to_lowercase().contains("content-type: ") {
            return Err("the part `file` does not say what it is".to_owned());
        }
        parts.insert(name.to_owned(), value.trim_end_matches("\r\n").into());
    }
    Ok(Value::Object(parts))
}
