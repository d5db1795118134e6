//! A place in the document, which an error names by its JSON pointer.

use serde_json::Value;

use crate::Result;

/// The document, as an error names it.
pub(crate) const FILE: &str = "openapi.yaml";

/// A value of the document and where it stands. What is not there is null.
#[derive(Clone)]
pub(crate) struct Node<'a> {
    root: &'a Value,
    pub(crate) value: &'a Value,
    pub(crate) pointer: String,
}

impl<'a> Node<'a> {
    pub(crate) fn root(document: &'a Value) -> Self {
        Self { root: document, value: document, pointer: String::new() }
    }

    pub(crate) fn get(&self, key: &str) -> Self {
        let value = match self.value {
            Value::Array(items) => key.parse().ok().and_then(|index: usize| items.get(index)),
            value => value.get(key),
        };
        let pointer = format!("{}/{}", self.pointer, key.replace('~', "~0").replace('/', "~1"));
        Self { root: self.root, value: value.unwrap_or(&Value::Null), pointer }
    }

    pub(crate) fn exists(&self) -> bool {
        !self.value.is_null()
    }

    pub(crate) fn text(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    /// The fields of an object, each with its name.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'a str, Self)> + use<'a> {
        let node = self.clone();
        let keys = self.value.as_object().into_iter().flat_map(|fields| fields.keys());
        keys.map(move |key| (key.as_str(), node.get(key)))
    }

    pub(crate) fn items(&self) -> impl Iterator<Item = Self> + use<'a> {
        let node = self.clone();
        let length = self.value.as_array().map_or(0, Vec::len);
        (0..length).map(move |index| node.get(&index.to_string()))
    }

    pub(crate) fn components(&self, kind: &str) -> Self {
        Self::root(self.root).get("components").get(kind)
    }

    /// The name of the component that a `$ref` means.
    pub(crate) fn reference(&self, kind: &str) -> Option<&'a str> {
        self.value.get("$ref")?.as_str()?.strip_prefix("#/components/")?.strip_prefix(kind)?.strip_prefix('/')
    }

    /// The component that a `$ref` means, or the place itself where there is none.
    pub(crate) fn follow(&self, kind: &str) -> Result<Self> {
        let reference = self.get("$ref");
        if !reference.exists() {
            return Ok(self.clone());
        }
        let Some(target) = self.reference(kind).map(|name| self.components(kind).get(name)) else {
            return Err(
                reference.refuse(&format!("is no reference to a component; write `#/components/{kind}/<name>`"))
            );
        };
        if !target.exists() {
            return Err(reference.refuse(&format!("leads nowhere; define {} or correct the name", target.pointer)));
        }
        Ok(target)
    }

    /// The error for this place: what is wrong, and what to do.
    pub(crate) fn refuse(&self, problem: &str) -> String {
        let pointer = if self.pointer.is_empty() { "/" } else { &self.pointer };
        one_line(&format!("{FILE}: {pointer}: {problem}"))
    }
}

/// Names and values of the document may hold anything, and any amount of it.
pub(crate) fn one_line(text: &str) -> String {
    const LONGEST: usize = 600;
    let short: String = text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if short.len() < text.len() { short + "…" } else { short }
}
