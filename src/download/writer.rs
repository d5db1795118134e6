//! Downloads on disk: temporary file beside the target, length, sync, rename.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use tempfile::TempPath;
use tokio::{sync::mpsc, task::spawn_blocking};
use uuid::Uuid;

use super::fetch::{Fetch, Object, Piece, ResumePoint};
use crate::{
    error::{Error, Result},
    progress::Meter,
    types::GenerationOutput,
    util::{media_type, redact},
};

/// Chunks between the network and the disk.
const QUEUE: usize = 8;

/// How much of a kept part may be lost with the power.
const SYNC_EVERY: u64 = 64 * 1024 * 1024;

/// An output on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Saved {
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// What its first bytes show it to be, such as `image/png`.
    pub media_type: Option<&'static str>,
}

/// What an output is called when the caller has not said.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    stem: String,
    /// What tells it from every other output.
    of: String,
    pub(crate) index: usize,
}

impl Name {
    pub(crate) fn new(id: Option<Uuid>, index: usize, output: Option<&GenerationOutput>, url: &str) -> Self {
        let of = id.map_or_else(|| redact::url(url).into_owned(), |id| format!("{id}/{index}"));
        let id = id.map_or_else(|| "output".to_owned(), |id| id.to_string());
        let stem = match output.and_then(|output| output.layer.as_ref()) {
            Some(layer) => format!("{id}-layer-{}-{}", layer.index, harmless(&layer.label)),
            None if index == 0 => id,
            None => format!("{id}-{}", index + 1),
        };
        Self { stem, of, index }
    }
}

/// A name from the service is text, not a path.
fn harmless(label: &str) -> String {
    let kept = label.chars().map(|c| if c.is_alphanumeric() { c } else { '-' });
    kept.flat_map(char::to_lowercase).take(40).collect::<String>().trim_matches('-').to_owned()
}

/// Where to save, and how.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    path: PathBuf,
    is_directory: bool,
    overwrite: bool,
    resumable: bool,
}

impl Target {
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
    pub(crate) async fn part(&self, name: &Name) -> Result<Part> {
        let (target, name) = (self.clone(), name.clone());
        blocking(move || target.open(&name)).await
    }

