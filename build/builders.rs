//! Writes the builders anew, from the structs of typify's: with texts, errors in the spelling of the API,
//! optional fields that take whatever converts to their value, `build()`, and fields of tomorrow.

use std::collections::BTreeMap;

use quote::ToTokens as _;
use syn::parse_quote;

use crate::{Result, names::snake, node::Node, requests};

/// A struct of the API, as its builder has to know it.
pub(crate) struct Object {
    pub(crate) name: syn::Ident,
    pub(crate) fields: Vec<Field>,
    /// Whether it has a place for fields that the document does not have.
    pub(crate) is_open: bool,
}

pub(crate) struct Field {
    pub(crate) ident: syn::Ident,
    pub(crate) text: Vec<syn::Attribute>,
    pub(crate) is_required: bool,
}

/// Replaces what typify wrote into the module `builder`. Only its types know the paths from there.
pub(crate) fn rewrite(module: &mut Vec<syn::Item>, objects: &[Object], document: &Node<'_>) -> Result<()> {
    let mut types = BTreeMap::new();
    for item in module.iter() {
        let syn::Item::Struct(builder) = item else { continue };
        for field in &builder.fields {
            let name = (builder.ident.to_string(), field.ident.as_ref().map(ToString::to_string).unwrap_or_default());
            types.insert(name, argument(&field.ty));
        }
    }
    module.clear();
    for object in objects {
        let mut fields = Vec::new();
        for field in &object.fields {
            let ty = types.get(&(object.name.to_string(), field.ident.to_string())).cloned().flatten();
            let ty = ty.ok_or_else(|| format!("typify has no builder for {}.{}", object.name, field.ident))?;
            fields.push((field, ty));
        }
        module.extend(builder(object, &fields, document));
    }
    Ok(())
}

fn builder(object: &Object, fields: &[(&Field, syn::Type)], document: &Node<'_>) -> Vec<syn::Item> {
    let name = &object.name;
    let properties = document.components("schemas").get(&name.to_string()).get("properties");
    let spelling: BTreeMap<_, _> = properties.fields().map(|(field, _)| (snake(field), field)).collect();
    let spelled = |ident: &syn::Ident| spelling.get(&ident.to_string()).copied().unwrap_or_default();

    let text = format!("Builds a [`{name}`](super::{name}), with a setter for each field.");
    let (idents, types): (Vec<_>, Vec<_>) = fields.iter().map(|(field, ty)| (&field.ident, ty)).unzip();
    let defaults = fields.iter().map(|(field, _)| -> syn::Expr {
        let missing = format!("`{}` is missing", spelled(&field.ident));
        if field.is_required { parse_quote!(Err(#missing.to_owned())) } else { parse_quote!(Ok(Default::default())) }
    });
    let extra: Option<syn::Ident> = object.is_open.then(|| parse_quote!(extra_));
    let extra: Vec<_> = extra.iter().collect();
    let setters = fields.iter().map(|(field, ty)| setter(field, ty, spelled(&field.ident)));
    let build: Option<syn::ImplItem> = (!spelling.contains_key("build")).then(|| {
        parse_quote! {
            /// Checks the fields and makes the value of them.
            ///
            /// # Errors
            ///
            /// The first field that is missing or cannot be used, by its name in the API, and why.
            pub fn build(self) -> ::std::result::Result<super::#name, super::error::ConversionError> {
                ::std::convert::TryInto::try_into(self)
            }
        }
    });
    let more = object.is_open.then(|| requests::extra(&spelling)).flatten();
    vec![
        parse_quote! {
            #[doc = #text]
            #[derive(Clone, Debug)]
            pub struct #name {
                #(#idents: ::std::result::Result<#types, ::std::string::String>,)*
                #(#extra: ::std::result::Result<crate::types::extra::Extra, ::std::string::String>,)*
            }
        },
        parse_quote! {
            impl ::std::default::Default for #name {
                fn default() -> Self {
                    Self { #(#idents: #defaults,)* #(#extra: Ok(Default::default()),)* }
                }
            }
        },
        parse_quote! {
            impl #name {
                #build
                #(#setters)*
                #more
            }
        },
        parse_quote! {
            impl ::std::convert::TryFrom<#name> for super::#name {
                type Error = super::error::ConversionError;

                fn try_from(value: #name) -> ::std::result::Result<Self, Self::Error> {
                    Ok(Self { #(#idents: value.#idents?,)* #(#extra: value.#extra?,)* })
                }
            }
        },
        // `.video(VideoOptions::builder().hdr(true))`, where the object is optional.
        parse_quote! {
            impl ::std::convert::TryFrom<#name> for crate::types::Optional<super::#name> {
                type Error = super::error::ConversionError;

                fn try_from(value: #name) -> ::std::result::Result<Self, Self::Error> {
                    value.build().map(Self::from)
                }
            }
        },
        parse_quote! {
            impl ::std::convert::From<super::#name> for #name {
                fn from(value: super::#name) -> Self {
                    Self { #(#idents: Ok(value.#idents),)* #(#extra: Ok(value.#extra),)* }
                }
            }
        },
    ]
}

fn setter(Field { ident, text, .. }: &Field, ty: &syn::Type, spelled: &str) -> syn::ImplItem {
    let wrong = format!("`{spelled}`: {{e}}");
    let (ty, value): (syn::Type, syn::Expr) = match argument(ty).filter(|_| is_option(ty)) {
        Some(inner) => (parse_quote!(crate::types::Optional<#inner>), parse_quote!(value.try_into().map(|it| it.0))),
        None => (ty.clone(), parse_quote!(value.try_into())),
    };
    parse_quote! {
        #(#text)*
        pub fn #ident<T>(mut self, value: T) -> Self
        where
            T: ::std::convert::TryInto<#ty>,
            T::Error: ::std::fmt::Display,
        {
            self.#ident = #value.map_err(|e| format!(#wrong));
            self
        }
    }
}

pub(crate) fn is_option(ty: &syn::Type) -> bool {
    ty.to_token_stream().to_string().starts_with(":: std :: option :: Option")
}

/// The first type in angle brackets.
fn argument(ty: &syn::Type) -> Option<syn::Type> {
    let syn::Type::Path(path) = ty else { return None };
    let syn::PathArguments::AngleBracketed(arguments) = &path.path.segments.last()?.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        syn::GenericArgument::Type(ty) => Some(ty.clone()),
        _ => None,
    })
}
