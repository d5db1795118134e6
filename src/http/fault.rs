//! An attempt without a complete response: what broke, as far as the HTTP library says.

use std::fmt;

use bytes::Bytes;
use http::StatusCode;

use crate::error::Fault;

/// An attempt without a complete response.
#[derive(Debug)]
pub(crate) struct AttemptError {
    pub(crate) fault: Fault,
    /// Known when the headers came and the body did not.
    pub(crate) status: Option<StatusCode>,
    /// What came of the body.
    pub(crate) begin: Bytes,
    pub(crate) source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl AttemptError {
    pub(crate) fn new(fault: Fault) -> Self {
        Self { fault, status: None, begin: Bytes::new(), source: None }
    }
}

impl From<reqwest::Error> for AttemptError {
    fn from(error: reqwest::Error) -> Self {
        let fault = if error.is_connect() {
            Fault::Connect
        } else if error.is_timeout() {
            Fault::Timeout
        } else if is_not_processed(&error) {
            Fault::NotProcessed
        } else if is_protocol(&error) {
            Fault::Protocol
        } else {
            Fault::Interrupted
        };
        let source: Box<dyn std::error::Error + Send + Sync> = match go_away(&error) {
            Some(reason) => Box::new(GoAway(reason)),
            None => Box::new(error.without_url()),
        };
        Self { source: Some(source), ..Self::new(fault) }
    }
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(error), |error| error.source())
}

/// Stands in for an error of h2 that shows whatever text the server has put into its GOAWAY.
#[derive(Debug)]
struct GoAway(h2::Reason);

impl fmt::Display for GoAway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server ended the connection: {}", self.0.description())
    }
}

impl std::error::Error for GoAway {}

fn go_away(error: &reqwest::Error) -> Option<h2::Reason> {
    let of_h2 = causes(error).find_map(|cause| cause.downcast_ref::<h2::Error>())?;
    of_h2.reason().filter(|_| of_h2.is_go_away() && of_h2.is_remote())
}

/// Whether the server says that it did nothing with the request: a stream that it refused
/// (RFC 9113, 8.7), or one above the last that a GOAWAY names (RFC 9113, 6.8). h2 ends only those
/// streams with the GOAWAY of the peer.
fn is_not_processed(error: &reqwest::Error) -> bool {
    causes(error).filter_map(|cause| cause.downcast_ref::<h2::Error>()).any(|error| {
        let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        error.is_remote() && (refused || error.is_go_away())
    })
}

/// Whether the peer does not speak HTTP: hyper says so only in words.
fn is_protocol(error: &reqwest::Error) -> bool {
    causes(error).map(ToString::to_string).any(|text| text.ends_with(" parsed") || text == "message head is too large")
}
