//! What went wrong with one attempt, and the one place that turns it into an error.

use super::{
    fault::AttemptError,
    response::{CompleteResponse, created_id},
    retry::{Author, Disposition, Outcome},
};
use crate::error::{
    Effect, Error, Exchange, Fault, NoResponse, OutcomeUnknown, RateLimited, Rejected, UnexpectedResponse,
    meaning_of_storage,
};

/// Why an attempt did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No complete response came.
    Attempt(AttemptError),
    /// A complete response whose status is not a success.
    Status(Box<CompleteResponse>),
    /// Something on this side, such as a file that cannot be read. It ends the call.
    Local(Error),
}

impl Failure {
    /// What it means for the classifier; `None` if it has nothing to do with the network.
    pub(super) fn outcome(&self, author: impl FnOnce(&CompleteResponse) -> Author) -> Option<Outcome> {
        match self {
            Self::Attempt(error) => Some(Outcome::Fault(error.fault)),
            Self::Status(response) => {
                let author = author(response);
                let status = match author {
                    Author::Storage => meaning_of_storage(response.status, response.error_code().as_deref()),
                    Author::Api | Author::Unknown => response.status,
                };
                Some(Outcome::Response { status, author })
            }
            Self::Local(_) => None,
        }
    }

    /// What broke, if no complete response came.
    pub(super) fn fault(&self) -> Option<Fault> {
        match self {
            Self::Attempt(error) => Some(error.fault),
            Self::Status(_) | Self::Local(_) => None,
        }
    }

    /// In a few words, for the log.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Attempt(error) => error.fault.to_string(),
            Self::Status(response) => response.status.to_string(),
            Self::Local(error) => error.to_string(),
        }
    }

    /// The one error mapper: what a call ends with. `excerpt` makes foreign text short and takes secrets out of it.
    pub(crate) fn into_error(
        self,
        exchange: Exchange,
        disposition: Disposition,
        retry_after: Option<std::time::Duration>,
        excerpt: impl Fn(&str) -> String,
    ) -> Error {
        match self {
            Self::Local(error) => error,
            Self::Attempt(AttemptError { fault, source, begin, .. }) => match disposition {
                Disposition::OutcomeUnknown => Error::OutcomeUnknown(Box::new(OutcomeUnknown {
                    generation_id: paid_id(&exchange, &begin),
                    exchange,
                    fault: Some(fault),
                    problem: None,
                    source,
                })),
                _ => Error::NoResponse(Box::new(NoResponse { exchange, fault, source })),
            },
            Self::Status(response) => {
                let detail = excerpt(&response.error_text());
                match disposition {
                    Disposition::RateLimited => Error::RateLimited(Box::new(RateLimited {
                        limit: response.limit(exchange.effect),
                        exchange,
                        retry_after,
                        rate_limit: response.rate_limit,
                        detail,
                    })),
                    Disposition::OutcomeUnknown => Error::OutcomeUnknown(Box::new(OutcomeUnknown {
                        generation_id: paid_id(&exchange, &response.body),
                        exchange,
                        fault: None,
                        problem: Some(detail).filter(|it| !it.is_empty()),
                        source: None,
                    })),
                    _ => Error::Rejected(Box::new(Rejected {
                        exchange,
                        status: response.status,
                        code: response.error_code().map(|code| excerpt(&code)),
                        detail,
                        retry_after,
                    })),
                }
            }
        }
    }
}

/// The error of a response that claims success and cannot be used.
pub(crate) fn unusable(exchange: Exchange, body: &[u8], problem: &str, excerpt: impl Fn(&str) -> String) -> Error {
    let problem = excerpt(problem);
    let excerpt = excerpt(&super::response::text(body));
    if exchange.effect == Effect::Idempotent {
        return Error::UnexpectedResponse(Box::new(UnexpectedResponse { exchange, problem, excerpt }));
    }
    // The service accepted the request as far as is known. With the id, nothing is lost.
    Error::OutcomeUnknown(Box::new(OutcomeUnknown {
        fault: None,
        generation_id: paid_id(&exchange, body),
        problem: Some(format!("{problem}: {excerpt}")),
        source: None,
        exchange,
    }))
}

/// The id of the job that a response is about. An error may have an id of its own, which is not that
/// of a job; a job has a state.
fn paid_id(exchange: &Exchange, body: &[u8]) -> Option<uuid::Uuid> {
    let is_error = exchange.status.is_some_and(|status| status.as_u16() >= 400);
    let is_about_a_job = !is_error || body.windows(7).any(|it| it == b"\"state\"");
    (exchange.effect == Effect::Pays && is_about_a_job).then(|| created_id(body)).flatten()
}

impl From<AttemptError> for Failure {
    fn from(error: AttemptError) -> Self {
        Self::Attempt(error)
    }
}
