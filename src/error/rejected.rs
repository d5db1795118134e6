//! The service or its storage rejected a request: why, and when to try again.

use std::{fmt, time::Duration};

use http::StatusCode;

use super::exchange::Exchange;
use crate::rate_limit::{Limit, RateLimit};

/// The service, or its storage, rejected the request.
#[derive(Debug)]
#[non_exhaustive]
pub struct Rejected {
    /// How the exchange went.
    pub exchange: Exchange,
    /// The status of the response.
    pub status: StatusCode,
    /// The reason of storage for programs, such as `ExpiredToken`. The API has none.
    pub code: Option<String>,
    /// The reason for people: its wording changes, never match on it.
    pub detail: String,
    /// How long the service asks to wait, if it does.
    pub retry_after: Option<Duration>,
}

impl Rejected {
    /// What kind of rejection this is, by its status and, from storage, its code.
    #[must_use]
    pub fn kind(&self) -> RejectionKind {
        let status =
            if self.exchange.is_storage { meaning_of_storage(self.status, self.code.as_deref()) } else { self.status };
        match status.as_u16() {
            401 | 403 if self.exchange.is_storage => RejectionKind::Expired,
            300..=399 => RejectionKind::Redirected,
            401 => RejectionKind::Unauthorized,
            402 => RejectionKind::InsufficientCredits,
            403 => RejectionKind::Forbidden,
            404 | 410 => RejectionKind::NotFound,
            413 => RejectionKind::TooLarge,
            422 => RejectionKind::UnusableMedia,
            408 | 429 | 499 | 500.. => RejectionKind::Unavailable,
            _ => RejectionKind::InvalidRequest,
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rejected: {}", self.exchange.operation, self.status)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        let advice = match (self.kind(), self.status) {
            (_, StatusCode::RANGE_NOT_SATISFIABLE) => "the object ends before this range",
            (kind, _) if self.exchange.is_storage => kind.advice_for_storage(),
            (_, StatusCode::PROXY_AUTHENTICATION_REQUIRED) => "give the proxy its user and password",
            (RejectionKind::NotFound, _) if !self.exchange.has_id() => "check the base URL",
            (kind, _) => kind.advice(),
        };
        // The same call would submit another job.
        if self.kind() != RejectionKind::Unavailable || self.exchange.submitted().is_none() {
            write!(f, "; {advice}")?;
        }
        self.exchange.trailer(f)
    }
}

/// The kinds of rejection: what to do depends on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectionKind {
    /// 400 and other 4xx: the parameters are wrong or contradict each other. Change the request.
    InvalidRequest,
    /// 401: the key is missing, wrong, revoked or expired. Check `LUMA_AGENTS_API_KEY`.
    Unauthorized,
    /// 402: no credits. Top up, then call again; nothing was queued or charged.
    InsufficientCredits,
    /// 403: the account is suspended or deactivated. Contact support.
    Forbidden,
    /// Storage: a signed URL has expired. Get the generation again for a new one.
    Expired,
    /// 404: there is no such thing, or it belongs to another account.
    NotFound,
    /// 413: a medium is too large. Shrink it (50 MB for an image).
    TooLarge,
    /// 422: a medium cannot be fetched or decoded, or parameters do not go together.
    UnusableMedia,
    /// 408, 499, 5xx, or storage asks to slow down: nothing was created. Call again later.
    Unavailable,
    /// 3xx: the base URL leads elsewhere. Redirects are not followed, so that neither the key nor
    /// a paid request ends up on another host.
    Redirected,
}

impl RejectionKind {
    fn advice(self) -> &'static str {
        match self {
            Self::InvalidRequest => "change the request",
            Self::Unauthorized => "check the API key",
            Self::InsufficientCredits => "add credits, then call again",
            Self::Forbidden => "contact support about the account",
            Self::Expired => "the signed URL has expired: ask the service for a new one",
            Self::NotFound => "check the id and that the key belongs to the same account",
            Self::TooLarge => "shrink the media",
            Self::UnusableMedia => "replace the media or change the parameters",
            Self::Unavailable => "call again in some seconds",
            Self::Redirected => "check the base URL; redirects are not followed",
        }
    }
}

/// What to do with a signed URL that storage does not accept.
impl RejectionKind {
    fn advice_for_storage(self) -> &'static str {
        match self {
            Self::NotFound => "the object is gone, or the URL has expired: ask the service for a new one",
            Self::Redirected => "it redirects to where a signed URL must not go: ask the service for a new one",
            Self::InvalidRequest | Self::InsufficientCredits | Self::UnusableMedia => "ask the service for a new URL",
            other => other.advice(),
        }
    }
}

/// The status that says what storage means. S3 answers some conditions with 400 and puts the reason
/// in `<Code>` (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>).
pub(crate) fn meaning_of_storage(status: StatusCode, code: Option<&str>) -> StatusCode {
    if status != StatusCode::BAD_REQUEST {
        return status;
    }
    match code {
        Some("RequestTimeout" | "IncompleteBody") => StatusCode::REQUEST_TIMEOUT,
        Some("ExpiredToken" | "ExpiredTokenException" | "InvalidToken" | "RequestExpired" | "TokenRefreshRequired") => {
            StatusCode::FORBIDDEN
        }
        Some(
            "InternalError"
            | "OperationAborted"
            | "ServerBusy"
            | "ServiceUnavailable"
            | "SlowDown"
            | "Throttling"
            | "ThrottlingException"
            | "TooManyRequests",
        ) => StatusCode::SERVICE_UNAVAILABLE,
        _ => status,
    }
}

/// A limit of the account was reached.
#[derive(Debug)]
#[non_exhaustive]
pub struct RateLimited {
    /// How the exchange went. Its attempts are 0 if the client knew of the limit from an earlier
    /// response and sent nothing.
    pub exchange: Exchange,
    /// Which limit.
    pub limit: Limit,
    /// When to try again, counted from now, if the service says so.
    pub retry_after: Option<Duration>,
    /// The numbers of the limit on requests, if the service sent them.
    pub rate_limit: Option<RateLimit>,
    /// The reason for people.
    pub detail: String,
}

impl fmt::Display for RateLimited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.exchange.operation, self.limit)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        match (self.retry_after, self.limit) {
            (Some(after), Limit::Concurrency) => {
                write!(f, "; try again in {:.1} s, or when one of your jobs has ended", after.as_secs_f64())?;
            }
            (Some(after), _) => write!(f, "; try again in {:.1} s", after.as_secs_f64())?,
            (None, Limit::Concurrency) => f.write_str("; try again when one of your jobs has ended")?,
            (None, _) => f.write_str("; try again later")?,
        }
        self.exchange.trailer(f)
    }
}
