//! Everything that users can name, one snapshot: `public-api.txt`.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use quote::ToTokens as _;
use syn::{Fields, FnArg, ImplItem, Item, Visibility};

use crate::support::snapshot::assert_snapshot;

const TYPES: &str = include_str!(concat!(env!("OUT_DIR"), "/types.rs"));
const CLIENT: &str = include_str!(concat!(env!("OUT_DIR"), "/client.rs"));
const ENUMS: &str = include_str!(concat!(env!("OUT_DIR"), "/enums.rs"));
const MOCKS: &str = include_str!(concat!(env!("OUT_DIR"), "/mock.rs"));

/// A change of the document or of the code shows here what it adds for users and what it removes.
#[test]
fn the_public_api_is_what_the_snapshot_says() {
    let mut text = "// Everything public. `UPDATE_SNAPSHOT=1 cargo test --test it` writes it.\n".to_owned();
    let client = syn::parse_file(CLIENT).unwrap();
    text += "\n// openapi.yaml: wire types. Each struct has a builder with a setter for each field.\n\n";
    text += &surface(&syn::parse_file(TYPES).unwrap().items, &BTreeSet::new());
    text += "\n// openapi.yaml: open enums\n\n";
    text += &ENUMS.split_inclusive('\n').filter(|line| !line.starts_with("#[doc")).collect::<String>();
    text += "\n// openapi.yaml: operations, their parameters and their responses\n\n";
    text += &operations(&client.items);
    text += "\n// openapi.yaml: typed mocks, their matchers and their responses\n\n";
    text += &mocks(&syn::parse_file(MOCKS).unwrap().items);
    let files = sources();
    let private: BTreeSet<_> = files.iter().flat_map(|(_, file)| private_traits(&file.items)).collect();
    // Compiled for tests and fuzzing only.
    let files = files.iter().filter(|(name, _)| !name.ends_with("src/fuzzing.rs"));
    for (name, file) in files {
        let surface = surface(&file.items, &private);
        if !surface.is_empty() {
            write!(text, "\n// {name}\n\n{surface}").unwrap();
        }
    }
    assert_snapshot("public-api.txt", &text);
}

#[test]
fn every_field_has_a_setter() {
    let types = syn::parse_file(TYPES).unwrap().items;
    let setters = methods(module(&types, "builder"));
    let mut count = 0;
    for item in &types {
        let Item::Struct(item) = item else { continue };
        let Fields::Named(fields) = &item.fields else { continue };
        for field in fields.named.iter().filter(|field| is_public(&field.vis)) {
            let field = field.ident.as_ref().unwrap().to_string();
            assert!(setters.contains(&(item.ident.to_string(), field.clone())), "{}.{field}", item.ident);
            count += 1;
        }
    }
    assert!(count > 90, "only {count} fields were found");
}

fn module<'a>(items: &'a [Item], name: &str) -> &'a [Item] {
    let found = items.iter().find_map(|item| match item {
        Item::Mod(module) if module.ident == name => module.content.as_ref(),
        _ => None,
    });
    &found.unwrap_or_else(|| panic!("there is no module {name}")).1
}

/// The type and the name of each method.
fn methods(items: &[Item]) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for item in items {
        let Item::Impl(block) = item else { continue };
        for method in &block.items {
            let ImplItem::Fn(method) = method else { continue };
            found.insert((name_of(&block.self_ty), method.sig.ident.to_string()));
        }
    }
    found
}

/// The last part of a path, without its parameters.
fn name_of(ty: &syn::Type) -> String {
    match ty {
        syn::Type::Path(path) => path.path.segments.last().unwrap().ident.to_string(),
        other => plain(other),
    }
}

fn plain(tokens: &impl quote::ToTokens) -> String {
    tokens.to_token_stream().to_string().replace(' ', "")
}

fn operations(items: &[Item]) -> String {
    let mut text = String::new();
    for item in module(items, "builder") {
        let Item::Impl(block) = item else { continue };
        let mut setters = Vec::new();
        for method in &block.items {
            let ImplItem::Fn(method) = method else { continue };
            match method.sig.ident.to_string().as_str() {
                "new" => {}
                "send" => {
                    let syn::ReturnType::Type(_, output) = &method.sig.output else { unreachable!() };
                    writeln!(text, "{}({}) -> {}", name_of(&block.self_ty), setters.join(", "), plain(output)).unwrap();
                }
                setter => setters.push(setter.to_owned()),
            }
        }
    }
    text
}

