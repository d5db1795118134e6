//! The fourth step: progenitor makes types, client and typed mocks of the lean copies.

use std::panic::{AssertUnwindSafe, catch_unwind};

use progenitor::{GenerationSettings, Generator, HooksMode, InterfaceStyle, TypeImpl, TypePatch};
use quote::{ToTokens, quote};
use serde_json::json;
use syn::parse_quote;

use crate::{
    Result,
    lean::Lean,
    node::{Node, one_line},
};

/// String formats that deserve a type of their own: their `Debug` hides what must not be printed.
const SCALARS: [(&str, &str); 3] =
    [("uri", "crate::types::Url"), ("byte", "crate::types::Base64"), ("password", "crate::types::Secret")];

/// The wire types and the low-level client, each a file of its own.
pub(crate) fn types_and_client(document: &Node<'_>, lean: &Lean) -> Result<(syn::File, syn::File)> {
    let mut client = generate(document, |generator| generator.generate_tokens(&lean.client))?;
    // The client imports the types from now on.
    let module = client.items.iter_mut().find(|item| matches!(item, syn::Item::Mod(module) if module.ident == "types"));
    match module.map(|item| {
        std::mem::replace(
            item,
            parse_quote!(
                use crate::types;
            ),
        )
    }) {
        Some(syn::Item::Mod(syn::ItemMod { content: Some((_, items)), .. })) => Ok((parse_quote!(#(#items)*), client)),
        _ => Err(document.refuse("progenitor makes no module `types` of it; its version has changed")),
    }
}

/// Mocks of all responses that the document declares.
pub(crate) fn mocks(document: &Node<'_>, lean: &Lean) -> Result<syn::File> {
    generate(document, |generator| generator.httpmock(&lean.mocks, "super"))
}

fn generate<T: ToTokens>(
    document: &Node<'_>,
    run: impl FnOnce(&mut Generator) -> Result<T, progenitor::Error>,
) -> Result<syn::File> {
    let mut generator = Generator::new(&settings(document)?);
    // progenitor panics where it is not finished. The checks should not let that through.
    let outcome = catch_unwind(AssertUnwindSafe(|| run(&mut generator)));
    let refuse = |reason: &str| document.refuse(&format!("progenitor cannot carry the document: {}", one_line(reason)));
    let tokens = match outcome {
        Ok(tokens) => tokens.map_err(|e| refuse(&e.to_string()))?,
        Err(panic) => return Err(refuse(panic.downcast_ref::<String>().map_or("it panics", String::as_str))),
    };
    syn::parse2(tokens.into_token_stream()).map_err(|e| refuse(&format!("its output does not parse: {e}")))
}

fn settings(document: &Node<'_>) -> Result<GenerationSettings> {
    let mut settings = GenerationSettings::new();
    settings
        .with_interface(InterfaceStyle::Builder)
        .with_hooks(HooksMode::Expected)
        .with_inner_type(quote!(crate::raw::CallState))
        .with_map_type("::std::collections::BTreeMap")
        .with_derive("PartialEq");
    for (format, path) in SCALARS {
        let schema = serde_json::from_value(json!({ "type": "string", "format": format }))
            .map_err(|e| format!("the schema of a {format} is malformed: {e}"))?;
        settings.with_conversion(schema, path, std::iter::empty());
    }
    for (name, schema) in document.components("schemas").fields() {
        if schema.get("enum").exists() {
            let impls = [TypeImpl::Display, TypeImpl::FromStr];
            settings.with_replacement(name, format!("crate::types::{name}"), impls.into_iter());
        } else {
            settings.with_patch(name, TypePatch::default().with_attr("#[non_exhaustive]"));
        }
    }
    Ok(settings)
}
