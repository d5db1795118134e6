//! What the tests share.

use std::{path::PathBuf, sync::Arc};

use luma_agents::{mock::Emulator, types::CreateGeneration};
use luma_agents_batch::{CustomId, Journal, Key, Quota, Run, Sha256, Submission, Submitter};
use tempfile::TempDir;

/// An emulator, and a journal in a folder of its own.
pub(crate) struct Bench {
    pub(crate) emulator: Emulator,
    pub(crate) folder: TempDir,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self { emulator: Emulator::start().await.unwrap(), folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("a.journal.jsonl")
    }

    /// Opens the journal, as a new process does.
    pub(crate) async fn journal(&self) -> Journal {
        let journal = Journal::open(self.path()).await.unwrap();
        journal.start(&Run::new(self.emulator.client().base_url())).await.unwrap();
        journal
    }

    pub(crate) fn submitter(&self, journal: &Journal) -> Submitter<Journal> {
        Submitter::new(self.emulator.client(), Arc::new(journal.clone()), Quota::new())
    }

    pub(crate) fn text(&self) -> String {
        std::fs::read_to_string(self.path()).unwrap()
    }

    /// The `X-Request-Id` of each submission that came.
    pub(crate) fn request_ids(&self) -> Vec<String> {
        let requests = self.emulator.requests().into_iter();
        let posts = requests.filter(|request| request.method == "POST" && request.path.ends_with("/generations"));
        posts.map(|request| request.headers["x-request-id"].to_str().unwrap().to_owned()).collect()
    }
}

pub(crate) fn request() -> CreateGeneration {
    CreateGeneration::builder().prompt("a lighthouse at dusk").try_into().unwrap()
}

pub(crate) fn submission() -> Submission {
    Submission::new(request(), Sha256::of("a lighthouse at dusk"))
}

pub(crate) fn key(journal: &Journal, id: &str) -> Key {
    journal.key(&CustomId::new(id).unwrap()).unwrap()
}

/// The value of a field of each line of a journal with this event.
pub(crate) fn field(journal: &str, event: &str, field: &str) -> Vec<String> {
    let lines = journal.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let of_event = lines.filter(|line| line["e"] == event);
    of_event.map(|line| line[field].as_str().map_or_else(|| line[field].to_string(), str::to_owned)).collect()
}
