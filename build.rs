//! Generates the client, the open enums and (feature `mock`) the typed mocks from `openapi.yaml`.
//!
//! The document stays complete; what progenitor cannot digest is taken out of a lean copy here:
//! error answers (so that every failure keeps its status, headers and body), a second request
//! media type, defaults (so that an absent field stays absent) and closed enums.
//!
//! To progenitor's output it adds what progenitor has no setting for: builders for nested objects,
//! constructors that do not notice new fields, alternatives that say what is wrong with them, and
//! (feature `schemars`) `JsonSchema`.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use heck::ToUpperCamelCase as _;
use progenitor::{GenerationSettings, Generator, HooksMode, InterfaceStyle, TypeImpl, TypePatch};
use quote::{ToTokens, format_ident, quote};
use serde_json::{Map, Value, json};
use syn::parse_quote;

const SPEC: &str = "openapi.yaml";

/// String formats that deserve a type of their own: their `Debug` hides what must not be printed.
const SCALARS: [(&str, &str); 3] =
    [("uri", "crate::types::Url"), ("byte", "crate::types::Base64"), ("password", "crate::types::Secret")];

/// A sentence that names the file and the place.
type Result<T, E = String> = std::result::Result<T, E>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed={SPEC}");
    println!("cargo::rerun-if-changed=build.rs");

    let spec = read(Path::new(SPEC))?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("enums.rs"), open_enums(&spec)?)?;
    let (types, client) = types_and_client(&spec)?;
    fs::write(out.join("types.rs"), types)?;
    fs::write(out.join("client.rs"), client)?;
    if schemars() {
        fs::write(out.join("schemas.json"), serde_json::to_string(components(&spec)?)?)?;
    }
    if env::var_os("CARGO_FEATURE_EMULATOR").is_some() {
        fs::write(out.join("document.json"), spec.to_string())?;
    }
    if env::var_os("CARGO_FEATURE_MOCK").is_some() {
        fs::write(out.join("mock.rs"), mocks(&spec)?)?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).map_err(|e| format!("{SPEC} cannot be read: {e}"))?;
    // YAML 1.2: `y` is a letter, not a truth.
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(&text, options).map_err(|e| format!("{SPEC} is not valid YAML: {e}"))
}

/// The wire types and the low-level client, each a file of its own.
fn types_and_client(spec: &Value) -> Result<(String, String)> {
    let mut lean = spec.clone();
    each_operation(&mut lean, |place, operation| {
        keep_one_media_type(place, operation)?;
        keep_success(place, operation)
    })?;
    let lean = digestible(lean)?;
    let tokens = Generator::new(&settings(spec)?)
        .generate_tokens(&lean)
        .map_err(|e| format!("{SPEC}: progenitor refuses it: {e}"))?;
    let mut client = parse(tokens)?;
    let mut types = take_types(&mut client)?;
    finish_types(&mut types, spec)?;
    Ok((prettyplease::unparse(&types), decode_leniently(&prettyplease::unparse(&client))))
}

/// Lets the one decoder of the crate decode responses.
fn decode_leniently(client: &str) -> String {
    client.replace("ResponseValue::from_response(response)", "super::super::decode::decode(response)")
}

