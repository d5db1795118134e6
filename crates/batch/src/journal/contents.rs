//! What the lines of a journal say together.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{
    line::{Entry, Line},
    settled::{Lines, Settled},
};
use crate::{
    digest::Sha256,
    key::CustomId,
    ledger::{Event, State, book::Book},
};

/// A file of the account that a run has uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Uploaded {
    /// Its content.
    pub sha256: Sha256,
    /// Its size.
    pub bytes: u64,
    /// Its id at the service.
    pub file_id: Uuid,
    /// When the service deletes it.
    pub expires_at: Option<DateTime<Utc>>,
}

impl Uploaded {
    /// A file that was uploaded.
    #[must_use]
    pub fn new(sha256: Sha256, bytes: u64, file_id: Uuid, expires_at: Option<DateTime<Utc>>) -> Self {
        Self { sha256, bytes, file_id, expires_at }
    }
}

/// One start of a batch, as its line in the journal names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Run {
    /// Where its requests went: [`Client::base_url`](luma_agents::Client::base_url).
    pub base_url: String,
    /// The name of the input.
    pub input: Option<String>,
    /// The content of the input.
    pub input_sha256: Option<Sha256>,
    /// How many lines the input has.
    pub lines: Option<u64>,
}

impl Run {
    /// A run without an input file.
    #[must_use]
    pub fn new(base_url: impl Into<String>) -> Self {
        Self { base_url: base_url.into(), ..Self::default() }
    }

    /// The input file of the run.
    #[must_use]
    pub fn input(self, name: impl Into<String>, sha256: Sha256, lines: u64) -> Self {
        Self { input: Some(name.into()), input_sha256: Some(sha256), lines: Some(lines), ..self }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) batch: Option<Uuid>,
    /// The last run.
    pub(crate) run: Option<Run>,
    pub(crate) book: Book,
    pub(crate) uploads: HashMap<Sha256, Uploaded>,
    pub(crate) moved: Option<String>,
    /// The last job that the service has accepted.
    pub(crate) newest: Option<Uuid>,
    /// The keys whose only job is saved. They are not in the book, but for as long as one is used.
    pub(crate) settled: Settled,
    /// Lines about keys that were settled when they came, which have to be read again first.
    pub(crate) late: Vec<(Line, u64)>,
    /// Where the intent of a key with one try is.
    intents: HashMap<CustomId, u64>,
}

impl Contents {
    /// Takes in the line that begins at `offset`, and forgets what it says where that can be read again. `recent`: the
    /// quota still has to know what was submitted since then.
    pub(crate) fn take_at(&mut self, line: &Line, offset: u64, recent: DateTime<Utc>) {
        // What is in the book is not settled: most lines need no search.
        let is_settled = |id: &CustomId| !self.book.has(id) && self.settled.find(id).is_some();
        if line.entry.custom_id().is_some_and(is_settled) {
            self.late.push((line.clone(), offset));
        } else {
            self.take_now(line, offset, recent);
        }
    }

    /// As [`take_at`](Self::take_at), for a key that is not settled, though another one with its hash may be.
    pub(crate) fn take_now(&mut self, line: &Line, offset: u64, recent: DateTime<Utc>) {
        self.take(line);
        match &line.entry {
            Entry::Intent { custom_id, r#try, .. } => self.intent_at(custom_id, *r#try, offset),
            Entry::Saved { custom_id, .. } => self.settle(custom_id, offset, recent),
            _ => {}
        }
    }

    /// The intent of a try stands here.
    pub(crate) fn intent_at(&mut self, id: &CustomId, number: u32, offset: u64) {
        if number == 1 {
            self.intents.insert(id.clone(), offset);
        } else {
            self.intents.remove(id);
        }
    }

    /// The line at `saved` says how the only try of this key ended.
    pub(crate) fn settle(&mut self, id: &CustomId, saved: u64, recent: DateTime<Utc>) {
        let Some(attempt) = self.book.only_saved(id).filter(|attempt| attempt.begun < recent) else { return };
        // Read again, the job has to come out as it stands here.
        if attempt.number != 1 || attempt.request_id.is_none() {
            return;
        }
        if let Some(intent) = self.intents.get(id)
            && self.settled.insert(id, Lines { intent: *intent, saved })
        {
            self.intents.remove(id);
            self.book.forget(id);
        }
    }

    pub(crate) fn take(&mut self, line: &Line) {
        match &line.entry {
            Entry::Run { batch, base_url, input, input_sha256, lines, .. } => {
                self.batch.get_or_insert(*batch);
                let (base_url, input) = (base_url.clone(), input.clone());
                self.run = Some(Run { base_url, input, input_sha256: *input_sha256, lines: *lines });
            }
            Entry::Uploaded { sha256, bytes, file_id, expires_at } => {
                self.uploads.insert(*sha256, Uploaded::new(*sha256, *bytes, *file_id, *expires_at));
            }
            Entry::Intent { custom_id, r#try, .. } => {
                // Whoever wrote it is gone: the lock is ours.
                if let Some(intent) = line.entry.as_intent() {
                    self.book.open(custom_id, *r#try, &intent, line.at, State::InDoubt { fault: None });
                }
            }
            Entry::Moved { database, .. } => self.moved = Some(database.clone()),
            Entry::Repaired { lost, .. } => self.book.suspect(*lost, line.at),
            entry => {
                if let Some((custom_id, number, event)) = entry.as_event() {
                    if let Event::Accepted { id } | Event::Found { id } = event {
                        self.newest = Some(id);
                    }
                    self.book.apply(custom_id, number, &event, line.at);
                }
            }
        }
    }
}
