//! What `std::fs` does not do in one call: open without following a link, sync where that is
//! supported, move without replacing.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::Path,
};

use tempfile::{PathPersistError, TempPath};
use tokio::task::spawn_blocking;

use crate::error::{Error, Result};

/// Runs `work` where it may block.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|e| Err(Error::io("use", "the disk", io::Error::other(e))))
}

/// The directory of a file.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The error for a directory, a device, a pipe, a socket or a link in the place of a file.
pub(crate) fn not_a_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")
}

/// What `path` itself is, or `None` if there is nothing. A link is not followed.
pub(crate) fn entry(path: &Path) -> io::Result<Option<fs::Metadata>> {
    match path.symlink_metadata() {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens a regular file for reading and writing, or creates it with `mode`. A link is not followed.
pub(crate) fn open_or_create(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    match entry(path)? {
        // `create_new` follows no link.
        None => options.create_new(true).open(path),
        Some(entry) if entry.is_file() => {
            let file = options.open(path)?;
            if is_at(&file, path)? { Ok(file) } else { Err(not_a_file()) }
        }
        Some(_) => Err(not_a_file()),
    }
}

/// Whether `path` itself is the open file: not a link to it, and not replaced meanwhile.
pub(crate) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let Some(entry) = entry(path)? else { return Ok(false) };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let opened = file.metadata()?;
        Ok((opened.dev(), opened.ino()) == (entry.dev(), entry.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        Ok(entry.is_file())
    }
}

/// Some file systems have no `fsync`: that is no failure. EIO and ENOSPC are.
pub(crate) fn if_supported(synced: io::Result<()>) -> io::Result<()> {
    match synced {
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        other => other,
    }
}

/// Makes a rename in the directory of `path` durable, where the platform can.
pub(crate) fn sync_directory(path: &Path) {
    if cfg!(unix)
        && let Ok(directory) = File::open(parent(path))
    {
        directory.sync_all().ok();
    }
}

/// Moves a file to `path`, where nothing may be.
pub(crate) fn move_to_new(part: TempPath, path: &Path) -> Result<(), PathPersistError> {
    move_with(part, path, |part, path| part.persist_noclobber(path))
}

/// `move_noclobber` is one step, and needs either hard links or a flag of `renameat2`. Without both
/// (FUSE, exFAT) the name is reserved first, and then replaced.
fn move_with(
    part: TempPath,
    path: &Path,
    move_noclobber: impl FnOnce(TempPath, &Path) -> Result<(), PathPersistError>,
) -> Result<(), PathPersistError> {
    match move_noclobber(part, path) {
        Err(PathPersistError { error, path: part }) if is_unsupported(&error) => {
            if let Err(error) = OpenOptions::new().write(true).create_new(true).open(path) {
                return Err(PathPersistError { error, path: part });
            }
            part.persist(path).inspect_err(|_| {
                fs::remove_file(path).ok();
            })
        }
        other => other,
    }
}

/// How file systems say that they have no hard links or no such flag: EINVAL, ENOSYS, ENOTSUP, EPERM, EMLINK.
fn is_unsupported(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, TooManyLinks, Unsupported};
    matches!(error.kind(), InvalidInput | PermissionDenied | TooManyLinks | Unsupported)
}

// The numbers of errors are those of Linux.
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    const EPERM: i32 = 1;
    const EIO: i32 = 5;
    const EINVAL: i32 = 22;
    const ENOSPC: i32 = 28;
    const ENOSYS: i32 = 38;
    const ENOTSUP: i32 = 95;
    const EDQUOT: i32 = 122;

    fn part(directory: &tempfile::TempDir) -> TempPath {
        let path = directory.path().join("part");
        fs::write(&path, "new").expect("a file");
        TempPath::try_from_path(path).expect("an absolute path")
    }

    #[test]
    fn a_file_system_without_links_and_flags_still_publishes() {
        for code in [EPERM, EINVAL, ENOSYS, ENOTSUP] {
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("a");
            let without = |path, _: &Path| Err(PathPersistError { error: io::Error::from_raw_os_error(code), path });
            move_with(part(&directory), &path, without).expect("published");
            assert_eq!(fs::read(&path).expect("a file"), b"new");
            assert!(!directory.path().join("part").exists());

            fs::write(&path, "mine").expect("a file");
            let error = move_with(part(&directory), &path, without).expect_err("it exists");
            assert_eq!(error.error.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read(&path).expect("a file"), b"mine", "nothing is replaced");
        }
    }

    #[test]
    fn a_failure_to_publish_stays_one() {
        for code in [EIO, ENOSPC] {
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("a");
            let failing = |path, _: &Path| Err(PathPersistError { error: io::Error::from_raw_os_error(code), path });
            let error = move_with(part(&directory), &path, failing).expect_err("failed");
            assert_eq!(error.error.raw_os_error(), Some(code));
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_missing_fsync_is_no_failure_and_a_failed_one_is() {
        for (code, is_ok) in
            [(EINVAL, true), (ENOSYS, true), (ENOTSUP, true), (EIO, false), (ENOSPC, false), (EDQUOT, false)]
        {
            assert_eq!(if_supported(Err(io::Error::from_raw_os_error(code))).is_ok(), is_ok, "{code}");
        }
    }

    #[test]
    fn a_link_is_not_opened() {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        fs::write(&file, "mine").expect("a file");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        open_or_create(&link, 0o600).expect_err("a link");
        open_or_create(directory.path(), 0o600).expect_err("a directory");
        open_or_create(&file, 0o600).expect("a file");
        open_or_create(&directory.path().join("new"), 0o600).expect("a new file");
    }
}
