//! Files that are whole or not there: written beside the target, then renamed over it.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
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
        let file = NamedTempFile::new_in(folder).map_err(|e| failed(path, e))?;
        Ok(Self { path: path.to_path_buf(), file: BufWriter::new(file) })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| failed(&self.path, e))
    }

    /// Syncs it, and puts it in place of what is there.
    pub(super) fn persist(self) -> Result<()> {
        let path = self.path;
        let broken = |e| failed(&path, e);
        let file = self.file.into_inner().map_err(|e| broken(e.into_error()))?;
        file.as_file().sync_all().map_err(broken)?;
        file.persist(&path).map_err(|e| broken(e.error))?;
        sync_folder(&path);
        Ok(())
    }
}

/// A file could not be written. A temporary name, which the text of an error may have, says nothing to the user.
pub(super) fn failed(path: &Path, error: io::Error) -> Error {
    let is_of_the_system = error.raw_os_error().is_some();
    Error::io("write", path, if is_of_the_system { error } else { error.kind().into() })
}

/// So that the name survives a loss of power, where the file system can do that.
fn sync_folder(path: &Path) {
    if let Some(folder) = path.parent()
        && let Ok(folder) = File::open(folder)
    {
        _ = folder.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_file_and_no_temporary_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing/a.json");
        let error = Replacement::new(&path).unwrap_err().to_string();
        let names = error.replace(&folder.path().display().to_string(), "");
        assert!(names.starts_with("cannot write /missing/a.json: ") && !names.contains(".tmp"), "{error}");
    }
}
