//! One input, one journal: with a second journal, the same batch would be paid for again.
//!
//! A batch is known by the content of its input. `.luma-batches` beside the input names the journal of each content
//! that was ever run there, so that a journal in another folder is found too, and of two processes that begin at the
//! same moment only one goes on.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    digest::Sha256,
    error::{Error, Result},
    input::Input,
    journal::{find_run, is_same, journals},
};

const NAME: &str = ".luma-batches";

/// A line of `.luma-batches`. The last one of an input counts.
#[derive(Deserialize, Serialize)]
struct Claim {
    input_sha256: Sha256,
    /// Relative where it is beside the input, so that the folder can be moved.
    journal: PathBuf,
}

/// Checks that no other journal has this input: in the folders of the journal and of the input, not even a damaged
/// one, or where a run has left its name. Writes nothing.
///
/// It blocks.
pub(super) fn check(input: &Input, sha256: Sha256, own: &Path) -> Result<()> {
    let is_other = |path: &PathBuf| !is_same(path, own);
    let own_folder = own.parent().unwrap_or(Path::new("")).to_owned();
    for folder in std::iter::once(own_folder).chain(folders(input)) {
        let nearby = journals(&folder)?.into_iter().filter(is_other).find(|path| has_input(path, sha256));
        let text = std::fs::read(folder.join(NAME)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let claimed = || claimed(&text, &folder, sha256).filter(|other| is_rival(other, own, sha256));
        if let Some(other) = nearby.or_else(claimed) {
            return Err(has_journal(&other, &folder));
        }
    }
    Ok(())
}

/// Writes the name of the journal beside the input, or fails if that of another one stands there. Of several processes
/// one succeeds. The journal must be there.
///
/// It blocks.
pub(super) fn claim(input: &Input, sha256: Sha256, own: &Path) -> Result<()> {
    folders(input).into_iter().try_for_each(|folder| claim_in(&folder, sha256, own))
}

fn claim_in(folder: &Path, sha256: Sha256, own: &Path) -> Result<()> {
    let path = folder.join(NAME);
    let broken = |e| Error::io("write", &path, e);
    let mut file = match File::options().read(true).append(true).create(true).open(&path) {
        // Who may not write beside the input keeps the journal elsewhere for that reason.
        Err(e) if matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
            return Ok(());
        }
        file => file.map_err(broken)?,
    };
    // Where there are no locks, what follows is not one step, but still finds what was there before.
    file.lock().ok();
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(broken)?;
    let text = String::from_utf8_lossy(&text);
    let known = claimed(&text, folder, sha256);
    if let Some(other) = known.as_ref().filter(|other| is_rival(other, own, sha256)) {
        return Err(has_journal(other, folder));
    }
    if known.is_some_and(|known| is_same(&known, own)) {
        return Ok(());
    }
    let is_beside = std::path::absolute(own).ok().zip(std::path::absolute(folder).ok());
    let is_beside = is_beside.is_some_and(|(own, folder)| own.parent() == Some(&folder));
    let journal = match own.file_name().filter(|_| is_beside) {
        Some(name) => name.into(),
        None => std::path::absolute(own).map_err(broken)?,
    };
    let line = serde_json::to_string(&Claim { input_sha256: sha256, journal });
    let line = line.map_err(|e| Error::invalid_input(format!("the journal cannot be named: {e}")))?;
    // A crash may have torn the last line.
    let start = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    file.write_all(format!("{start}{line}\n").as_bytes()).and_then(|()| file.sync_data()).map_err(broken)
}

fn has_input(journal: &Path, sha256: Sha256) -> bool {
    find_run(journal, |run| run.input == Some(sha256)).is_some()
}

/// Whether this journal forbids `own`. One that is gone may be on a disk that is not mounted, or have been renamed to
/// `own`.
fn is_rival(other: &Path, own: &Path, sha256: Sha256) -> bool {
    if other.exists() { !is_same(other, own) } else { !has_input(own, sha256) }
}

/// The journal that was named last for this input.
fn claimed(text: &str, folder: &Path, sha256: Sha256) -> Option<PathBuf> {
    let mut claims = text.lines().filter_map(|line| serde_json::from_str::<Claim>(line).ok());
    let claim = claims.rfind(|claim| claim.input_sha256 == sha256)?;
    Some(folder.join(claim.journal))
}

/// Where the input is, behind a symbolic link too, but not where a spooled one is.
fn folders(input: &Input) -> Vec<PathBuf> {
    let (folder, path) = (input.folder().to_owned(), input.path());
    let is_file = path.parent() == Some(&folder);
    let real = path.canonicalize().ok().filter(|_| is_file);
    let real = real.and_then(|path| Some(path.parent()?.to_owned()));
    let is_elsewhere = |real: &PathBuf| {
        let here = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
        here.canonicalize().ok().as_ref() != Some(real)
    };
    let real = real.filter(is_elsewhere);
    std::iter::once(folder).chain(real).collect()
}

