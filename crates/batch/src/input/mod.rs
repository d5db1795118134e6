//! The input: JSON Lines, read in bounded memory, and checked as a whole before anything is paid.

mod check;
mod line;
mod media;
mod problem;
mod schema;
mod seen;
#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::Digest as _;
use tempfile::NamedTempFile;

pub use self::{
    check::{Check, Checked, Known},
    line::Line,
    problem::{Code, Problem, Problems},
};
use crate::{
    digest::Sha256,
    error::{Error, Result},
};

const BUFFER: usize = 256 * 1024;

/// A file of requests in JSON Lines.
///
/// Each line is `{"custom_id": "sku-001", "body": {..}}`, where `body` is what the API takes. OpenAI's `method` and
/// `url` may stand beside it if they name `POST /v1/generations`, and `source_seconds`, the length of the source of a
/// video edit or reframe, which the estimate needs. A request alone, `{"prompt": ".."}`, is known by its line as
/// `line-000017`: give lines a `custom_id` if they may move. Empty lines are skipped.
///
/// Where the API takes a medium, `{"path": "photos/a.jpg"}` names a local file, relative to the input's folder.
#[derive(Clone, Debug)]
pub struct Input {
    path: PathBuf,
    folder: PathBuf,
    /// Removed with the last handle.
    _spool: Option<Arc<NamedTempFile>>,
}

impl Input {
    /// The input in a file.
    ///
    /// # Errors
    ///
    /// [`Io`](Error::Io) if it cannot be opened; [`InvalidInput`](Error::InvalidInput) if it is a pipe, which can be
    /// read only once.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let broken = |e| Error::io("read", &path, e);
        // To open a pipe waits for somebody who writes.
        if !path.metadata().map_err(broken)?.is_file() {
            let path = path.display();
            return Err(Error::invalid_input(format!(
                "{path} is no regular file, and an input is read twice; copy it to a file, or pipe it into `-`"
            )));
        }
        File::open(&path).map_err(broken)?;
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Ok(Self { path, folder, _spool: None })
    }

    /// The input from a reader such as stdin. It is read twice, so it is copied to a temporary file first; local
    /// media are relative to `folder`.
    ///
    /// # Errors
    ///
    /// [`Io`](Error::Io) if it cannot be read or copied.
    pub fn spool(mut reader: impl Read, folder: impl Into<PathBuf>) -> Result<Self> {
        let directory = std::env::temp_dir();
        let broken = |e| Error::io("spool the input to", &directory, e);
        let mut file = NamedTempFile::new_in(&directory).map_err(broken)?;
        io::copy(&mut reader, &mut file).and_then(|_| file.flush()).map_err(broken)?;
        Ok(Self { path: file.path().to_path_buf(), folder: folder.into(), _spool: Some(Arc::new(file)) })
    }

    /// The file that is read.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What local media are relative to.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Checks every line. Free, and without a key or network.
    pub fn check(&self) -> Check<'_> {
        Check::new(self)
    }

    /// Reads the lines again, one at a time. The last item is an error if the file no longer hashes as `sha256`, which
    /// [`Checked::sha256`] gives.
    ///
    /// # Errors
    ///
    /// [`Io`](Error::Io) if it cannot be opened.
    pub fn lines(&self, sha256: Sha256) -> Result<Lines> {
        Ok(Lines { reader: Reader::open(&self.path)?, expected: sha256, is_over: false })
    }
}

/// The lines of an input that was checked. From [`Input::lines`].
#[derive(Debug)]
pub struct Lines {
    reader: Reader,
    expected: Sha256,
    is_over: bool,
}

impl Lines {
    fn changed(&self) -> Error {
        let path = self.reader.path.display();
        Error::InvalidInput(format!("{path} has changed since it was checked; nothing more is sent: run again"))
    }
}

impl Iterator for Lines {
    type Item = Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let line = self.reader.next().map(|it| it.map(|(number, text)| Line::parse(number, text)));
        let result = match line {
            Ok(Some(Ok(line))) => return Some(Ok(line)),
            Ok(None) if self.reader.sha256() == self.expected => None,
            // What was a good line when it was checked is one now.
            Ok(Some(Err(_)) | None) => Some(Err(self.changed())),
            Err(e) => Some(Err(e)),
        };
        self.is_over = true;
        result
    }
}

/// Reads lines that are not empty, each with its number, and hashes all there is.
#[derive(Debug)]
struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    hasher: sha2::Sha256,
    line: Vec<u8>,
    number: u64,
}

impl Reader {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io("read", path, e))?;
        let file = BufReader::with_capacity(BUFFER, file);
        Ok(Self { path: path.to_path_buf(), file, hasher: sha2::Sha256::new(), line: Vec::new(), number: 0 })
    }

    fn next(&mut self) -> Result<Option<(u64, &[u8])>> {
        loop {
            self.line.clear();
            let read = self.file.read_until(b'\n', &mut self.line);
            if read.map_err(|e| Error::io("read", &self.path, e))? == 0 {
                return Ok(None);
            }
            self.hasher.update(&self.line);
            self.number += 1;
            // Some editors begin a file with a byte order mark.
            let start = if self.number == 1 && self.line.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
            if !self.line[start..].trim_ascii().is_empty() {
                let end = self.line.trim_ascii_end().len();
                return Ok(Some((self.number, &self.line[start..end])));
            }
        }
    }

    /// Of what was read so far.
    fn sha256(&self) -> Sha256 {
        Sha256::from_bytes(self.hasher.clone().finalize().into())
    }
}
