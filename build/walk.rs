//! How the steps walk through the document: operations, parameters, schemas.

use crate::{Result, names::snake, node::Node};

/// Those that reqwest has a method for.
const METHODS: [&str; 6] = ["get", "put", "post", "delete", "head", "patch"];

/// Each operation, with its path and what stands there.
pub(crate) fn operations<'a>(document: &Node<'a>) -> impl Iterator<Item = (&'a str, Node<'a>, Node<'a>)> + use<'a> {
    document.get("paths").fields().flat_map(|(path, item)| {
        let methods = METHODS.map(|method| item.get(method));
        methods.into_iter().filter(Node::exists).map(move |operation| (path, item.clone(), operation))
    })
}

/// The operation with this id, however it is spelled.
pub(crate) fn operation<'a>(document: &Node<'a>, id: &str) -> Option<(&'a str, Node<'a>, Node<'a>)> {
    let is_named = |operation: &Node<'_>| operation.get("operationId").text().is_some_and(|it| snake(it) == snake(id));
    operations(document).find(|(.., operation)| is_named(operation))
}

/// The parameters of an operation, those of its path included.
pub(crate) fn parameters<'a>(item: &Node<'a>, operation: &Node<'a>) -> Result<Vec<Node<'a>>> {
    let of_path = item.get("parameters");
    let of_operation = operation.get("parameters");
    of_path.items().chain(of_operation.items()).map(|parameter| parameter.follow("parameters")).collect()
}

/// The schemas in a schema, but not those that it refers to.
pub(crate) fn children<'a>(schema: &Node<'a>) -> Vec<Node<'a>> {
    let mut found: Vec<_> = schema.get("properties").fields().map(|(_, property)| property).collect();
    found.extend(schema.get("allOf").items().chain(schema.get("oneOf").items()));
    found.extend(
        [schema.get("items"), schema.get("additionalProperties")].into_iter().filter(|it| it.value.is_object()),
    );
    found
}

/// An object with fields of its own, as opposed to a map.
pub(crate) fn is_struct(schema: &Node<'_>) -> bool {
    schema.get("properties").fields().next().is_some()
}

/// A form with a binary part is multipart, not JSON: a type for it would only mislead.
pub(crate) fn is_form(schema: &Node<'_>) -> bool {
    schema.get("format").value == "binary" || children(schema).iter().any(is_form)
}
