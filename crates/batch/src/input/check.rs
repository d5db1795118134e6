//! The check of a whole input: every line, the ids among each other, the ledger, the folder of the outputs.

use std::{collections::HashMap, fs::File};

use super::{
    Input, Reader,
    line::Line,
    media,
    problem::{Code, Problem, Problems},
    schema::Schema,
    seen::Seen,
};
use crate::{
    digest::Sha256,
    error::{Error, Result},
    estimate::{Prices, Total},
    journal::Journal,
    key::CustomId,
    ledger::{Last, State},
    output::Existing,
};

/// The most digests of local media that are kept, so that the memory is bounded.
const MOST_DIGESTS: usize = 10_000;

/// The check of an input. From [`Input::check`].
#[derive(Debug)]
#[must_use = "nothing is checked until `run` is called"]
pub struct Check<'a> {
    input: &'a Input,
    prices: Prices,
    existing: Existing,
    takes_unknown: bool,
}

/// What the ledger knows of an id, as far as the check needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Known {
    /// The fingerprint of a request whose job may exist.
    pub request: Option<Sha256>,
    /// Whether files with the names of its outputs are those of its job, or may be: while it is in doubt, it is not
    /// sent.
    pub owns_files: bool,
}

impl Known {
    /// Of a key that stands in the ledger. After a rejection or a failure a changed request is the repair.
    #[must_use]
    pub fn of(last: &Last) -> Self {
        let attempt = &last.attempt;
        let may_exist = !matches!(attempt.state, State::NoJob(_) | State::Failed { .. });
        let owns_files = attempt.state.is_live() || matches!(attempt.state, State::InFlight | State::InDoubt { .. });
        Self { request: attempt.fingerprint.filter(|_| may_exist), owns_files }
    }

    /// Of a line in a journal, also of one that a repair may have lost.
    pub(crate) fn in_journal(journal: &Journal, id: &CustomId) -> Self {
        match journal.line(id) {
            Some(last) => {
                let known = Self::of(&last);
                Self { owns_files: known.owns_files || journal.is_suspected(id), ..known }
            }
            None => Self { owns_files: journal.is_suspected(id), ..Self::default() },
        }
    }
}

/// An input without a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checked {
    /// The requests, which are fewer than the lines of the file if some are empty.
    pub lines: u64,
    /// The whole file, by which a batch is recognised.
    pub sha256: Sha256,
    /// What all requests cost together.
    pub total: Total,
}

impl<'a> Check<'a> {
    pub(super) fn new(input: &'a Input) -> Self {
        Self { input, prices: Prices::default(), existing: Existing::default(), takes_unknown: false }
    }

    /// The prices of the estimate. Default: [`Prices::default`].
    pub fn prices(mut self, prices: Prices) -> Self {
        self.prices = prices;
        self
    }

    /// The files in the folder of the outputs: one at the name of a job that is yet to be made is an error.
    pub fn existing(mut self, existing: Existing) -> Self {
        self.existing = existing;
        self
    }

    /// Takes fields and values that this version does not know, since the API may have got them yesterday. They are
    /// sent as they are. Default: each is an error, since it may be a typo.
    pub fn allow_unknown(mut self) -> Self {
        self.takes_unknown = true;
        self
    }

