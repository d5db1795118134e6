//! The architecture of the crate: a file uses its own layer and those below, and there are no cycles.
//!
//! `layers.rs` is the table. `scan.rs` reads one file, `modules.rs` finds what its paths name, `dependencies.rs`
//! lists which file uses which, `rules.rs` says what is not allowed, and `detection.rs` tests all of them.
//!
//! An `impl` of a trait on a higher layer is not detected, because code uses it without naming it.

mod dependencies;
mod detection;
mod layers;
mod modules;
mod rules;
mod scan;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use layers::{LAYERS, entries, with_layers};
use modules::{Modules, Sources};
use rules::violations;
use scan::scan;

use crate::support::snapshot::assert_snapshot;

/// The files of this crate, scanned.
static SOURCES: LazyLock<Sources> = LazyLock::new(|| {
    let mut sources = Sources::new();
    let mut folders = vec!["src".to_owned(), "OUT_DIR".to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(on_disk(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{folder}/{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                folders.push(name);
            } else if entry.path().extension().is_some_and(|it| it == "rs") {
                sources.insert(name.clone(), scan(&read(&name)).unwrap());
            }
        }
    }
    sources
});

static VIOLATIONS: LazyLock<BTreeSet<String>> = LazyLock::new(|| violations(&SOURCES));

fn on_disk(name: &str) -> PathBuf {
    let generated = name.strip_prefix("OUT_DIR").map(|rest| format!("{}{rest}", env!("OUT_DIR")));
    generated.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(name), PathBuf::from)
}

fn read(name: &str) -> String {
    fs::read_to_string(on_disk(name)).unwrap()
}

#[test]
fn dependencies_point_down_and_never_in_a_cycle() {
    let found: Vec<_> = VIOLATIONS.iter().map(String::as_str).collect();
    assert!(found.is_empty(), "{} violations:\n{}", found.len(), found.join("\n"));
}

#[test]
fn every_file_is_part_of_the_crate_and_in_one_entry_of_the_table() {
    let modules = Modules::of(&SOURCES);
    for file in SOURCES.keys().filter(|file| file.starts_with("src/")) {
        assert!(modules.files.contains(file.as_str()), "{file} is in no module");
        let entries: Vec<_> = entries(file).collect();
        assert!(entries.len() == 1, "{file} is in {} entries of layers.rs: {entries:?}", entries.len());
    }
}

#[test]
fn every_entry_of_the_table_is_there() {
    for (_, entry, _) in LAYERS {
        let file = |file: &String| entries(file).any(|(_, it)| it == *entry);
        assert!(SOURCES.keys().any(file), "there is no src/{entry}");
    }
}

#[test]
fn lib_only_gives_names() {
    let lib = &SOURCES["src/lib.rs"];
    let defined = [&lib.types, &lib.values, &lib.macros].map(|names| names.join(" ")).join("");
    assert!(defined.is_empty() && lib.inherent.is_empty(), "lib.rs defines {defined}");
}

#[test]
fn contributing_shows_the_layers() {
    assert_snapshot("CONTRIBUTING.md", &with_layers(&read("CONTRIBUTING.md")));
}