fn mocks(items: &[Item]) -> String {
    let mut text = String::new();
    for item in module(items, "operations") {
        let Item::Impl(block) = item else { continue };
        let mut names = Vec::new();
        for method in &block.items {
            let ImplItem::Fn(method) = method else { continue };
            let value = method.sig.inputs.iter().skip(1).filter_map(|it| match it {
                FnArg::Typed(it) => Some(plain(&it.ty)),
                FnArg::Receiver(_) => None,
            });
            names.push(format!("{}({})", method.sig.ident, value.collect::<String>()));
        }
        writeln!(text, "{}: {}", name_of(&block.self_ty), names.join(" ")).unwrap();
    }
    text
}

fn sources() -> Vec<(String, syn::File)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
                files.push((format!("src/{name}"), syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap()));
            }
        }
    }
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn private_traits(items: &[Item]) -> impl Iterator<Item = String> {
    items.iter().filter_map(|item| match item {
        Item::Trait(item) if !is_public(&item.vis) => Some(item.ident.to_string()),
        _ => None,
    })
}

fn surface(items: &[Item], private_traits: &BTreeSet<String>) -> String {
    let items = public(items, private_traits);
    let mut text = prettyplease::unparse(&syn::File { shebang: None, frontmatter: None, attrs: Vec::new(), items });
    for path in ["::std::option::", "::std::string::", "::std::vec::", "::std::collections::", "crate::types::"] {
        text = text.replace(path, "");
    }
    text.replace(" {}\n", ";\n")
}

/// The public items without their bodies, docs and attributes.
fn public(items: &[Item], private_traits: &BTreeSet<String>) -> Vec<Item> {
    let hidden = |name: &str| {
        items.iter().any(|item| match item {
            Item::Struct(it) => it.ident == name && !is_public(&it.vis),
            Item::Enum(it) => it.ident == name && !is_public(&it.vis),
            _ => false,
        })
    };
    let mut kept = Vec::new();
    for item in items {
        match item.clone() {
            // For tests and fuzzing only.
            Item::Mod(it) if it.attrs.iter().any(|it| it.to_token_stream().to_string().contains("fuzzing")) => {}
            Item::Struct(mut it) if is_public(&it.vis) => {
                it.attrs.clear();
                for field in &mut it.fields {
                    field.attrs.clear();
                }
                it.fields = match it.fields {
                    Fields::Named(mut fields) => {
                        fields.named = fields.named.into_iter().filter(|it| is_public(&it.vis)).collect();
                        Fields::Named(fields)
                    }
                    _ => Fields::Unit,
                };
                it.semi_token = Some(syn::token::Semi::default());
                kept.push(Item::Struct(it));
            }
            Item::Enum(mut it) if is_public(&it.vis) => {
                it.attrs.clear();
                it.variants.iter_mut().for_each(|it| it.attrs.clear());
                kept.push(Item::Enum(it));
            }
            Item::Const(mut it) if is_public(&it.vis) => {
                it.attrs.clear();
                kept.push(Item::Const(it));
            }
            Item::Type(mut it) if is_public(&it.vis) => {
                it.attrs.clear();
                kept.push(Item::Type(it));
            }
            Item::Use(mut it) if is_public(&it.vis) => {
                it.attrs.clear();
                kept.push(Item::Use(it));
            }
            Item::Fn(mut it) if is_public(&it.vis) => {
                it.attrs.clear();
                it.block.stmts.clear();
                kept.push(Item::Fn(it));
            }
            Item::Trait(mut it) if is_public(&it.vis) => {
                it.attrs.clear();
                for item in &mut it.items {
                    if let syn::TraitItem::Fn(it) = item {
                        it.attrs.clear();
                        it.default = None;
                    }
                }
                kept.push(Item::Trait(it));
            }
            Item::Mod(mut it) if is_public(&it.vis) => {
                it.attrs.clear();
                // The builders follow the fields.
                it.content = it.content.map(|(braces, items)| (braces, public(&items, private_traits)));
                // The builders follow the fields.
                if it.ident != "builder" {
                    kept.push(Item::Mod(it));
                }
            }
            Item::Impl(mut it) if !hidden(&name_of(&it.self_ty)) => {
                it.attrs.clear();
                if let Some((path, _)) = &it.trait_ {
                    if !private_traits.contains(&path.segments.last().unwrap().ident.to_string()) {
                        it.items.clear();
                        kept.push(Item::Impl(it));
                    }
                    continue;
                }
                it.items.retain_mut(|item| match item {
                    ImplItem::Fn(it) => {
                        it.attrs.clear();
                        it.block.stmts.clear();
                        is_public(&it.vis)
                    }
                    ImplItem::Const(it) => {
                        it.attrs.clear();
                        is_public(&it.vis)
                    }
                    _ => false,
                });
                if !it.items.is_empty() {
                    kept.push(Item::Impl(it));
                }
            }
            _ => {}
        }
    }
    kept
}
