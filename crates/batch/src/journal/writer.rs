//! The one writer of a journal: opens it, appends to it, and stops for good where it cannot know what is on disk.

use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{
    contents::{Contents, Run, Uploaded},
    file::Medium,
    line::{Entry, Line, START},
    scan::{Scan, ScanError, Tail, scan},
};
use crate::{
    error::{Error, JournalError, JournalProblem, NotRecorded, Result},
    key::{CustomId, Key},
    ledger::{
        Attempt, Begin, Event, Intent, Last, State, Ticket,
        book::{Cap, Decision},
    },
};

/// The clock of the machine, or of a test.
pub(crate) type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// What was submitted within this time is kept in mind: it may count in the account's limits.
const RECENT: TimeDelta = TimeDelta::seconds(120);

/// Names this crate in `run` lines.
const BY: &str = concat!("luma-agents-batch ", env!("CARGO_PKG_VERSION"));

pub(crate) struct Writer {
    path: PathBuf,
    medium: Box<dyn Medium>,
    clock: Clock,
    pub(crate) cap: Cap,
    pub(crate) contents: Contents,
    /// What this process has left in the file.
    length: u64,
    /// The number of the last line.
    number: u64,
    /// The highest number known to be on disk.
    synced: u64,
    /// Nothing more is written: what the file holds, or would hold, is not known.
    is_closed: bool,
    /// How many lines were handed to the caller instead.
    handed_out: u64,
}

impl Writer {
    /// Opens a journal that is locked: reads it, and cuts off what a crash has left.
    pub(crate) fn open(path: &Path, mut medium: Box<dyn Medium>, clock: Clock) -> Result<Self> {
        let failed = |action, e| Error::io(action, path, e);
        let mut contents = Contents::default();
        let recent = clock() - RECENT;
        let reader = medium.reader().map_err(|e| failed("read", e))?;
        let Scan { mut end, mut number, tail } =
            scan(reader, |line, at| contents.take_at(&line, at, recent)).map_err(|e| scan_error(path, e))?;
        if number == 0 {
            is_journal(&mut *medium, path)?;
        }
        if let Tail::Torn { newline, good } = tail {
            let length = medium.length().map_err(|e| failed("read", e))?;
            if length > end {
                let suffix = format!("torn-{}", clock().format("%Y%m%dT%H%M%SZ"));
                medium.copy_aside(end, &suffix).map_err(|e| failed("copy the torn end of", e))?;
            }
            if good.is_empty() {
                medium.truncate(end).map_err(|e| failed("cut the torn end of", e))?;
                if newline {
                    medium.append(b"\n").map_err(|e| failed("write", e))?;
                    end += 1;
                }
            } else {
                let mut content = Vec::new();
                let kept = medium.reader().map_err(|e| failed("read", e))?;
                kept.take(end).read_to_end(&mut content).map_err(|e| failed("read", e))?;
                content.extend(newline.then_some(b'\n'));
                let synced = number;
                for line in good {
                    contents.take_at(&line, content.len() as u64, recent);
                    number += 1;
                    let line = Line { number, synced, ..line };
                    content.extend(line.encode().map_err(|e| failed("write", e.into()))?);
                }
                medium.replace(&content).map_err(|e| failed("write again the end of", e))?;
                end = content.len() as u64;
            }
        }
        if number > 0 && contents.batch.is_none() {
            return Err(damaged(path, 1, "the first line is not that of a run"));
        }
        // What a killed process wrote may not be on disk yet.
        medium.sync().map_err(|e| failed("sync", e))?;
        let late = std::mem::take(&mut contents.late);
        let mut writer = Self {
            path: path.to_owned(),
            medium,
            clock,
            cap: Cap::NONE,
            contents,
            length: end,
            number,
            synced: number,
            is_closed: false,
            handed_out: 0,
        };
        for (line, offset) in late {
            writer.unsettle(line.entry.custom_id())?;
            writer.contents.take_now(&line, offset, recent);
        }
        Ok(writer)
    }

