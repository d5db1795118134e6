//! What one source file says, as plain data: the names it defines and the paths it writes.
//!
//! It reads tokens, not a syntax tree, so that it also sees the bodies and the arguments of macros.

use std::collections::BTreeMap;

use proc_macro2::{Delimiter, Group, Ident, LexError, TokenStream, TokenTree};
use syn::UseTree;

/// A module: a file, `mod name { .. }` in one, or the file of an `include!`.
#[derive(Clone, Default)]
pub(crate) struct Scope {
    pub(crate) types: Vec<String>,
    /// Functions, constants and statics: no path continues after them.
    pub(crate) values: Vec<String>,
    pub(crate) macros: Vec<String>,
    /// Names passed to a macro, which may define them.
    pub(crate) expanded: Vec<String>,
    /// `None` for a module in a file of its own.
    pub(crate) modules: Vec<(String, Option<Scope>)>,
    /// Modules of unit tests, each in a file of its own.
    pub(crate) tests: Vec<String>,
    /// Generated files that are included here.
    pub(crate) includes: Vec<String>,
    /// Each type with a function or constant in an `impl` of the type itself.
    pub(crate) inherent: Vec<(Vec<String>, String)>,
    pub(crate) paths: Vec<Path>,
    /// Names without a path, and the line of the first of each.
    pub(crate) words: BTreeMap<String, usize>,
    /// Methods that are called on something whose type only the compiler knows.
    pub(crate) calls: Vec<(String, usize)>,
}

#[derive(Clone)]
pub(crate) struct Path {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
    pub(crate) role: Role,
}

#[derive(Clone, PartialEq)]
pub(crate) enum Role {
    Mention,
    /// `name!(..)`
    Macro,
    /// `use a::b as name`
    Import {
        name: String,
        is_public: bool,
    },
    /// `use a::*`
    Glob {
        is_public: bool,
    },
}

pub(crate) fn scan(text: &str) -> Result<Scope, LexError> {
    let mut scope = Scope::default();
    scope.read(text.parse()?, true);
    Ok(scope)
}

struct Tokens(Vec<TokenTree>);

impl Tokens {
    fn ident(&self, at: usize) -> Option<&Ident> {
        if let Some(TokenTree::Ident(it)) = self.0.get(at) { Some(it) } else { None }
    }

    fn group(&self, at: usize, delimiter: Delimiter) -> Option<&Group> {
        if let Some(TokenTree::Group(it)) = self.0.get(at) {
            Some(it).filter(|it| it.delimiter() == delimiter)
        } else {
            None
        }
    }

    fn is(&self, at: usize, punct: char) -> bool {
        matches!(self.0.get(at), Some(TokenTree::Punct(it)) if it.as_char() == punct)
    }

    fn is_separator(&self, at: usize) -> bool {
        self.is(at, ':') && self.is(at + 1, ':')
    }

    /// Whether `puncts` stand before `at`.
    fn is_after(&self, at: usize, puncts: &str) -> bool {
        let start = at.checked_sub(puncts.len());
        start.is_some_and(|start| puncts.chars().zip(start..).all(|(punct, at)| self.is(at, punct)))
    }

    /// Whether the item at `at` is public, in part or to all.
    fn is_public(&self, at: usize) -> bool {
        let word = |back| at.checked_sub(back).and_then(|at| self.ident(at)).is_some_and(|it| it == "pub");
        word(1) || (word(2) && self.group(at - 1, Delimiter::Parenthesis).is_some())
    }

    /// Whether one of the attributes of the item at `at` is `#[cfg(test)]`.
    fn is_test(&self, mut at: usize) -> bool {
        while at > 0 && !self.is(at - 1, ';') && self.group(at - 1, Delimiter::Brace).is_none() {
            at -= 1;
            let attribute = self.group(at, Delimiter::Bracket).map(|it| it.stream().to_string().replace(' ', ""));
            if attribute.is_some_and(|it| it == "cfg(test)") {
                return true;
            }
        }
        false
    }

    fn until(&self, start: usize, is_end: impl Fn(usize) -> bool) -> usize {
        (start..self.0.len()).find(|at| is_end(*at)).unwrap_or(self.0.len())
    }

    fn slice(&self, start: usize, end: usize) -> TokenStream {
        self.0[start..end].iter().cloned().collect()
    }
}

impl Scope {
    /// Reads the items of a module, or what is inside of an item.
    fn read(&mut self, tokens: TokenStream, is_module: bool) {
        let tokens = Tokens(tokens.into_iter().collect());
        let mut at = 0;
        while at < tokens.0.len() {
            at = match &tokens.0[at] {
                // `pub(crate)` names nothing.
                TokenTree::Ident(word) if word == "crate" && !tokens.is(at + 1, ':') => at + 1,
                TokenTree::Ident(word) if word == "use" => self.import(&tokens, at),
                TokenTree::Ident(word) if is_module && word == "mod" => self.module(&tokens, at),
                TokenTree::Ident(word) => {
                    if is_module {
                        self.definition(&tokens, at, &word.to_string());
                    }
                    self.path(&tokens, at, word)
                }
                TokenTree::Group(group) => {
                    self.read(group.stream(), false);
                    at + 1
                }
                TokenTree::Literal(literal) => {
                    // An argument of an attribute, such as `serde(with = "crate::module")`.
                    let text = literal.to_string();
                    if text.starts_with("\"crate::") {
                        let segments = text.trim_matches('"').split("::").map(str::to_owned).collect();
                        self.paths.push(Path { segments, line: literal.span().start().line, role: Role::Mention });
                    }
                    at + 1
                }
                TokenTree::Punct(_) => at + 1,
            };
        }
    }

