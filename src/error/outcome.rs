//! What became of a paid request, for programs that keep a record of what they pay for.

use uuid::Uuid;

use super::{Effect, Error, Exchange, Known};

/// What became of a paid request that ended in an error. From [`Error::outcome`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a caller that keeps a record needs each case, and there is no fifth")]
pub enum Outcome {
    /// The request was certainly not sent: there is no job.
    NotSent,
    /// The service rejected the request: there is no job, and nothing is charged.
    Rejected,
    /// There is a job, with this id.
    Accepted(Uuid),
    /// The error does not say: a job may exist. Ask support with the request id before submitting again.
    Unknown,
}

impl Error {
    /// What became of the paid request, if this is the error of [`create`](crate::Generations::create),
    /// of the wait for its job, or of the download of that generation.
    ///
    /// An error that proves nothing gives [`Outcome::Unknown`]. So does an error of a call that does not submit a job,
    /// unless it shows that one exists. [`InvalidInput`](Error::InvalidInput) proves only that the call with this input
    /// has sent nothing.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        // What the error proves about the submission, if its call made one.
        let of = |exchange: &Exchange, proof| match exchange.generation_id {
            Some(id) if exchange.known >= Known::Exists => Outcome::Accepted(id),
            _ if exchange.effect == Effect::Pays => proof,
            _ => Outcome::Unknown,
        };
        match self {
            Self::InvalidInput(e) => e.generation_id.map_or(Outcome::NotSent, Outcome::Accepted),
            Self::NoResponse(e) => of(&e.exchange, Outcome::NotSent),
            Self::OutcomeUnknown(e) => e.generation_id.map_or(Outcome::Unknown, Outcome::Accepted),
            Self::Rejected(e) => of(&e.exchange, Outcome::Rejected),
            Self::RateLimited(e) if e.exchange.attempts == 0 => of(&e.exchange, Outcome::NotSent),
            Self::RateLimited(e) => of(&e.exchange, Outcome::Rejected),
            Self::UnexpectedResponse(e) => of(&e.exchange, Outcome::Unknown),
            Self::GenerationFailed(e) => Outcome::Accepted(e.generation.id),
            Self::WaitTimeout(e) => match e.generation_id {
                Some(id) if e.known >= Known::Exists => Outcome::Accepted(id),
                _ => Outcome::Unknown,
            },
            Self::Io(e) if e.is_unsent => Outcome::NotSent,
            Self::Io(e) => e.generation_id.map_or(Outcome::Unknown, Outcome::Accepted),
            Self::FileFailed(_) => Outcome::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, time::Duration};

    use http::StatusCode;

    use super::*;
    use crate::{
        error::{
            Fault, FileFailed, GenerationFailed, IoError, NoResponse, OutcomeUnknown, RateLimited, Rejected,
            UnexpectedResponse, WaitTimeout,
        },
        rate_limit::Limit,
        types::{File, Generation},
    };

    const ID: Uuid = Uuid::from_u128(7);

    fn exchange(attempts: u32, is_known: bool) -> Exchange {
        let known = if is_known { Known::Exists } else { Known::Nothing };
        let (generation_id, effect) = (is_known.then_some(ID), Effect::Pays);
        Exchange { attempts, generation_id, known, effect, ..Exchange::of("create_generation") }
    }

    /// The same error of a call that does not submit anything, about a job that no response has shown.
    fn of_a_read(mut error: Error) -> Error {
        let exchange = error.exchange_mut().expect("an exchange");
        (exchange.effect, exchange.generation_id) = (Effect::Idempotent, Some(ID));
        error
    }

    fn no_response(known: bool) -> Error {
        let fault = Fault::Connect;
        Error::NoResponse(Box::new(NoResponse { exchange: exchange(1, known), fault, source: None }))
    }

    fn unknown(generation_id: Option<Uuid>) -> Error {
        let (exchange, fault, problem) = (exchange(1, false), Some(Fault::Timeout), None);
        Error::OutcomeUnknown(Box::new(OutcomeUnknown { exchange, fault, generation_id, problem, source: None }))
    }

    fn rejected(known: bool) -> Error {
        let (status, detail) = (StatusCode::UNAUTHORIZED, String::new());
        let exchange = exchange(1, known);
        Error::Rejected(Box::new(Rejected { exchange, status, code: None, detail, retry_after: None }))
    }

