//! The modules of the crate, and which file defines what a path names.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::scan::{Path, Role, Scope};

/// The files of a crate by path: `src/..`, and generated ones as `OUT_DIR/name.rs`.
pub(crate) type Sources = BTreeMap<String, Scope>;

#[derive(Default)]
pub(crate) struct Modules<'a> {
    pub(crate) all: Vec<Module<'a>>,
    /// The file of each `macro_rules!`.
    pub(crate) macros: HashMap<&'a str, &'a str>,
    /// The files that belong to the crate, those for unit tests included.
    pub(crate) files: BTreeSet<&'a str>,
}

#[derive(Default)]
pub(crate) struct Module<'a> {
    pub(crate) file: &'a str,
    parent: usize,
    names: HashMap<&'a str, Vec<Name<'a>>>,
    globs: Vec<&'a [String]>,
    /// Names that a macro may define: used only if there is no other definition.
    expanded: HashSet<&'a str>,
    /// The text of the module, and the file where it is written: another one than `file` if it is included.
    pub(crate) texts: Vec<(&'a str, &'a Scope)>,
}

#[derive(Clone, Copy)]
enum Name<'a> {
    Type,
    Value,
    Module(usize),
    Import { path: &'a [String], is_public: bool },
}

/// A `use` on the way from a path to the definition.
#[derive(Clone, Copy)]
struct Import<'a> {
    file: &'a str,
    path: &'a [String],
}

pub(crate) struct Definition<'a> {
    pub(crate) file: &'a str,
    /// `None` for a module itself.
    pub(crate) name: Option<&'a str>,
    /// The files whose `use` passes it on, from the path to the definition.
    pub(crate) through: Vec<&'a str>,
}

impl<'a> Module<'a> {
    fn define(&mut self, written: &'a str, scope: &'a Scope) {
        self.texts.push((written, scope));
        self.expanded.extend(scope.expanded.iter().map(String::as_str));
        let mut add = |name: &'a str, is| self.names.entry(name).or_default().push(is);
        scope.types.iter().for_each(|name| add(name, Name::Type));
        scope.values.iter().for_each(|name| add(name, Name::Value));
        for Path { segments: path, role, .. } in &scope.paths {
            match role {
                Role::Import { name, is_public } => add(name, Name::Import { path, is_public: *is_public }),
                Role::Glob { .. } => self.globs.push(path),
                Role::Mention | Role::Macro => {}
            }
        }
    }

    /// Whether `word` may come from another module and not by a private import, which counts where it stands.
    pub(crate) fn is_passed_on(&self, word: &str) -> bool {
        match self.names.get(word) {
            Some(names) => names.iter().any(|it| matches!(it, Name::Import { is_public: true, .. })),
            None => !self.globs.is_empty(),
        }
    }
}

impl<'a> Modules<'a> {
    pub(crate) fn of(sources: &'a Sources) -> Self {
        let mut modules = Self::default();
        modules.load(sources, 0, "src", None);
        modules
    }

    /// Adds the module at `path`, such as `src/wait/job`, which is `inline` or in a file of its own.
    fn load(&mut self, sources: &'a Sources, parent: usize, path: &str, inline: Option<(&'a str, &'a str, &'a Scope)>) {
        let (file, written, scope) = inline.unwrap_or_else(|| {
            let (file, scope) = module_file(sources, path);
            (file, file, scope)
        });
        self.files.insert(file);
        let number = self.all.len();
        self.all.push(Module { file, parent, ..Module::default() });
        let included = scope.includes.iter().map(|name| file_at(sources, &[format!("OUT_DIR/{name}")]));
        for (written, scope) in std::iter::once((written, scope)).chain(included) {
            self.macros.extend(scope.macros.iter().map(|name| (name.as_str(), file)));
            self.files.extend(scope.tests.iter().map(|name| module_file(sources, &format!("{path}/{name}")).0));
            for (name, inner) in &scope.modules {
                let inner_number = self.all.len();
                self.all[number].names.entry(name).or_default().push(Name::Module(inner_number));
                let inline = inner.as_ref().map(|inner| (file, written, inner));
                self.load(sources, number, &format!("{path}/{name}"), inline);
            }
            self.all[number].define(written, scope);
        }
    }

    /// What `path` names in `module`, or else what the longest part of it names; nothing in another crate.
    pub(crate) fn resolve(&self, module: usize, path: &'a [String]) -> Vec<Definition<'a>> {
        let parts = (1..=path.len()).rev().map(|length| self.find(module, &path[..length]));
        parts.into_iter().find(|found| !found.is_empty()).unwrap_or_default()
    }

    /// What `path` names in `module`: a type and a function can have one name.
    pub(crate) fn find(&self, module: usize, path: &'a [String]) -> Vec<Definition<'a>> {
        let mut found = Vec::new();
        self.follow(module, &path.iter().map(String::as_str).collect::<Vec<_>>(), &[], &mut found);
        found
    }

    fn follow(&self, number: usize, path: &[&'a str], imports: &[Import<'a>], found: &mut Vec<Definition<'a>>) {
        let module = &self.all[number];
        let define = |name| Definition { file: module.file, name, through: imports.iter().map(|it| it.file).collect() };
        let Some((&first, rest)) = path.split_first() else { return found.push(define(None)) };
        match first {
            "crate" => return self.follow(0, rest, imports, found),
            "self" => return self.follow(number, rest, imports, found),
            "super" => return self.follow(module.parent, rest, imports, found),
            _ => {}
        }
        let import = |path: &'a [String], rest: &[&'a str], found: &mut Vec<Definition<'a>>| {
            // An import is no part of its own resolution: `use uuid::uuid` begins at the crate.
            if imports.iter().all(|it| !std::ptr::eq(it.path, path)) {
                let imports = [imports, &[Import { file: module.file, path }]].concat();
                let path: Vec<_> = path.iter().map(String::as_str).chain(rest.iter().copied()).collect();
                self.follow(number, &path, &imports, found);
            }
        };
        let before = found.len();
        for name in module.names.get(first).into_iter().flatten() {
            match *name {
                Name::Value if !rest.is_empty() => {}
                Name::Type | Name::Value => found.push(define(Some(first))),
                Name::Module(inner) => self.follow(inner, rest, imports, found),
                Name::Import { path, .. } => import(path, rest, found),
            }
        }
        if found.len() == before && module.expanded.contains(first) {
            found.push(define(Some(first)));
        }
        for glob in &module.globs {
            if found.len() == before {
                import(glob, path, found);
            }
        }
    }
}

fn module_file<'a>(sources: &'a Sources, path: &str) -> (&'a str, &'a Scope) {
    let path = if path == "src" { "src/lib" } else { path };
    file_at(sources, &[format!("{path}.rs"), format!("{path}/mod.rs")])
}

fn file_at<'a>(sources: &'a Sources, names: &[String]) -> (&'a str, &'a Scope) {
    let found = names.iter().find_map(|name| sources.get_key_value(name));
    let (file, scope) = found.unwrap_or_else(|| panic!("there is no {}", names.join(" or ")));
    (file, scope)
}
