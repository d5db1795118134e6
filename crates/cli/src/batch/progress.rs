//! What is shown while a batch runs: the jobs in flight, and how long the rate limit holds the others.

use indicatif::HumanDuration;
use luma_agents_batch::progress::Progress;

use crate::output::{Drawing, Output};

/// A shorter wait, in seconds, is no news.
const LONG: u64 = 5;

/// Draws on a terminal, and says on any stderr when a long wait begins.
#[derive(Debug)]
pub(super) struct Shown<'a> {
    output: &'a Output,
    drawing: Drawing<'a>,
    is_waiting: bool,
}

impl<'a> Shown<'a> {
    pub(super) fn new(output: &'a Output, total: u64) -> Self {
        Self { output, drawing: output.bar(total), is_waiting: false }
    }

    pub(super) fn update(&mut self, it: &Progress) {
        let seconds = rate_wait(it);
        if let Some(seconds) = seconds.filter(|seconds| !self.is_waiting && *seconds > LONG) {
            self.output.note(waiting(seconds));
        }
        self.is_waiting = seconds.is_some();
        self.drawing.position(it.done + it.failed + it.in_doubt);
        self.drawing.message(message(it));
    }
}

fn message(it: &Progress) -> String {
    let failed = if it.failed > 0 { format!(", {} failed", it.failed) } else { String::new() };
    let doubt = if it.in_doubt > 0 { format!(", {} in doubt", it.in_doubt) } else { String::new() };
    let held = if it.held_by_others { ", others hold the account" } else { "" };
    let rest = match (rate_wait(it), it.eta) {
        (Some(seconds), _) => format!(", {}", waiting(seconds)),
        (None, Some(eta)) => format!(", {} left", HumanDuration(eta)),
        (None, None) => String::new(),
    };
    format!("{} in flight{failed}{doubt}, up to ${} spent{rest}{held}", it.in_flight, it.spent_high)
}

fn rate_wait(it: &Progress) -> Option<u64> {
    it.rate_wait.map(|wait| wait.as_secs().max(1))
}

fn waiting(seconds: u64) -> String {
    format!("waiting for the rate limit, {seconds} s")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_wait_for_the_rate_limit_stands_in_for_the_rest() {
        let mut progress = Progress::default();
        (progress.in_flight, progress.eta) = (3, Some(Duration::from_secs(1)));
        assert_eq!(message(&progress), "3 in flight, up to $0.0000 spent, 1 second left");
        progress.rate_wait = Some(Duration::from_secs(48));
        assert_eq!(message(&progress), "3 in flight, up to $0.0000 spent, waiting for the rate limit, 48 s");
    }
}
