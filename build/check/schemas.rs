//! Schemas: which kinds there are, and what each may hold.

use super::{
    Keywords,
    Shape::{Any, Bool, Count, List, Number, Object, Text},
    check_keywords,
};
use crate::{
    Result,
    node::Node,
    one_of,
    walk::{is_form, is_struct},
};

const NOTES: &Keywords = &[
    ("type", Text),
    ("title", Text),
    ("description", Text),
    ("default", Any),
    ("deprecated", Bool),
    ("example", Any),
    ("externalDocs", Object),
    ("format", Text),
    ("nullable", Bool),
    ("readOnly", Bool),
    ("writeOnly", Bool),
    ("xml", Object),
];
const TEXT: &Keywords = &[("enum", List), ("maxLength", Count), ("minLength", Count), ("pattern", Text)];
const NUMBER: &Keywords = &[
    ("exclusiveMaximum", Bool),
    ("exclusiveMinimum", Bool),
    ("maximum", Number),
    ("minimum", Number),
    ("multipleOf", Number),
];
const LIST: &Keywords = &[("items", Object), ("maxItems", Count), ("minItems", Count), ("uniqueItems", Bool)];
const OBJECT: &Keywords = &[
    ("additionalProperties", Any),
    ("maxProperties", Count),
    ("minProperties", Count),
    ("properties", Object),
    ("required", List),
];

pub(super) fn check(document: &Node<'_>) -> Result<()> {
    let schemas = document.components("schemas");
    if !schemas.value.is_object() {
        return Err(schemas.refuse("is missing; define the schemas there"));
    }
    schemas.fields().try_for_each(|(_, schema)| component(&schema))
}

/// A schema with a name, which becomes a type.
fn component(node: &Node<'_>) -> Result<()> {
    if let Some(other) = node.reference("schemas") {
        return Err(node.refuse(&format!("is only another name for `{other}`; refer to that one where it is used")));
    }
    if node.get("nullable").value == true {
        let flag = node.get("nullable");
        return Err(flag.refuse("makes every use nullable; write it where the schema is used, with `allOf`"));
    }
    if node.get("oneOf").exists() {
        check_keywords(node, "alternatives", &[NOTES, &[("oneOf", List), ("discriminator", Object)]])?;
        return one_of::tags(&node.get("oneOf")).map(drop);
    }
    if node.get("allOf").exists() {
        return Err(node.get("allOf").refuse("cannot define a schema; write its fields out"));
    }
    match node.get("type").text() {
        Some("string") if node.get("enum").exists() => kind(node),
        Some("object") if is_struct(node) => {
            kind(node)?;
            required(node)
        }
        Some("object") => Err(node.refuse("has no properties, so it is no type; write it where it is used")),
        Some(_) => kind(node),
        None => Err(node.refuse("has no `type`; write one, or write the schema where it is used")),
    }
}

/// A schema where it is used: a reference, or something that needs no name.
pub(super) fn used(node: &Node<'_>) -> Result<()> {
    if node.get("$ref").exists() {
        if let Some((key, value)) = node.fields().find(|(key, _)| !matches!(*key, "$ref" | "description" | "summary")) {
            return Err(value.refuse(&format!("`{key}` has no effect beside `$ref`; put the `$ref` into `allOf`")));
        }
        if is_form(&node.follow("schemas")?) {
            return Err(node
                .get("$ref")
                .refuse("means a form with a binary part, which JSON cannot hold; use another"));
        }
        return Ok(());
    }
    for key in ["oneOf", "anyOf", "enum", "properties"] {
        if node.get(key).exists() {
            return Err(node
                .get(key)
                .refuse("is a type without a name; define it in /components/schemas and refer to it"));
        }
    }
    if node.get("allOf").exists() { wrapped(node) } else { kind(node) }
}

