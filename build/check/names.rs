//! Names: each has to be one in Rust, and no two may become the same.

use std::collections::BTreeMap;

use crate::{
    Result, enums,
    names::{camel, limited_text, snake},
    node::Node,
    walk,
};

/// Types that stand beside the generated ones.
const TYPES: [&str; 5] = ["Base64", "InvalidUrl", "Optional", "Secret", "Url"];

/// What code means by these names without saying where they come from: the prelude, and the names that derives use.
const PRELUDE: [&str; 41] = [
    "AsMut",
    "AsRef",
    "Box",
    "Clone",
    "Copy",
    "Debug",
    "Default",
    "Deserialize",
    "DoubleEndedIterator",
    "Drop",
    "Eq",
    "ExactSizeIterator",
    "Extend",
    "Fn",
    "FnMut",
    "FnOnce",
    "From",
    "FromIterator",
    "Future",
    "Hash",
    "Into",
    "IntoFuture",
    "IntoIterator",
    "Iterator",
    "JsonSchema",
    "Option",
    "Ord",
    "PartialEq",
    "PartialOrd",
    "Result",
    "Send",
    "Serialize",
    "Sized",
    "String",
    "Sync",
    "ToOwned",
    "ToString",
    "TryFrom",
    "TryInto",
    "Unpin",
    "Vec",
];

pub(super) fn check(document: &Node<'_>) -> Result<()> {
    schemas(document)?;
    operations(document)
}

fn schemas(document: &Node<'_>) -> Result<()> {
    let mut types = Names::default();
    for (name, schema) in document.components("schemas").fields() {
        if camel(name) != name || syn::parse_str::<syn::Ident>(name).is_err() {
            return Err(
                schema.refuse(&format!("is no name of a type; write it as in `{}`", camel(&format!("My {name}"))))
            );
        }
        if TYPES.contains(&name) {
            return Err(schema.refuse(&format!("`{name}` is a type of this crate already; choose another name")));
        }
        if PRELUDE.contains(&name) {
            return Err(schema.refuse(&format!("`{name}` means something else in Rust; choose another name")));
        }
        types.add(name.to_owned(), &schema)?;
        if schema.get("enum").exists() {
            enums::variants(name, &schema)?;
        }
    }
    for (name, schema) in document.components("schemas").fields() {
        let mut fields = Names::default();
        for (field, property) in schema.get("properties").fields() {
            fields.add(snake(field), &property)?;
            if property.get("maxLength").exists() || property.get("minLength").exists() {
                types.add(limited_text(name, field), &property)?;
            }
        }
    }
    Ok(())
}

fn operations(document: &Node<'_>) -> Result<()> {
    let mut methods = Names::default();
    for (_, item, operation) in walk::operations(document) {
        let id = operation.get("operationId");
        let name = snake(id.text().unwrap_or_default());
        methods.add(name, &id)?;
        let mut arguments = Names::default();
        for parameter in walk::parameters(&item, &operation)? {
            let name = parameter.get("name");
            arguments.add(snake(name.text().unwrap_or_default()), &name)?;
        }
    }
    Ok(())
}

/// Names and where each comes from.
#[derive(Default)]
struct Names(BTreeMap<String, String>);

impl Names {
    fn add(&mut self, name: String, place: &Node<'_>) -> Result<()> {
        if let Some(other) = self.0.get(&name) {
            return Err(place.refuse(&format!("would be `{name}` in Rust, as {other} is; rename one of them")));
        }
        self.0.insert(name, place.pointer.clone());
        Ok(())
    }
}