    fn limited(attempts: u32, known: bool) -> Error {
        Error::RateLimited(Box::new(RateLimited {
            exchange: exchange(attempts, known),
            limit: Limit::Concurrency,
            retry_after: None,
            rate_limit: None,
            detail: String::new(),
        }))
    }

    fn unexpected(known: bool) -> Error {
        let (problem, excerpt) = (String::new(), String::new());
        Error::UnexpectedResponse(Box::new(UnexpectedResponse { exchange: exchange(1, known), problem, excerpt }))
    }

    fn timeout(known: Known) -> Error {
        Error::WaitTimeout(Box::new(WaitTimeout {
            waited_for: String::new(),
            generation_id: Some(ID),
            file_id: None,
            generation: None,
            file: None,
            elapsed: Duration::ZERO,
            polls: 0,
            source: None,
            known,
        }))
    }

    fn generation_failed() -> Error {
        let generation = serde_json::json!({
            "id": ID, "type": "image", "state": "failed", "model": "uni-1", "created_at": "2026-04-08T12:00:00Z",
        });
        let generation: Generation = serde_json::from_value(generation).expect("a generation");
        Error::GenerationFailed(Box::new(GenerationFailed { generation }))
    }

    fn file_failed() -> Error {
        let file = serde_json::json!({
            "id": ID, "created_at": "2026-06-23T11:00:00Z", "mime_type": "image/png", "purpose": "input",
            "size_bytes": 3, "state": "failed",
        });
        let file: File = serde_json::from_value(file).expect("a file");
        Error::FileFailed(Box::new(FileFailed { file }))
    }

    fn io(generation_id: Option<Uuid>) -> Error {
        let source = std::io::ErrorKind::NotFound.into();
        Error::Io(Box::new(IoError {
            action: "write",
            path: PathBuf::new(),
            generation_id,
            file_id: None,
            source,
            is_unsent: false,
        }))
    }

    /// The place of a variant in the enum. A new variant does not compile until it has one.
    fn place(error: &Error) -> usize {
        match error {
            Error::InvalidInput(_) => 0,
            Error::NoResponse(_) => 1,
            Error::OutcomeUnknown(_) => 2,
            Error::Rejected(_) => 3,
            Error::RateLimited(_) => 4,
            Error::UnexpectedResponse(_) => 5,
            Error::GenerationFailed(_) => 6,
            Error::FileFailed(_) => 7,
            Error::WaitTimeout(_) => 8,
            Error::Io(_) => 9,
        }
    }

    #[test]
    fn every_error_says_what_became_of_the_paid_request() {
        let accepted = Outcome::Accepted(ID);
        let cases = [
            (Error::invalid_input("no"), Outcome::NotSent),
            (Error::invalid_input("no").about_download(Some(ID)), accepted),
            (Error::invalid_input("no").about_generation(Some(ID)), Outcome::NotSent),
            (Error::invalid_input("no").about_submitted(ID), accepted),
            (no_response(false), Outcome::NotSent),
            (no_response(true), accepted),
            (of_a_read(no_response(false)), Outcome::Unknown),
            (unknown(None), Outcome::Unknown),
            (unknown(Some(ID)), accepted),
            (rejected(false), Outcome::Rejected),
            (rejected(true), accepted),
            (of_a_read(rejected(false)), Outcome::Unknown),
            (of_a_read(rejected(false)).about_submitted(ID), accepted),
            (limited(0, false), Outcome::NotSent),
            (limited(1, false), Outcome::Rejected),
            (limited(0, true), accepted),
            (of_a_read(limited(0, false)), Outcome::Unknown),
            (of_a_read(limited(1, false)), Outcome::Unknown),
            (unexpected(false), Outcome::Unknown),
            (unexpected(true), accepted),
            (generation_failed(), accepted),
            (file_failed(), Outcome::Unknown),
            (timeout(Known::Nothing), Outcome::Unknown),
            (timeout(Known::Exists), accepted),
            (io(None), Outcome::Unknown),
            (io(Some(ID)), accepted),
            (io(None).before_sending(), Outcome::NotSent),
        ];
        for (error, expected) in &cases {
            assert_eq!(error.outcome(), *expected, "{error}");
        }
        let mut places: Vec<_> = cases.iter().map(|(error, _)| place(error)).collect();
        places.dedup();
        assert_eq!(places, (0..10).collect::<Vec<_>>(), "every variant has a case");
    }
}
