//! Reads a journal beside the process that writes it. Changes nothing.

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::{
    contents::{Contents, Run},
    lock,
    scan::{Tail, scan},
    writer::{lost_thread, scan_error},
};
use crate::{
    error::{Error, Result},
    key::{CustomId, Key},
    ledger::{Doubt, Last, Spent},
};

/// A journal as it stands, also while another process writes it. Reading changes nothing.
#[derive(Debug)]
pub struct JournalView {
    contents: Contents,
    is_in_use: bool,
}

impl JournalView {
    /// Reads a journal.
    ///
    /// A line that is just being written is left out.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it cannot be read, [`Error::Journal`] if it is damaged or of a newer version.
    pub async fn read(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let shown = path.clone();
        let read = move || Self::read_file(&path);
        tokio::task::spawn_blocking(read).await.unwrap_or_else(|e| Err(lost_thread(&shown, e)))
    }

    fn read_file(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
        let mut contents = Contents::default();
        let scan = scan(BufReader::with_capacity(256 * 1024, &file), |line, _| contents.take(&line))
            .map_err(|e| scan_error(path, e))?;
        if let Tail::Torn { good, .. } = scan.tail {
            for line in &good {
                contents.take(line);
            }
        }
        let is_in_use = lock::is_held(&file);
        Ok(Self { contents, is_in_use })
    }

    /// Whether a process had it open. What is in doubt then may only be in flight.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.is_in_use
    }

    /// The batch, if there was a run.
    #[must_use]
    pub fn batch(&self) -> Option<Uuid> {
        self.contents.batch
    }

    /// The last run that was started.
    #[must_use]
    pub fn last_run(&self) -> Option<&Run> {
        self.contents.run.as_ref()
    }

    /// The database that it was moved to.
    #[must_use]
    pub fn moved_to(&self) -> Option<&str> {
        self.contents.moved.as_deref()
    }

    /// What is known of a line.
    #[must_use]
    pub fn get(&self, id: &CustomId) -> Option<Last> {
        self.contents.book.last(&self.key(id))
    }

    /// What is known of every line that the journal names.
    pub fn iter(&self) -> impl Iterator<Item = (&CustomId, Last)> {
        self.contents.book.ids().filter_map(|id| Some((id, self.get(id)?)))
    }

    /// Every try of which nobody knows whether there is a job, in the order of the ids.
    #[must_use]
    pub fn doubts(&self) -> Vec<Doubt> {
        self.contents.book.doubts(self.contents.batch.unwrap_or_default())
    }

    /// How many lines a repair has lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.contents.book.lost()
    }

    /// What the batch has cost so far.
    #[must_use]
    pub fn spent(&self) -> Spent {
        self.contents.book.spent()
    }

    fn key(&self, id: &CustomId) -> Key {
        Key::new(self.contents.batch.unwrap_or_default(), id.clone())
    }
}
