//! Where to save: the checks before anything is fetched, the file that is written until it is
//! complete, and the move to its final name.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempPath;
use tokio::time::{Instant, sleep};

use super::{
    checkpoint::Checkpoint,
    disk::{self, blocking},
    name::{FileName, OutputName},
    object::ResumePoint,
    temporary,
};
use crate::{
    error::{Error, Result},
    util::media_type,
};

/// The permissions of a new file, before the umask.
const NEW_FILE: u32 = 0o666;

/// How long to wait for a kept part that another download is writing to: one that was dropped needs a
/// moment to end.
const BUSY: Duration = Duration::from_secs(2);

/// Where to save, and how.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    place: Place,
    overwrite: bool,
    resumable: bool,
}

#[derive(Clone, Debug)]
enum Place {
    Directory(PathBuf),
    File {
        given: PathBuf,
        /// The file that the given path leads to, if it is a link that may be followed.
        real: PathBuf,
    },
}

impl Target {
    /// A file, or a directory if there is one at `path`.
    pub(crate) async fn new(path: &Path, overwrite: bool, resumable: bool) -> Result<Self> {
        let path = path.to_owned();
        blocking(move || {
            let place = if path.is_dir() { Place::Directory(path) } else { Place::file(path, overwrite)? };
            Ok(Self { place, overwrite, resumable })
        })
        .await
    }

    pub(crate) async fn directory(path: &Path, overwrite: bool, resumable: bool) -> Result<Self> {
        match tokio::fs::metadata(path).await {
            Ok(it) if it.is_dir() => Ok(Self { place: Place::Directory(path.to_owned()), overwrite, resumable }),
            Ok(_) => Err(Error::io("save into", path, io::ErrorKind::NotADirectory.into())),
            Err(e) => Err(Error::io("save into", path, e)),
        }
    }

    /// Whether a file can be written there, as far as that is known before its name is.
    pub(crate) async fn check(&self) -> Result<()> {
        let target = self.clone();
        blocking(move || {
            let directory = match &target.place {
                Place::Directory(directory) => directory,
                Place::File { real, .. } => {
                    target.replaced(real)?;
                    disk::parent(real)
                }
            };
            temporary::create(directory, NEW_FILE).map(drop).map_err(|e| Error::io("write into", directory, e))
        })
        .await
    }

    pub(crate) fn is_directory(&self) -> bool {
        matches!(self.place, Place::Directory(_))
    }

    /// The file to write to until it is complete. Fails if it could not be moved to its name later.
    pub(crate) async fn open_part(&self, name: &OutputName) -> Result<Part> {
        let deadline = Instant::now() + BUSY;
        loop {
            let (target, name) = (self.clone(), name.clone());
            match blocking(move || target.open(&name)).await {
                Err(Error::Io(e)) if e.source.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                    sleep(Duration::from_millis(20)).await;
                }
                opened => return opened,
            }
        }
    }

    fn open(&self, name: &OutputName) -> Result<Part> {
        let mut replaced = None;
        for path in self.candidates(&name.file) {
            replaced = self.replaced(&path)?.or(replaced);
        }
        let mode = replaced.as_ref().map_or(NEW_FILE, mode_while_incomplete);
        let directory = match &self.place {
            Place::Directory(directory) => directory,
            Place::File { real, .. } => disk::parent(real),
        };
        let (file, state, resume_point) = if self.resumable {
            self.open_kept(directory, name, mode)?
        } else {
            temporary::remove_old(directory);
            let (file, path) = temporary::create(directory, mode).map_err(|e| Error::io("write into", directory, e))?;
            (file, State::Temporary(path), ResumePoint::default())
        };
        Ok(Part { file, state, resume_point, target: self.clone(), name: name.file.clone() })
    }

    fn open_kept(&self, directory: &Path, name: &OutputName, mode: u32) -> Result<(File, State, ResumePoint)> {
        let stem = name.file.stem();
        let shown = match &self.place {
            Place::Directory(_) => OsStr::new(&stem),
            Place::File { real, .. } => real.file_name().unwrap_or_default(),
        };
        // The name need not be Unicode.
        let hidden = |suffix| {
            let mut hidden = OsString::from(".");
            hidden.extend([shown, OsStr::new(suffix)]);
            directory.join(hidden)
        };
        let path = hidden(".part");
        let io = |e| Error::io("write", &path, e);
        let file = disk::open_or_create(&path, mode).map_err(io)?;
        let is_locked = matches!(file.try_lock(), Err(TryLockError::WouldBlock));
        // The other download may also have moved it to its name meanwhile.
        if is_locked || !disk::is_at(&file, &path).map_err(io)? {
            return Err(io(io::Error::new(io::ErrorKind::ResourceBusy, "another download is writing to it")));
        }
        let checkpoint = Checkpoint::new(hidden(".part.json"), name.identity.clone());
        let resume_point = checkpoint.load(file.metadata().map_err(io)?.len());
        file.set_len(resume_point.offset).map_err(io)?;
        Ok((file, State::Kept { path, checkpoint }, resume_point))
    }

    /// Every name that the output could end up with.
    fn candidates(&self, name: &FileName) -> Vec<PathBuf> {
        match &self.place {
            Place::Directory(directory) => {
                media_type::EXTENSIONS.iter().map(|extension| directory.join(name.with(extension))).collect()
            }
            Place::File { real, .. } => vec![real.clone()],
        }
    }

    /// The file that would be replaced, if there is one. An error if it must not be replaced.
    fn replaced(&self, path: &Path) -> Result<Option<fs::Metadata>> {
        match disk::entry(path).map_err(|e| Error::io("save as", path, e))? {
            None => Ok(None),
            Some(entry) if !entry.is_file() && !entry.is_symlink() => {
                Err(Error::io("replace", path, disk::not_a_file()))
            }
            Some(_) if !self.overwrite => {
                let exists = "it exists; choose another name, or call `overwrite()`";
                Err(Error::io("write", path, io::Error::new(io::ErrorKind::AlreadyExists, exists)))
            }
            Some(entry) if entry.is_file() => Ok(Some(entry)),
            // Links are followed only where the caller has named them.
            Some(_) => Err(Error::io("replace", path, disk::not_a_file())),
        }
    }
}