    /// `mod name { .. }` or `mod name;`. Unit tests may use every layer: they are not shipped.
    fn module(&mut self, tokens: &Tokens, at: usize) -> usize {
        let Some(name) = tokens.ident(at + 1).map(ToString::to_string) else { return at + 1 };
        match (tokens.group(at + 2, Delimiter::Brace), tokens.is_test(at)) {
            (Some(_), true) => {}
            (None, true) => self.tests.push(name),
            (None, false) => self.modules.push((name, None)),
            (Some(body), false) => {
                let mut inner = Self::default();
                inner.read(body.stream(), true);
                self.modules.push((name, Some(inner)));
            }
        }
        at + 3
    }

    /// Remembers the name if the item at `at` defines one.
    fn definition(&mut self, tokens: &Tokens, at: usize, keyword: &str) {
        let next = tokens.ident(at + 1).map(ToString::to_string);
        let is_macro = tokens.is(at + 1, '!');
        match keyword {
            "struct" | "enum" | "union" | "trait" | "type" => self.types.extend(next),
            "fn" | "const" | "static" => self.values.extend(next),
            "impl" => self.inherent(tokens, at),
            "macro_rules" => self.macros.extend(tokens.ident(at + 2).map(ToString::to_string)),
            "include" if is_macro => {
                let file = tokens.0[at + 2].to_string();
                self.includes.extend(file.rsplit(['"', '/']).nth(1).map(str::to_owned));
            }
            _ if is_macro => {
                let arguments = tokens.group(at + 2, Delimiter::Brace).map(Group::stream).into_iter().flatten();
                self.expanded.extend(arguments.filter_map(|it| match it {
                    TokenTree::Ident(name) => Some(name.to_string()),
                    _ => None,
                }));
            }
            _ => {}
        }
    }

    fn inherent(&mut self, tokens: &Tokens, at: usize) {
        let end = tokens.until(at, |at| tokens.group(at, Delimiter::Brace).is_some());
        let Some(body) = tokens.group(end, Delimiter::Brace) else { return };
        let head = tokens.slice(at, end).into_iter().chain([Group::new(Delimiter::Brace, TokenStream::new()).into()]);
        let Ok(syn::ItemImpl { trait_: None, self_ty, .. }) = syn::parse2(head.collect()) else { return };
        let syn::Type::Path(ty) = *self_ty else { return };
        let ty: Vec<_> = ty.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let body = Tokens(body.stream().into_iter().collect());
        let names = (1..body.0.len()).filter(|at| body.ident(at - 1).is_some_and(|it| it == "fn" || it == "const"));
        self.inherent.extend(names.filter_map(|at| Some((ty.clone(), body.ident(at)?.to_string()))));
    }

    /// A path in code, which begins with `word`.
    fn path(&mut self, tokens: &Tokens, start: usize, word: &Ident) -> usize {
        let line = word.span().start().line;
        let mut segments = vec![word.to_string()];
        let mut at = start + 1;
        while tokens.is_separator(at)
            && let Some(next) = tokens.ident(at + 2)
        {
            segments.push(next.to_string());
            at += 3;
        }
        let is_field = tokens.is_after(start, ".") && !tokens.is_after(start, "..");
        let goes_on = tokens.is_after(start, "::");
        let is_called = tokens.is_separator(at) || tokens.group(at, Delimiter::Parenthesis).is_some();
        if word == "Self" || (is_field && is_called) || tokens.is_after(start, ">::") {
            self.calls.extend(segments.pop().map(|method| (method, line)));
        } else if is_field || goes_on {
            // A field, or `::name`: another crate.
        } else if tokens.is(at, '!') && matches!(tokens.0.get(at + 1), Some(TokenTree::Group(_))) {
            self.paths.push(Path { segments, line, role: Role::Macro });
        } else if segments.len() > 1 {
            self.paths.push(Path { segments, line, role: Role::Mention });
        } else {
            self.words.entry(word.to_string()).or_insert(line);
        }
        at
    }

    /// `use ..;`, also inside a function. There it counts for the whole module.
    fn import(&mut self, tokens: &Tokens, at: usize) -> usize {
        let end = tokens.until(at, |at| tokens.is(at, ';'));
        match syn::parse2(tokens.slice(at + 1, end)) {
            Ok(tree) => {
                self.import_tree(Vec::new(), tree, tokens.is_public(at));
                end
            }
            // With `$name` in a macro, or from another crate by `::`.
            Err(_) => at + 1,
        }
    }

    fn import_tree(&mut self, mut segments: Vec<String>, tree: UseTree, is_public: bool) {
        let (last, name) = match tree {
            UseTree::Path(it) => {
                segments.push(it.ident.to_string());
                return self.import_tree(segments, *it.tree, is_public);
            }
            UseTree::Group(it) => {
                return it.items.into_iter().for_each(|it| self.import_tree(segments.clone(), it, is_public));
            }
            UseTree::Glob(it) => {
                let line = it.star_token.spans[0].start().line;
                return self.paths.push(Path { segments, line, role: Role::Glob { is_public } });
            }
            UseTree::Name(it) => (it.ident.clone(), it.ident),
            UseTree::Rename(it) => (it.ident, it.rename),
        };
        let line = last.span().start().line;
        if last != "self" {
            segments.push(last.to_string());
        }
        let name = if name == "self" { segments.last().cloned().unwrap_or_default() } else { name.to_string() };
        self.paths.push(Path { segments, line, role: Role::Import { name, is_public } });
    }
}