fn has_journal(other: &Path, folder: &Path) -> Error {
    let shown = other.display();
    if !other.exists() {
        return Error::invalid_input(format!(
            "{shown}, the journal of this very input, is gone: bring it back, with its disk, or, to pay for all of it \
             again, delete its line from {}",
            folder.join(NAME).display()
        ));
    }
    Error::invalid_input(format!(
        "{shown} is the journal of this very input; go on with `--journal {shown}`, or, to pay for all of it again, \
         copy the input to an empty folder"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_that_begin_at_once_one_gets_the_input() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.jsonl");
        std::fs::write(&path, "").unwrap();
        let input = Input::open(&path).unwrap();
        let journal = |number: usize| {
            let folder = root.path().join(number.to_string());
            std::fs::create_dir_all(&folder).unwrap();
            let path = folder.join("b.journal.jsonl");
            std::fs::write(&path, "").unwrap();
            path
        };
        let sha256 = Sha256::of("a");
        let all: Vec<_> = (0..8).map(journal).collect();
        let won = std::thread::scope(|scope| {
            let runs: Vec<_> = all.iter().map(|path| scope.spawn(|| claim(&input, sha256, path).is_ok())).collect();
            runs.into_iter().map(|run| usize::from(run.join().unwrap())).sum::<usize>()
        });
        assert_eq!(won, 1);
        claim(&input, Sha256::of("b"), &journal(9)).expect("another content");
    }

    #[test]
    fn a_line_that_cannot_be_read_hides_no_other() {
        let root = tempfile::tempdir().unwrap();
        let paths = ["a.jsonl", "first.journal.jsonl", "second.journal.jsonl"].map(|name| root.path().join(name));
        for path in &paths {
            std::fs::write(path, "").unwrap();
        }
        let (input, sha256) = (Input::open(&paths[0]).unwrap(), Sha256::of("a"));
        std::fs::write(root.path().join(NAME), b"\xff\n").unwrap();
        claim(&input, sha256, &paths[1]).unwrap();
        for call in [check, claim] {
            let error = call(&input, sha256, &paths[2]).unwrap_err().to_string();
            assert!(error.contains("first.journal.jsonl is the journal of this very input"), "{error}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_name_that_cannot_be_written_is_an_error_and_a_folder_that_may_not_be_written_is_none() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.jsonl");
        std::fs::write(&path, "").unwrap();
        let (input, sha256, journal) = (Input::open(&path).unwrap(), Sha256::of("a"), root.path().join("b.jsonl"));
        std::fs::create_dir(root.path().join(NAME)).unwrap();
        assert!(matches!(claim(&input, sha256, &journal), Err(Error::Io(_))));
        std::fs::remove_dir(root.path().join(NAME)).unwrap();
        let mode = |mode| std::fs::set_permissions(root.path(), PermissionsExt::from_mode(mode)).unwrap();
        mode(0o555);
        claim(&input, sha256, &journal).unwrap();
        mode(0o755);
    }

    #[test]
    fn a_journal_that_is_gone_is_missed_until_its_line_is_deleted() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.jsonl");
        let (first, second) = (root.path().join("first.journal.jsonl"), root.path().join("second.journal.jsonl"));
        for path in [&path, &first, &second] {
            std::fs::write(path, "").unwrap();
        }
        let (input, sha256) = (Input::open(&path).unwrap(), Sha256::of("a"));
        claim(&input, sha256, &first).unwrap();
        claim(&input, sha256, &first).unwrap();
        check(&input, sha256, &first).unwrap();
        for call in [check, claim] {
            let error = call(&input, sha256, &second).unwrap_err().to_string();
            assert!(error.contains("first.journal.jsonl is the journal of this very input"), "{error}");
        }
        let names = root.path().join(NAME);
        let text = std::fs::read_to_string(&names).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains(r#""journal":"first.journal.jsonl""#), "the folder can be moved: {text}");

        std::fs::remove_file(&first).unwrap();
        for own in [&first, &second] {
            let error = check(&input, sha256, own).unwrap_err().to_string();
            assert!(error.contains("first.journal.jsonl, the journal of this very input, is gone"), "{error}");
        }
        claim(&input, sha256, &second).unwrap_err();
        std::fs::write(&names, "").unwrap();
        check(&input, sha256, &second).unwrap();
        claim(&input, sha256, &second).unwrap();
    }

    #[test]
    fn a_journal_that_was_renamed_goes_on_under_its_new_name() {
        let root = tempfile::tempdir().unwrap();
        let (path, first) = (root.path().join("a.jsonl"), root.path().join("first.journal.jsonl"));
        std::fs::write(&path, "").unwrap();
        let (input, sha256) = (Input::open(&path).unwrap(), Sha256::of("a"));
        let run = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
            let journal = crate::Journal::open(&first).await.unwrap();
            journal.start(&crate::Run::new("https://agents.example").input("a.jsonl", sha256, 0)).await
        });
        run.unwrap();
        claim(&input, sha256, &first).unwrap();
        let second = root.path().join("second.journal.jsonl");
        std::fs::rename(&first, &second).unwrap();
        check(&input, sha256, &second).unwrap();
        claim(&input, sha256, &second).unwrap();
        let text = std::fs::read_to_string(root.path().join(NAME)).unwrap();
        assert!(text.ends_with("\"journal\":\"second.journal.jsonl\"}\n"), "{text}");
    }
}
