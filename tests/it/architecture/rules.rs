//! What the architecture forbids, and how a violation reads.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    dependencies::{Dependencies, Dependency, Place},
    layers::layer,
    modules::{Modules, Sources},
};

/// Every violation, a line each.
pub(crate) fn violations(sources: &Sources) -> BTreeSet<String> {
    let all = Dependencies::of(&Modules::of(sources));
    upward(&all).chain(upward_calls(&all)).chain(cycles(&all)).collect()
}

/// The first use of each definition, in each file that must not use it.
fn upward(all: &Dependencies<'_>) -> impl Iterator<Item = String> {
    let mut reported = BTreeSet::new();
    all.named.iter().filter_map(move |Dependency { place, on, name, .. }| {
        let through = on.through.iter().map(|file| ("passed on by", *file));
        let (how, file) = through.chain([("defined in", on.file)]).max_by_key(|(_, file)| layer(file))?;
        let is_new = is_above(file, place) && reported.insert((place.file, on.file, on.name));
        is_new.then(|| too_high(place, &format!("`{name}`, {how}"), file))
    })
}

/// The type of a receiver is not known, so the name of the method decides. Only methods of an `impl` above the
/// file of its type count: the others come with their type, whose file has to be named.
fn upward_calls(all: &Dependencies<'_>) -> impl Iterator<Item = String> {
    let extensions = all.extensions.iter().filter(|it| layer(it.file) > layer(it.of.file));
    extensions.flat_map(|extension| {
        let calls = all.calls.iter().filter(|call| {
            let is_of = call.of.as_ref().is_none_or(|of| (of.file, of.name) == (extension.of.file, extension.of.name));
            call.name == extension.name && is_of && is_above(extension.file, &call.place)
        });
        let ty = extension.of.name.unwrap_or_default();
        calls.map(move |call| too_high(&call.place, &format!("`{ty}::{}`, defined in", extension.name), extension.file))
    })
}

fn is_above(file: &str, place: &Place<'_>) -> bool {
    layer(file) > layer(place.file)
}

fn too_high(place: &Place<'_>, what: &str, file: &str) -> String {
    format!("{place} (layer {}) uses {what} {file} (layer {})", layer(place.file), layer(file))
}

/// A shortest cycle through every file that is in one. Between layers a cycle has an upward dependency, which is
/// reported as such.
fn cycles(all: &Dependencies<'_>) -> impl Iterator<Item = String> {
    let mut uses: BTreeMap<&str, BTreeMap<&str, &Dependency<'_>>> = BTreeMap::new();
    for dependency in &all.named {
        let (from, to) = (dependency.place.file, dependency.on.file);
        if from != to && layer(from) == layer(to) && !dependency.is_reexport {
            uses.entry(from).or_default().entry(to).or_insert(dependency);
        }
    }
    let mut reported = BTreeSet::new();
    let mut found = Vec::new();
    for start in uses.keys() {
        if reported.contains(start) {
            continue;
        }
        if let Some(cycle) = shortest_cycle(start, &uses) {
            reported.extend(cycle.iter().map(|it| it.place.file));
            let steps = cycle.iter().map(|it| format!(" -> {} (uses `{}`, {})", it.on.file, it.name, it.place));
            found.push(format!("cycle: {start}{}", steps.collect::<String>()));
        }
    }
    found.into_iter()
}

fn shortest_cycle<'g>(
    start: &str,
    uses: &BTreeMap<&'g str, BTreeMap<&'g str, &'g Dependency<'g>>>,
) -> Option<Vec<&'g Dependency<'g>>> {
    let mut seen = BTreeSet::new();
    let mut queue = VecDeque::from([Vec::new()]);
    while let Some(path) = queue.pop_front() {
        let at = path.last().map_or(start, |it: &&Dependency<'_>| it.on.file);
        if at == start && !path.is_empty() {
            return Some(path);
        }
        for (to, dependency) in uses.get(at).into_iter().flatten() {
            if seen.insert(*to) {
                queue.push_back([&path[..], &[*dependency]].concat());
            }
        }
    }
    None
}