impl Place {
    fn file(path: PathBuf, overwrite: bool) -> Result<Self> {
        if path.file_name().is_none() || path.to_string_lossy().ends_with(std::path::is_separator) {
            return Err(Error::io("save into", path, io::ErrorKind::NotADirectory.into()));
        }
        let real = if overwrite && path.is_symlink() {
            path.canonicalize().map_err(|e| Error::io("follow the link", &path, e))?
        } else {
            path.clone()
        };
        Ok(Self::File { given: path, real })
    }
}

/// A file that is not complete yet.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) file: File,
    state: State,
    resume_point: ResumePoint,
    target: Target,
    name: FileName,
}

#[derive(Debug)]
enum State {
    /// Removed when dropped.
    Temporary(TempPath),
    Kept {
        path: PathBuf,
        checkpoint: Checkpoint,
    },
}

impl Part {
    pub(crate) fn take_resume_point(&mut self) -> ResumePoint {
        std::mem::take(&mut self.resume_point)
    }

    /// Only a kept part has one.
    pub(crate) fn checkpoint(&self) -> Option<&Checkpoint> {
        match &self.state {
            State::Temporary(_) => None,
            State::Kept { checkpoint, .. } => Some(checkpoint),
        }
    }

    /// The path that the caller gave, for errors.
    pub(crate) fn shown(&self) -> &Path {
        match &self.target.place {
            Place::Directory(path) | Place::File { given: path, .. } => path,
        }
    }

    /// Moves the complete file, which begins with `head`, to its name.
    pub(crate) async fn publish(self, head: Vec<u8>) -> Result<(PathBuf, Option<&'static str>)> {
        blocking(move || self.publish_blocking(&head)).await
    }

    fn publish_blocking(self, head: &[u8]) -> Result<(PathBuf, Option<&'static str>)> {
        let (media_type, extension) =
            media_type::detect(head).map_or((None, media_type::UNKNOWN), |(media_type, ext)| (Some(media_type), ext));
        let (shown, path) = match &self.target.place {
            Place::Directory(directory) => {
                let path = directory.join(self.name.with(extension));
                (path.clone(), path)
            }
            Place::File { given, real } => (given.clone(), real.clone()),
        };
        let io = |e| Error::io("save as", &shown, e);
        // Much may have happened since the checks before the download.
        if let Some(replaced) = self.target.replaced(&path)? {
            keep_mode(&self.file, &replaced).map_err(io)?;
        }
        let (part, checkpoint) = match self.state {
            State::Temporary(part) => (part, None),
            State::Kept { path, checkpoint } => (TempPath::try_from_path(path).map_err(io)?, Some(checkpoint)),
        };
        let moved = if self.target.overwrite { part.persist(&path) } else { disk::move_to_new(part, &path) };
        if let Err(e) = moved {
            if checkpoint.is_some() {
                // Complete, and kept for the next attempt.
                e.path.keep().ok();
            }
            return Err(io(e.error));
        }
        // Until here its lock keeps other downloads away from the part.
        drop(self.file);
        if let Some(checkpoint) = checkpoint {
            checkpoint.remove();
        }
        disk::sync_directory(&path);
        Ok((shown, media_type))
    }
}

/// Whoever may not read the file that is replaced may not read the new one before it is complete.
#[cfg(unix)]
fn mode_while_incomplete(replaced: &fs::Metadata) -> u32 {
    (std::os::unix::fs::PermissionsExt::mode(&replaced.permissions()) & NEW_FILE) | 0o600
}

#[cfg(not(unix))]
fn mode_while_incomplete(_: &fs::Metadata) -> u32 {
    NEW_FILE
}

/// A replaced file keeps its permissions.
#[cfg(unix)]
fn keep_mode(file: &File, replaced: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |metadata: &fs::Metadata| metadata.permissions().mode() & 0o777;
    if mode(&file.metadata()?) == mode(replaced) {
        return Ok(());
    }
    file.set_permissions(fs::Permissions::from_mode(mode(replaced)))
}

#[cfg(not(unix))]
fn keep_mode(_: &File, _: &fs::Metadata) -> io::Result<()> {
    Ok(())
}
