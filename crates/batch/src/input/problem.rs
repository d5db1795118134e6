//! What is wrong with an input, all of it, in the words that people know.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
};

/// The most problems that are kept, so that a wrong file does not fill the memory.
const MOST: usize = 1_000;

/// One thing that is wrong with an input.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The line, from 1. `None` if it is about the whole file.
    pub line: Option<u64>,
    /// Where in the line, such as `body.image_ref[2].path`.
    pub param: Option<String>,
    /// What kind of problem.
    pub code: Code,
    /// What is wrong and what to do, without any content of the request.
    pub message: String,
}

impl Problem {
    pub(super) fn new(line: u64, param: impl Into<String>, code: Code, message: impl Into<String>) -> Self {
        let param = Some(param.into()).filter(|it| !it.is_empty());
        Self { line: Some(line), param, code, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        write!(f, "{}: ", self.code)?;
        if let Some(param) = &self.param {
            write!(f, "{param}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// The kinds of problems. Each is the text that [`as_str`](Self::as_str) gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// `invalid_json_line`: the line is not a JSON object of a known form.
    InvalidJsonLine,
    /// `empty_file`: there is no line.
    EmptyFile,
    /// `invalid_custom_id`: the id has characters that it cannot have, or is too long.
    InvalidCustomId,
    /// `duplicate_custom_id`: an earlier line has the same id, perhaps in other case.
    DuplicateCustomId,
    /// `changed_request`: the line has changed, and a job for what it was may exist.
    ChangedRequest,
    /// `missing_required_parameter`: something is not there.
    MissingRequiredParameter,
    /// `unknown_parameter`: the API has no such field.
    UnknownParameter,
    /// `invalid_value`: a value is out of what the API documents.
    InvalidValue,
    /// `invalid_media`: a medium cannot be read, or is of a type or size that the API does not take.
    InvalidMedia,
    /// `file_exists`: the name of an output is taken by a file that is not of this batch.
    FileExists,
}

impl Code {
    /// The code as text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJsonLine => "invalid_json_line",
            Self::EmptyFile => "empty_file",
            Self::InvalidCustomId => "invalid_custom_id",
            Self::DuplicateCustomId => "duplicate_custom_id",
            Self::ChangedRequest => "changed_request",
            Self::MissingRequiredParameter => "missing_required_parameter",
            Self::UnknownParameter => "unknown_parameter",
            Self::InvalidValue => "invalid_value",
            Self::InvalidMedia => "invalid_media",
            Self::FileExists => "file_exists",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Everything that is wrong with an input, in the order of the lines. Nothing was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problems {
    /// The first 1,000.
    pub problems: Vec<Problem>,
    /// How many there are.
    pub total: u64,
}

impl Problems {
    /// Those that are kept, without repetition: the first of each kind, at the same place and with the same message,
    /// and how many more lines have it.
    #[must_use]
    pub fn grouped(&self) -> Vec<(&Problem, u64)> {
        let mut groups: Vec<(&Problem, u64)> = Vec::new();
        let mut found: HashMap<_, usize> = HashMap::new();
        for problem in &self.problems {
            match found.entry((&problem.param, problem.code, &problem.message)) {
                Entry::Occupied(at) => groups[*at.get()].1 += 1,
                Entry::Vacant(place) => {
                    place.insert(groups.len());
                    groups.push((problem, 0));
                }
            }
        }
        groups
    }

    pub(super) fn add(&mut self, problem: Problem) {
        self.total += 1;
        if self.problems.len() < MOST {
            self.problems.push(problem);
        }
    }
}

impl Extend<Problem> for Problems {
    fn extend<I: IntoIterator<Item = Problem>>(&mut self, problems: I) {
        problems.into_iter().for_each(|it| self.add(it));
    }
}

/// One line: the first problem, and how many more there are.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.problems.first() else { return f.write_str("the input has no problem") };
        write!(f, "the input cannot be used: {first}")?;
        match self.total {
            0 | 1 => Ok(()),
            total => write!(f, " (and {} more)", total - 1),
        }
    }
}