    /// Reads the whole file and finds all problems. `known` says what the ledger has of an id; without one, it
    /// returns the default.
    ///
    /// It blocks. The memory is bounded by the longest line and 16 bytes a line.
    ///
    /// # Errors
    ///
    /// [`Input`](Error::Input) with all problems, and [`Io`](Error::Io) if the file cannot be read.
    pub fn run(self, mut known: impl FnMut(&CustomId) -> Known) -> Result<Checked> {
        let schema = Schema::new(self.takes_unknown).map_err(Error::InvalidInput)?;
        let mut reader = Reader::open(&self.input.path)?;
        let (mut problems, mut total, mut lines) = (Problems::default(), Total::default(), 0);
        let (mut ids, mut digests, mut seen) = (Ids::default(), Digests::default(), Seen::default());
        while let Some((number, text)) = reader.next()? {
            lines += 1;
            let line = match Line::parse(number, text) {
                Ok(line) => line,
                Err(found) => {
                    problems.extend(found);
                    continue;
                }
            };
            ids.add(&line);
            let known_good = seen.find(&line.body).copied();
            let mut is_good = known_good.is_some();
            if let Some(estimate) = known_good {
                total.add(&estimate);
            } else {
                let mut found = schema.problems(number, &line.body);
                found.extend(media::problems(number, &line.body, &self.input.folder));
                if found.is_empty() {
                    let request = line.request(|_| uuid::Uuid::nil())?;
                    let conflict = |it| Problem::new(number, "body", Code::InvalidValue, it);
                    found.extend(request.conflicts().into_iter().map(|it| with_model(&line, it)).map(conflict));
                    let estimate = self.prices.estimate(&request, line.source_seconds);
                    total.add(&estimate);
                    is_good = found.is_empty();
                    if is_good {
                        seen.add(estimate);
                    }
                }
                problems.extend(found);
            }

            let known = known(&line.custom_id);
            if !known.owns_files && self.existing.has(&line.custom_id) {
                problems.add(file_exists(&line));
            }
            if let Some(before) = known.request
                && is_good
                && line.fingerprint(|path| digests.of(self.input, path))? != before
            {
                problems.add(changed(&line));
            }
        }
        if lines == 0 {
            let message = "there is no line with a request".to_owned();
            problems.add(Problem { line: None, param: None, code: Code::EmptyFile, message });
        }
        for number in ids.duplicates(&self.input.path)? {
            let message = "an earlier line has this custom_id, perhaps in other case; ids name files";
            problems.add(Problem::new(number, "custom_id", Code::DuplicateCustomId, message));
        }
        if problems.total == 0 {
            return Ok(Checked { lines, sha256: reader.sha256(), total });
        }
        problems.problems.sort_by_key(|it| it.line);
        Err(Error::Input(Box::new(problems)))
    }
}

/// A video without a model goes to the default one, which makes none.
fn with_model(line: &Line, conflict: String) -> String {
    let is_video = line.body["type"].as_str().is_some_and(|it| it.starts_with("video"));
    if is_video && line.body["model"].is_null() { format!("{conflict}; add \"model\": \"ray-3.2\"") } else { conflict }
}

fn file_exists(line: &Line) -> Problem {
    let message =
        "the output folder has a file of this name that is not of this batch; move it, or take another folder";
    Problem::new(line.number, "custom_id", Code::FileExists, message)
}

fn changed(line: &Line) -> Problem {
    let numbered = line.custom_id.as_str().starts_with("line-");
    let message = if numbered {
        "the line has changed or moved since a job for it may exist; restore it, and give lines a custom_id"
    } else {
        "the request has changed since a job for it may exist; restore it, or give the changed one a new custom_id"
    };
    Problem::new(line.number, "body", Code::ChangedRequest, message)
}

/// The ids that were seen: 16 bytes each.
#[derive(Debug, Default)]
struct Ids(Vec<(u64, u64)>);

impl Ids {
    fn add(&mut self, line: &Line) {
        self.0.push((hash(&line.custom_id), line.number));
    }

    /// The lines whose id an earlier line has.
    fn duplicates(mut self, path: &std::path::Path) -> Result<Vec<u64>> {
        self.0.sort_unstable();
        let suspects: HashMap<u64, u64> =
            self.0.chunk_by(|a, b| a.0 == b.0).filter(|it| it.len() > 1).flatten().map(|it| (it.1, it.0)).collect();
        if suspects.is_empty() {
            return Ok(Vec::new());
        }
        // Different ids can have one hash, so the ids themselves decide.
        let (mut reader, mut seen, mut duplicates) = (Reader::open(path)?, HashMap::new(), Vec::new());
        while let Some((number, text)) = reader.next()? {
            if suspects.contains_key(&number)
                && let Ok(line) = Line::parse(number, text)
                && seen.insert(line.custom_id.folded(), number).is_some()
            {
                duplicates.push(number);
            }
        }
        Ok(duplicates)
    }
}

/// FNV-1a of the id in lower case. It runs for every line, and where two ids have one hash, the ids decide.
fn hash(id: &CustomId) -> u64 {
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3);
    id.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, fold)
}

/// The contents of local media, each read once.
#[derive(Debug, Default)]
struct Digests(HashMap<String, Sha256>);

impl Digests {
    fn of(&mut self, input: &Input, path: &str) -> Result<Sha256> {
        if let Some(digest) = self.0.get(path) {
            return Ok(*digest);
        }
        let full = input.folder.join(path);
        let read = File::open(&full).and_then(Sha256::of_reader);
        let (digest, _) = read.map_err(|e| Error::io("read", &full, e))?;
        if self.0.len() >= MOST_DIGESTS {
            self.0.clear();
        }
        self.0.insert(path.to_owned(), digest);
        Ok(digest)
    }
}
