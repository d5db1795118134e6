//! Reads a journal: what is good, what a crash left behind, and what is damaged.

use std::{
    collections::BTreeSet,
    io::{self, BufRead},
};

use super::line::{Bad, Line, whole_lines};

/// No line is shorter.
const SHORTEST: usize = 60;

/// How a journal ends.
#[derive(Debug, PartialEq)]
pub(crate) enum Tail {
    /// With a whole line.
    Clean,
    /// With what a crash left. All of it was written after the last sync.
    Torn {
        /// The last line that is kept lacks its newline.
        newline: bool,
        /// Whole lines behind the first gap.
        good: Vec<Line>,
    },
}

/// What was read.
#[derive(Debug)]
pub(crate) struct Scan {
    /// Where the good part ends, in bytes.
    pub(crate) end: u64,
    /// The number of its last line.
    pub(crate) number: u64,
    pub(crate) tail: Tail,
}

/// Why a journal is not read.
#[derive(Debug)]
pub(crate) enum ScanError {
    Io(io::Error),
    /// A line that was on disk is bad or missing.
    Damaged {
        line: u64,
        reason: &'static str,
    },
    Newer(String),
}

impl From<io::Error> for ScanError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// From the first bad byte on.
struct Problem {
    newline: bool,
    good: Vec<Line>,
    /// A line with its newline is bad, and no hole in the file explains it.
    terminated: bool,
}

/// Reads every line that is good and in its place, with where it begins, and judges the rest.
///
/// A bad part is a crash's if no line behind it says that it was on disk, and if it is not a whole line with its
/// newline: that one was written, so a flipped bit may have made an intent that was sent unreadable.
pub(crate) fn scan(reader: impl BufRead, mut on_line: impl FnMut(Line, u64)) -> Result<Scan, ScanError> {
    let (mut end, mut number) = (0, 0);
    let mut problem: Option<Problem> = None;
    let (mut pieces, mut piece) = (Pieces::new(reader), Piece::default());
    while pieces.read(&mut piece)? {
        if problem.is_none() && piece.is_terminated {
            match Line::decode(&piece.bytes) {
                Ok(line) if line.number == number + 1 => {
                    number += 1;
                    end = piece.end;
                    on_line(line, piece.start);
                    continue;
                }
                Err(Bad::Newer(what)) => return Err(ScanError::Newer(what)),
                _ => {}
            }
        }
        let (lines, is_bad) = read_piece(&piece.bytes)?;
        for (offset, line) in lines {
            if line.number <= number {
                return Err(ScanError::Damaged { line: line.number, reason: "it stands there twice" });
            }
            match &mut problem {
                None if offset.0 == 0 && line.number == number + 1 => {
                    number += 1;
                    // Of a good line everything is there but its newline.
                    end = piece.start + offset.1 as u64;
                    on_line(line, piece.start);
                    problem = Some(Problem { newline: true, good: Vec::new(), terminated: false });
                }
                None => {
                    problem = Some(Problem { newline: false, good: Vec::new(), terminated: false });
                    behind(&mut problem, line, number)?;
                }
                Some(_) => behind(&mut problem, line, number)?,
            }
        }
        let problem = problem.get_or_insert(Problem { newline: false, good: Vec::new(), terminated: false });
        problem.terminated |= is_bad && piece.is_terminated && !has_hole(&piece.bytes);
    }
    let Some(problem) = problem else { return Ok(Scan { end, number, tail: Tail::Clean }) };
    if problem.terminated {
        return Err(ScanError::Damaged { line: number + 1, reason: "its checksum is wrong" });
    }
    let tail = Tail::Torn { newline: problem.newline, good: problem.good };
    Ok(Scan { end, number, tail })
}

/// Takes in a good line behind a gap, unless it says that the gap was on disk.
fn behind(problem: &mut Option<Problem>, line: Line, number: u64) -> Result<(), ScanError> {
    if line.synced > number {
        return Err(ScanError::Damaged { line: number + 1, reason: "it is bad or missing, and was on disk" });
    }
    if let Some(problem) = problem {
        problem.good.push(line);
        problem.terminated = false;
    }
    Ok(())
}

pub(super) type Placed = ((usize, usize), Line);

/// The good lines in a piece, and whether it ends with something else.
pub(super) fn read_piece(bytes: &[u8]) -> Result<(Vec<Placed>, bool), ScanError> {
    let mut lines = Vec::new();
    let mut end = 0;
    for (from, to) in whole_lines(bytes) {
        match Line::decode(&bytes[from..to]) {
            Ok(line) => lines.push(((from, to), line)),
            Err(Bad::Newer(what)) => return Err(ScanError::Newer(what)),
            Err(Bad::Bytes) => continue,
        }
        end = to;
    }
    Ok((lines, end < bytes.len()))
}

/// A part that was never written reads as NULs. One flipped byte makes at most one.
fn has_hole(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|two| two == [0, 0])
}

/// What stands between two newlines.
#[derive(Default)]
pub(super) struct Piece {
    pub(super) bytes: Vec<u8>,
    is_terminated: bool,
    start: u64,
    /// Behind its newline.
    end: u64,
}

pub(super) struct Pieces<R>(R);

impl<R: BufRead> Pieces<R> {
    pub(super) fn new(reader: R) -> Self {
        Self(reader)
    }

    /// Reads the next one in the place of the last one. `false` at the end.
    pub(super) fn read(&mut self, piece: &mut Piece) -> io::Result<bool> {
        piece.bytes.clear();
        piece.start = piece.end;
        let read = self.0.read_until(b'\n', &mut piece.bytes)?;
        piece.end += read as u64;
        piece.is_terminated = piece.bytes.last() == Some(&b'\n');
        if piece.is_terminated {
            piece.bytes.pop();
        }
        Ok(read > 0)
    }
}

/// Every good line, in order, and how many are missing at least. For a repair.
pub(crate) fn salvage(reader: impl BufRead) -> Result<(Vec<Line>, u64), ScanError> {
    let mut lines = Vec::new();
    // Bad pieces behind the last good line: only their newlines count them.
    let mut behind = 0;
    let (mut pieces, mut piece) = (Pieces::new(reader), Piece::default());
    while pieces.read(&mut piece)? {
        let (good, _) = read_piece(&piece.bytes)?;
        let end = good.last().map_or(0, |((_, end), _)| *end);
        let is_line = piece.bytes.len() - end >= SHORTEST;
        behind = if good.is_empty() { behind } else { 0 } + u64::from(is_line);
        lines.extend(good.into_iter().map(|(_, line)| line));
    }
    lines.sort_by_key(|line| line.number);
    lines.dedup();
    let numbers: BTreeSet<_> = lines.iter().map(|line| line.number).collect();
    let last = numbers.last().copied().unwrap_or_default();
    Ok((lines, (last - numbers.len() as u64).saturating_add(behind)))
}