    fn open(&self, Name { stem, of, .. }: &Name) -> Result<Part> {
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
        let (file, place, have) = if self.resumable {
            let shown = match &end {
                End::Given => self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
                End::Named { stem } => stem.clone(),
            };
            let path = directory.join(format!(".{shown}.part"));
            let note = directory.join(format!(".{shown}.part.json"));
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(|e| Error::io("write", &path, e))?;
            let note = Note { path: note, of: of.clone() };
            let have = note.recall(&file);
            file.set_len(have.offset).map_err(|e| Error::io("write", &path, e))?;
            (file, Place::Kept { path, note }, have)
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
        Ok(Part { file, place, have, target: self.clone(), end })
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

/// What is written beside a kept part: whose bytes they are, and how many are safely on disk.
#[derive(Clone, Debug)]
struct Note {
    path: PathBuf,
    of: String,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Noted {
    of: String,
    object: Object,
    bytes: u64,
}

impl Note {
    fn write(&self, object: &Object, bytes: u64) -> io::Result<()> {
        let noted = Noted { of: self.of.clone(), object: object.clone(), bytes };
        let new = self.path.with_extension("new");
        fs::write(&new, serde_json::to_vec(&noted)?)?;
        fs::rename(new, &self.path)
    }

    /// What an earlier attempt has left, if it can be shown to belong to the same output.
    fn recall(&self, file: &File) -> ResumePoint {
        let noted: Option<Noted> = fs::read(&self.path).ok().and_then(|note| serde_json::from_slice(&note).ok());
        let length = file.metadata().map_or(0, |it| it.len());
        match noted {
            Some(Noted { of, object, bytes }) if of == self.of && bytes <= length => {
                // The last byte is asked for again: that shows that the object is still the same.
                let offset = object.total.map_or(bytes, |total| bytes.min(total.saturating_sub(1)));
                ResumePoint { offset, object }
            }
            _ => ResumePoint::default(),
        }
    }
}

/// A file that is not complete yet.
#[derive(Debug)]
pub(crate) struct Part {
    file: File,
    place: Place,
    have: ResumePoint,
    target: Target,
    end: End,
}

#[derive(Debug)]
enum Place {
    /// Removed when dropped.
    Temporary(TempPath),
    Kept {
        path: PathBuf,
        note: Note,
    },
}

#[derive(Debug)]
enum End {
    Given,
    Named { stem: String },
}

impl Part {
    pub(crate) fn take_resume_point(&mut self) -> ResumePoint {
        std::mem::take(&mut self.have)
    }

    /// Moves the complete file to its name.
    fn publish(self, head: &[u8]) -> Result<(PathBuf, Option<&'static str>)> {
        let (media_type, extension) =
            media_type::kind(head).map_or((None, media_type::UNKNOWN), |(kind, ext)| (Some(kind), ext));
        let path = match &self.end {
            End::Given => self.target.path.clone(),
            End::Named { stem } => self.target.path.join(format!("{stem}.{extension}")),
        };
        drop(self.file);
        let (part, note) = match self.place {
            Place::Temporary(part) => (part, None),
            Place::Kept { path, note } => {
                (TempPath::try_from_path(&path).map_err(|e| Error::io("rename", path, e))?, Some(note))
            }
        };
        let moved = if self.target.overwrite { part.persist(&path) } else { part.persist_noclobber(&path) };
        moved.map_err(|e| {
            if note.is_some() {
                // Complete, and kept for the next attempt.
                e.path.keep().ok();
            }
            Error::io("save as", &path, e.error)
        })?;
        if let Some(note) = note {
            fs::remove_file(note.path).ok();
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

/// What the network side asks of the disk side, in order.
enum Order {
    Bytes(Bytes),
    /// What was written is of another object.
    Truncate,
    /// What the bytes to come belong to.
    Object(Object),
    Sync,
}

/// Brings a transfer to its end in a file.
pub(crate) async fn save(mut fetch: Fetch, part: Part, mut meter: Meter) -> Result<Saved> {
    let note = match &part.place {
        Place::Temporary(_) => None,
        Place::Kept { note, .. } => Some(note.clone()),
    };
    let shown = part.target.path.clone();
    let start = fetch.offset;
    let file = part.file.try_clone().map_err(|e| Error::io("write", &shown, e))?;
    let (orders, queue) = mpsc::channel(QUEUE);
    let writer = spawn_blocking(move || Writer { file, at: start, synced: start, object: None, note }.run(queue));
    let fetched = pump(&mut fetch, &orders, &mut meter).await;
    drop(orders);
    let written = writer.await.unwrap_or_else(|e| Err(io::Error::other(e)));
    // A full disk shows up as a closed queue: what the disk says comes first.
    let head = written.map_err(|e| Error::io("write", &shown, e))?;
    fetched?;
    let bytes = fetch.offset;
    let (path, media_type) = blocking(move || part.publish(&head)).await?;
    Ok(Saved { path, bytes, media_type })
}

async fn pump(fetch: &mut Fetch, orders: &mpsc::Sender<Order>, meter: &mut Meter) -> Result<()> {
    let mut noted = None;
    loop {
        let piece = fetch.next().await?;
        let last = matches!(piece, Piece::End);
        meter.tell(fetch.offset, fetch.object.total, last);
        let mut batch = Vec::with_capacity(2);
        if matches!(piece, Piece::Restart) {
            batch.push(Order::Truncate);
        } else if noted.as_ref() != Some(&fetch.object) {
            noted = Some(fetch.object.clone());
            batch.push(Order::Object(fetch.object.clone()));
        }
        match piece {
            Piece::Bytes(bytes) => batch.push(Order::Bytes(bytes)),
            Piece::End => batch.push(Order::Sync),
            Piece::Restart => {}
        }
        for order in batch {
            if orders.send(order).await.is_err() {
                // The writer has failed, and will say why.
                return Ok(());
            }
        }
        if last {
            return Ok(());
        }
    }
}

/// The disk side.
struct Writer {
    file: File,
    at: u64,
    synced: u64,
    object: Option<Object>,
    /// Only a kept part has one.
    note: Option<Note>,
}

impl Writer {
    /// Returns the first bytes of the file.
    fn run(mut self, mut queue: mpsc::Receiver<Order>) -> io::Result<Vec<u8>> {
        self.file.seek(SeekFrom::Start(self.at))?;
        let mut whole = false;
        while let Some(order) = queue.blocking_recv() {
            match order {
                Order::Bytes(bytes) => {
                    self.file.write_all(&bytes)?;
                    self.at += bytes.len() as u64;
                    if self.note.is_some() && self.at - self.synced >= SYNC_EVERY {
                        self.take_note()?;
                    }
                }
                Order::Truncate => {
                    self.file.set_len(0)?;
                    self.file.rewind()?;
                    (self.at, self.synced) = (0, 0);
                }
                Order::Object(object) => self.object = Some(object),
                Order::Sync => {
                    self.file.sync_all()?;
                    whole = true;
                }
            }
        }
        if self.note.is_some() {
            self.take_note()?;
        }
        let mut head = Vec::new();
        if whole {
            self.file.rewind()?;
            self.file.take(media_type::ENOUGH).read_to_end(&mut head)?;
        }
        Ok(head)
    }

    /// Only what is safely on disk is noted.
    fn take_note(&mut self) -> io::Result<()> {
        let (Some(note), Some(object)) = (&self.note, &self.object) else { return Ok(()) };
        self.file.sync_data()?;
        self.synced = self.at;
        note.write(object, self.at)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|e| Err(Error::io("use", "the disk", io::Error::other(e))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_leave_the_directory() {
        for (label, stem) in [
            ("Red car", "red-car"),
            ("../../etc/passwd", "etc-passwd"),
            ("..\\x", "x"),
            ("a\0b", "a-b"),
            ("", ""),
            ("Ärger", "ärger"),
        ] {
            assert_eq!(harmless(label), stem);
        }
        assert_eq!(harmless(&"x".repeat(500)).len(), 40);
    }
}
