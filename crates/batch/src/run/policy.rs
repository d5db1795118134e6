//! Which failures are worth another try.

use std::{collections::HashSet, time::Duration};

use luma_agents::types::GenerationFailureCode;

/// How often a request goes out that was not sent, or that the service could not take, in one run.
const TRIES: u32 = 4;

/// Which failures are tried again, how often, and when the run gives up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// How many jobs of a key may fail, over all runs, before it counts as failed. At least 1. Default 3.
    pub tries: u32,
    /// After this many failures in a row with one code nothing more is submitted. Default 20.
    pub max_failures: u32,
    once_more: Option<OnceMore>,
    /// Failures that are tried again beside those of [`GenerationFailureCode::is_retryable`].
    pub also: HashSet<String>,
}

/// Which failures of earlier runs are sent once more.
#[derive(Clone, Debug, PartialEq, Eq)]
enum OnceMore {
    All,
    /// Failure codes of the service, or kinds of rejections.
    Codes(HashSet<String>),
}

impl Default for Policy {
    fn default() -> Self {
        Self { tries: 3, max_failures: 20, once_more: None, also: HashSet::new() }
    }
}

impl Policy {
    /// How many jobs of a key may fail before it counts as failed.
    #[must_use]
    pub fn tries(self, tries: u32) -> Self {
        Self { tries, ..self }
    }

    /// After how many failures in a row with one code nothing more is submitted.
    #[must_use]
    pub fn max_failures(self, number: u32) -> Self {
        Self { max_failures: number, ..self }
    }

    /// Sends what has failed or was rejected before this run once more, as the next try: all of it, or what ended with
    /// one of these codes. Nothing else is sent, and never what is in doubt; what is paid for is fetched as ever.
    #[must_use]
    pub fn once_more(self, codes: Option<HashSet<String>>) -> Self {
        Self { once_more: Some(codes.map_or(OnceMore::All, OnceMore::Codes)), ..self }
    }

    /// Whether only what is sent once more is sent at all.
    pub(super) fn is_retry(&self) -> bool {
        self.once_more.is_some()
    }

    /// Whether what ended with this code before this run is sent once more.
    pub(super) fn is_once_more(&self, code: &str) -> bool {
        match &self.once_more {
            None => false,
            Some(OnceMore::All) => true,
            Some(OnceMore::Codes(codes)) => codes.contains(code),
        }
    }

    /// Whether a job that failed with this code is followed by another, if `failed` have failed so far.
    pub(super) fn retries(&self, code: Option<&str>, failed: usize) -> bool {
        let Some(code) = code else { return false };
        let is_worth_it = self.also.contains(code) || GenerationFailureCode::from(code).is_retryable();
        is_worth_it && failed < usize::try_from(self.tries).unwrap_or(usize::MAX)
    }

    /// Whether what was rejected in this way is sent again unchanged: it was not about the request.
    pub(super) fn is_passing(kind: &str) -> bool {
        Self::is_of_the_account(kind) || matches!(kind, "unavailable" | "concurrency" | "rate_limited")
    }

    /// How long after so many tries such a request goes out again. `None`: not in this run.
    pub(super) fn delay(tries: u32) -> Option<Duration> {
        (tries < TRIES).then(|| Duration::from_secs(1 << tries))
    }

    /// Whether every request is rejected in this way until somebody does something about the account.
    pub(super) fn is_of_the_account(kind: &str) -> bool {
        matches!(kind, "unauthorized" | "insufficient_credits" | "forbidden" | "redirected")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_goes_out_four_times_with_longer_and_longer_pauses() {
        let delays = [1, 2, 3, 4, 5].map(|tries| Policy::delay(tries).map(|it| it.as_secs()));
        assert_eq!(delays, [Some(2), Some(4), Some(8), None, None]);
    }

    #[test]
    fn what_is_sent_once_more_is_named_by_its_code_or_is_everything() {
        let is = |policy: Policy, code| policy.is_once_more(code);
        assert!(!is(Policy::default(), "content_moderated"));
        assert!(is(Policy::default().once_more(None), "content_moderated"));
        let one = Policy::default().once_more(Some(HashSet::from(["generation_failed".to_owned()])));
        assert!(is(one.clone(), "generation_failed") && !is(one, "content_moderated"));
    }
}
