//! The disk side of a download: a task that writes what the network side sends it. It uses a thread that may
//! block only while there is something to write.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::PathBuf,
};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::{sync::mpsc, task::spawn_blocking};

use super::{
    checkpoint::Checkpoint,
    disk,
    fetch::{Event, Fetch},
    object::Object,
    target::Part,
};
use crate::{
    error::{Error, Result},
    progress::ProgressReporter,
    util::{hex::hex, media_type},
};

/// Commands between the network and the disk.
const QUEUE: usize = 8;

/// How much of a kept part a power failure may cost.
const SYNC_EVERY: u64 = 64 * 1024 * 1024;

/// How much of a kept part is given up when the disk is full, so that there is room for its checkpoint.
const ROOM: u64 = 1024 * 1024;

/// An output that was saved to disk.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Saved {
    /// The path of the file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// The media type that its first bytes show, such as `image/png`.
    pub media_type: Option<&'static str>,
    /// SHA-256 of its content, in lower-case hexadecimal. It was computed while the file was written.
    pub sha256: String,
}

/// A file that is complete: what its name and [`Saved`] need of it.
#[derive(Debug, Default)]
struct Complete {
    /// Its first bytes.
    head: Vec<u8>,
    sha256: String,
}

/// How much of a kept part is read at a time.
const HASHED_AT_ONCE: usize = 256 * 1024;

/// What the network side asks of the disk side, in order.
enum WriteCommand {
    Write(Bytes),
    /// All bytes so far are of another object.
    Truncate,
    /// The object that the next bytes are of.
    Object(Object),
    /// The file is complete.
    Finish,
}

/// Fetches an object into `part`, and moves it to its name.
pub(crate) async fn save(mut fetch: Fetch, part: Part, mut progress: ProgressReporter) -> Result<Saved> {
    let shown = part.shown().to_owned();
    let file = part.file.try_clone().map_err(|e| Error::io("write", &shown, e))?;
    let writer = Writer::new(file, fetch.offset, part.checkpoint().cloned());
    let (commands, queue) = mpsc::channel(QUEUE);
    // A task of its own: it ends in order even if the save is dropped.
    let writer = tokio::spawn(writer.run(queue));
    let fetched = transfer(&mut fetch, &commands, &mut progress).await;
    drop(commands);
    let written = writer.await.unwrap_or_else(|e| Err(io::Error::other(e)));
    // A full disk shows itself as a closed queue, so the error of the disk comes first.
    let Complete { head, sha256 } = written.map_err(|e| Error::io("write", &shown, e))?;
    fetched?;
    let bytes = fetch.offset;
    let (path, media_type) = part.publish(head).await?;
    Ok(Saved { path, bytes, media_type, sha256 })
}

async fn transfer(
    fetch: &mut Fetch,
    commands: &mpsc::Sender<WriteCommand>,
    progress: &mut ProgressReporter,
) -> Result<()> {
    let mut known = None;
    loop {
        let event = fetch.next().await?;
        let is_last = matches!(event, Event::End);
        progress.report(fetch.offset, fetch.object.total, is_last);
        let mut batch = Vec::with_capacity(2);
        if matches!(event, Event::Restart) {
            batch.push(WriteCommand::Truncate);
        } else if known.as_ref() != Some(&fetch.object) {
            known = Some(fetch.object.clone());
            batch.push(WriteCommand::Object(fetch.object.clone()));
        }
        match event {
            Event::Bytes(bytes) => batch.push(WriteCommand::Write(bytes)),
            Event::End => batch.push(WriteCommand::Finish),
            Event::Restart => {}
        }
        for command in batch {
            if commands.send(command).await.is_err() {
                // The writer has failed. Its own result has the reason.
                return Ok(());
            }
        }
        if is_last {
            return Ok(());
        }
    }
}

/// What the writer needs of a file. A trait, so that in tests the disk can be full.
trait PartFile: Read + Write + Seek {
    fn set_len(&self, length: u64) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
}

impl PartFile for File {
    fn set_len(&self, length: u64) -> io::Result<()> {
        Self::set_len(self, length)
    }

    fn sync(&self) -> io::Result<()> {
        disk::if_supported(self.sync_all())
    }
}

struct Writer<F: PartFile> {
    file: F,
    /// How many bytes were written.
    at: u64,
    /// How many of them are safely on disk.
    synced: u64,
    object: Option<Object>,
    /// Only a kept part has one, until it was saved for the last time.
    checkpoint: Option<Checkpoint>,
    /// Of the bytes so far.
    hash: Sha256,
}

