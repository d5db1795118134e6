//! Completes the typed mocks with what progenitor leaves out: texts.

use quote::ToTokens as _;
use syn::parse_quote;

use crate::{node::Node, walk};

const MODULE: &str = "What a mock expects (`When`) and how it responds (`Then`), for each operation. `into_inner` leads to \
                      what the API does not allow.";
const TRAIT: &str = "A mock of each operation, as a method of [`MockServer`](::httpmock::MockServer).";

pub(crate) fn complete(mut mocks: syn::File, document: &Node<'_>) -> String {
    for item in &mut mocks.items {
        match item {
            syn::Item::Mod(syn::ItemMod { attrs, content: Some((_, items)), .. }) => {
                set_text(attrs, MODULE);
                for item in items {
                    describe(item, document);
                }
            }
            syn::Item::Trait(methods) => {
                set_text(&mut methods.attrs, TRAIT);
                for method in &mut methods.items {
                    if let syn::TraitItem::Fn(method) = method
                        && let Some(operation) = operation(&method.sig.ident.to_string(), document)
                    {
                        set_text(&mut method.attrs, &format!("Mocks {operation}."));
                    }
                }
            }
            _ => {}
        }
    }
    prettyplease::unparse(&mocks)
}

/// Gives a text to the two types of an operation and to their methods.
fn describe(item: &mut syn::Item, document: &Node<'_>) {
    match item {
        syn::Item::Struct(syn::ItemStruct { attrs, ident, .. }) => {
            let name = ident.to_string();
            let of = |half| operation(name.strip_suffix(half)?, document);
            if let Some(operation) = of("When") {
                set_text(attrs, &format!("What a mock expects of {operation}."));
            } else if let Some(operation) = of("Then") {
                set_text(attrs, &format!("How a mock responds to {operation}."));
            }
        }
        syn::Item::Impl(block) => {
            for item in &mut block.items {
                if let syn::ImplItem::Fn(method) = item {
                    let text = text(method);
                    set_text(&mut method.attrs, &text);
                }
            }
        }
        _ => {}
    }
}

fn text(method: &syn::ImplItemFn) -> String {
    let code = method.block.to_token_stream().to_string();
    let status = code.split_once(". status (").and_then(|(_, rest)| rest.split_once("u16"));
    let has_body = method.sig.inputs.len() > 1;
    match (method.sig.ident.to_string().as_str(), status) {
        ("new", _) => "Wraps the part of httpmock.".to_owned(),
        ("into_inner", _) => "The part of httpmock that is wrapped, which allows anything.".to_owned(),
        (_, Some((status, _))) if has_body => format!("Responds with {} and this body.", status.trim()),
        (_, Some((status, _))) => format!("Responds with {}.", status.trim()),
        ("body", None) => "Expects exactly this body.".to_owned(),
        (name, None) if code.contains("missing") => {
            format!("Expects this `{name}`, or with `None` that it is left out.")
        }
        (name, None) => format!("Expects this `{name}`."),
    }
}

/// Such as `` `GET /files` ``.
fn operation(name: &str, document: &Node<'_>) -> Option<String> {
    let (path, item, operation) = walk::operation(document, name)?;
    let (method, _) = item.fields().find(|(_, it)| it.pointer == operation.pointer)?;
    Some(format!("`{} {path}`", method.to_uppercase()))
}

fn set_text(attributes: &mut Vec<syn::Attribute>, text: &str) {
    attributes.retain(|it| !it.path().is_ident("doc"));
    attributes.insert(0, parse_quote!(#[doc = #text]));
}
