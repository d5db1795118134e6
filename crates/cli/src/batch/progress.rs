//! What is shown while a batch runs: the jobs in flight, and how long the rate limit holds the others.

use std::{collections::VecDeque, time::Duration};

use indicatif::HumanDuration;
use luma_agents_batch::{Quota, progress::Progress, quota::QuotaStatus};
use tokio::time::Instant;

use crate::output::{Drawing, Output};

/// How long a unit counts against the rate limit.
const WINDOW: Duration = Duration::from_secs(60);

/// A shorter wait is no news.
const LONG: u64 = 5;

/// Draws on a terminal, and says on any stderr when a long wait begins.
#[derive(Debug)]
pub(super) struct Shown<'a> {
    output: &'a Output,
    drawing: Drawing<'a>,
    quota: Quota,
    window: Window,
    is_waiting: bool,
}

impl<'a> Shown<'a> {
    pub(super) fn new(output: &'a Output, total: u64, quota: Quota) -> Self {
        Self { output, drawing: output.bar(total), quota, window: Window::default(), is_waiting: false }
    }

    pub(super) fn update(&mut self, it: &Progress) {
        let status = self.quota.status();
        let seconds = self.window.seconds(&status, Instant::now());
        match seconds {
            None => self.is_waiting = false,
            Some(seconds) => {
                if !self.is_waiting && seconds > LONG {
                    self.output.note(waiting(seconds));
                }
                self.is_waiting = true;
            }
        }
        self.drawing.position(it.done + it.failed + it.in_doubt);
        self.drawing.message(message(it, &status, seconds));
    }
}

fn message(it: &Progress, status: &QuotaStatus, seconds: Option<u64>) -> String {
    let sent = it.in_flight.saturating_sub(status.waiting as u64);
    let failed = if it.failed > 0 { format!(", {} failed", it.failed) } else { String::new() };
    let doubt = if it.in_doubt > 0 { format!(", {} in doubt", it.in_doubt) } else { String::new() };
    let held = if it.held_by_others { ", others hold the account" } else { "" };
    // The estimate takes jobs that wait for their place as sent.
    let rest = match (seconds, it.eta) {
        (Some(seconds), _) => format!(", {}", waiting(seconds)),
        (None, Some(eta)) => format!(", {} left", HumanDuration(eta)),
        (None, None) => String::new(),
    };
    format!("{sent} in flight{failed}{doubt}, up to ${} spent{rest}{held}", it.spent_high)
}

fn waiting(seconds: u64) -> String {
    format!("waiting for the rate limit, {seconds} s")
}

/// When the units were sent that count against the rate limit, as far as it was seen.
#[derive(Debug, Default)]
struct Window(VecDeque<Instant>);

impl Window {
    /// How long no further job is sent because of the rate limit. None if none waits for it.
    fn seconds(&mut self, status: &QuotaStatus, now: Instant) -> Option<u64> {
        let units = usize::try_from(status.in_window).unwrap_or(usize::MAX);
        self.0.drain(..self.0.len().saturating_sub(units));
        self.0.resize(units, now);
        if status.waiting == 0 || status.in_window < status.per_minute {
            return None;
        }
        let ends = *self.0.front()? + WINDOW;
        Some(ends.saturating_duration_since(now).as_secs().max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_when_the_first_unit_is_a_minute_old() {
        let quota = Quota::builder().per_minute(3).build();
        let (mut window, start) = (Window::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let status = |in_window, waiting| {
            let mut status = quota.status();
            (status.in_window, status.waiting) = (in_window, waiting);
            status
        };
        assert_eq!(window.seconds(&status(1, 0), at(0)), None);
        assert_eq!(window.seconds(&status(3, 2), at(5)), Some(55));
        assert_eq!(window.seconds(&status(3, 2), at(12)), Some(48));
        assert_eq!(window.seconds(&status(2, 0), at(60)), None, "the first has left");
        assert_eq!(window.seconds(&status(3, 1), at(60)), Some(5));
    }

    #[test]
    fn only_what_is_sent_is_in_flight() {
        let mut status = Quota::new().status();
        let mut progress = Progress::default();
        (status.waiting, progress.in_flight, progress.eta) = (4, 4, Some(Duration::from_secs(1)));
        assert_eq!(
            message(&progress, &status, Some(48)),
            "0 in flight, up to $0.0000 spent, waiting for the rate limit, 48 s"
        );
        status.waiting = 1;
        assert_eq!(message(&progress, &status, None), "3 in flight, up to $0.0000 spent, 1 second left");
    }
}
