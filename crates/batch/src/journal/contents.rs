//! What the lines of a journal say together.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::line::{Entry, Line};
use crate::{
    digest::Sha256,
    ledger::{Intent, State, book::Book},
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

/// A run, as its line in the journal names it.
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
}

impl Contents {
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
            Entry::Intent { custom_id, r#try, x_request_id, request_sha256, model, r#type, usd, weight } => {
                let intent = Intent {
                    after: None,
                    request_id: *x_request_id,
                    fingerprint: *request_sha256,
                    model: model.clone(),
                    kind: r#type.clone(),
                    usd: *usd,
                    weight: *weight,
                };
                // Whoever wrote it is gone: the lock is ours.
                self.book.open(custom_id, *r#try, &intent, line.at, State::InDoubt { fault: None });
            }
            Entry::Moved { database, .. } => self.moved = Some(database.clone()),
            Entry::Repaired { lost, .. } => self.book.suspect(*lost, line.at),
            entry => {
                if let Some((custom_id, number, event)) = entry.as_event() {
                    self.book.apply(custom_id, number, &event, line.at);
                }
            }
        }
    }
}
