//! The files of a batch: the input, and what lies beside it.

use std::{
    io,
    path::{Path, PathBuf},
};

use clap::{
    Args,
    builder::{PathBufValueParser, TypedValueParser as _},
};
use luma_agents::Client;
use luma_agents_batch::{Batch, input::Input, output::Names};

use crate::failure::Failure;

const INPUT: &str = ".jsonl";
const JOURNAL: &str = ".journal.jsonl";

/// Which batch a command is about.
#[derive(Args, Clone, Debug)]
pub(super) struct Place {
    /// Input in JSON Lines, or its journal; - for stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Journal, named *.journal.jsonl [default: NAME.journal.jsonl beside NAME.jsonl]
    #[arg(long, value_name = "FILE", value_parser = PathBufValueParser::new().try_map(journal))]
    journal: Option<PathBuf>,
}

impl Place {
    /// The batch, with its journal and its outputs where they belong.
    pub(super) fn batch(&self, client: Client) -> Result<Batch, Failure> {
        let journal = self.journal_path()?;
        if self.is_stdin() {
            return Ok(Batch::of(client, self.input()?, journal));
        }
        let path = self.input_path();
        self.input()?;
        let names = Self::names(&journal);
        Ok(Batch::new(client, path)?.journal(journal).names(names))
    }

    /// The outputs, unless the user says otherwise: beside the journal.
    pub(super) fn names(journal: &Path) -> Names {
        Names::new(journal.parent().unwrap_or(Path::new("")).join("out"))
    }

    fn is_stdin(&self) -> bool {
        self.file == Path::new("-")
    }

    /// The input. `-` is read to its end first, since an input is read twice.
    pub(super) fn input(&self) -> Result<Input, Failure> {
        if self.is_stdin() {
            return Ok(Input::spool(io::stdin().lock(), ".")?);
        }
        let path = self.input_path();
        if !path.exists() {
            return Err(Failure::usage(format!("there is no input {}; give its path", path.display())));
        }
        Ok(Input::open(path)?)
    }

    pub(super) fn input_path(&self) -> PathBuf {
        match self.name() {
            Some(name) if self.is_journal() => self.file.with_file_name(format!("{name}{INPUT}")),
            _ => self.file.clone(),
        }
    }

    pub(super) fn journal_path(&self) -> Result<PathBuf, Failure> {
        if let Some(journal) = &self.journal {
            return Ok(journal.clone());
        }
        if self.is_journal() {
            return Ok(self.file.clone());
        }
        self.beside(JOURNAL).ok_or_else(|| Failure::usage("an input from stdin has no name; say --journal FILE"))
    }

    /// A file of the batch by its ending, such as `.results.jsonl`: beside the journal.
    pub(super) fn beside(&self, ending: &str) -> Option<PathBuf> {
        if let Some(journal) = &self.journal {
            let name = journal.file_name()?.to_str()?;
            let name = name.strip_suffix(JOURNAL).or_else(|| name.strip_suffix(INPUT)).unwrap_or(name);
            return Some(journal.with_file_name(format!("{name}{ending}")));
        }
        Some(self.file.with_file_name(format!("{}{ending}", self.name()?)))
    }

    /// How the user names it.
    pub(super) fn shown(&self) -> String {
        let journal = self.journal.as_ref().map(|it| format!(" --journal {}", quoted(it)));
        format!("{}{}", quoted(&self.file), journal.unwrap_or_default())
    }

    fn is_journal(&self) -> bool {
        self.file.to_str().is_some_and(|it| it.ends_with(JOURNAL))
    }

    /// The name that all files of the batch begin with. None for stdin.
    pub(super) fn name(&self) -> Option<&str> {
        let name = self.file.file_name()?.to_str()?;
        if name == "-" {
            return None;
        }
        // The batch crate names the journal of an input by its stem too.
        name.strip_suffix(JOURNAL).or_else(|| self.file.file_stem()?.to_str())
    }
}

/// A journal is known by its name: an input or a picture is not taken for one.
fn journal(path: PathBuf) -> Result<PathBuf, String> {
    let is_named = path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(JOURNAL));
    if is_named { Ok(path) } else { Err(format!("the name of a journal ends in {JOURNAL}")) }
}

/// A path as a shell reads it.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |it: char| it.is_alphanumeric() || "/._-+:@%,=".contains(it);
    if !text.is_empty() && text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_and_its_journal_name_the_same_batch() {
        for file in ["a/catalogue.jsonl", "a/catalogue.journal.jsonl"] {
            let place = Place { file: file.into(), journal: None };
            assert_eq!(place.input_path(), Path::new("a/catalogue.jsonl"));
            assert_eq!(place.journal_path().unwrap(), Path::new("a/catalogue.journal.jsonl"));
            assert_eq!(place.beside(".report.html").unwrap(), Path::new("a/catalogue.report.html"));
        }
        let stdin = Place { file: "-".into(), journal: None };
        assert!(stdin.journal_path().is_err());
        let stdin = Place { file: "-".into(), journal: Some("b.journal.jsonl".into()) };
        assert_eq!(stdin.beside(".results.jsonl").unwrap(), Path::new("b.results.jsonl"));
    }
}
