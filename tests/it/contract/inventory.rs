//! Everything in the document, one line each: `inventory.txt`.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::support::{
    document::{DOCUMENT, list, object, operations, reference, schemas},
    snapshot::assert_snapshot,
};

/// A removal from the document removes a line from the inventory.
#[test]
fn the_document_holds_what_the_inventory_says() {
    let mut text = String::new();
    for operation in operations() {
        writeln!(text, "{} {} {}", operation.method, operation.path, operation.id).unwrap();
        for parameter in list(&operation.node["parameters"]) {
            writeln!(text, "  parameter {}", parameter_line(parameter)).unwrap();
        }
        content(&mut text, "request", &operation.node["requestBody"]);
        for (status, response) in object(&operation.node["responses"]) {
            response_lines(&mut text, status, response);
        }
    }
    for (name, parameter) in object(&DOCUMENT["components"]["parameters"]) {
        writeln!(text, "parameter {name} {}", parameter_line(parameter)).unwrap();
    }
    for (name, header) in object(&DOCUMENT["components"]["headers"]) {
        writeln!(text, "header {name} {}", parameter_line(header)).unwrap();
    }
    for (name, response) in object(&DOCUMENT["components"]["responses"]) {
        response_lines(&mut text, &format!("response {name}"), response);
    }
    for (name, schema) in schemas() {
        writeln!(text, "schema {name} {}", shape(schema)).unwrap();
        for (field, schema) in object(&schema["properties"]) {
            writeln!(text, "  {field} {}", shape(schema)).unwrap();
        }
    }
    assert_snapshot("tests/it/contract/inventory.txt", &text);
}

fn response_lines(text: &mut String, name: &str, response: &'static Value) {
    if let Some(shared) = reference(response) {
        writeln!(text, "  {name} = {shared}").unwrap();
        return;
    }
    let headers: Vec<_> = object(&response["headers"]).map(|(name, _)| name.as_str()).collect();
    writeln!(text, "  {name} with {}", headers.join(" ")).unwrap();
    content(text, "  body", response);
}

fn content(text: &mut String, name: &str, node: &'static Value) {
    for (media_type, content) in object(&node["content"]) {
        let examples: Vec<_> = object(&content["examples"]).map(|(name, _)| name.as_str()).collect();
        let schema = reference(&content["schema"]).unwrap_or_default();
        writeln!(text, "  {name} {media_type} {schema}, examples {}", examples.join(" ")).unwrap();
    }
}

fn parameter_line(node: &'static Value) -> String {
    if let Some(shared) = reference(node) {
        return format!("= {shared}");
    }
    let example = if node.get("example").is_some() { " (example)" } else { "" };
    let place = node["in"].as_str().map(|it| format!("{} in {it} ", node["name"])).unwrap_or_default();
    format!("{place}{}{example}", shape(&node["schema"]))
}

/// A schema on one line, without its description and its fields.
fn shape(schema: &'static Value) -> String {
    if let Some(shared) = reference(schema) {
        return shared.to_owned();
    }
    let fields: Map<String, Value> = object(schema)
        .filter(|(key, _)| !["description", "example", "properties"].contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let example = if schema.get("example").is_some() { " (example)" } else { "" };
    format!("{}{example}", Value::Object(fields))
}
