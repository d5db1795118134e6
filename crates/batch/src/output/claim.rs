//! A folder of outputs belongs to the first batch that claims it.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use tempfile::NamedTempFile;
use uuid::Uuid;

use super::replace::failed;
use crate::{
    error::{Error, Result},
    journal::{find_run, journals},
};

const NAME: &str = ".batch";

/// Claims a folder for a batch, and makes it if need be. The claim is the file `.batch` in it, which holds the
/// batch's UUID.
///
/// It blocks.
///
/// # Errors
///
/// [`InvalidInput`](Error::InvalidInput) if it belongs to another batch; [`Io`](Error::Io) if it cannot be written.
pub fn claim(folder: &Path, batch: Uuid) -> Result<()> {
    fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
    let path = folder.join(NAME);
    let broken = |e| failed(&path, e);
    let mut file = NamedTempFile::new_in(folder).map_err(broken)?;
    writeln!(file, "{batch}").and_then(|()| file.as_file().sync_all()).map_err(broken)?;
    match file.persist_noclobber(&path) {
        Ok(_) => Ok(()),
        Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => check(folder, &path, batch),
        Err(e) => Err(broken(e.error)),
    }
}

/// Checks that a folder of outputs belongs to no batch yet, or to that of this journal. Writes nothing.
///
/// It blocks.
///
/// # Errors
///
/// [`InvalidInput`](Error::InvalidInput) if it belongs to another batch; [`Io`](Error::Io) if it cannot be read.
pub fn check_owner(folder: &Path, journal: &Path) -> Result<()> {
    let path = folder.join(NAME);
    if !path.try_exists().map_err(|e| Error::io("read", &path, e))? {
        return Ok(());
    }
    let own = find_run(journal, |_| true).map(|run| run.batch);
    if own.is_none() && journal.exists() {
        // To open it says what is wrong with it.
        return Ok(());
    }
    let Some(owner) = other_owner(&path, own)? else { return Ok(()) };
    let beside = |path: &Path| journals(path.parent().unwrap_or(Path::new("")));
    for other in beside(folder)?.into_iter().chain(beside(journal)?) {
        if find_run(&other, |run| run.batch == owner).is_some() {
            let (folder, other) = (folder.display(), other.display());
            let message = format!("{folder} belongs to the batch of {other}; take another folder with --out");
            return Err(Error::InvalidInput(message));
        }
    }
    Err(belongs_to_unknown(folder, owner))
}

/// Its journal may be that of this very input, emptied or lost.
fn belongs_to_unknown(folder: &Path, owner: Uuid) -> Error {
    Error::InvalidInput(format!(
        "{} belongs to the batch {owner}, whose journal is not here: if it is lost, restore it, since a new one pays for \
         all of it again; if it is elsewhere, take another folder with --out",
        folder.display()
    ))
}

/// The batch that a claim names, if it is not this one.
fn other_owner(path: &Path, batch: Option<Uuid>) -> Result<Option<Uuid>> {
    let text = fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
    let Ok(owner) = text.trim().parse::<Uuid>() else {
        let path = path.display();
        return Err(Error::InvalidInput(format!("{path} names no batch; remove it if the folder may be used")));
    };
    Ok(Some(owner).filter(|_| Some(owner) != batch))
}

fn check(folder: &Path, path: &Path, batch: Uuid) -> Result<()> {
    match other_owner(path, Some(batch))? {
        None => Ok(()),
        Some(owner) => Err(belongs_to_unknown(folder, owner)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_belongs_to_the_first_batch_that_claims_it() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/out");
        let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
        claim(&folder, first).unwrap();
        claim(&folder, first).unwrap();
        let error = claim(&folder, second).unwrap_err().to_string();
        assert!(error.contains(&first.to_string()) && error.contains("--out"), "{error}");
        assert_eq!(folder.read_dir().unwrap().count(), 1, "nothing is left behind");
        fs::write(folder.join(NAME), "").unwrap();
        assert!(claim(&folder, first).unwrap_err().to_string().contains("names no batch"));
    }
}
