//! A medium in memory that records what is written and what is synced, and the contents that a crash can leave.

use std::{
    io::{self, BufRead},
    path::PathBuf,
    sync::{Arc, Mutex},
};

use super::file::Medium;

/// What happened to the file, in order.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Append {
        at: u64,
        bytes: Vec<u8>,
    },
    Truncate(u64),
    Sync,
    Replace(Vec<u8>),
    /// Something of the test, such as a request that went out.
    Mark(String),
}

/// Which call fails next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Break {
    /// An append, after this many bytes.
    Append(usize),
    /// An append, and cutting back what it wrote.
    AppendAndTruncate(usize),
    Sync,
}

#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) content: Vec<u8>,
    pub(super) ops: Vec<Op>,
    pub(super) breaks: Option<Break>,
    /// What was copied aside.
    pub(super) asides: Vec<Vec<u8>>,
}

/// One handle of the disk. The test keeps another.
#[derive(Clone, Debug, Default)]
pub(super) struct Recording(pub(super) Arc<Mutex<Disk>>);

impl Recording {
    pub(super) fn of(content: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Disk { content, ..Disk::default() })))
    }

    pub(super) fn mark(&self, mark: &str) {
        self.0.lock().unwrap().ops.push(Op::Mark(mark.to_owned()));
    }

    pub(super) fn breaks(&self, next: Break) {
        self.0.lock().unwrap().breaks = Some(next);
    }

    pub(super) fn content(&self) -> Vec<u8> {
        self.0.lock().unwrap().content.clone()
    }

    pub(super) fn ops(&self) -> Vec<Op> {
        self.0.lock().unwrap().ops.clone()
    }
}

impl Medium for Recording {
    fn length(&mut self) -> io::Result<u64> {
        Ok(self.content().len() as u64)
    }

    fn reader(&mut self) -> io::Result<Box<dyn BufRead + '_>> {
        Ok(Box::new(io::Cursor::new(self.content())))
    }

    fn line_at(&mut self, offset: u64) -> io::Result<Vec<u8>> {
        let content = self.content().split_off(usize::try_from(offset).unwrap());
        let end = content.iter().position(|byte| *byte == b'\n').map_or(content.len(), |at| at + 1);
        Ok(content[..end].to_vec())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        let broken = match disk.breaks {
            Some(Break::Append(after) | Break::AppendAndTruncate(after)) => Some(after),
            _ => None,
        };
        let bytes = &bytes[..broken.unwrap_or(bytes.len()).min(bytes.len())];
        let at = disk.content.len() as u64;
        disk.content.extend(bytes);
        disk.ops.push(Op::Append { at, bytes: bytes.to_vec() });
        if broken.is_some() {
            if matches!(disk.breaks, Some(Break::Append(_))) {
                disk.breaks = None;
            }
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        if matches!(disk.breaks, Some(Break::AppendAndTruncate(_))) {
            return Err(io::ErrorKind::Other.into());
        }
        disk.content.truncate(usize::try_from(length).unwrap());
        disk.ops.push(Op::Truncate(length));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        if disk.breaks == Some(Break::Sync) {
            disk.breaks = None;
            return Err(io::ErrorKind::Other.into());
        }
        disk.ops.push(Op::Sync);
        Ok(())
    }

    fn copy_aside(&mut self, from: u64, suffix: &str) -> io::Result<PathBuf> {
        let mut disk = self.0.lock().unwrap();
        let copy = disk.content[usize::try_from(from).unwrap()..].to_vec();
        disk.asides.push(copy);
        Ok(PathBuf::from(format!("a.journal.jsonl.{suffix}")))
    }

    fn replace(&mut self, content: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.content = content.to_vec();
        disk.ops.push(Op::Replace(content.to_vec()));
        Ok(())
    }
}

/// How much of an unsynced append a crash leaves.
#[derive(Clone, Copy)]
enum Part {
    Nothing,
    FirstHalf,
    SecondHalf,
    All,
}

/// Every content that a crash can leave after these operations on a file that held `start`: what is synced, and each
/// subset of what is not, also half an append, also a later one without an earlier.
pub(super) fn after_crash(start: &[u8], ops: &[Op]) -> Vec<Vec<u8>> {
    let mut durable = start.to_vec();
    let mut pending: Vec<&Op> = Vec::new();
    for op in ops {
        match op {
            Op::Sync => {
                for op in pending.drain(..) {
                    apply(&mut durable, op, Part::All);
                }
            }
            Op::Replace(content) => {
                pending.clear();
                durable.clone_from(content);
            }
            Op::Append { .. } | Op::Truncate(_) => pending.push(op),
            Op::Mark(_) => {}
        }
    }
    let mut contents = vec![durable];
    for op in pending {
        let parts: &[Part] = match op {
            Op::Truncate(_) => &[Part::Nothing, Part::All],
            _ => &[Part::Nothing, Part::FirstHalf, Part::SecondHalf, Part::All],
        };
        let grown = contents.iter().flat_map(|content| {
            parts.iter().map(|part| {
                let mut content = content.clone();
                apply(&mut content, op, *part);
                content
            })
        });
        contents = grown.collect();
    }
    // The length of the file may be on disk before its bytes are.
    let longest = contents.iter().map(Vec::len).max().unwrap_or_default();
    let with_nuls = |content: &Vec<u8>| {
        let mut content = content.clone();
        content.resize(longest, 0);
        content
    };
    contents.extend(contents.iter().map(with_nuls).collect::<Vec<_>>());
    contents.sort_unstable();
    contents.dedup();
    contents
}

fn apply(content: &mut Vec<u8>, op: &Op, part: Part) {
    match op {
        Op::Truncate(length) if matches!(part, Part::All) => content.truncate(usize::try_from(*length).unwrap()),
        Op::Append { at, bytes } => {
            let half = bytes.len() / 2;
            let (from, to) = match part {
                Part::Nothing => return,
                Part::FirstHalf => (0, half),
                Part::SecondHalf => (half, bytes.len()),
                Part::All => (0, bytes.len()),
            };
            let at = usize::try_from(*at).unwrap();
            content.resize(content.len().max(at + to), 0);
            content[at + from..at + to].copy_from_slice(&bytes[from..to]);
        }
        _ => {}
    }
}