    /// Puts a settled key back into the book.
    fn unsettle(&mut self, id: Option<&CustomId>) -> Result<()> {
        let Some(id) = id else { return Ok(()) };
        let Some(lines) = self.contents.settled.find(id) else { return Ok(()) };
        if let Some(attempt) = self.settled(id)? {
            self.contents.settled.remove(id);
            self.contents.intent_at(id, attempt.number, lines.intent);
            self.contents.book.restore(id, attempt);
        }
        Ok(())
    }

    /// Writes the line of a run. The first one makes the batch.
    pub(crate) fn start(&mut self, batch: Uuid, run: &Run) -> Result<Uuid> {
        self.not_moved()?;
        let batch = self.contents.batch.unwrap_or(batch);
        let Run { base_url, input, input_sha256, lines } = run.clone();
        let by = BY.to_owned();
        self.write(Entry::Run { batch, run: Uuid::new_v4(), base_url, input, input_sha256, lines, by })?;
        self.contents.batch = Some(batch);
        self.contents.run = Some(run.clone());
        Ok(batch)
    }

    pub(crate) fn begin(&mut self, key: &Key, intent: &Intent) -> Result<Begin> {
        self.own(key)?;
        self.not_moved()?;
        self.with_key(&key.custom_id, |it| it.begin_known(key, intent))?
    }

    pub(crate) fn peek(&mut self, key: &Key, intent: &Intent) -> Result<Option<Begin>> {
        self.own(key)?;
        self.not_moved()?;
        self.with_key(&key.custom_id, |it| Ok(it.contents.book.decide(key, intent, &it.cap)?.reply()))?
    }

    pub(crate) fn last(&mut self, key: &Key) -> Result<Option<Last>> {
        self.own(key)?;
        self.with_key(&key.custom_id, |it| it.contents.book.last(key))
    }

    pub(crate) fn record(&mut self, ticket: &Ticket, event: &Event) -> Result<()> {
        self.own(&ticket.key)?;
        let id = &ticket.key.custom_id;
        let settled = self.settled(id)?;
        let (was_settled, before) = (settled.is_some(), self.length);
        if let Some(attempt) = settled {
            self.contents.book.restore(id, attempt);
        }
        let recorded = self.record_known(ticket, event);
        let is_saved = matches!(event, Event::Saved { .. }) && recorded.is_ok() && self.length > before;
        match (was_settled, is_saved) {
            (true, true) => self.contents.settled.update(id, before),
            (false, true) => self.contents.settle(id, before, DateTime::<Utc>::MAX_UTC),
            (_, false) => {}
        }
        if was_settled {
            self.contents.book.forget(id);
        }
        recorded
    }

    /// Asks something about a key, which is read again first if it is settled.
    fn with_key<T>(&mut self, id: &CustomId, work: impl FnOnce(&mut Self) -> T) -> Result<T> {
        let Some(attempt) = self.settled(id)? else { return Ok(work(self)) };
        self.contents.book.restore(id, attempt);
        let done = work(self);
        // A key with a saved job is never begun again.
        self.contents.book.forget(id);
        Ok(done)
    }

    /// Every try of a key.
    pub(crate) fn attempts(&mut self, id: &CustomId) -> Result<Vec<Attempt>> {
        self.with_key(id, |writer| writer.contents.book.tries(id).to_vec())
    }

    /// The only try of a settled key, read again.
    fn settled(&mut self, id: &CustomId) -> Result<Option<Attempt>> {
        let Some(lines) = self.contents.settled.find(id) else { return Ok(None) };
        let intent = self.line_at(lines.intent)?;
        // Another key may have the same hash.
        if intent.entry.custom_id() != Some(id) {
            return Ok(None);
        }
        let saved = self.line_at(lines.saved)?;
        let changed = || damaged(&self.path, intent.number, "it has changed while it was in use");
        let (Some(begun), Some((of, number, Event::Saved { id: job, file, more }))) =
            (intent.entry.as_intent(), saved.entry.as_event())
        else {
            return Err(changed());
        };
        if of != id {
            return Err(changed());
        }
        let state = State::Saved { id: job, file, more };
        Ok(Some(Attempt { at: saved.at, ..Attempt::new(number, &begun, intent.at, state) }))
    }

