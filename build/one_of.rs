//! Alternatives: the field by which the ones of a `oneOf` are told apart.

use crate::{Result, node::Node};

/// For each alternative its name and the required field that no other one has.
pub(crate) fn tags<'a>(one_of: &Node<'a>) -> Result<Vec<(&'a str, &'a str)>> {
    let mut alternatives = Vec::new();
    for place in one_of.items() {
        let schema = place.follow("schemas")?;
        match place.reference("schemas") {
            Some(name) if schema.get("properties").exists() => alternatives.push((place, name, schema)),
            _ => return Err(place.refuse("is no object with a name; define it in /components/schemas and refer to it")),
        }
    }
    let mut tags = Vec::new();
    for (place, name, schema) in &alternatives {
        let others = || alternatives.iter().filter(|(_, other, _)| other != name);
        let tag = schema
            .get("required")
            .items()
            .filter_map(|field| field.text())
            .find(|field| others().all(|(_, _, other)| !other.get("properties").get(field).exists()));
        let Some(tag) = tag else {
            return Err(place.refuse(&format!(
                "`{name}` has no required field that the other alternatives lack, to tell it by; require one"
            )));
        };
        tags.push((*name, tag));
    }
    Ok(tags)
}
