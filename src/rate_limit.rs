//! Limits of the account: the `X-RateLimit-*` numbers, and the kinds of limits.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderName};

static LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
static REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
static RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The limit on submitted generations per minute, as the service last sent it (`X-RateLimit-*`).
///
/// The numbers are the account's, shared by all its programs, and may count weight instead of
/// requests: three units for one costly job have been seen. Do not compute capacity from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimit {
    /// Units allowed in a sliding window of 60 seconds.
    pub limit: u64,
    /// Units left in the window.
    pub remaining: u64,
    /// When the window has moved on.
    pub reset: Option<SystemTime>,
}

impl RateLimit {
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let number = |name: &HeaderName| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
        Some(Self {
            limit: number(&LIMIT)?,
            remaining: number(&REMAINING)?,
            reset: number(&RESET).and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))),
        })
    }

    /// How far apart requests have to be so that the limit is kept.
    pub(crate) fn spacing(&self) -> Duration {
        Duration::from_secs(60) / u32::try_from(self.limit.clamp(1, 600)).unwrap_or(600)
    }
}

/// The limits that a 429 may be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// Requests per minute.
    Requests,
    /// Jobs (or their weight) at the same time: it frees when a job ends.
    Concurrency,
    /// The response does not say.
    Unknown,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requests => "too many requests per minute",
            Self::Concurrency => "too many concurrent jobs",
            Self::Unknown => "rate limited",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_says_what_there_was_too_much_of() {
        let texts = [Limit::Requests, Limit::Concurrency, Limit::Unknown].map(|limit| limit.to_string());
        assert_eq!(texts, ["too many requests per minute", "too many concurrent jobs", "rate limited"]);
    }

    #[test]
    fn headers_are_read_or_left() {
        let mut headers = HeaderMap::new();
        assert_eq!(RateLimit::from_headers(&headers), None);
        headers.insert("x-ratelimit-limit", "30".parse().expect("a value"));
        headers.insert("x-ratelimit-remaining", "28".parse().expect("a value"));
        headers.insert("x-ratelimit-reset", "1712592060".parse().expect("a value"));
        let read = RateLimit::from_headers(&headers).expect("a limit");
        assert_eq!((read.limit, read.remaining), (30, 28));
        assert_eq!(read.reset, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_712_592_060)));
        assert_eq!(read.spacing(), Duration::from_secs(2));
        headers.insert("x-ratelimit-limit", "many".parse().expect("a value"));
        assert_eq!(RateLimit::from_headers(&headers), None);
    }
}
