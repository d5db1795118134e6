//! The file below the journal, as a trait, so that a test can record what is written and what is on disk.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::lock::{self, Lock, LockError};

/// A journal's file, held by one process.
pub(crate) trait Medium: Send {
    /// How long the file is now, whoever wrote it.
    fn length(&mut self) -> io::Result<u64>;

    /// Its content from the beginning.
    fn reader(&mut self) -> io::Result<Box<dyn BufRead + '_>>;

    /// The line that begins here, with its newline.
    fn line_at(&mut self, offset: u64) -> io::Result<Vec<u8>>;

    /// Appends all of these bytes in one write.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file back.
    fn truncate(&mut self, length: u64) -> io::Result<()>;

    /// Everything written so far is on disk when this returns.
    fn sync(&mut self) -> io::Result<()>;

    /// Copies what is behind `from` into a new file beside this one, on disk when this returns.
    fn copy_aside(&mut self, from: u64, suffix: &str) -> io::Result<PathBuf>;

    /// Puts another content in the place of this one in a single step, on disk when this returns.
    fn replace(&mut self, content: &[u8]) -> io::Result<()>;
}

/// A file of the file system, locked.
#[derive(Debug)]
pub(crate) struct DiskFile {
    path: PathBuf,
    file: File,
    /// Keeps the lock.
    lock: Held,
}

/// What holds the lock as long as it is not dropped.
#[derive(Debug)]
enum Held {
    /// The open file itself.
    File,
    /// Another handle of the file, which a repair has made.
    Handle(#[expect(dead_code, reason = "held, not read")] File),
    /// The lock file, where the file system has no locks. Removed on drop.
    LockFile(#[expect(dead_code, reason = "held, not read")] lock::LockFile),
}

impl DiskFile {
    /// Opens and locks a journal, and creates it if it is not there.
    pub(crate) fn open(path: &Path, create: bool) -> Result<Self, LockError> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(create);
        private(&mut options);
        loop {
            let file = options.open(path).map_err(LockError::Io)?;
            let lock = match lock::acquire(&file, path)? {
                Lock::OfSystem => Held::File,
                Lock::File(lock) => Held::LockFile(lock),
            };
            // A repair may have put another file in its place before the lock was ours.
            if is_at(&file, path).map_err(LockError::Io)? {
                sync_folder(path).map_err(LockError::Io)?;
                return Ok(Self { path: path.to_owned(), file, lock });
            }
        }
    }
}

/// Only its owner may read what the batch does.
fn private(options: &mut OpenOptions) {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    #[cfg(not(unix))]
    let _ = options;
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> io::Result<bool> {
    Ok(true)
}

/// The folder of a path, as something that can be opened.
pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes the names in a folder last. Some file systems cannot, and need not.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    match File::open(folder(path))?.sync_all() {
        Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {}
        other => other?,
    }
    Ok(())
}

/// A file beside `path` whose name says what it is, which is not there yet.
fn beside(path: &Path, suffix: &str) -> io::Result<(File, PathBuf)> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    private(&mut options);
    for number in 1..1000 {
        let number = if number == 1 { String::new() } else { format!("-{number}") };
        let aside = path.with_file_name(format!("{name}.{suffix}{number}"));
        match options.open(&aside) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            opened => return Ok((opened?, aside)),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

impl Medium for DiskFile {
    fn length(&mut self) -> io::Result<u64> {
        if !is_at(&self.file, &self.path)? {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it was removed or replaced while it was in use"));
        }
        Ok(self.file.metadata()?.len())
    }

    fn reader(&mut self) -> io::Result<Box<dyn BufRead + '_>> {
        self.file.seek(SeekFrom::Start(0))?;
        Ok(Box::new(BufReader::with_capacity(256 * 1024, &self.file)))
    }

    fn line_at(&mut self, offset: u64) -> io::Result<Vec<u8>> {
        let mut line = Vec::with_capacity(512);
        self.file.seek(SeekFrom::Start(offset))?;
        BufReader::with_capacity(1024, &self.file).read_until(b'\n', &mut line)?;
        Ok(line)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn copy_aside(&mut self, from: u64, suffix: &str) -> io::Result<PathBuf> {
        let (mut copy, path) = beside(&self.path, suffix)?;
        self.file.seek(SeekFrom::Start(from))?;
        io::copy(&mut self.file, &mut copy)?;
        copy.sync_all()?;
        sync_folder(&path)?;
        Ok(path)
    }

    fn replace(&mut self, content: &[u8]) -> io::Result<()> {
        let new = tempfile::Builder::new().prefix(".luma-journal-").tempfile_in(folder(&self.path))?;
        new.as_file().write_all(content)?;
        new.as_file().sync_all()?;
        // Locked before it has the name, so that nobody comes in between.
        let by_file = !matches!(self.lock, Held::LockFile(_));
        if by_file {
            new.as_file().try_lock()?;
        }
        let locked = new.persist(&self.path).map_err(|e| e.error)?;
        self.file = OpenOptions::new().read(true).append(true).open(&self.path)?;
        if by_file {
            self.lock = Held::Handle(locked);
        }
        sync_folder(&self.path)
    }
}
