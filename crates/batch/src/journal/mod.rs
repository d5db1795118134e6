//! The journal: a ledger in a file of JSON Lines, which a person can read.

mod contents;
mod fields;
mod file;
mod line;
mod lock;
mod nearby;
mod reader;
#[cfg(test)]
mod recording;
mod repair;
mod scan;
mod settled;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, Utc};
use futures_util::{Stream, stream};
use uuid::Uuid;

pub(crate) use self::nearby::{find_run, is_same, journals};
pub use self::{
    contents::{Run, Uploaded},
    reader::JournalView,
    repair::{Repair, repair},
};
use self::{
    file::DiskFile,
    lock::LockError,
    writer::{Clock, Writer, lost_thread},
};
use crate::{
    error::{Error, JournalError, JournalProblem, Result},
    key::{CustomId, Key},
    ledger::{Attempt, Begin, Cap, Doubt, Event, Intent, Last, Ledger, Spent, Ticket},
};

/// A ledger in a file, `NAME.journal.jsonl`: one line for each thing that happens, on disk before the next one does.
///
/// One process at a time has it open. Clones share it; the lock ends with the last one. [`journal_v1`](crate::journal_v1)
/// describes every line.
#[derive(Clone)]
pub struct Journal {
    path: PathBuf,
    writer: Arc<Mutex<Writer>>,
}

impl Journal {
    /// Opens a journal, or creates it, readable by its owner only. The end that a crash has torn is set aside, in a
    /// file beside it.
    ///
    /// # Errors
    ///
    /// [`Error::Journal`] if another process has it open, or it is damaged, moved, or of a newer version;
    /// [`Error::Io`] if it cannot be read or created.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Self::open_with(path.into(), true, Arc::new(Utc::now)).await
    }

    /// Opens a journal that is there.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and if there is none.
    pub async fn existing(path: impl Into<PathBuf>) -> Result<Self> {
        Self::open_with(path.into(), false, Arc::new(Utc::now)).await
    }

    pub(crate) async fn open_with(path: PathBuf, create: bool, clock: Clock) -> Result<Self> {
        let shown = path.clone();
        let open = move || {
            let file = lock(&path, create)?;
            let writer = Writer::open(&path, Box::new(file), clock)?;
            Ok(Self { path, writer: Arc::new(Mutex::new(writer)) })
        };
        tokio::task::spawn_blocking(open).await.unwrap_or_else(|e| Err(lost_thread(&shown, e)))
    }

    /// Writes the line of a run, the first of which makes the batch. Returns the batch.
    ///
    /// # Errors
    ///
    /// [`Error::Journal`] if the journal was moved to a database, and where it cannot be written.
    pub async fn start(&self, run: &Run) -> Result<Uuid> {
        self.start_as(Uuid::new_v4(), run).await
    }

    /// As [`start`](Self::start); the first run makes this batch. If the journal has another one, that stays.
    ///
    /// # Errors
    ///
    /// As `start`.
    pub async fn start_as(&self, batch: Uuid, run: &Run) -> Result<Uuid> {
        let run = run.clone();
        self.with(move |writer| writer.start(batch, &run)).await
    }

    /// The cap on what the batch may cost, over all its runs. Default none.
    pub fn set_cap(&self, cap: Cap) {
        self.read(|writer| writer.cap = cap);
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The batch, once there was a run.
    #[must_use]
    pub fn batch(&self) -> Option<Uuid> {
        self.read(|writer| writer.contents.batch)
    }

    /// The last run that was started.
    #[must_use]
    pub fn last_run(&self) -> Option<Run> {
        self.read(|writer| writer.contents.run.clone())
    }

    /// The key of a line of this batch.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] before the first run.
    pub fn key(&self, id: &CustomId) -> Result<Key> {
        self.read(|writer| writer.key(id))
    }

    /// Every try of which nobody knows whether there is a job, in the order of the ids.
    #[must_use]
    pub fn doubts(&self) -> Vec<Doubt> {
        self.read(|writer| writer.contents.book.doubts(writer.contents.batch.unwrap_or_default()))
    }

    /// What is known of a line.
    #[must_use]
    pub fn line(&self, id: &CustomId) -> Option<Last> {
        self.read(|writer| writer.last(&writer.key(id).ok()?).ok()?)
    }

    /// Every try of a line, in the order of their numbers, also those without a job.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read.
    pub fn attempts(&self, id: &CustomId) -> Result<Vec<Attempt>> {
        self.read(|writer| writer.attempts(id))
    }

    /// Since when a line without a job is in doubt because a repair has lost lines, unless somebody has decided on it.
    #[must_use]
    pub fn repaired(&self) -> Option<DateTime<Utc>> {
        self.read(|writer| writer.contents.book.suspected_since())
    }

    /// Every line that the journal names.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read.
    pub fn ids(&self) -> Result<Vec<CustomId>> {
        self.read(Writer::ids)
    }

    /// Those whose job is not saved, or was submitted just now.
    pub(crate) fn unsettled(&self) -> Vec<CustomId> {
        self.read(|writer| writer.contents.book.ids().cloned().collect())
    }

    /// The last job that the service has accepted.
    pub(crate) fn newest(&self) -> Option<Uuid> {
        self.read(|writer| writer.contents.newest)
    }

    /// The doubt about a line that the journal does not name, after a repair that has lost lines.
    pub(crate) fn unnamed_doubt(&self, id: &CustomId) -> Option<Doubt> {
        self.read(|writer| {
            let key = writer.key(id).ok()?;
            let is_named = writer.last(&key).ok()?.is_some();
            writer.contents.book.suspected(&key).filter(|_| !is_named)
        })
    }

    /// Whether a repair may have lost the intent of a line, and nobody has decided since.
    #[must_use]
    pub fn is_suspected(&self, id: &CustomId) -> bool {
        self.read(|writer| writer.key(id).is_ok_and(|key| writer.contents.book.suspected(&key).is_some()))
    }

    /// How many lines a repair has lost, each of which may have been an intent.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.read(|writer| writer.contents.book.lost())
    }

    /// The key under which a job stands here.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read.
    pub fn find_job(&self, id: Uuid) -> Result<Option<CustomId>> {
        self.read(|writer| writer.find_job(id))
    }

    /// The files that the runs have uploaded.
    #[must_use]
    pub fn uploads(&self) -> Vec<Uploaded> {
        self.read(|writer| writer.contents.uploads.values().cloned().collect())
    }

    /// The file with this content, if a run has uploaded it.
    #[must_use]
    pub fn upload(&self, sha256: &crate::Sha256) -> Option<Uploaded> {
        self.read(|writer| writer.contents.uploads.get(sha256).cloned())
    }

    /// Records that a file was uploaded.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub async fn record_upload(&self, file: &Uploaded) -> Result<()> {
        let file = file.clone();
        self.with(move |writer| writer.uploaded(&file)).await
    }

    pub(crate) fn not_moved(&self) -> Result<()> {
        self.read(|writer| writer.not_moved())
    }

    /// Ends this journal in favour of a database, before anything is written there. May be repeated.
    ///
    /// `database` is its name, without any password.
    ///
    /// # Errors
    ///
    /// [`Error::Journal`] if it was moved to another one, and where it cannot be written.
    pub async fn move_to(&self, database: impl Into<String>) -> Result<()> {
        let database = database.into();
        self.with(move |writer| writer.moved(&database)).await
    }

    /// The time by which this journal goes.
    #[must_use]
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.read(|writer| writer.now())
    }

    fn read<T>(&self, read: impl FnOnce(&mut Writer) -> T) -> T {
        read(&mut self.writer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads at once, or while another line is written, which may wait long for the disk, on a thread that may block.
    async fn look<T: Send + 'static>(&self, read: impl FnOnce(&mut Writer) -> Result<T> + Send + 'static) -> Result<T> {
        let read = match self.writer.try_lock() {
            Ok(mut writer) => return read(&mut writer),
            Err(_) => read,
        };
        self.with(read).await
    }

    /// Writes on a thread that may block. It ends there even if the caller is dropped.
    async fn with<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Writer) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let journal = self.clone();
        let written = tokio::task::spawn_blocking(move || journal.read(write)).await;
        written.unwrap_or_else(|e| Err(lost_thread(&self.path, e)))
    }
}

