//! What requests are made of: the schemas that a caller fills in, and the names of their fields.

use std::collections::{BTreeMap, BTreeSet};

use quote::ToTokens as _;
use syn::parse_quote;

use crate::{
    Result,
    node::Node,
    walk::{children, is_form, is_struct, operations},
};

/// The schemas that the body of a request is made of.
pub(crate) fn requested<'a>(document: &Node<'a>) -> Result<BTreeSet<&'a str>> {
    let mut open = Vec::new();
    for (_, _, operation) in operations(document) {
        let body = operation.get("requestBody").follow("requestBodies")?;
        open.push(body.get("content").get("application/json").get("schema"));
    }
    let mut found = BTreeSet::new();
    while let Some(schema) = open.pop() {
        open.extend(children(&schema));
        if let Some(name) = schema.reference("schemas")
            && !is_form(&schema.follow("schemas")?)
            && found.insert(name)
        {
            open.push(schema.follow("schemas")?);
        }
    }
    found.retain(|name| {
        let schema = document.components("schemas").get(name);
        is_struct(&schema) || schema.get("oneOf").exists()
    });
    Ok(found)
}

/// Reads JSON as this type, and says where it is wrong.
pub(crate) fn from_json(name: &syn::Ident) -> syn::Item {
    let schema = name.to_string();
    parse_quote! {
        impl #name {
            /// Reads JSON of the API, such as a request that a person or a language model wrote.
            ///
            /// A field that this version does not know is an error here: it may be a typo. `serde_json` takes
            /// such a field as it is.
            ///
            /// # Errors
            ///
            /// One line that names the place, such as `video.keyframes[1]`, and for an unknown name the
            /// nearest known one.
            pub fn from_json(
                json: impl ::std::convert::AsRef<[u8]>,
            ) -> ::std::result::Result<Self, error::ConversionError> {
                ::std::result::Result::Ok(crate::types::from_json::read(json.as_ref(), #schema, FIELDS)?)
            }
        }
    }
}

/// The table for [`from_json`]: each schema with its fields, and what schema a field holds, if any.
pub(crate) fn fields_table(document: &Node<'_>, requested: &BTreeSet<&str>) -> Result<syn::Item> {
    let mut rows: Vec<syn::Expr> = Vec::new();
    for name in requested {
        let schema = document.components("schemas").get(name);
        let mut fields = Vec::new();
        let alternatives: Vec<_> = schema.get("oneOf").items().collect();
        for object in if alternatives.is_empty() { vec![schema] } else { alternatives } {
            for (field, property) in object.follow("schemas")?.get("properties").fields() {
                fields.push((field, held(&property).unwrap_or_default()));
            }
        }
        fields.sort_unstable();
        fields.dedup();
        let (fields, holds): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
        rows.push(parse_quote!((#name, &[#((#fields, #holds)),*])));
    }
    Ok(parse_quote! {
        static FIELDS: crate::types::from_json::Fields = &[#(#rows),*];
    })
}

/// The schema of a property, or of its items.
fn held<'a>(property: &Node<'a>) -> Option<&'a str> {
    let all_of = property.get("allOf").get("0");
    [property.clone(), property.get("items"), all_of].iter().find_map(|place| place.reference("schemas"))
}

/// Lets a request hold fields that the document does not have yet. Where the document forbids them, only a
/// builder can add them: what is read is still checked.
pub(crate) fn open(item: &mut syn::ItemStruct, schemars: bool) {
    let denies = |it: &syn::Attribute| it.to_token_stream().to_string().contains("deny_unknown_fields");
    let is_closed = item.attrs.iter().any(denies);
    let syn::Fields::Named(fields) = &mut item.fields else { return };
    let unread: Option<syn::Attribute> = is_closed.then(|| parse_quote!(#[serde(skip_deserializing)]));
    let hidden: Option<syn::Attribute> = schemars.then(|| parse_quote!(#[schemars(skip)]));
    let extra: syn::FieldsNamed = parse_quote!({
        #[serde(flatten)]
        #unread
        #hidden
        extra_: crate::types::extra::Extra
    });
    fields.named.extend(extra.named);
}

/// The method `extra` of a builder, unless the API has a field of that name.
pub(crate) fn extra(spelling: &BTreeMap<String, &str>) -> Option<syn::ImplItem> {
    let known = spelling.values();
    (!spelling.contains_key("extra")).then(|| {
        parse_quote! {
            /// Sets a field that the API has and this version of the crate does not know. It is sent as it is.
            ///
            /// A name that has a setter is an error of the builder.
            pub fn extra(
                mut self,
                name: impl ::std::convert::Into<::std::string::String>,
                value: impl ::std::convert::Into<::serde_json::Value>,
            ) -> Self {
                self.extra_ = self.extra_.and_then(|extra| extra.with(name.into(), value.into(), &[#(#known),*]));
                self
            }
        }
    })
}
