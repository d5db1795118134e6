//! The journal as a file: one process at a time, readers beside it, and what cannot be opened.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

use luma_agents_batch::{
    Begin, Cap, CustomId, Error, Intent, Journal, JournalView, Key, Ledger as _, MemoryLedger, Run, Sha256,
    conformance::{self, Bench},
    error::JournalProblem,
    repair,
};
use uuid::Uuid;

struct InMemory;

impl Bench for InMemory {
    type Ledger = MemoryLedger;

    async fn create(&self, batch: Uuid, cap: Cap) -> MemoryLedger {
        MemoryLedger::new(batch, cap)
    }

    async fn holder_dies(&self, _: MemoryLedger) -> Option<MemoryLedger> {
        None
    }
}

struct InFile(tempfile::TempDir);

impl Bench for InFile {
    type Ledger = Journal;

    async fn create(&self, batch: Uuid, cap: Cap) -> Journal {
        let path = self.0.path().join(format!("{batch}.journal.jsonl"));
        let journal = Journal::open(path).await.unwrap();
        journal.start_as(batch, &Run::new("https://example.com/v1")).await.unwrap();
        journal.set_cap(cap);
        journal
    }

    async fn holder_dies(&self, journal: Journal) -> Option<Journal> {
        let path = journal.path().to_owned();
        drop(journal);
        Some(Journal::existing(path).await.unwrap())
    }
}

#[tokio::test]
async fn memory_and_journal_are_ledgers() {
    conformance::check(&InMemory).await.unwrap();
    conformance::check(&InFile(tempfile::tempdir().unwrap())).await.unwrap();
}

/// Not a test: the other process of one.
#[tokio::test]
#[ignore = "run by another test"]
async fn hold_a_journal() {
    let Ok(path) = std::env::var("HELD_JOURNAL") else { return };
    let journal = Journal::open(path).await.unwrap();
    let batch = journal.start(&Run::new("https://example.com/v1")).await.unwrap();
    let key = Key::new(batch, CustomId::new("a").unwrap());
    let begun = journal.begin(&key, &Intent::new(Sha256::of("a"), "uni-1", "image")).await.unwrap();
    assert!(matches!(begun, Begin::Fresh(_)));
    println!("held");
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[tokio::test]
async fn a_second_process_is_refused_until_the_first_is_gone_and_readers_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.journal.jsonl");
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "files::hold_a_journal", "--ignored", "--nocapture"])
        .env("HELD_JOURNAL", &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    while !lines.next().unwrap().unwrap().contains("held") {}

    for refused in [Journal::open(&path).await.map(drop), repair(&path).await.map(drop)] {
        let Err(Error::Journal(e)) = refused else { panic!("{refused:?}") };
        assert!(matches!(e.problem, JournalProblem::InUse));
        assert_eq!(
            e.to_string(),
            format!("{} is in use by another process; wait until it ends, or stop it", path.display())
        );
    }
    let before = std::fs::read(&path).unwrap();
    let view = JournalView::read(&path).await.unwrap();
    assert!(view.is_in_use());
    assert_eq!((view.iter().count(), view.doubts().len()), (1, 1));
    assert_eq!(std::fs::read(&path).unwrap(), before);

    holder.kill().unwrap();
    holder.wait().unwrap();
    let journal = Journal::open(&path).await.unwrap();
    assert_eq!(journal.doubts().len(), 1);
    drop(journal);
    assert!(!JournalView::read(&path).await.unwrap().is_in_use());
}

#[tokio::test]
#[cfg(unix)]
async fn only_its_owner_reads_a_journal() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.journal.jsonl");
    Journal::open(&path).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_journal_that_cannot_be_there_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing/a.journal.jsonl");
    for refused in [Journal::open(&missing).await, Journal::existing(folder.path().join("a")).await] {
        assert!(matches!(&refused, Err(Error::Io(_))), "{refused:?}");
    }
    assert!(Journal::open(folder.path()).await.is_err());
}

#[tokio::test]
async fn a_repaired_journal_stays_locked_and_is_the_one_at_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.journal.jsonl");
    let journal = Journal::open(&path).await.unwrap();
    let batch = journal.start(&Run::new("https://example.com/v1")).await.unwrap();
    journal.start(&Run::new("https://example.com/v1")).await.unwrap();
    drop(journal);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\"n\":2", "\"n\":3", 1)).unwrap();
    let damaged = Journal::open(&path).await.map(drop);
    assert!(damaged.unwrap_err().to_string().contains("luma batch repair"));
    let repaired = repair(&path).await.unwrap();
    assert_eq!((repaired.kept, repaired.lost), (1, 1));
    assert!(repaired.aside.exists());
    let journal = Journal::open(&path).await.unwrap();
    assert_eq!(journal.batch(), Some(batch));
    assert_eq!(journal.lost(), 1);
    // A torn end with good lines behind it is written anew, and the lock goes with it.
    drop(journal);
    let text = std::fs::read(&path).unwrap();
    let start = text.len();
    let journal = Journal::open(&path).await.unwrap();
    journal.start(&Run::new("https://example.com/v1")).await.unwrap();
    drop(journal);
    let mut torn = std::fs::read(&path).unwrap();
    let gap = b"\0\0\0\0\0\0";
    torn.splice(start..start, gap.iter().copied());
    std::fs::File::create(&path).unwrap().write_all(&torn).unwrap();
    let journal = Journal::open(&path).await.unwrap();
    assert!(matches!(Journal::open(&path).await, Err(Error::Journal(_))));
    journal.start(&Run::new("https://example.com/v1")).await.unwrap();
    drop(journal);
    assert_eq!(JournalView::read(&path).await.unwrap().batch(), Some(batch));
}

#[tokio::test]
async fn a_journal_that_is_removed_or_replaced_in_use_sends_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    for replaced in [false, true] {
        let path = folder.path().join(format!("{replaced}.journal.jsonl"));
        let journal = Journal::open(&path).await.unwrap();
        let batch = journal.start(&Run::new("https://example.com/v1")).await.unwrap();
        let text = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        if replaced {
            std::fs::write(&path, text).unwrap();
        }
        let key = Key::new(batch, CustomId::new("a").unwrap());
        let begun = journal.begin(&key, &Intent::new(Sha256::of("a"), "uni-1", "image")).await;
        let Err(Error::Journal(e)) = begun else { panic!("{begun:?}") };
        assert!(matches!(e.problem, JournalProblem::ForeignWriter));
    }
}