    fn line_at(&mut self, offset: u64) -> Result<Line> {
        let bytes = self.medium.line_at(offset).map_err(|e| Error::io("read", &self.path, e))?;
        let line = Line::decode(bytes.strip_suffix(b"\n").unwrap_or(&bytes));
        line.map_err(|_| damaged(&self.path, 0, "it has changed while it was in use"))
    }

    /// Every id that the journal names: first those of settled keys, in the order in which they were saved.
    pub(crate) fn ids(&mut self) -> Result<Vec<CustomId>> {
        let mut ids = Vec::new();
        for lines in self.contents.settled.all() {
            ids.extend(self.line_at(lines.saved)?.entry.custom_id().cloned());
        }
        ids.extend(self.contents.book.ids().cloned());
        Ok(ids)
    }

    /// The key that has this job.
    pub(crate) fn find_job(&mut self, id: Uuid) -> Result<Option<CustomId>> {
        if let Some(found) = self.contents.book.find_job(id) {
            return Ok(Some(found.clone()));
        }
        for lines in self.contents.settled.all() {
            if let Some((of, _, Event::Saved { id: job, .. })) = self.line_at(lines.saved)?.entry.as_event()
                && job == id
            {
                return Ok(Some(of.clone()));
            }
        }
        Ok(None)
    }

    fn begin_known(&mut self, key: &Key, intent: &Intent) -> Result<Begin> {
        let number = match self.contents.book.decide(key, intent, &self.cap)? {
            Decision::Reply(reply) => return Ok(reply),
            Decision::Open(number) => number,
        };
        let offset = self.length;
        let at = self.write(Entry::intent(key.custom_id.clone(), number, intent))?;
        self.contents.intent_at(&key.custom_id, number, offset);
        self.contents.book.open(&key.custom_id, number, intent, at, State::InFlight);
        Ok(Begin::Fresh(Ticket::new(key.clone(), number)))
    }

    fn record_known(&mut self, ticket: &Ticket, event: &Event) -> Result<()> {
        let id = &ticket.key.custom_id;
        if !self.contents.book.check(ticket, event)? {
            return Ok(());
        }
        let entry = Entry::event(id.clone(), ticket.attempt, event, self.request_id(ticket));
        let decides = matches!(event, Event::Found { .. } | Event::None | Event::Resend);
        match self.write(entry.clone()) {
            Ok(at) => {
                if let Event::Accepted { id } | Event::Found { id } = event {
                    self.contents.newest = Some(*id);
                }
                self.contents.book.apply(id, ticket.attempt, event, at);
                Ok(())
            }
            // Nothing has happened yet but in the head of the operator.
            Err(e) if decides => Err(e),
            Err(source) => {
                // Nothing is sent any more, and what is in flight is still waited for.
                self.is_closed = true;
                let at = (self.clock)();
                self.contents.book.apply(id, ticket.attempt, event, at);
                Err(self.hand_out(ticket, event, entry, at, source))
            }
        }
    }

    /// The line that would have been written, for those that the next run cannot find out by itself.
    fn hand_out(&mut self, ticket: &Ticket, event: &Event, entry: Entry, at: DateTime<Utc>, source: Error) -> Error {
        let id = match event {
            Event::Accepted { id } => Some(*id),
            Event::NotSent { .. } | Event::Rejected { .. } | Event::Unknown { .. } => None,
            _ => return source,
        };
        self.handed_out += 1;
        let line = Line { number: self.number + self.handed_out, synced: self.synced, at, entry };
        let line = line.encode().map(|line| String::from_utf8_lossy(&line).trim_end().to_owned()).unwrap_or_default();
        let (ledger, key) = (self.path.display().to_string(), ticket.key.clone());
        Error::NotRecorded(Box::new(NotRecorded { ledger, key, id, line, source }))
    }

    pub(crate) fn uploaded(&mut self, file: &Uploaded) -> Result<()> {
        let Uploaded { sha256, bytes, file_id, expires_at } = file.clone();
        self.write(Entry::Uploaded { sha256, bytes, file_id, expires_at })?;
        self.contents.uploads.insert(sha256, file.clone());
        Ok(())
    }