impl<F: PartFile + Send + 'static> Writer<F> {
    /// Returns what is known of the file if it is complete.
    async fn run(self, mut queue: mpsc::Receiver<WriteCommand>) -> io::Result<Complete> {
        let (mut writer, ()) = self.step(Self::begin).await?;
        let mut is_complete = false;
        while let Some(first) = queue.recv().await {
            // The thread goes on as long as the network is faster than the disk.
            (writer, (queue, is_complete)) = writer
                .step(move |writer| {
                    let mut is_complete = writer.write(first)?;
                    while let Ok(next) = queue.try_recv() {
                        is_complete = writer.write(next)?;
                    }
                    Ok((queue, is_complete))
                })
                .await?;
        }
        Ok(writer.step(move |writer| writer.end(is_complete)).await?.1)
    }

    /// Does `step` where it may block.
    async fn step<T: Send + 'static>(
        mut self,
        step: impl FnOnce(&mut Self) -> io::Result<T> + Send + 'static,
    ) -> io::Result<(Self, T)> {
        let done = spawn_blocking(move || match step(&mut self) {
            Ok(done) => Ok((self, done)),
            Err(error) => {
                // The error of the disk counts, not that of the rescue.
                self.rescue().ok();
                Err(error)
            }
        });
        done.await.unwrap_or_else(|e| Err(io::Error::other(e)))
    }
}

impl<F: PartFile> Writer<F> {
    /// Goes on after the first `at` bytes.
    fn new(file: F, at: u64, checkpoint: Option<Checkpoint>) -> Self {
        Self { file, at, synced: at, object: None, checkpoint, hash: Sha256::new() }
    }

    fn begin(&mut self) -> io::Result<()> {
        self.hash_kept()?;
        self.file.seek(SeekFrom::Start(self.at))?;
        Ok(())
    }

