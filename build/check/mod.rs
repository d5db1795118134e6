//! The second step: what the later steps cannot carry is refused, with its place and what to do.
//!
//! Whatever is not known to work is refused. So an edit either works, or fails with a sentence here and
//! not with a compiler's error in generated code.

mod by_hand;
mod names;
mod operations;
mod schemas;

use crate::{Result, node::Node};

pub(crate) fn check(document: &Node<'_>) -> Result<()> {
    let version = document.get("openapi");
    if !version.text().is_some_and(|version| version.starts_with("3.0.")) {
        return Err(version.refuse("is no version that can be read; write OpenAPI 3.0, such as \"3.0.3\""));
    }
    for key in ["title", "version"] {
        let text = document.get("info").get(key);
        if text.text().is_none() {
            return Err(text.refuse("has to be a text; put it in quotes"));
        }
    }
    schemas::check(document)?;
    operations::check(document)?;
    names::check(document)?;
    by_hand::check(document)
}

/// What the value of a keyword has to be.
#[derive(Clone, Copy)]
enum Shape {
    Any,
    Bool,
    Count,
    List,
    Number,
    Object,
    Text,
}

impl Shape {
    fn fits(self, value: &serde_json::Value) -> bool {
        match self {
            Self::Any => true,
            Self::Bool => value.is_boolean(),
            Self::Count => value.as_u64().is_some_and(|count| u32::try_from(count).is_ok()),
            Self::List => value.is_array(),
            Self::Number => value.is_number(),
            Self::Object => value.is_object(),
            Self::Text => value.is_string(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Any => "anything",
            Self::Bool => "true or false",
            Self::Count => "a whole number from 0 to 4294967295",
            Self::List => "a list",
            Self::Number => "a number",
            Self::Object => "an object",
            Self::Text => "a text in quotes",
        }
    }
}

type Keywords = [(&'static str, Shape)];

/// Refuses keywords that `what` does not have, and values that a keyword cannot have.
fn check_keywords(node: &Node<'_>, what: &str, known: &[&Keywords]) -> Result<()> {
    if !node.value.is_object() {
        return Err(node.refuse(&format!("has to be {what}; write an object")));
    }
    for (key, value) in node.fields().filter(|(key, _)| !key.starts_with("x-")) {
        let Some((_, shape)) = known.iter().flat_map(|it| it.iter()).find(|(known, _)| *known == key) else {
            return Err(value.refuse(&format!("`{key}` cannot stand in {what}; remove it, or correct the name")));
        };
        if !shape.fits(value.value) {
            return Err(value.refuse(&format!("is {}; it has to be {}", value.value, shape.name())));
        }
    }
    Ok(())
}