    /// Ends this journal in favour of a database. May be repeated.
    pub(crate) fn moved(&mut self, database: &str) -> Result<()> {
        match (&self.contents.moved, self.contents.batch) {
            (Some(there), _) if there == database => Ok(()),
            (Some(_), _) => self.not_moved(),
            (None, None) => Err(Error::invalid_input("a journal without a run has nothing to move")),
            (None, Some(batch)) => {
                self.write(Entry::Moved { batch, database: database.to_owned() })?;
                self.contents.moved = Some(database.to_owned());
                Ok(())
            }
        }
    }

    /// Appends a line. Where it has to be on disk, it is when this returns.
    fn write(&mut self, entry: Entry) -> Result<DateTime<Utc>> {
        if self.is_closed {
            return Err(self.problem(JournalProblem::Closed));
        }
        // Another writer may have sent what this one is about to send.
        if self.medium.length().ok() != Some(self.length) {
            self.is_closed = true;
            return Err(self.problem(JournalProblem::ForeignWriter));
        }
        let at = (self.clock)();
        let is_synced = entry.is_synced();
        let line = Line { number: self.number + 1, synced: self.synced, at, entry };
        let bytes = line.encode().map_err(|e| Error::io("write", &self.path, e.into()))?;
        if let Err(e) = self.medium.append(&bytes) {
            // A part of it may be there.
            let is_cut = self.medium.truncate(self.length).is_ok() && self.medium.length().ok() == Some(self.length);
            self.is_closed = !is_cut;
            return Err(Error::io("write", &self.path, e));
        }
        self.length += bytes.len() as u64;
        self.number += 1;
        if is_synced {
            if let Err(e) = self.medium.sync() {
                // The system may have dropped what it could not write: a second sync proves nothing.
                self.is_closed = true;
                return Err(Error::io("sync", &self.path, e));
            }
            self.synced = self.number;
        }
        Ok(at)
    }

    fn request_id(&self, ticket: &Ticket) -> Option<Uuid> {
        let last = self.contents.book.last(&ticket.key)?;
        let mut tries = std::iter::once(last.attempt).chain(last.others);
        tries.find(|attempt| attempt.number == ticket.attempt)?.request_id
    }

    pub(crate) fn own(&self, key: &Key) -> Result<()> {
        if self.contents.batch == Some(key.batch) {
            return Ok(());
        }
        Err(Error::invalid_input(format!("{key} is of batch {}, which is not that of this journal", key.batch)))
    }

    pub(crate) fn key(&self, id: &CustomId) -> Result<Key> {
        let batch = self.contents.batch.ok_or_else(|| Error::invalid_input("the journal has no run yet"))?;
        Ok(Key::new(batch, id.clone()))
    }

    pub(crate) fn not_moved(&self) -> Result<()> {
        match &self.contents.moved {
            None => Ok(()),
            Some(database) => Err(self.problem(JournalProblem::Moved { database: database.clone() })),
        }
    }

    pub(crate) fn problem(&self, problem: JournalProblem) -> Error {
        Error::Journal(Box::new(JournalError { path: self.path.clone(), problem }))
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        (self.clock)()
    }
}

/// A file that never was a journal is left alone.
fn is_journal(medium: &mut dyn Medium, path: &Path) -> Result<()> {
    let mut start = Vec::new();
    let failed = |e| Error::io("read", path, e);
    medium.reader().map_err(failed)?.take(START.len() as u64).read_to_end(&mut start).map_err(failed)?;
    if START.starts_with(&start) || start.contains(&0) {
        return Ok(());
    }
    Err(damaged(path, 1, "this is not a journal"))
}

pub(crate) fn damaged(path: &Path, line: u64, reason: &'static str) -> Error {
    Error::Journal(Box::new(JournalError { path: path.to_owned(), problem: JournalProblem::Damaged { line, reason } }))
}

pub(crate) fn scan_error(path: &Path, error: ScanError) -> Error {
    match error {
        ScanError::Io(e) => Error::io("read", path, e),
        ScanError::Damaged { line, reason } => damaged(path, line, reason),
        ScanError::Newer(what) => {
            Error::Journal(Box::new(JournalError { path: path.to_owned(), problem: JournalProblem::Newer { what } }))
        }
    }
}

/// A write that failed says so once more where its thread did.
pub(crate) fn lost_thread(path: &Path, error: tokio::task::JoinError) -> Error {
    Error::io("write", path, io::Error::other(error))
}
