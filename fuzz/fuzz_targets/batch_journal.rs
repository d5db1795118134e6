//! Whatever a journal holds, reading it never panics and never changes the file; repairing it gives a journal that can
//! be read. A line that ends before its checksum gets the right one, since no fuzzer finds it.
#![no_main]

use std::{fs, sync::LazyLock};

use luma_agents_batch::{JournalView, repair};
use tokio::runtime::Runtime;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

libfuzzer_sys::fuzz_target!(|content: &[u8]| {
    let content = sealed(content);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.journal.jsonl");
    fs::write(&path, &content).unwrap();
    RUNTIME.block_on(async {
        let _ = JournalView::read(&path).await;
        assert_eq!(fs::read(&path).unwrap(), content);
        if repair(&path).await.is_ok() {
            JournalView::read(&path).await.unwrap();
        }
    });
});

fn sealed(content: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::new();
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        let text = line.trim_ascii_end();
        sealed.extend_from_slice(text);
        if text.starts_with(b"{") && !text.ends_with(b"}") {
            sealed.extend_from_slice(format!(",\"crc\":\"{:08x}\"}}", crc32fast::hash(text)).as_bytes());
        }
        sealed.extend_from_slice(&line[text.len()..]);
    }
    sealed
}
