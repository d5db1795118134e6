//! The disk side of a download: a thread that writes what the network side sends it.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::PathBuf,
};

use bytes::Bytes;
use tokio::{sync::mpsc, task::spawn_blocking};

use super::{
    checkpoint::Checkpoint,
    fetch::{Event, Fetch},
    object::Object,
    target::Part,
};
use crate::{
    error::{Error, Result},
    progress::ProgressReporter,
    util::media_type,
};

/// Commands between the network and the disk.
const QUEUE: usize = 8;

/// How much of a kept part a power failure may cost.
const SYNC_EVERY: u64 = 64 * 1024 * 1024;

/// An output on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Saved {
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// The media type that its first bytes show, such as `image/png`.
    pub media_type: Option<&'static str>,
}

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
    let writer =
        Writer { file, at: fetch.offset, synced: fetch.offset, object: None, checkpoint: part.checkpoint().cloned() };
    let (commands, queue) = mpsc::channel(QUEUE);
    let writer = spawn_blocking(move || writer.run(queue));
    let fetched = transfer(&mut fetch, &commands, &mut progress).await;
    drop(commands);
    let written = writer.await.unwrap_or_else(|e| Err(io::Error::other(e)));
    // A full disk shows itself as a closed queue, so the error of the disk comes first.
    let head = written.map_err(|e| Error::io("write", &shown, e))?;
    fetched?;
    let bytes = fetch.offset;
    let (path, media_type) = part.publish(head).await?;
    Ok(Saved { path, bytes, media_type })
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

struct Writer {
    file: File,
    at: u64,
    synced: u64,
    object: Option<Object>,
    /// Only a kept part has one.
    checkpoint: Option<Checkpoint>,
}

impl Writer {
    /// Returns the first bytes of the file if it is complete.
    fn run(mut self, mut queue: mpsc::Receiver<WriteCommand>) -> io::Result<Vec<u8>> {
        self.file.seek(SeekFrom::Start(self.at))?;
        let mut complete = false;
        while let Some(command) = queue.blocking_recv() {
            match command {
                WriteCommand::Write(bytes) => {
                    self.file.write_all(&bytes)?;
                    self.at += bytes.len() as u64;
                    if self.checkpoint.is_some() && self.at - self.synced >= SYNC_EVERY {
                        self.save_checkpoint()?;
                    }
                }
                WriteCommand::Truncate => {
                    self.file.set_len(0)?;
                    self.file.rewind()?;
                    (self.at, self.synced) = (0, 0);
                }
                WriteCommand::Object(object) => self.object = Some(object),
                WriteCommand::Finish => {
                    self.file.sync_all()?;
                    complete = true;
                }
            }
        }
        if self.checkpoint.is_some() {
            self.save_checkpoint()?;
        }
        let mut head = Vec::new();
        if complete {
            self.file.rewind()?;
            self.file.take(media_type::HEAD).read_to_end(&mut head)?;
        }
        Ok(head)
    }

    /// A checkpoint counts only bytes that are safely on disk.
    fn save_checkpoint(&mut self) -> io::Result<()> {
        let (Some(checkpoint), Some(object)) = (&self.checkpoint, &self.object) else { return Ok(()) };
        self.file.sync_data()?;
        self.synced = self.at;
        checkpoint.save(object, self.at)
    }
}
