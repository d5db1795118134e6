//! `NAME.results.jsonl` and `NAME.errors.jsonl`: what became of each job, written anew at the end of a run.

use std::{
    fs,
    io::{self, BufRead as _, Read as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::replace::Replacement;
use crate::{
    error::{Error, Result},
    key::CustomId,
};

/// More than any line of results.
const MOST: u64 = 1024 * 1024;

/// What became of a job: one line of the results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ResultLine {
    /// The id of the line in the input.
    pub custom_id: CustomId,
    /// The job, if there is one.
    pub id: Option<Uuid>,
    /// How it stands, such as `completed`, `failed`, `rejected`, `in_doubt`.
    pub state: String,
    /// The saved outputs, relative to the input's folder.
    pub files: Vec<String>,
    /// Why there is none.
    pub error: Option<ResultError>,
}

/// Why a job has no output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ResultError {
    /// For programs: a failure code of the service, or a kind of rejection.
    pub code: String,
    /// For people.
    pub message: String,
}

impl ResultLine {
    /// A job that is in this state, without files or an error.
    #[must_use]
    pub fn new(custom_id: CustomId, id: Option<Uuid>, state: impl Into<String>) -> Self {
        Self { custom_id, id, state: state.into(), files: Vec::new(), error: None }
    }

    /// Adds the saved outputs.
    #[must_use]
    pub fn files(mut self, files: impl IntoIterator<Item = String>) -> Self {
        self.files.extend(files);
        self
    }

    /// Sets why there is no output.
    #[must_use]
    pub fn error(mut self, code: impl Into<String>, message: impl Into<String>) -> Self {
        self.error = Some(ResultError { code: code.into(), message: message.into() });
        self
    }
}

/// Checks that there is nothing at this path but results: no other file is replaced by them.
///
/// It blocks.
pub(crate) fn check_replaceable(path: &Path) -> Result<()> {
    // To open a pipe waits for somebody who writes.
    let Some(file) = path.is_file().then(|| fs::File::open(path).ok()).flatten() else { return Ok(()) };
    let mut first = String::new();
    let is_text = io::BufReader::new(file.take(MOST)).read_line(&mut first);
    let is_other = match is_text {
        Ok(_) => !first.is_empty() && serde_json::from_str::<ResultLine>(&first).is_err(),
        // What cannot be read cannot be replaced either, and the end of the run says so.
        Err(e) => e.kind() == io::ErrorKind::InvalidData,
    };
    if is_other {
        let path = path.display();
        return Err(Error::invalid_input(format!(
            "{path} is not of this batch, whose results would replace it; move it"
        )));
    }
    Ok(())
}

/// The results of a batch in the making. Nothing is in place before [`finish`](Self::finish).
#[derive(Debug)]
pub struct Results {
    all: Replacement,
    errors: Replacement,
    errors_path: PathBuf,
    failed: u64,
}

impl Results {
    /// Results at these paths; lines with an error are in both.
    ///
    /// # Errors
    ///
    /// [`Io`](Error::Io) if the folder cannot be written.
    pub fn new(results: impl AsRef<Path>, errors: impl AsRef<Path>) -> Result<Self> {
        let (all, errors_path) = (Replacement::new(results.as_ref())?, errors.as_ref().to_path_buf());
        Ok(Self { all, errors: Replacement::new(&errors_path)?, errors_path, failed: 0 })
    }

    /// Adds a line.
    ///
    /// # Errors
    ///
    /// [`Io`](Error::Io) if it cannot be written.
    pub fn add(&mut self, line: &ResultLine) -> Result<()> {
        let mut text = serde_json::to_vec(line).map_err(|e| Error::InvalidInput(e.to_string()))?;
        text.push(b'\n');
        self.all.write(&text)?;
        if line.error.is_some() {
            self.failed += 1;
            self.errors.write(&text)?;
        }
        Ok(())
    }

    /// Puts both files in place of those of an earlier run. Without an error there is no file of errors.
    ///
    /// # Errors
    ///
    /// [`Io`](Error::Io) if that fails; the files of the earlier run are then still there.
    pub fn finish(self) -> Result<()> {
        self.all.persist()?;
        if self.failed > 0 {
            return self.errors.persist();
        }
        match fs::remove_file(&self.errors_path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", &self.errors_path, e)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str) -> ResultLine {
        ResultLine::new(CustomId::new(id).unwrap(), Some(Uuid::nil()), "completed")
    }

    #[test]
    fn results_replace_those_of_the_last_run_when_they_are_complete() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a.results.jsonl", "a.errors.jsonl"].map(|name| folder.path().join(name));
        let read = |at: usize| fs::read_to_string(&paths[at]).ok();
        let start = || Results::new(&paths[0], &paths[1]).unwrap();

        let mut results = start();
        results.add(&line("a").files(["out/a.png".to_owned()])).unwrap();
        results.add(&ResultLine { state: "failed".into(), ..line("b") }.error("content_moderated", "flagged")).unwrap();
        assert_eq!((read(0), read(1)), (None, None));
        results.finish().unwrap();
        let nil = Uuid::nil();
        let ok = format!(r#"{{"custom_id":"a","id":"{nil}","state":"completed","files":["out/a.png"],"error":null}}"#);
        let failed = format!(
            r#"{{"custom_id":"b","id":"{nil}","state":"failed","files":[],"error":{{"code":"content_moderated","message":"flagged"}}}}"#
        );
        assert_eq!(read(0).unwrap(), format!("{ok}\n{failed}\n"));
        assert_eq!(read(1).unwrap(), format!("{failed}\n"));

        let mut results = start();
        results.add(&line("c")).unwrap();
        drop(results);
        assert!(read(0).unwrap().starts_with(&ok), "what was not finished changed nothing");

        start().finish().unwrap();
        assert_eq!((read(0).as_deref(), read(1)), (Some(""), None), "no error, no file of errors");
        assert_eq!(folder.path().read_dir().unwrap().count(), 1, "nothing is left behind");
    }
}
