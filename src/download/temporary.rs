//! Temporary files beside the target, and the removal of those that a killed process has left.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tempfile::TempPath;

use super::disk;

pub(super) const PREFIX: &str = ".luma-";
const SUFFIX: &str = ".part";
/// Letters and digits between them.
const RANDOM: usize = 6;

/// A file that nobody has written to for so long belongs to no running download.
const OLD: Duration = Duration::from_secs(24 * 3600);

/// Creates a file that is removed when its path is dropped. `mode` is reduced by the umask, as for any new file.
pub(crate) fn create(directory: &Path, mode: u32) -> io::Result<(File, TempPath)> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX).rand_bytes(RANDOM);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    #[cfg(not(unix))]
    let _ = mode;
    let (file, path) = builder.tempfile_in(directory).map_err(without_name)?.into_parts();
    // Where there are no locks, age alone protects the file.
    file.try_lock().ok();
    Ok((file, path))
}

/// The name of a temporary file, which the text of an error may have, says nothing to the user.
fn without_name(error: io::Error) -> io::Error {
    if error.raw_os_error().is_some() { error } else { error.kind().into() }
}

/// How many directories are remembered.
const MOST: usize = 1024;

/// Removes old temporary files in `directory`, unless that was done lately: a large directory takes
/// long to read. What cannot be removed stays.
pub(crate) fn remove_old(directory: &Path) {
    static SEEN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let Ok(directory) = directory.canonicalize() else { return };
    if is_new(&mut SEEN.lock().unwrap_or_else(PoisonError::into_inner), &directory) {
        remove_older_than(&directory, OLD);
    }
}

/// Whether the directory is not among those seen. When there are too many, all are forgotten.
fn is_new(seen: &mut BTreeSet<PathBuf>, directory: &Path) -> bool {
    if seen.contains(directory) {
        return false;
    }
    if seen.len() >= MOST {
        seen.clear();
    }
    seen.insert(directory.to_owned())
}

fn remove_older_than(directory: &Path, age: Duration) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_str().is_some_and(is_temporary) {
            continue;
        }
        let path = entry.path();
        if is_unused(&path, age).is_ok_and(|unused| unused) && fs::remove_file(&path).is_ok() {
            tracing::debug!(path = %path.display(), "removed an old temporary file");
        }
    }
}

fn is_temporary(name: &str) -> bool {
    let random = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
    random.is_some_and(|it| it.len() == RANDOM && it.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

fn is_unused(path: &Path, age: Duration) -> io::Result<bool> {
    let is_old = |metadata: &fs::Metadata| metadata.modified().ok()?.elapsed().ok().map(|elapsed| elapsed >= age);
    let Some(metadata) = disk::entry(path)? else { return Ok(false) };
    if !metadata.is_file() || is_old(&metadata) != Some(true) {
        return Ok(false);
    }
    Ok(!matches!(File::open(path)?.try_lock(), Err(fs::TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_no_temporary_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let error = create(&directory.path().join("missing"), 0o666).expect_err("no directory");
        assert!(error.kind() == io::ErrorKind::NotFound && !error.to_string().contains(PREFIX), "{error}");
    }

    #[test]
    fn the_directories_that_were_seen_do_not_fill_the_memory() {
        let mut seen = BTreeSet::new();
        for number in 0..10_000 {
            let directory = PathBuf::from(number.to_string());
            assert!(is_new(&mut seen, &directory) && !is_new(&mut seen, &directory));
        }
        assert!(seen.len() <= MOST);
    }

    #[test]
    fn only_old_unused_temporary_files_are_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        let old = std::time::SystemTime::now() - 2 * OLD;
        let make = |name: &str, modified| {
            let file = File::create(directory.path().join(name)).expect("a file");
            file.set_modified(modified).expect("a time");
        };
        for name in [".luma-012abc.part", ".luma-ABCDEF.part"] {
            make(name, old);
        }
        let kept = [".luma-0123456.part", ".luma-0123.-.part", "luma-012abc.part", ".clip.mp4.part"];
        for name in kept {
            make(name, old);
        }
        make(".luma-YYYYYY.part", std::time::SystemTime::now());
        let (in_use, path) = create(directory.path(), 0o666).expect("a file");
        in_use.set_modified(old).expect("a time");

        remove_old(directory.path());
        let mut left: Vec<_> = fs::read_dir(directory.path())
            .expect("a directory")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .collect();
        let in_use = path.file_name().expect("a name").to_string_lossy().into_owned();
        let mut expected: Vec<_> = kept.iter().map(|name| (*name).to_owned()).collect();
        expected.extend([".luma-YYYYYY.part".to_owned(), in_use]);
        left.sort();
        expected.sort();
        assert_eq!(left, expected);
    }
}
