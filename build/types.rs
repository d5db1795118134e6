//! Completes the wire types with what typify has no setting for: builders for nested objects, constructors
//! that do not notice new fields, alternatives that say what is wrong with them, and `JsonSchema`.

use quote::{ToTokens as _, format_ident};
use syn::parse_quote;

use crate::{Features, Result, names::limited_text, node::Node, one_of};

pub(crate) fn complete(mut types: syn::File, document: &Node<'_>, features: Features) -> Result<String> {
    let mut added = Vec::new();
    for item in &mut types.items {
        match item {
            syn::Item::Enum(alternatives) => added.push(decoder(alternatives, document)?),
            syn::Item::Struct(syn::ItemStruct { ident, fields: syn::Fields::Named(fields), .. }) => {
                added.push(nested_builder(ident));
                added.push(constructor(ident, fields));
            }
            _ => {}
        }
        if let syn::Item::Struct(syn::ItemStruct { attrs, ident, .. })
        | syn::Item::Enum(syn::ItemEnum { attrs, ident, .. }) = item
            && features.schemars
        {
            attrs.extend(json_schema(&ident.to_string(), document));
        }
    }
    types.items.extend(added);
    Ok(prettyplease::unparse(&types))
}

/// Lets a builder stand where an optional object is asked for: `.video(VideoOptions::builder().hdr(true))`.
fn nested_builder(name: &syn::Ident) -> syn::Item {
    parse_quote! {
        impl ::std::convert::TryFrom<builder::#name> for ::std::option::Option<#name> {
            type Error = error::ConversionError;

            fn try_from(builder: builder::#name) -> ::std::result::Result<Self, Self::Error> {
                <#name as ::std::convert::TryFrom<_>>::try_from(builder).map(Some)
            }
        }
    }
}

/// `of` takes the required fields and leaves the others out: a struct literal in this crate would have to
/// be edited for every field that the API adds.
fn constructor(name: &syn::Ident, fields: &syn::FieldsNamed) -> syn::Item {
    let is_optional = |field: &&syn::Field| {
        let ty = field.ty.to_token_stream().to_string();
        ty.starts_with(":: std :: option :: Option")
            || field.attrs.iter().any(|it| it.to_token_stream().to_string().contains("default"))
    };
    let (optional, required): (Vec<_>, Vec<_>) = fields.named.iter().partition(is_optional);
    let types = required.iter().map(|field| &field.ty);
    let required: Vec<_> = required.iter().map(|field| &field.ident).collect();
    let optional = optional.iter().map(|field| &field.ident);
    parse_quote! {
        impl #name {
            pub(crate) fn of(#(#required: #types),*) -> Self {
                Self { #(#required,)* #(#optional: ::std::default::Default::default(),)* }
            }
        }
    }
}

/// Decodes a `oneOf` by the field that only one alternative has. serde's own way tries them all and
/// then says of a wrong one only that nothing matched.
fn decoder(alternatives: &mut syn::ItemEnum, document: &Node<'_>) -> Result<syn::Item> {
    let name = &alternatives.ident;
    let place = document.components("schemas").get(&name.to_string());
    for attribute in alternatives.attrs.iter_mut().filter(|attribute| attribute.path().is_ident("derive")) {
        let derives = attribute
            .parse_args_with(syn::punctuated::Punctuated::<syn::Path, syn::Token![,]>::parse_terminated)
            .map_err(|e| place.refuse(&format!("its generated derives do not parse: {e}")))?;
        let kept = derives.iter().filter(|path| path.segments.last().is_none_or(|it| it.ident != "Deserialize"));
        *attribute = parse_quote!(#[derive(#(#kept),*)]);
    }
    let (variants, tags): (Vec<_>, Vec<_>) = one_of::tags(&place.get("oneOf"))?
        .into_iter()
        .map(|(alternative, tag)| (format_ident!("{alternative}"), tag))
        .unzip();
    Ok(parse_quote! {
        impl<'de> ::serde::Deserialize<'de> for #name {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> ::std::result::Result<Self, D::Error> {
                let object = crate::types::one_of::TaggedObject::read(deserializer, &[#(#tags),*])?;
                #(if object.has(#tags) {
                    return object.decode().map(Self::#variants);
                })*
                Err(object.no_match())
            }
        }
    })
}

/// Derives `JsonSchema`; what the type cannot tell comes from its place in the document.
fn json_schema(name: &str, document: &Node<'_>) -> Vec<syn::Attribute> {
    let derive = parse_quote!(#[derive(::schemars::JsonSchema)]);
    // A text with a limit is a type of its own, which typify names after the field.
    let schemas = document.components("schemas");
    let field = schemas.fields().find_map(|(of, schema)| {
        let properties = schema.get("properties");
        let (field, _) = properties.fields().find(|(field, _)| limited_text(of, field) == name)?;
        Some(format!("/{of}/properties/{field}"))
    });
    match field {
        Some(place) if !schemas.get(name).exists() => {
            vec![derive, parse_quote!(#[schemars(inline, transform = crate::types::schema::Limits(#place))])]
        }
        _ => {
            let place = format!("/{name}");
            vec![derive, parse_quote!(#[schemars(transform = crate::types::schema::Limits(#place))])]
        }
    }
}
