//! Open enums: one `open_enum!` for each string enum of the document.

use std::collections::BTreeMap;

use crate::{Result, names, node::Node};

pub(crate) fn enums(document: &Node<'_>) -> Result<String> {
    let mut code = String::new();
    for (name, schema) in document.components("schemas").fields() {
        if !schema.get("enum").exists() {
            continue;
        }
        // The values are documented by the bullets of the description.
        let text = schema.get("description").text().unwrap_or_default();
        let (bullets, summary): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with("- `"));
        let summary = summary.join("\n");
        code += &format!("open_enum! {{\n#[doc = {:?}]\n{name} {{", summary.trim());
        for (variant, value) in variants(name, &schema)? {
            let meaning = bullets.iter().find_map(|line| line.strip_prefix(&format!("- `{value}`: ")));
            let doc = meaning.map_or_else(|| format!("`{value}`"), |meaning| format!("`{value}`: {meaning}"));
            code += &format!("\n#[doc = {doc:?}]\n{variant} = {value:?},");
        }
        code += "}\n}\n";
    }
    Ok(code)
}

/// The variant of each value.
pub(crate) fn variants<'a>(name: &str, schema: &Node<'a>) -> Result<Vec<(String, &'a str)>> {
    let values = schema.get("enum");
    let mut found = Vec::new();
    let mut places = BTreeMap::new();
    for value in values.items() {
        let Some(text) = value.text() else {
            return Err(value.refuse(&format!("is {}, not a string; quote it or remove it", value.value)));
        };
        let variant = names::variant(name, text)
            .ok_or_else(|| value.refuse(&format!("no variant can be named after {text:?}; remove it")))?;
        if let Some(other) = places.insert(variant.clone(), value.pointer.clone()) {
            return Err(value.refuse(&format!("would be the variant `{variant}`, as {other} is; remove one of them")));
        }
        found.push((variant, text));
    }
    if found.is_empty() {
        return Err(values.refuse("lists no value; list at least one, or remove `enum`"));
    }
    Ok(found)
}