/// `allOf` with one reference, which is how OpenAPI 3.0 writes a nullable or described one.
fn wrapped(node: &Node<'_>) -> Result<()> {
    check_keywords(node, "a reference", &[NOTES, &[("allOf", List)]])?;
    let all = node.get("allOf");
    let (Some(one), 1) = (all.items().next(), all.items().count()) else {
        return Err(all.refuse("can hold one reference only; define the combination in /components/schemas"));
    };
    if !one.get("$ref").exists() {
        return Err(one.refuse("is a type without a name; define it in /components/schemas and refer to it"));
    }
    used(&one)?;
    let (said, meant) = (node.get("type"), one.follow("schemas")?.get("type"));
    match (said.text(), meant.text()) {
        // Alternatives have no type.
        (None | Some("object"), None) | (None, _) => Ok(()),
        (said, meant) if said == meant => Ok(()),
        _ => Err(said.refuse("is another type than the schema in `allOf` has; correct or remove it")),
    }
}

fn kind(node: &Node<'_>) -> Result<()> {
    let of_type = node.get("type");
    match of_type.value.as_str() {
        None if of_type.value.is_array() => {
            Err(of_type.refuse("is a list, as in OpenAPI 3.1; write one type, and `nullable: true` if it may be null"))
        }
        None => check_keywords(node, "a schema without a `type`", &[NOTES]),
        Some("string") => {
            check_keywords(node, "a text", &[NOTES, TEXT])?;
            in_order(node, "minLength", "maxLength")
        }
        Some("integer") => {
            check_keywords(node, "an integer", &[NOTES, NUMBER])?;
            whole(node)?;
            limits(node)
        }
        Some("number") => {
            check_keywords(node, "a number", &[NOTES, NUMBER])?;
            limits(node)
        }
        Some("boolean") => check_keywords(node, "a boolean", &[NOTES]),
        Some("array") => {
            check_keywords(node, "a list", &[NOTES, LIST])?;
            in_order(node, "minItems", "maxItems")?;
            let items = node.get("items");
            if items.exists() { used(&items) } else { Err(items.refuse("is missing; say what the list holds")) }
        }
        Some("object") => {
            check_keywords(node, "an object", &[NOTES, OBJECT])?;
            node.get("properties").fields().try_for_each(|(_, property)| used(&property))?;
            additional(node)
        }
        Some(other) => Err(of_type.refuse(&format!("`{other}` is no type; write one of OpenAPI 3.0"))),
    }
}

fn additional(node: &Node<'_>) -> Result<()> {
    let additional = node.get("additionalProperties");
    match additional.value {
        serde_json::Value::Bool(_) | serde_json::Value::Null => Ok(()),
        _ if is_struct(node) => {
            Err(additional.refuse("cannot stand beside properties; move the free fields into a field of their own"))
        }
        _ => used(&additional),
    }
}

fn required(node: &Node<'_>) -> Result<()> {
    let example = node.get("example");
    for field in node.get("required").items() {
        let Some(name) = field.text() else {
            return Err(field.refuse("is no text; write the name of a property"));
        };
        if !node.get("properties").get(name).exists() {
            return Err(field.refuse(&format!("`{name}` is no property here; define it or remove it from the list")));
        }
        // The mocks are made of examples.
        if example.exists() && example.value.get(name).is_none() {
            return Err(example.refuse(&format!("lacks `{name}`, which is required; add it")));
        }
    }
    Ok(())
}

fn limits(node: &Node<'_>) -> Result<()> {
    for (flag, limit) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        if node.get(flag).value == true && !node.get(limit).exists() {
            return Err(node.get(flag).refuse(&format!("says nothing without `{limit}`; add that or remove this")));
        }
    }
    in_order(node, "minimum", "maximum")
}

fn whole(node: &Node<'_>) -> Result<()> {
    for limit in ["minimum", "maximum", "multipleOf"].map(|key| node.get(key)) {
        if limit.value.as_f64().is_some_and(|value| value.fract() != 0.0) {
            return Err(limit.refuse("is no whole number, and the value is an integer; correct one of them"));
        }
    }
    Ok(())
}

fn in_order(node: &Node<'_>, least: &str, most: &str) -> Result<()> {
    match (node.get(least).value.as_f64(), node.get(most).value.as_f64()) {
        (Some(low), Some(high)) if low > high => {
            Err(node.get(least).refuse(&format!("is more than `{most}`, so that no value fits; correct one of them")))
        }
        _ => Ok(()),
    }
}
