//! Completes the client.

use crate::{Result, node::Node, walk};

/// progenitor copies headers and decodes strictly; the crate has a decoder of its own.
const DECODE: [&str; 2] = ["ResponseValue::from_response(response)", "super::super::decode::decode(response)"];

pub(crate) fn complete(client: &syn::File, document: &Node<'_>) -> Result<String> {
    let code = prettyplease::unparse(client);
    let completed = code.replace(DECODE[0], DECODE[1]);
    if completed == code {
        return Err("progenitor's output decodes responses in another way than before".to_owned());
    }
    Ok(completed + &templates(document))
}

/// The path of each operation with its parameters by name, for tracing.
fn templates(document: &Node<'_>) -> String {
    let rows = walk::operations(document).filter_map(|(path, _, operation)| {
        Some(format!("    ({:?}, {path:?}),\n", operation.get("operationId").text()?))
    });
    format!("pub(super) static TEMPLATES: &[(&str, &str)] = &[\n{}];\n", rows.collect::<String>())
}
