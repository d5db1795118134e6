//! Completes the wire types with what typify has no setting for: texts of all fields, builders of our own,
//! constructors that do not notice new fields, alternatives that say what is wrong with them, reading from
//! JSON, and `JsonSchema`.

use quote::{ToTokens as _, format_ident};
use syn::parse_quote;

use crate::{
    Features, Result,
    builders::{self, Field, Object, is_option},
    names::{limited_text, snake},
    node::Node,
    one_of, requests,
};

pub(crate) fn complete(mut types: syn::File, document: &Node<'_>, features: Features) -> Result<String> {
    let requested = requests::requested(document)?;
    let mut added = vec![requests::fields_table(document, &requested)?];
    let mut objects = Vec::new();
    for item in &mut types.items {
        match item {
            syn::Item::Enum(alternatives) => {
                describe_alternatives(alternatives, document);
                added.push(decoder(alternatives, document)?);
                added.extend(alternatives.variants.iter().map(|it| alternative(&alternatives.ident, &it.ident)));
                let is_requested = requested.contains(alternatives.ident.to_string().as_str());
                added.extend(is_requested.then(|| requests::from_json(&alternatives.ident)));
            }
            syn::Item::Struct(object) if matches!(object.fields, syn::Fields::Named(_)) => {
                describe(object, document);
                let is_open = requested.contains(object.ident.to_string().as_str());
                objects.push(self::object(object, is_open));
                if is_open {
                    requests::open(object, features.schemars);
                    added.push(requests::from_json(&object.ident));
                }
                added.push(constructor(object));
            }
            syn::Item::Impl(block) => {
                added.extend(checked_text(block).map(optional_text));
                describe_builder(block);
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
    for item in &mut types.items {
        if let syn::Item::Mod(syn::ItemMod { ident, content: Some((_, items)), attrs, .. }) = item {
            // Instead of typify's texts.
            attrs.retain(|it| !it.path().is_ident("doc"));
            if ident == "builder" {
                attrs.push(parse_quote!(#[doc = "A builder for each struct, which its `builder()` starts."]));
                builders::rewrite(items, &objects, document)?;
            } else if ident == "error" {
                attrs.push(parse_quote!(#[doc = "The error of what cannot be built, or read from JSON."]));
                for item in items {
                    if let syn::Item::Struct(error) = item {
                        let text = "What is wrong with a value, in one line with its name in the API.";
                        error.attrs.retain(|it| !it.path().is_ident("doc"));
                        error.attrs.insert(0, parse_quote!(#[doc = #text]));
                    }
                }
            }
        }
    }
    types.items.extend(added);
    Ok(prettyplease::unparse(&types))
}

fn object(item: &syn::ItemStruct, is_open: bool) -> Object {
    let field = |field: &syn::Field| {
        let text = field.attrs.iter().filter(|it| it.path().is_ident("doc")).cloned().collect();
        Some(Field { ident: field.ident.clone()?, text, is_required: !is_optional(field) })
    };
    Object { name: item.ident.clone(), fields: item.fields.iter().filter_map(field).collect(), is_open }
}

/// OpenAPI has no text beside a reference: such a field gets the summary of what it refers to.
fn describe(item: &mut syn::ItemStruct, document: &Node<'_>) {
    let properties = document.components("schemas").get(&item.ident.to_string()).get("properties");
    for field in item.fields.iter_mut().filter(|field| !field.attrs.iter().any(|it| it.path().is_ident("doc"))) {
        let ident = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
        let Some((name, property)) = properties.fields().find(|(name, _)| snake(name) == ident) else { continue };
        let target = property.reference("schemas").map(|name| document.components("schemas").get(name));
        let text = target.and_then(|target| target.get("description").text()).unwrap_or_default();
        let paragraph = text.split("\n\n").next().unwrap_or_default().trim();
        let text = if paragraph.is_empty() { format!("The field `{name}` of the API.") } else { paragraph.to_owned() };
        field.attrs.insert(0, parse_quote!(#[doc = #text]));
    }
}

/// An alternative gets the first sentence of the schema that it holds.
fn describe_alternatives(item: &mut syn::ItemEnum, document: &Node<'_>) {
    for variant in &mut item.variants {
        let schema = document.components("schemas").get(&variant.ident.to_string());
        let text = schema.get("description").text().unwrap_or_default();
        let sentence = text.split_inclusive(". ").next().unwrap_or_default().trim();
        if !sentence.is_empty() {
            variant.attrs.insert(0, parse_quote!(#[doc = #sentence]));
        }
    }
}

fn describe_builder(block: &mut syn::ItemImpl) {
    for item in &mut block.items {
        if let syn::ImplItem::Fn(method) = item
            && method.sig.ident == "builder"
        {
            let name = &block.self_ty;
            let text = format!("Starts a [`builder::{0}`], which has a setter for each field.", name.to_token_stream());
            method.attrs.insert(0, parse_quote!(#[doc = #text]));
        }
    }
}

/// Lets an alternative, or its builder, stand where the value of one of them is asked for.
fn alternative(name: &syn::Ident, alternative: &syn::Ident) -> syn::Item {
    parse_quote! {
        const _: () = {
            impl ::std::convert::From<#alternative> for crate::types::Optional<#name> {
                fn from(value: #alternative) -> Self {
                    #name::from(value).into()
                }
            }

            impl ::std::convert::TryFrom<builder::#alternative> for #name {
                type Error = error::ConversionError;

                fn try_from(value: builder::#alternative) -> ::std::result::Result<Self, Self::Error> {
                    #alternative::try_from(value).map(Self::from)
                }
            }

            impl ::std::convert::TryFrom<builder::#alternative> for crate::types::Optional<#name> {
                type Error = error::ConversionError;

                fn try_from(value: builder::#alternative) -> ::std::result::Result<Self, Self::Error> {
                    #alternative::try_from(value).map(Self::from)
                }
            }
        };
    }
}

/// The type that is made of a text with limits, if this is the `impl` that does it.
fn checked_text(block: &syn::ItemImpl) -> Option<&syn::Type> {
    let (path, _) = block.trait_.as_ref()?;
    let makes = path.to_token_stream().to_string().ends_with("TryFrom < & str >");
    let fails = block.items.iter().any(|it| it.to_token_stream().to_string().contains("error :: ConversionError"));
    (makes && fails).then_some(&*block.self_ty)
}

/// Lets a text stand where an optional text with limits is asked for.
fn optional_text(name: &syn::Type) -> syn::Item {
    parse_quote! {
        const _: () = {
            impl ::std::convert::TryFrom<&str> for crate::types::Optional<#name> {
                type Error = error::ConversionError;

                fn try_from(text: &str) -> ::std::result::Result<Self, Self::Error> {
                    <#name>::try_from(text).map(Self::from)
                }
            }

            impl ::std::convert::TryFrom<::std::string::String> for crate::types::Optional<#name> {
                type Error = error::ConversionError;

                fn try_from(text: ::std::string::String) -> ::std::result::Result<Self, Self::Error> {
                    <#name>::try_from(text).map(Self::from)
                }
            }
        };
    }
}

fn is_optional(field: &syn::Field) -> bool {
    is_option(&field.ty)
        || field.attrs.iter().any(|it| {
            let attribute = it.to_token_stream().to_string();
            it.path().is_ident("serde") && (attribute.contains("default") || attribute.contains("flatten"))
        })
}

/// `of` takes the required fields and leaves the others out: a struct literal in this crate would have to
/// be edited for every field that the API adds.
fn constructor(item: &syn::ItemStruct) -> syn::Item {
    let name = &item.ident;
    let (optional, required): (Vec<_>, Vec<_>) = item.fields.iter().partition(|field| is_optional(field));
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
