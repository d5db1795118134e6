//! The table of layers: which files of `src/` stand on which layer, and how CONTRIBUTING.md shows it.

use std::fmt::Write as _;

/// From the bottom up: layer, file or folder in `src/`, what it is.
pub(crate) const LAYERS: &[(usize, &str, &str)] = &[
    (1, "util/", "clock, redaction, media types"),
    (1, "rate_limit.rs", "the `X-RateLimit-*` numbers and the kinds of limits"),
    (1, "progress.rs", "progress of a transfer"),
    (
        2,
        "types/",
        "wire types, generated from `openapi.yaml`, what they are built on, and their decoder (`lenient.rs`)",
    ),
    (3, "error/", "one enum, named for what the caller does next"),
    (4, "wait/", "the only polling loop; knows no HTTP"),
    (
        5,
        "http/",
        "the only send loop (`transport.rs`); when to retry (`retry.rs`, `retry_after.rs`), URLs, key, throttle",
    ),
    (5, "id.rs", "ids as arguments"),
    (5, "media.rs", "media as arguments"),
    (6, "raw/", "the low-level client, generated from `openapi.yaml`, and how it sends"),
    (7, "client/", "client, builder, calls; names no resource"),
    (8, "generations.rs", "submit, get, wait"),
    (8, "files.rs", "list, get, delete"),
    (8, "download/", "bytes from storage to memory or disk"),
    (9, "create_and_wait.rs", "submit, wait and save in one call"),
    (9, "upload/", "bytes from memory or disk to storage"),
    (10, "mock/", "features `emulator` and `mock`; used by no other file"),
    (10, "fuzzing.rs", "what a server sends into each parser, for tests and `fuzz/`; used by no other file"),
    (11, "cookbook.rs", "the pages of `docs/cookbook`, as documentation"),
    (12, "lib.rs", "names only; used by no other file"),
];

pub(crate) const BEGIN: &str = "<!-- layers: written by `UPDATE_SNAPSHOT=1 cargo test --test it architecture` -->";
pub(crate) const END: &str = "<!-- layers: end -->";

/// The entries that hold `file`, a path such as `src/wait/job.rs`, each with its layer.
pub(crate) fn entries(file: &str) -> impl Iterator<Item = (usize, &'static str)> {
    let file = file.strip_prefix("src/").unwrap_or(file);
    let holds = move |entry: &str| if entry.ends_with('/') { file.starts_with(entry) } else { file == entry };
    LAYERS.iter().filter(move |(_, entry, _)| holds(entry)).map(|(layer, entry, _)| (*layer, *entry))
}

/// The layer of `file`; the top for a file that the table lacks, which a test of its own reports.
pub(crate) fn layer(file: &str) -> usize {
    entries(file).next().map_or(usize::MAX, |(layer, _)| layer)
}

/// Drawing and table, as Markdown.
pub(crate) fn markdown() -> String {
    let top = LAYERS.iter().map(|(layer, ..)| *layer).max().unwrap_or_default();
    let on = |layer| LAYERS.iter().filter(move |(it, ..)| *it == layer);
    let rows: Vec<_> = (1..=top)
        .rev()
        .map(|layer| (layer, on(layer).map(|(_, entry, _)| *entry).collect::<Vec<_>>().join("  ")))
        .collect();
    let width = rows.iter().map(|(_, names)| names.len()).max().unwrap_or_default();
    let line = "─".repeat(width + 2);

    let mut text = "```text\n".to_owned();
    for (row, (layer, names)) in rows.iter().enumerate() {
        let (left, right) = if row == 0 { ('┌', '┐') } else { ('├', '┤') };
        writeln!(text, "   {left}{line}{right}\n{layer:>2} │ {names:width$} │").unwrap();
    }
    writeln!(text, "   └{line}┘\n```\n\n| Layer | In `src/` | What |\n| --- | --- | --- |").unwrap();
    for layer in (1..=top).rev() {
        for (_, entry, what) in on(layer) {
            writeln!(text, "| {layer} | `{entry}` | {what} |").unwrap();
        }
    }
    text
}

/// `document` with what stands between the two markers replaced.
pub(crate) fn with_layers(document: &str) -> String {
    let parts = document.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.unwrap_or_else(|| panic!("CONTRIBUTING.md lacks `{BEGIN}` or `{END}`"));
    format!("{before}{BEGIN}\n\n{}\n{END}{after}", markdown())
}
