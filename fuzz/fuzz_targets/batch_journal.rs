//! Whatever a journal holds, reading it never panics and never changes the file; repairing it gives a journal that can
//! be read.
#![no_main]

use std::{fs, sync::LazyLock};

use luma_agents_batch::{JournalView, repair};
use tokio::runtime::Runtime;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

libfuzzer_sys::fuzz_target!(|content: &[u8]| {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.journal.jsonl");
    fs::write(&path, content).unwrap();
    RUNTIME.block_on(async {
        let _ = JournalView::read(&path).await;
        assert_eq!(fs::read(&path).unwrap(), content);
        if repair(&path).await.is_ok() {
            JournalView::read(&path).await.unwrap();
        }
    });
});
