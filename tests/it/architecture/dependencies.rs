//! Which file uses which: every path of every file, with what it names.

use std::{collections::HashSet, fmt};

use super::{
    modules::{Definition, Modules},
    scan::{Path, Role, Scope},
};

pub(crate) struct Dependency<'a> {
    pub(crate) place: Place<'a>,
    pub(crate) on: Definition<'a>,
    /// The path, as it is written.
    pub(crate) name: String,
    /// `pub use`: gives the name to others and does not need it.
    pub(crate) is_reexport: bool,
}

/// A function or constant in an `impl` for a type that another file defines.
pub(crate) struct Extension<'a> {
    pub(crate) name: &'a str,
    pub(crate) of: Definition<'a>,
    pub(crate) file: &'a str,
}

/// `.name(` or `Type::name`, which may be an [`Extension`].
pub(crate) struct Call<'a> {
    pub(crate) place: Place<'a>,
    pub(crate) name: &'a str,
    /// `None` where only the compiler knows the type.
    pub(crate) of: Option<Definition<'a>>,
}

/// A line, in the file that it belongs to and in the one where it is written: generated code is included.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) file: &'a str,
    written: &'a str,
    line: usize,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.written, self.line)?;
        if self.written == self.file { Ok(()) } else { write!(f, ", included by {}", self.file) }
    }
}

#[derive(Default)]
pub(crate) struct Dependencies<'a> {
    pub(crate) named: Vec<Dependency<'a>>,
    pub(crate) extensions: Vec<Extension<'a>>,
    pub(crate) calls: Vec<Call<'a>>,
}

impl<'a> Dependencies<'a> {
    pub(crate) fn of(modules: &Modules<'a>) -> Self {
        let mut all = Self::default();
        let texts = || {
            let numbered = modules.all.iter().enumerate();
            numbered.flat_map(|(number, module)| {
                module.texts.iter().map(move |(written, scope)| (number, *written, *scope))
            })
        };
        for (module, _, scope) in texts() {
            all.read_extensions(modules, module, scope);
        }
        let extensions = all.extensions.iter().map(|it| it.name).collect();
        for (module, written, scope) in texts() {
            all.read_paths(modules, module, written, scope);
            all.read_calls(modules, module, written, scope, &extensions);
        }
        all
    }

    fn read_extensions(&mut self, modules: &Modules<'a>, module: usize, scope: &'a Scope) {
        let file = modules.all[module].file;
        for (ty, name) in &scope.inherent {
            let of = modules.find(module, ty).into_iter().filter(|of| of.name.is_some() && of.file != file);
            self.extensions.extend(of.map(|of| Extension { name, of, file }));
        }
    }

    fn read_paths(&mut self, modules: &Modules<'a>, number: usize, written: &'a str, scope: &'a Scope) {
        let module = &modules.all[number];
        let mut add = |line, name: String, definitions: Vec<Definition<'a>>, is_reexport| {
            let place = Place { file: module.file, written, line };
            let named = definitions.into_iter().map(|on| Dependency { place, on, name: name.clone(), is_reexport });
            self.named.extend(named);
        };
        for Path { segments, line, role } in &scope.paths {
            let name = segments.join("::");
            if *role == Role::Macro {
                let file = segments.last().and_then(|name| modules.macros.get(name.as_str()));
                let definition = file.map(|file| Definition { file, name: None, through: Vec::new() });
                add(*line, format!("{name}!"), definition.into_iter().collect(), false);
            } else {
                let is_reexport = matches!(role, Role::Import { is_public: true, .. } | Role::Glob { is_public: true });
                add(*line, name, modules.resolve(number, segments), is_reexport);
            }
        }
        for (word, line) in scope.words.iter().filter(|(word, _)| module.is_passed_on(word)) {
            add(*line, word.clone(), modules.find(number, std::slice::from_ref(word)), false);
        }
    }

    fn read_calls(
        &mut self,
        modules: &Modules<'a>,
        module: usize,
        written: &'a str,
        scope: &'a Scope,
        extensions: &HashSet<&str>,
    ) {
        let place = |line| Place { file: modules.all[module].file, written, line };
        for (name, line) in scope.calls.iter().filter(|(name, _)| extensions.contains(name.as_str())) {
            self.calls.push(Call { place: place(*line), name, of: None });
        }
        for Path { segments, line, role } in &scope.paths {
            if let ([ty @ .., name], Role::Mention) = (&segments[..], role)
                && extensions.contains(name.as_str())
            {
                let of = modules.find(module, ty).into_iter().filter(|of| of.name.is_some());
                self.calls.extend(of.map(|of| Call { place: place(*line), name, of: Some(of) }));
            }
        }
    }
}
