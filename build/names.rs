//! What things of the document are called in Rust.

use heck::{ToSnakeCase as _, ToUpperCamelCase as _};

/// The name of a field, a method or an argument, as typify and progenitor make it.
pub(crate) fn snake(name: &str) -> String {
    let spelled = name.replace('\'', "").replace(|c: char| !is_ident_char(c), "-").to_snake_case();
    if syn::parse_str::<syn::Ident>(&spelled).is_ok() { spelled } else { format!("{spelled}_") }
}

/// The name of a type, as typify makes it.
pub(crate) fn camel(name: &str) -> String {
    name.replace(|c: char| !is_ident_char(c), "-").to_upper_camel_case()
}

/// The type that typify makes of a text with limits of its length.
pub(crate) fn limited_text(object: &str, field: &str) -> String {
    camel(&format!("{object}_{}", field.to_snake_case()))
}

fn is_ident_char(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// `uni-1-max` is `Uni1Max`, `ray-3.2` is `Ray3_2`. What is no name by itself gets the last word of its
/// enum's name in front: `16:9` is `Ratio16x9`, `720p` is `Resolution720p`, `unknown` is `StateUnknown`.
pub(crate) fn variant(name: &str, value: &str) -> Option<String> {
    let mut ident = String::new();
    for part in value.replace(':', "x").split('.').map(camel) {
        let is_digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
        if is_digit(ident.chars().next_back()) && is_digit(part.chars().next()) {
            ident.push('_');
        }
        ident += &part;
    }
    let last_word = name.rfind(char::is_uppercase).map_or(name, |at| &name[at..]);
    match ident.as_str() {
        "" if value.is_empty() => ident = format!("{last_word}Empty"),
        // The first is in every open enum, the second is a keyword.
        "Unknown" | "Self" => ident = format!("{last_word}{ident}"),
        _ if ident.starts_with(|c: char| c.is_ascii_digit()) => ident = format!("{last_word}{}", ident.to_lowercase()),
        _ => {}
    }
    syn::parse_str::<syn::Ident>(&ident).is_ok().then_some(ident)
}
