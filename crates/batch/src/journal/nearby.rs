//! The journals in a folder, and the runs in one, also in a damaged one. Locks nothing.

use std::{
    fs::{self, File},
    io::{self, BufReader},
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::{
    file::folder,
    line::{Entry, Line},
    scan::{Piece, Pieces, read_piece},
};
use crate::{
    digest::Sha256,
    error::{Error, Result},
};

/// What a line of a run says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunLine {
    pub(crate) batch: Uuid,
    pub(crate) input: Option<Sha256>,
}

/// The journals in a folder, in the order of their names.
pub(crate) fn journals(folder: &Path) -> Result<Vec<PathBuf>> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|e| Error::io("read", folder, e))?,
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    // To open a pipe waits for somebody who writes.
    let is_journal = |path: &PathBuf| path.to_string_lossy().ends_with(".journal.jsonl") && path.is_file();
    let mut paths: Vec<_> = paths.filter(is_journal).collect();
    paths.sort_unstable();
    Ok(paths)
}

/// Whether both paths name one file, which need not be there.
pub(crate) fn is_same(a: &Path, b: &Path) -> bool {
    let place = |path: &Path| folder(path).canonicalize().ok().zip(path.file_name().map(ToOwned::to_owned));
    let is_one = |a: Option<PathBuf>, b: Option<PathBuf>| a.is_some() && a == b;
    a == b || place(a).is_some_and(|a| Some(a) == place(b)) || is_one(a.canonicalize().ok(), b.canonicalize().ok())
}

/// The first run of this kind in a journal. None if it cannot be read.
pub(crate) fn find_run(path: &Path, is_wanted: impl Fn(&RunLine) -> bool) -> Option<RunLine> {
    let file = BufReader::with_capacity(256 * 1024, File::open(path).ok()?);
    let (mut pieces, mut piece) = (Pieces::new(file), Piece::default());
    while pieces.read(&mut piece).ok()? {
        let (lines, _) = read_piece(&piece.bytes).unwrap_or_default();
        if let Some(found) = lines.iter().find_map(|(_, line)| run(line).filter(&is_wanted)) {
            return Some(found);
        }
    }
    None
}

fn run(line: &Line) -> Option<RunLine> {
    let Entry::Run { batch, input_sha256: input, .. } = line.entry else { return None };
    Some(RunLine { batch, input })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_is_the_same_by_any_path() {
        let root = tempfile::tempdir().unwrap();
        let (a, b) = (root.path().join("a.journal.jsonl"), root.path().join("b.journal.jsonl"));
        assert!(is_same(Path::new("a.journal.jsonl"), Path::new("./a.journal.jsonl")), "it need not be there");
        assert!(!is_same(&a, &b) && !is_same(&a, Path::new("a.journal.jsonl")));
        #[cfg(unix)]
        {
            fs::write(&a, "").unwrap();
            std::os::unix::fs::symlink(&a, &b).unwrap();
            assert!(is_same(&a, &b) && is_same(&b, &b));
        }
    }
}
