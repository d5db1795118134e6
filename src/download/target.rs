//! Where to save: the checks before anything is fetched, the file that is written until it is
//! complete, and the move to its final name.

use std::{
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use tempfile::TempPath;
use tokio::task::spawn_blocking;

use super::{checkpoint::Checkpoint, name::OutputName, object::ResumePoint};
use crate::{
    error::{Error, Result},
    util::media_type,
};

/// Where to save, and how.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    path: PathBuf,
    is_directory: bool,
    overwrite: bool,
    resumable: bool,
}

impl Target {
    /// A file, or a directory if there is one at `path`.
    pub(crate) async fn new(path: &Path, overwrite: bool, resumable: bool) -> Result<Self> {
        let is_directory = tokio::fs::metadata(path).await.is_ok_and(|it| it.is_dir());
        if !is_directory && (path.file_name().is_none() || path.to_string_lossy().ends_with(std::path::is_separator)) {
            return Err(Error::io("save into", path, io::ErrorKind::NotADirectory.into()));
        }
        Ok(Self { path: path.to_owned(), is_directory, overwrite, resumable })
    }

    pub(crate) async fn directory(path: &Path, overwrite: bool, resumable: bool) -> Result<Self> {
        match tokio::fs::metadata(path).await {
            Ok(it) if it.is_dir() => Ok(Self { path: path.to_owned(), is_directory: true, overwrite, resumable }),
            Ok(_) => Err(Error::io("save into", path, io::ErrorKind::NotADirectory.into())),
            Err(e) => Err(Error::io("save into", path, e)),
        }
    }

    /// The file to write to until it is complete. Fails if it could not be moved to its name later.
    pub(crate) async fn open_part(&self, name: &OutputName) -> Result<Part> {
        let (target, name) = (self.clone(), name.clone());
        blocking(move || target.open(&name)).await
    }

    fn open(&self, OutputName { stem, identity }: &OutputName) -> Result<Part> {
        let (directory, end) = if self.is_directory {
            (self.path.clone(), End::Named { stem: stem.to_owned() })
        } else {
            let parent = self.path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
            (parent.to_owned(), End::Given)
        };
        if !self.overwrite
            && let Some(taken) = self.candidates(stem).into_iter().find(|path| path.symlink_metadata().is_ok())
        {
            return Err(Error::io("replace without `overwrite()`", taken, io::ErrorKind::AlreadyExists.into()));
        }
        let (file, place, resume_point) = if self.resumable {
            let shown = match &end {
                End::Given => self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
                End::Named { stem } => stem.clone(),
            };
            let path = directory.join(format!(".{shown}.part"));
            let checkpoint = directory.join(format!(".{shown}.part.json"));
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(|e| Error::io("write", &path, e))?;
            let checkpoint = Checkpoint::new(checkpoint, identity.clone());
            let resume_point = checkpoint.load(&file);
            file.set_len(resume_point.offset).map_err(|e| Error::io("write", &path, e))?;
            (file, Place::Kept { path, checkpoint }, resume_point)
        } else {
            let mut builder = tempfile::Builder::new();
            builder.prefix(".luma-").suffix(".part");
            #[cfg(unix)]
            // As any new file: what the umask leaves of it.
            builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
            let temporary = builder.tempfile_in(&directory).map_err(|e| Error::io("write into", &directory, e))?;
            let (file, path) = temporary.into_parts();
            (file, Place::Temporary(path), ResumePoint::default())
        };
        Ok(Part { file, place, resume_point, target: self.clone(), end })
    }

    /// Every name that the output could end up with.
    fn candidates(&self, stem: &str) -> Vec<PathBuf> {
        if self.is_directory {
            media_type::EXTENSIONS.iter().map(|extension| self.path.join(format!("{stem}.{extension}"))).collect()
        } else {
            vec![self.path.clone()]
        }
    }
}

/// A file that is not complete yet.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) file: File,
    place: Place,
    resume_point: ResumePoint,
    target: Target,
    end: End,
}

#[derive(Debug)]
enum Place {
    /// Removed when dropped.
    Temporary(TempPath),
    Kept {
        path: PathBuf,
        checkpoint: Checkpoint,
    },
}

#[derive(Debug)]
enum End {
    Given,
    Named { stem: String },
}

impl Part {
    pub(crate) fn take_resume_point(&mut self) -> ResumePoint {
        std::mem::take(&mut self.resume_point)
    }

    /// Only a kept part has one.
    pub(crate) fn checkpoint(&self) -> Option<&Checkpoint> {
        match &self.place {
            Place::Temporary(_) => None,
            Place::Kept { checkpoint, .. } => Some(checkpoint),
        }
    }

    /// The path that the caller gave, for errors.
    pub(crate) fn shown(&self) -> &Path {
        &self.target.path
    }

    /// Moves the complete file, which begins with `head`, to its name.
    pub(crate) async fn publish(self, head: Vec<u8>) -> Result<(PathBuf, Option<&'static str>)> {
        blocking(move || self.publish_blocking(&head)).await
    }

    fn publish_blocking(self, head: &[u8]) -> Result<(PathBuf, Option<&'static str>)> {
        let (media_type, extension) =
            media_type::detect(head).map_or((None, media_type::UNKNOWN), |(media_type, ext)| (Some(media_type), ext));
        let path = match &self.end {
            End::Given => self.target.path.clone(),
            End::Named { stem } => self.target.path.join(format!("{stem}.{extension}")),
        };
        drop(self.file);
        let (part, checkpoint) = match self.place {
            Place::Temporary(part) => (part, None),
            Place::Kept { path, checkpoint } => {
                (TempPath::try_from_path(&path).map_err(|e| Error::io("rename", path, e))?, Some(checkpoint))
            }
        };
        let moved = if self.target.overwrite { part.persist(&path) } else { part.persist_noclobber(&path) };
        moved.map_err(|e| {
            if checkpoint.is_some() {
                // Complete, and kept for the next attempt.
                e.path.keep().ok();
            }
            Error::io("save as", &path, e.error)
        })?;
        if let Some(checkpoint) = checkpoint {
            checkpoint.remove();
        }
        sync_directory(&path);
        Ok((path, media_type))
    }
}

/// Makes the rename itself durable, where the platform can.
fn sync_directory(path: &Path) {
    if cfg!(unix)
        && let Some(directory) = path.parent()
        && let Ok(directory) = File::open(if directory.as_os_str().is_empty() { Path::new(".") } else { directory })
    {
        directory.sync_all().ok();
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|e| Err(Error::io("use", "the disk", io::Error::other(e))))
}
