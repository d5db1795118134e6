//! What goes where: results to stdout, everything else to stderr.

use std::{
    fmt::Display,
    io::{self, ErrorKind, IsTerminal as _, Write as _},
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use console::style;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::{exit::Exit, failure::Failure, text::word};

/// Where a command writes.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
    /// What is drawn at the moment; lines are written above it.
    drawn: Mutex<Option<ProgressBar>>,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, drawn: Mutex::new(None) }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// A result. A reader that has gone ends the program without an error.
    pub(crate) fn line(&self, text: impl Display) -> Result<(), Failure> {
        self.raw(format!("{text}\n").as_bytes())
    }

    /// A result of several fields, some of them in the words of the service, separated by tabs.
    pub(crate) fn row(&self, fields: &[&dyn Display]) -> Result<(), Failure> {
        self.line(fields.iter().map(word).collect::<Vec<_>>().join("\t"))
    }

    /// The path of a result, byte by byte as the system has it.
    pub(crate) fn path(&self, path: &Path) -> Result<(), Failure> {
        let mut line = path.as_os_str().as_encoded_bytes().to_vec();
        line.push(b'\n');
        self.raw(&line)
    }

    /// A result with `--json`: one object, one line.
    pub(crate) fn object(&self, value: &Value) -> Result<(), Failure> {
        self.line(value)
    }

    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        let written = self.above(|| {
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes).and_then(|()| stdout.flush())
        });
        written.map_err(|e| match e.kind() {
            ErrorKind::BrokenPipe => Failure::silent(Exit::Success),
            _ => Failure::io("write to", "stdout", &e),
        })
    }

    /// What a person wants to know and a program does not.
    pub(crate) fn note(&self, text: impl Display) {
        // Nobody reads it: that is no reason to stop a job that is paid for.
        let _ = self.above(|| writeln!(io::stderr(), "{text}"));
    }

    pub(crate) fn failure(&self, failure: &Failure) {
        if failure.is_silent() {
            return;
        }
        if self.json {
            self.note(serde_json::json!({ "error": failure.to_json() }));
        } else {
            self.note(format_args!("{} {failure}", style("error:").red().bold().for_stderr()));
        }
    }

    /// Shows that something goes on, on a terminal only, until the returned value is dropped.
    pub(crate) fn spinner(&self, message: impl Into<String>) -> Drawing<'_> {
        let bar = ProgressBar::new_spinner().with_message(message.into());
        self.draw(bar, "{spinner} {elapsed} {wide_msg}")
    }

    /// Shows how much is done, on a terminal only, until the returned value is dropped.
    pub(crate) fn bar(&self, total: u64) -> Drawing<'_> {
        self.draw(ProgressBar::new(total), "{spinner} [{bar:20}] {pos}/{len} {elapsed} {wide_msg}")
    }

    fn draw(&self, bar: ProgressBar, template: &str) -> Drawing<'_> {
        if !io::stderr().is_terminal() {
            return Drawing { output: self, bar: None };
        }
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.enable_steady_tick(Duration::from_millis(100));
        *self.drawn.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
        Drawing { output: self, bar: Some(bar) }
    }

    fn above<T>(&self, write: impl FnOnce() -> T) -> T {
        let drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match drawn {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

/// `1 job`, `2 jobs`.
pub(crate) fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// A spinner or a bar. Nothing without a terminal.
#[derive(Debug)]
pub(crate) struct Drawing<'a> {
    output: &'a Output,
    bar: Option<ProgressBar>,
}

impl Drawing<'_> {
    pub(crate) fn message(&self, text: impl Into<String>) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.into());
        }
    }

    pub(crate) fn position(&self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }
}

impl Drop for Drawing<'_> {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
            *self.output.drawn.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}
