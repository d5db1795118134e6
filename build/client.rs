//! Completes the client.

use crate::Result;

/// progenitor copies headers and decodes strictly; the crate has a decoder of its own.
const DECODE: [&str; 2] = ["ResponseValue::from_response(response)", "super::super::decode::decode(response)"];

pub(crate) fn complete(client: &syn::File) -> Result<String> {
    let code = prettyplease::unparse(client);
    let completed = code.replace(DECODE[0], DECODE[1]);
    if completed == code {
        return Err("progenitor's output decodes responses in another way than before".to_owned());
    }
    Ok(completed)
}
