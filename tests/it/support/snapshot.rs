//! Generated texts that are checked in, so that a change shows in a diff.

use std::{env, fs, path::Path};

/// Asserts that the file at `path`, relative to the root of the repository, holds `text`. With
/// `UPDATE_SNAPSHOT=1` it writes the file instead.
#[track_caller]
pub(crate) fn assert_snapshot(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if env::var_os("UPDATE_SNAPSHOT").is_some() {
        fs::write(&file, text).unwrap();
        return;
    }
    let known = fs::read_to_string(&file).unwrap_or_default();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (known, now) = (lines(&known), lines(text));
    let only = |these: &[String], those: &[String], mark: char| {
        let those: std::collections::HashSet<_> = those.iter().collect();
        these.iter().filter(|it| !those.contains(it)).map(|it| format!("{mark}{it}")).collect::<Vec<_>>().join("\n")
    };
    assert!(
        known == now,
        "{path} is out of date; if the change is intended, run `UPDATE_SNAPSHOT=1 cargo test --test it`:\n{}\n{}",
        only(&known, &now, '-'),
        only(&now, &known, '+'),
    );
}
