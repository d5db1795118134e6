//! Repairs a damaged journal: keeps every good line, and puts in doubt what the lost ones may have paid for.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{
    contents::Contents,
    file::Medium,
    line::{Entry, Line},
    lock,
    scan::salvage,
    writer::{Clock, lost_thread, scan_error},
};
use crate::{
    error::{Error, Result},
    key::CustomId,
};

/// What a repair has done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repair {
    /// The journal as it was.
    pub aside: PathBuf,
    /// How many lines are good.
    pub kept: u64,
    /// How many are lost: so many jobs can have been paid for without a trace. With none lost, nothing is in doubt.
    pub lost: u64,
}

/// Repairs a damaged journal. The file as it was stays, under another name beside it.
///
/// Every good line is kept. A job whose `accepted` line is lost is taken from its `completed`, `failed` or `saved`
/// line. If lines are lost, every key without a job is in doubt from now on, also one that the journal does not name:
/// its intent may have been in a lost line. [`Doubts`](crate::Doubts) ends that.
///
/// # Errors
///
/// As [`Journal::existing`](super::Journal::existing), except that damage is none.
pub async fn repair(path: impl Into<PathBuf>) -> Result<Repair> {
    let path = path.into();
    let shown = path.clone();
    let repair = move || {
        let mut file = lock(&path, false)?;
        repair_file(&path, &mut file, &(Arc::new(Utc::now) as Clock))
    };
    tokio::task::spawn_blocking(repair).await.unwrap_or_else(|e| Err(lost_thread(&shown, e)))
}

pub(crate) fn repair_file(path: &Path, medium: &mut dyn Medium, clock: &Clock) -> Result<Repair> {
    let failed = |action, e| Error::io(action, path, e);
    let (lines, lost) = salvage(medium.reader().map_err(|e| failed("read", e))?).map_err(|e| scan_error(path, e))?;
    let mut contents = Contents::default();
    for line in &lines {
        contents.take(line);
    }
    let now = clock();
    let aside = medium
        .copy_aside(0, &format!("before-repair-{}", now.format("%Y%m%dT%H%M%SZ")))
        .map_err(|e| failed("set aside", e))?;
    let name = aside.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let kept = lines.len() as u64;
    let mut entries = with_ids(lines);
    if !matches!(entries.first(), Some((_, Entry::Run { .. }))) {
        // The line of the first run is lost, and with it, if there is no other, the name of the batch.
        let batch = contents.batch.unwrap_or_else(Uuid::new_v4);
        let run = contents.run.clone().unwrap_or_default();
        let (input, input_sha256, lines) = (run.input, run.input_sha256, run.lines);
        let by = concat!("luma-agents-batch ", env!("CARGO_PKG_VERSION"), " repair").to_owned();
        let run = Entry::Run { batch, run: Uuid::new_v4(), base_url: run.base_url, input, input_sha256, lines, by };
        entries.insert(0, (now, run));
    }
    if lost > 0 {
        entries.push((now, Entry::Repaired { lost, aside: name }));
    }
    let mut content = Vec::new();
    for (index, (at, entry)) in entries.into_iter().enumerate() {
        // All of them are on disk together, or none is.
        let number = index as u64 + 1;
        let line = Line { number, synced: index as u64, at, entry };
        content.extend(line.encode().map_err(|e| failed("write", e.into()))?);
    }
    medium.replace(&content).map_err(|e| failed("write", e))?;
    Ok(Repair { aside, kept, lost })
}

/// The lines, and before the first one that names the job of a try, what it says of a line that is lost.
fn with_ids(lines: Vec<Line>) -> Vec<(DateTime<Utc>, Entry)> {
    let mut jobs: HashMap<(CustomId, u32), (Uuid, bool)> = HashMap::new();
    for line in &lines {
        let (Entry::Accepted { custom_id, r#try, id } | Entry::Found { custom_id, r#try, id }) = &line.entry else {
            continue;
        };
        jobs.insert((custom_id.clone(), *r#try), (*id, false));
    }
    let mut entries = Vec::with_capacity(lines.len());
    for Line { at, entry, .. } in lines {
        if let Entry::Completed { custom_id, r#try, id }
        | Entry::Failed { custom_id, r#try, id, .. }
        | Entry::Saved { custom_id, r#try, id, .. } = &entry
        {
            let (custom_id, r#try, id) = (custom_id.clone(), *r#try, *id);
            let (job, is_completed) = jobs.entry((custom_id.clone(), r#try)).or_insert_with(|| {
                entries.push((at, Entry::Accepted { custom_id: custom_id.clone(), r#try, id }));
                (id, false)
            });
            if *job == id && !*is_completed && matches!(entry, Entry::Saved { .. }) {
                entries.push((at, Entry::Completed { custom_id, r#try, id }));
            }
            *is_completed |= !matches!(entry, Entry::Failed { .. });
        }
        entries.push((at, entry));
    }
    entries
}
