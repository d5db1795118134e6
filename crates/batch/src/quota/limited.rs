//! A 429 as the quota sees it.

use std::time::Duration;

use luma_agents::{
    RateLimit,
    error::{Limit, RateLimited},
};

/// The numbers of the limit on requests, as far as a quota can use them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Units {
    pub(super) limit: u32,
    pub(super) remaining: u32,
}

impl From<RateLimit> for Units {
    fn from(it: RateLimit) -> Self {
        let number = |it: u64| u32::try_from(it).unwrap_or(u32::MAX);
        Self { limit: number(it.limit), remaining: number(it.remaining) }
    }
}

/// A 429 to a submitted job: which limit, and what came with it.
#[derive(Clone, Debug)]
pub struct Limited {
    /// The limit.
    pub limit: Limit,
    /// How long the service asks to wait.
    pub retry_after: Option<Duration>,
    /// The reason in words. Numbers in it help; nothing depends on it.
    pub detail: String,
    pub(super) units: Option<Units>,
}

impl Limited {
    /// A 429 about this limit that says nothing else.
    #[must_use]
    pub fn by(limit: Limit) -> Self {
        Self { limit, retry_after: None, detail: String::new(), units: None }
    }

    /// Sets how long the service asks to wait.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// Sets the reason in words.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }
}

impl From<&RateLimited> for Limited {
    fn from(error: &RateLimited) -> Self {
        Self {
            limit: error.limit,
            retry_after: error.retry_after,
            detail: error.detail.clone(),
            units: error.rate_limit.map(Units::from),
        }
    }
}