/// Takes the module `types` out of the client, which imports it from now on.
fn take_types(client: &mut syn::File) -> Result<syn::File> {
    let module = client.items.iter_mut().find(|item| matches!(item, syn::Item::Mod(module) if module.ident == "types"));
    match module.map(|item| {
        std::mem::replace(
            item,
            parse_quote!(
                use crate::types;
            ),
        )
    }) {
        Some(syn::Item::Mod(syn::ItemMod { content: Some((_, items)), .. })) => Ok(parse_quote!(#(#items)*)),
        _ => Err("progenitor's output has no module `types`".to_owned()),
    }
}

/// Adds to the wire types what typify has no setting for.
fn finish_types(types: &mut syn::File, spec: &Value) -> Result<()> {
    let mut added = nested_builders(spec)?;
    for item in &mut types.items {
        match item {
            syn::Item::Enum(one_of) => added.push(decoder(one_of, spec)?),
            syn::Item::Struct(object) => added.extend(constructor(object)),
            _ => {}
        }
        if let syn::Item::Struct(syn::ItemStruct { attrs, ident, .. })
        | syn::Item::Enum(syn::ItemEnum { attrs, ident, .. }) = item
            && schemars()
        {
            attrs.extend(json_schema(&ident.to_string(), spec)?);
        }
    }
    types.items.extend(added);
    Ok(())
}

/// `of` takes the required fields and leaves the others out: a struct literal in this crate would have to
/// be edited for every field that the API adds.
fn constructor(object: &syn::ItemStruct) -> Option<syn::Item> {
    let syn::Fields::Named(fields) = &object.fields else { return None };
    let is_optional = |field: &&syn::Field| {
        let ty = field.ty.to_token_stream().to_string();
        ty.starts_with(":: std :: option :: Option")
            || field.attrs.iter().any(|it| it.to_token_stream().to_string().contains("default"))
    };
    let (optional, required): (Vec<_>, Vec<_>) = fields.named.iter().partition(is_optional);
    let name = &object.ident;
    let types = required.iter().map(|field| &field.ty);
    let required: Vec<_> = required.iter().map(|field| &field.ident).collect();
    let optional = optional.iter().map(|field| &field.ident);
    Some(parse_quote! {
        impl #name {
            pub(crate) fn of(#(#required: #types),*) -> Self {
                Self { #(#required,)* #(#optional: ::std::default::Default::default(),)* }
            }
        }
    })
}

fn schemars() -> bool {
    env::var_os("CARGO_FEATURE_SCHEMARS").is_some()
}

/// Derives `JsonSchema`; what the type cannot tell comes from its place in the document.
fn json_schema(name: &str, spec: &Value) -> Result<Vec<syn::Attribute>> {
    let schemas = components(spec)?;
    let derive = parse_quote!(#[derive(::schemars::JsonSchema)]);
    if schemas.contains_key(name) {
        let place = format!("/{name}");
        return Ok(vec![derive, parse_quote!(#[schemars(transform = crate::types::schema::Limits(#place))])]);
    }
    // A text with a limit is a type of its own, which typify names after the field.
    let place = schemas.iter().find_map(|(of, schema)| {
        let fields = schema["properties"].as_object()?;
        let field = fields.keys().find(|field| format!("{of}{}", field.to_upper_camel_case()) == name)?;
        Some(format!("/{of}/properties/{field}"))
    });
    let place = place.ok_or_else(|| format!("{SPEC}: nothing in it is the type `{name}`"))?;
    Ok(vec![derive, parse_quote!(#[schemars(inline, transform = crate::types::schema::Limits(#place))])])
}

/// Decodes a `oneOf` by the field that only one alternative has. serde's own way tries them all and
/// then says of a wrong one only that nothing matched.
fn decoder(one_of: &mut syn::ItemEnum, spec: &Value) -> Result<syn::Item> {
    let name = &one_of.ident;
    for attribute in one_of.attrs.iter_mut().filter(|attribute| attribute.path().is_ident("derive")) {
        let derives = attribute
            .parse_args_with(syn::punctuated::Punctuated::<syn::Path, syn::Token![,]>::parse_terminated)
            .map_err(|e| format!("the derives of `{name}` do not parse: {e}"))?;
        let kept = derives.iter().filter(|path| path.segments.last().is_none_or(|it| it.ident != "Deserialize"));
        *attribute = parse_quote!(#[derive(#(#kept),*)]);
    }
    let variants: Vec<_> = one_of.variants.iter().map(|variant| &variant.ident).collect();
    let tags = variants.iter().map(|variant| tag(variant, &variants, spec)).collect::<Result<Vec<_>>>()?;
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

/// The required field that no other alternative has.
fn tag(variant: &syn::Ident, variants: &[&syn::Ident], spec: &Value) -> Result<String> {
    let schemas = components(spec)?;
    let schema = |name: &syn::Ident| {
        let name = name.to_string();
        schemas.get(&name).ok_or_else(|| format!("{SPEC}: the alternative `{name}` is not a schema of its own"))
    };
    let required = schema(variant)?["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    for field in required.iter().filter_map(Value::as_str) {
        let mut unique = true;
        for other in variants.iter().filter(|other| **other != variant) {
            unique &= schema(other)?["properties"].get(field).is_none();
        }
        if unique {
            return Ok(field.to_owned());
        }
    }
    Err(format!("{SPEC}: `{variant}` has no required field of its own to tell it by"))
}

/// Lets a builder stand where an optional object is asked for: `.video(VideoOptions::builder().hdr(true))`.
fn nested_builders(spec: &Value) -> Result<Vec<syn::Item>> {
    let objects = components(spec)?.iter().filter(|(_, schema)| schema["type"] == "object" && !is_binary(schema));
    Ok(objects
        .map(|(name, _)| {
            let name = format_ident!("{name}");
            parse_quote! {
                impl ::std::convert::TryFrom<builder::#name> for ::std::option::Option<#name> {
                    type Error = error::ConversionError;

                    fn try_from(builder: builder::#name) -> ::std::result::Result<Self, Self::Error> {
                        builder.try_into().map(Some)
                    }
                }
            }
        })
        .collect())
}

/// The typed mocks: they may answer everything that the document declares.
fn mocks(spec: &Value) -> Result<String> {
    let mut full = spec.clone();
    each_operation(&mut full, keep_one_media_type)?;
    let full = digestible(full)?;
    let tokens = Generator::new(&settings(spec)?)
        .httpmock(&full, "super")
        .map_err(|e| format!("{SPEC}: progenitor cannot make mocks of it: {e}"))?;
    Ok(prettyplease::unparse(&parse(tokens)?))
}

fn settings(spec: &Value) -> Result<GenerationSettings> {
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
    for (name, schema) in components(spec)? {
        if schema.get("enum").is_some() {
            settings.with_replacement(
                name,
                format!("crate::types::{name}"),
                [TypeImpl::Display, TypeImpl::FromStr].into_iter(),
            );
        } else {
            settings.with_patch(name, TypePatch::default().with_attr("#[non_exhaustive]"));
        }
    }
    Ok(settings)
}

/// One `open_enum!` for each named string enum, with the docs of its values from the bullets of
/// its description.
fn open_enums(spec: &Value) -> Result<String> {
    let mut code = String::new();
    for (name, schema) in components(spec)? {
        let Some(values) = schema.get("enum") else { continue };
        let values = values.as_array().ok_or_else(|| format!("{SPEC}: `{name}.enum` is not a list"))?;
        let text = schema["description"].as_str().unwrap_or_default();
        let (bullets, summary): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with("- `"));
        let mut variants = BTreeMap::new();
        let mut lines =
            vec!["open_enum! {".to_owned(), format!("#[doc = {:?}]", summary.join("\n").trim()), format!("{name} {{")];
        for value in values {
            let value = value.as_str().ok_or_else(|| format!("{SPEC}: `{name}.enum` holds {value}, not a string"))?;
            let variant = variant(name, value);
            if let Some(other) = variants.insert(variant.clone(), value) {
                return Err(format!("{SPEC}: in `{name}`, `{other}` and `{value}` would both be `{variant}`"));
            }
            let meaning = bullets.iter().find_map(|line| line.strip_prefix(&format!("- `{value}`: ")));
            let doc = meaning.map_or_else(|| format!("`{value}`"), |meaning| format!("`{value}`: {meaning}"));
            lines.push(format!("#[doc = {doc:?}]\n{variant} = {value:?},"));
        }
        code += &lines.join("\n");
        code += "}\n}\n";
    }
    Ok(code)
}

/// `uni-1-max` is `Uni1Max`, `ray-3.2` is `Ray3_2`; a value that begins with a digit gets the last
/// word of its enum's name in front: `16:9` is `Ratio16x9`, `720p` is `Resolution720p`.
fn variant(name: &str, value: &str) -> String {
    let spelled = value.replace(':', "x");
    let parts: Vec<_> = spelled.split('.').map(str::to_upper_camel_case).collect();
    let ident = parts.join("_");
    if ident.starts_with(|c: char| c.is_ascii_digit()) {
        let last_word = name.rfind(char::is_uppercase).map_or(name, |at| &name[at..]);
        let ident = parts.join("_").to_lowercase();
        format!("{last_word}{ident}")
    } else {
        ident
    }
}

fn components(spec: &Value) -> Result<&Map<String, Value>> {
    spec.pointer("/components/schemas")
        .and_then(Value::as_object)
        .ok_or_else(|| format!("{SPEC}: `components.schemas` is missing"))
}

fn each_operation(spec: &mut Value, edit: impl Fn(&str, &mut Map<String, Value>) -> Result<()>) -> Result<()> {
    let paths = spec["paths"].as_object_mut().ok_or_else(|| format!("{SPEC}: `paths` is missing"))?;
    for (path, item) in paths {
        let item = item.as_object_mut().ok_or_else(|| format!("{SPEC}: `{path}` is not an object"))?;
        for (method, operation) in item {
            let Some(operation) = operation.as_object_mut().filter(|it| it.contains_key("responses")) else {
                continue;
            };
            let place = format!("{} {path}", method.to_uppercase());
            if !operation.contains_key("operationId") {
                return Err(format!("{SPEC}: `{place}` has no operationId"));
            }
            edit(&place, operation)?;
        }
    }
    Ok(())
}

/// progenitor panics on a second request media type; JSON is the one it can send.
fn keep_one_media_type(place: &str, operation: &mut Map<String, Value>) -> Result<()> {
    let Some(content) = operation.get_mut("requestBody").and_then(|body| body["content"].as_object_mut()) else {
        return Ok(());
    };
    content.retain(|media_type, _| media_type == "application/json");
    if content.is_empty() {
        return Err(format!("{SPEC}: the request of `{place}` has no application/json form"));
    }
    Ok(())
}

/// Leaves one answer, the success, and accepts it under any 2xx status.
fn keep_success(place: &str, operation: &mut Map<String, Value>) -> Result<()> {
    let responses = operation["responses"]
        .as_object_mut()
        .ok_or_else(|| format!("{SPEC}: `responses` of `{place}` is not an object"))?;
    let success = responses
        .iter()
        .find(|(status, _)| status.starts_with('2'))
        .map(|(_, response)| response.clone())
        .ok_or_else(|| format!("{SPEC}: `{place}` declares no 2xx response"))?;
    *responses = Map::from_iter([("2XX".to_owned(), success)]);
    Ok(())
}

/// Takes out what typify would turn into something nobody wants, and parses the rest.
fn digestible(mut spec: Value) -> Result<openapiv3::OpenAPI> {
    if let Some(schemas) = spec.pointer_mut("/components/schemas").and_then(Value::as_object_mut) {
        schemas.retain(|_, schema| !is_binary(schema));
        schemas.values_mut().for_each(without_defaults);
    }
    serde_json::from_value(spec).map_err(|e| format!("{SPEC} is not OpenAPI 3.0: {e}"))
}

/// A form with a binary part is multipart, not JSON: a type for it would only mislead.
fn is_binary(schema: &Value) -> bool {
    schema["properties"]
        .as_object()
        .is_some_and(|properties| properties.values().any(|property| property["format"] == "binary"))
}

/// With a default, typify would send the field always and could not tell absent from chosen.
fn without_defaults(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.contains_key("type") || fields.contains_key("allOf") {
                fields.remove("default");
            }
            fields.values_mut().for_each(without_defaults);
        }
        Value::Array(items) => items.iter_mut().for_each(without_defaults),
        _ => {}
    }
}

fn parse(tokens: impl ToTokens) -> Result<syn::File> {
    syn::parse2(tokens.into_token_stream()).map_err(|e| format!("progenitor's output does not parse: {e}"))
}