impl Ledger for Journal {
    async fn begin(&self, key: &Key, intent: &Intent) -> Result<Begin> {
        let (key, intent) = (key.clone(), intent.clone());
        self.with(move |writer| writer.begin(&key, &intent)).await
    }

    async fn peek(&self, key: &Key, intent: &Intent) -> Result<Option<Begin>> {
        let (key, intent) = (key.clone(), intent.clone());
        self.look(move |writer| writer.peek(&key, &intent)).await
    }

    async fn record(&self, ticket: &Ticket, event: &Event) -> Result<()> {
        let (ticket, event) = (ticket.clone(), event.clone());
        self.with(move |writer| writer.record(&ticket, &event)).await
    }

    async fn get(&self, key: &Key) -> Result<Option<Last>> {
        let key = key.clone();
        self.look(move |writer| writer.last(&key)).await
    }

    fn last(&self) -> impl Stream<Item = Result<(Key, Last)>> + Send {
        let (ids, failed) = match self.ids() {
            Ok(ids) => (ids, None),
            Err(e) => (Vec::new(), Some(Err(e))),
        };
        let last = |id: CustomId| {
            let read = self.read(|writer| {
                let key = writer.key(&id)?;
                Ok(writer.last(&key)?.map(|last| (key, last)))
            });
            read.transpose()
        };
        stream::iter(failed.into_iter().chain(ids.into_iter().filter_map(last)))
    }

    async fn spent(&self) -> Result<Spent> {
        self.look(|writer| Ok(writer.contents.book.spent())).await
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Opens and locks a file. A reader, or a run of this process that has just ended, holds it for a moment.
fn lock(path: &Path, create: bool) -> Result<DiskFile> {
    for _ in 0..10 {
        match DiskFile::open(path, create) {
            Err(LockError::InUse) => pause(),
            opened => return opened.map_err(|e| lock_error(path, e)),
        }
    }
    Err(lock_error(path, LockError::InUse))
}

#[expect(clippy::disallowed_methods, reason = "on a thread that may block")]
fn pause() {
    std::thread::sleep(std::time::Duration::from_millis(20));
}

fn lock_error(path: &Path, error: LockError) -> Error {
    let problem = match error {
        LockError::Io(e) => return Error::io("open", path, e),
        LockError::InUse => JournalProblem::InUse,
        LockError::Foreign { path, holder } => JournalProblem::LockFile { path, holder },
    };
    Error::Journal(Box::new(JournalError { path: path.to_owned(), problem }))
}
