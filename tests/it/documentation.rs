//! What a reader of the documentation sees: a text for everything that has a name, and code that fits the page.

use std::{fs, path::Path};

use syn::{Attribute, Fields, ImplItem, Item, TraitItem, Visibility};

const TYPES: &str = include_str!(concat!(env!("OUT_DIR"), "/types.rs"));
const CLIENT: &str = include_str!(concat!(env!("OUT_DIR"), "/client.rs"));
const MOCKS: &str = include_str!(concat!(env!("OUT_DIR"), "/mock.rs"));
const ENUMS: &str = include_str!(concat!(env!("OUT_DIR"), "/enums.rs"));

/// docs.rs cuts longer lines off, in a browser 1,280 pixels wide.
const WIDTH: usize = 85;

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn text(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter(|it| it.path().is_ident("doc")).filter_map(|it| match &it.meta {
        syn::Meta::NameValue(syn::MetaNameValue {
            value: syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }),
            ..
        }) => Some(text.value()),
        _ => None,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The public names without a text, and every text.
#[derive(Default)]
struct Found {
    bare: Vec<String>,
    texts: Vec<String>,
}

impl Found {
    fn see(&mut self, name: &str, attributes: &[Attribute]) {
        let text = text(attributes);
        if text.trim().is_empty() {
            self.bare.push(name.to_owned());
        }
        self.texts.push(text);
    }

    fn items(&mut self, path: &str, items: &[Item]) {
        for item in items {
            match item {
                Item::Struct(it) if is_public(&it.vis) => {
                    let name = format!("{path}{}", it.ident);
                    self.see(&name, &it.attrs);
                    if let Fields::Named(fields) = &it.fields {
                        for field in fields.named.iter().filter(|field| is_public(&field.vis)) {
                            self.see(&format!("{name}.{}", field.ident.as_ref().unwrap()), &field.attrs);
                        }
                    }
                }
                Item::Enum(it) if is_public(&it.vis) => {
                    let name = format!("{path}{}", it.ident);
                    self.see(&name, &it.attrs);
                    for variant in &it.variants {
                        self.see(&format!("{name}::{}", variant.ident), &variant.attrs);
                    }
                }
                Item::Impl(block) if block.trait_.is_none() => {
                    let name = quote::ToTokens::to_token_stream(&block.self_ty).to_string();
                    for item in &block.items {
                        if let ImplItem::Fn(it) = item
                            && is_public(&it.vis)
                        {
                            self.see(&format!("{path}{name}::{}", it.sig.ident), &it.attrs);
                        }
                    }
                }
                Item::Trait(it) if is_public(&it.vis) => {
                    self.see(&format!("{path}{}", it.ident), &it.attrs);
                    for item in &it.items {
                        if let TraitItem::Fn(method) = item {
                            self.see(&format!("{path}{}::{}", it.ident, method.sig.ident), &method.attrs);
                        }
                    }
                }
                Item::Mod(it) if is_public(&it.vis) => {
                    self.see(&format!("{path}{}", it.ident), &it.attrs);
                    if let Some((_, items)) = &it.content {
                        self.items(&format!("{path}{}::", it.ident), items);
                    }
                }
                _ => {}
            }
        }
    }
}

fn generated() -> Found {
    let mut found = Found::default();
    for code in [TYPES, CLIENT, MOCKS] {
        found.items("", &syn::parse_file(code).unwrap().items);
    }
    found
}

/// Of the hand-written part, the compiler makes sure by `missing_docs`.
#[test]
fn everything_generated_has_a_text() {
    let found = generated();
    assert!(found.texts.len() > 280, "only {} names were found", found.texts.len());
    assert!(found.bare.is_empty(), "{:#?}", found.bare);
    let values = ENUMS.lines().filter(|line| line.contains(" = \"") && !line.starts_with("#[doc")).count();
    let texts = ENUMS.lines().filter(|line| line.starts_with("#[doc") && *line != "#[doc = \"\"]").count();
    assert!(texts > values && values > 40, "{texts} texts for {values} values");
}

#[test]
fn a_field_that_is_only_a_reference_says_what_it_refers_to() {
    let types = syn::parse_file(TYPES).unwrap();
    let request = types.items.iter().find_map(|item| match item {
        Item::Struct(it) if it.ident == "CreateGeneration" => Some(it),
        _ => None,
    });
    for (field, begins) in [("model", "The model which does"), ("type_", "The kind of"), ("style", "")] {
        let field = request.unwrap().fields.iter().find(|it| it.ident.as_ref().is_some_and(|it| it == field)).unwrap();
        assert!(text(&field.attrs).starts_with(begins), "{}", text(&field.attrs));
    }
}

/// The visible lines of the code blocks that are too long.
fn too_wide(text: &str) -> Vec<String> {
    let mut in_code = false;
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.strip_prefix(' ').unwrap_or(line);
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if in_code && !line.starts_with("# ") && line.chars().count() > WIDTH {
            found.push(line.to_owned());
        }
    }
    assert!(!in_code, "a code block has no end: {text}");
    found
}

fn files(folder: &Path, extension: &str, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|it| it == extension) {
            found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn code_fits_the_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = Vec::new();
    let mut sources = Vec::new();
    files(&root.join("docs/cookbook"), "md", &mut pages);
    for crate_ in [root.to_owned(), root.join("crates/batch"), root.join("crates/postgres")] {
        let readme = crate_.join("README.md");
        pages.push((readme.display().to_string(), fs::read_to_string(readme).unwrap()));
        files(&crate_.join("src"), "rs", &mut sources);
    }
    files(&root.join("crates/batch/docs"), "md", &mut pages);
    for (name, source) in sources {
        // Each run of documentation lines is a text of its own.
        let mut text = String::new();
        for line in source.lines().chain([""]) {
            match line.trim_start().strip_prefix("///").or_else(|| line.trim_start().strip_prefix("//!")) {
                Some(line) => text += &format!("{line}\n"),
                None if !text.is_empty() => pages.push((name.clone(), std::mem::take(&mut text))),
                None => {}
            }
        }
    }
    pages.extend(generated().texts.into_iter().map(|text| ("openapi.yaml".to_owned(), text)));
    let wide: Vec<_> =
        pages.iter().flat_map(|(name, text)| too_wide(text).into_iter().map(move |it| (name, it))).collect();
    assert!(wide.is_empty(), "{wide:#?}");
}

#[test]
fn every_page_of_the_cookbook_is_in_the_documentation() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let module = fs::read_to_string(root.join("src/cookbook.rs")).unwrap();
    let mut pages = Vec::new();
    files(&root.join("docs/cookbook"), "md", &mut pages);
    assert!(pages.len() >= 15, "{}", pages.len());
    for (path, text) in pages {
        let name = Path::new(&path).file_name().unwrap().to_str().unwrap().to_owned();
        assert!(module.contains(&format!("= \"{name}\"")), "{name} is no page of src/cookbook.rs");
        assert!(text.starts_with("# "), "{name} has no title");
    }
}