    /// Whether the file is complete.
    fn write(&mut self, command: WriteCommand) -> io::Result<bool> {
        match command {
            WriteCommand::Write(bytes) => {
                self.file.write_all(&bytes)?;
                self.hash.update(&bytes);
                self.at += bytes.len() as u64;
                if self.checkpoint.is_some() && self.at - self.synced >= SYNC_EVERY {
                    self.save_checkpoint()?;
                }
            }
            WriteCommand::Truncate => {
                // First the checkpoint: it must never describe bytes of another object.
                self.checkpoint.iter().for_each(Checkpoint::remove);
                self.file.set_len(0)?;
                self.file.rewind()?;
                (self.at, self.synced, self.object) = (0, 0, None);
                self.hash.reset();
            }
            WriteCommand::Object(object) => self.object = Some(object),
            WriteCommand::Finish => {
                self.sync()?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn end(&mut self, is_complete: bool) -> io::Result<Complete> {
        self.save_checkpoint()?;
        self.checkpoint = None;
        if !is_complete {
            return Ok(Complete::default());
        }
        let mut head = Vec::new();
        self.file.rewind()?;
        Read::by_ref(&mut self.file).take(media_type::HEAD).read_to_end(&mut head)?;
        Ok(Complete { head, sha256: hex(&self.hash.finalize_reset()) })
    }

    /// What an earlier download left counts too.
    fn hash_kept(&mut self) -> io::Result<()> {
        self.file.rewind()?;
        let mut left = self.at;
        let mut buffer = vec![0; if left > 0 { HASHED_AT_ONCE } else { 0 }];
        while left > 0 {
            let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = self.file.read(&mut buffer[..most])?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.hash.update(&buffer[..read]);
            left -= read as u64;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if let Err(error) = self.file.sync() {
            // Nobody knows which bytes were lost, and a second sync would not report it again
            // (https://wiki.postgresql.org/wiki/Fsync_Errors).
            self.at = self.synced;
            return Err(error);
        }
        self.synced = self.at;
        Ok(())
    }

    /// A checkpoint counts only bytes that are safely on disk.
    fn save_checkpoint(&mut self) -> io::Result<()> {
        if self.checkpoint.is_none() {
            return Ok(());
        }
        self.sync()?;
        match (&self.checkpoint, &self.object) {
            (Some(checkpoint), Some(object)) => checkpoint.save(object, self.at),
            _ => Ok(()),
        }
    }

    /// After a failure, such as a full disk: leaves a kept part and its checkpoint in agreement.
    fn rescue(&mut self) -> io::Result<()> {
        if self.checkpoint.is_none() {
            return Ok(());
        }
        self.at = self.at.saturating_sub(ROOM).max(self.synced);
        self.file.set_len(self.at)?;
        self.save_checkpoint()?;
        self.checkpoint = None;
        Ok(())
    }
}

/// A runtime that ends drops its tasks: what a kept part has by then counts, too.
impl<F: PartFile> Drop for Writer<F> {
    fn drop(&mut self) {
        self.save_checkpoint().ok();
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, path::Path};

    use super::*;

    const MB: usize = 1024 * 1024;

    /// A file on a disk with room for so many bytes, whose syncs may fail.
    struct Disk {
        file: File,
        room: u64,
        syncs: Cell<u32>,
        failing_sync: Option<u32>,
    }

    impl Disk {
        fn new(path: &Path, room: usize) -> Self {
            let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
            Self { file: file.expect("a file"), room: room as u64, syncs: Cell::new(0), failing_sync: None }
        }
    }

    impl Read for Disk {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.file.read(buffer)
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let left = usize::try_from(self.room.saturating_sub(self.file.stream_position()?)).unwrap_or(usize::MAX);
            if left == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.file.write(&bytes[..bytes.len().min(left)])
        }

        fn flush(&mut self) -> io::Result<()> {
            self.file.flush()
        }
    }

    impl Seek for Disk {
        fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
            self.file.seek(position)
        }
    }

    impl PartFile for Disk {
        fn set_len(&self, length: u64) -> io::Result<()> {
            self.file.set_len(length)
        }

        fn sync(&self) -> io::Result<()> {
            self.syncs.set(self.syncs.get() + 1);
            if self.failing_sync == Some(self.syncs.get()) { Err(io::ErrorKind::Other.into()) } else { Ok(()) }
        }
    }

    fn object() -> Object {
        let mut object = Object::default();
        object.total = Some(100 * MB as u64);
        object
    }

    /// Writes `chunks` chunks of 1 MiB, as a download that then breaks off.
    async fn write(disk: Disk, at: usize, checkpoint: &Checkpoint, chunks: u8) -> io::Result<Complete> {
        let (commands, queue) = mpsc::channel(usize::from(chunks) + 1);
        commands.try_send(WriteCommand::Object(object())).expect("room");
        for byte in 0..chunks {
            commands.try_send(WriteCommand::Write(vec![byte; MB].into())).expect("room");
        }
        drop(commands);
        Writer::new(disk, at as u64, Some(checkpoint.clone())).run(queue).await
    }

    /// How many bytes a later download can go on with.
    fn kept(path: &Path, checkpoint: &Checkpoint) -> usize {
        let length = path.metadata().expect("a file").len();
        let kept = checkpoint.load(length);
        assert_eq!(kept.object, object());
        assert!(kept.offset <= length);
        usize::try_from(kept.offset).expect("a size")
    }

    fn place(directory: &tempfile::TempDir) -> (PathBuf, Checkpoint) {
        (directory.path().join("part"), Checkpoint::new(directory.path().join("part.json"), "a".to_owned()))
    }

    #[tokio::test]
    async fn a_full_disk_keeps_a_part_that_can_be_resumed() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, checkpoint) = place(&directory);
        let error = write(Disk::new(&path, 9 * MB / 2), 0, &checkpoint, 10).await.expect_err("full");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(kept(&path, &checkpoint), 3 * MB, "four chunks fit, one makes room for the checkpoint");
        assert_eq!(path.metadata().expect("a file").len(), 3 * MB as u64);

        // It is still full: nothing that was safe is lost.
        write(Disk::new(&path, 7 * MB / 2), 3 * MB, &checkpoint, 7).await.expect_err("full");
        assert_eq!(kept(&path, &checkpoint), 3 * MB);
    }

    #[tokio::test]
    async fn bytes_of_a_failed_sync_are_not_counted() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, checkpoint) = place(&directory);
        write(Disk::new(&path, 100 * MB), 0, &checkpoint, 2).await.expect("written");
        assert_eq!(kept(&path, &checkpoint), 2 * MB);
        let disk = Disk { failing_sync: Some(1), ..Disk::new(&path, 100 * MB) };
        write(disk, 2 * MB, &checkpoint, 3).await.expect_err("not synced");
        assert_eq!(kept(&path, &checkpoint), 2 * MB);
    }

    #[tokio::test]
    async fn another_object_leaves_no_checkpoint_of_the_old_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, checkpoint) = place(&directory);
        write(Disk::new(&path, 100 * MB), 0, &checkpoint, 2).await.expect("written");
        let (commands, queue) = mpsc::channel(2);
        commands.try_send(WriteCommand::Truncate).expect("room");
        commands.try_send(WriteCommand::Write(vec![7; MB].into())).expect("room");
        drop(commands);
        let at = 2 * MB as u64;
        let file = Disk::new(&path, 100 * MB);
        let mut writer = Writer::new(file, at, Some(checkpoint.clone()));
        writer.object = Some(object());
        writer.run(queue).await.expect("written");
        assert_eq!(checkpoint.load(MB as u64), super::super::object::ResumePoint::default());
    }
}
