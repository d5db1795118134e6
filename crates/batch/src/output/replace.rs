//! Files that are whole or not there: written beside the target, then renamed over it.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::error::{Error, Result};

/// A file in the making. It is as private as the process makes temporary files: mode 0600.
#[derive(Debug)]
pub(super) struct Replacement {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
}

impl Replacement {
    pub(super) fn new(path: &Path) -> Result<Self> {
        let folder = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = NamedTempFile::new_in(folder).map_err(|e| Error::io("write", path, e))?;
        Ok(Self { path: path.to_path_buf(), file: BufWriter::new(file) })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| Error::io("write", &self.path, e))
    }

    /// Syncs it, and puts it in place of what is there.
    pub(super) fn persist(self) -> Result<()> {
        let path = self.path;
        let broken = |e| Error::io("write", &path, e);
        let file = self.file.into_inner().map_err(|e| broken(e.into_error()))?;
        file.as_file().sync_all().map_err(broken)?;
        file.persist(&path).map_err(|e| broken(e.error))?;
        sync_folder(&path);
        Ok(())
    }
}

/// So that the name survives a loss of power, where the file system can do that.
fn sync_folder(path: &Path) {
    if let Some(folder) = path.parent()
        && let Ok(folder) = File::open(folder)
    {
        _ = folder.sync_all();
    }
}
