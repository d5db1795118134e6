//! What each error says, for people and for programs.

use std::io;

use http::StatusCode;
use serde_json::json;

use super::*;

const ID: Uuid = Uuid::from_u128(7);
const OTHER: Uuid = Uuid::from_u128(8);

fn exchange() -> Exchange {
    let (request_id_sent, elapsed) = (Some("sent".to_owned()), Duration::from_millis(1250));
    Exchange { request_id_sent, attempts: 2, elapsed, ..Exchange::of("get_generation") }
}

fn source() -> Box<dyn std::error::Error + Send + Sync> {
    Box::new(io::Error::other("the cable is cut"))
}

fn no_response(fault: Fault) -> Error {
    Error::NoResponse(Box::new(NoResponse { exchange: exchange(), fault, source: Some(source()) }))
}

fn outcome_unknown(fault: Option<Fault>) -> Error {
    let exchange = exchange();
    Error::OutcomeUnknown(Box::new(OutcomeUnknown {
        exchange,
        fault,
        generation_id: None,
        problem: None,
        source: Some(source()),
    }))
}

fn rejected(status: StatusCode) -> Error {
    let (exchange, detail) = (Exchange { status: Some(status), ..exchange() }, "no".to_owned());
    let retry_after = Some(Duration::from_secs(3));
    Error::Rejected(Box::new(Rejected { exchange, status, code: None, detail, retry_after }))
}

fn rate_limited(limit: Limit, retry_after: Option<Duration>) -> Error {
    let detail = String::new();
    Error::RateLimited(Box::new(RateLimited { exchange: exchange(), limit, retry_after, rate_limit: None, detail }))
}

fn unexpected() -> Error {
    Error::unexpected(exchange(), "no id")
}

fn timeout(source: Option<Error>) -> Error {
    Error::WaitTimeout(Box::new(WaitTimeout {
        waited_for: "generation 7".to_owned(),
        generation_id: Some(ID),
        file_id: None,
        generation: None,
        file: None,
        elapsed: Duration::from_secs(5),
        polls: 1,
        source,
        known: Known::Exists,
    }))
}

fn file_failed() -> Error {
    let file = json!({
        "id": ID, "created_at": "2026-06-23T11:00:00Z", "mime_type": "image/png", "purpose": "input",
        "size_bytes": 3, "state": "failed", "failure_reason": "no picture.",
    });
    Error::FileFailed(Box::new(FileFailed { file: serde_json::from_value(file).expect("a file") }))
}

fn generation_failed() -> Error {
    let generation = json!({
        "id": ID, "type": "image", "state": "failed", "model": "uni-1", "created_at": "2026-04-08T12:00:00Z",
        "failure_code": "content_moderated", "failure_reason": "Not this.",
    });
    let generation = serde_json::from_value(generation).expect("a generation");
    Error::GenerationFailed(Box::new(GenerationFailed { generation }))
}

fn broken_disk() -> Error {
    Error::io("write", "a.png", io::Error::other("no space"))
}

/// One of each kind, without those of a wait.
fn all() -> Vec<Error> {
    vec![
        Error::invalid_input("no"),
        no_response(Fault::Timeout),
        outcome_unknown(Some(Fault::Timeout)),
        rejected(StatusCode::NOT_FOUND),
        rate_limited(Limit::Unknown, None),
        unexpected(),
        generation_failed(),
        file_failed(),
        broken_disk(),
    ]
}

#[test]
fn only_what_did_nothing_or_stands_on_the_service_may_be_called_again() {
    let again = [
        no_response(Fault::Connect),
        no_response(Fault::Timeout),
        rate_limited(Limit::Requests, None),
        timeout(None),
        rejected(StatusCode::SERVICE_UNAVAILABLE),
    ];
    for error in again {
        assert!(error.is_retryable(), "{error}");
        let paid = error.about_submitted(ID);
        assert!(!paid.is_retryable(), "the same call would pay for another job: {paid}");
    }
    let not = [
        no_response(Fault::TooLarge),
        rejected(StatusCode::BAD_REQUEST),
        outcome_unknown(Some(Fault::Interrupted)),
        unexpected(),
        generation_failed(),
        broken_disk(),
        Error::invalid_input("no"),
    ];
    for error in not {
        assert!(!error.is_retryable(), "{error}");
    }
}

#[test]
fn time_ran_out_in_waits_and_in_exchanges_that_say_so() {
    for error in [no_response(Fault::Timeout), outcome_unknown(Some(Fault::Timeout)), timeout(None)] {
        assert!(error.is_timeout(), "{error}");
    }
    let not = [no_response(Fault::Connect), outcome_unknown(Some(Fault::Protocol)), outcome_unknown(None)];
    for error in not.into_iter().chain([rejected(StatusCode::REQUEST_TIMEOUT), unexpected(), broken_disk()]) {
        assert!(!error.is_timeout(), "{error}");
    }
}

#[test]
fn the_cause_of_an_error_is_its_source() {
    let cause = |error: Error| std::error::Error::source(&error).map(ToString::to_string);
    assert_eq!(cause(no_response(Fault::Connect)).as_deref(), Some("the cable is cut"));
    assert_eq!(cause(outcome_unknown(None)).as_deref(), Some("the cable is cut"));
    assert_eq!(cause(broken_disk()).as_deref(), Some("no space"));
    assert_eq!(cause(timeout(Some(unexpected()))), Some(unexpected().to_string()));
    for error in [timeout(None), rejected(StatusCode::BAD_REQUEST), unexpected(), file_failed()] {
        assert_eq!(cause(error), None);
    }
}

#[test]
fn an_error_names_what_it_is_about() {
    for error in all() {
        let kind = format!("{error:#?}").split('(').next().unwrap_or_default().to_owned();
        let has_exchange = error.exchange().is_some();
        assert_eq!(has_exchange, !["InvalidInput", "GenerationFailed", "FileFailed", "Io"].contains(&kind.as_str()));
        let of_its_own = ["GenerationFailed", "FileFailed"].contains(&kind.as_str());
        let can_name = has_exchange || kind == "Io";
        let (known, file) = (error.generation_id(), error.file_id());
        assert_eq!((known.is_some() || file.is_some(), &kind), (of_its_own, &kind));
        let error = error.about_file(ID).about_generation(Some(OTHER));
        assert_eq!(error.file_id(), if can_name { Some(ID) } else { file }, "{kind}");
        assert_eq!(error.generation_id(), if can_name { Some(OTHER) } else { known }, "{kind}");
        let error = error.about_known(Known::Exists).about_known(Known::Nothing);
        assert_eq!(error.exchange().map(|it| it.known), has_exchange.then_some(Known::Exists), "{kind}");
    }
    assert_eq!(generation_failed().failure_code().map(GenerationFailureCode::as_str), Some("content_moderated"));
    assert_eq!(unexpected().failure_code(), None);
    assert_eq!(timeout(None).generation_id(), Some(ID));
}

#[test]
fn the_request_id_of_the_response_comes_before_the_one_that_was_sent() {
    let error = unexpected();
    assert_eq!((error.request_id(), error.status()), (Some("sent"), None));
    let exchange = Exchange { request_id_returned: Some("returned".to_owned()), ..exchange() };
    assert_eq!(Error::unexpected(exchange, "no id").request_id(), Some("returned"));
    assert_eq!(rejected(StatusCode::GONE).status(), Some(StatusCode::GONE));
    // A wait has those of its last poll.
    let waited = timeout(Some(rejected(StatusCode::GONE)));
    assert_eq!((waited.request_id(), waited.status()), (Some("sent"), Some(StatusCode::GONE)));
    assert_eq!(waited.retry_after(), Some(Duration::from_secs(3)));
    assert_eq!(timeout(None).retry_after(), None);
    assert_eq!(rate_limited(Limit::Requests, Some(Duration::from_secs(4))).retry_after(), Some(Duration::from_secs(4)));
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table of all errors")]
fn every_error_is_a_line_that_says_what_to_do() {
    let mut storage = Exchange { is_storage: true, status: Some(StatusCode::OK), ..exchange() };
    storage.attempts = 0;
    let generation = json!({
        "id": ID, "type": "image", "state": "queued", "model": "uni-1", "created_at": "2026-04-08T12:00:00Z",
    });
    let mut seen = timeout(Some(no_response(Fault::Protocol)));
    if let Error::WaitTimeout(it) = &mut seen {
        (it.generation, it.polls) = (serde_json::from_value(generation).ok(), 2);
    }
    let mut never = timeout(None);
    if let Error::WaitTimeout(it) = &mut never {
        it.polls = 0;
    }
    let (mut unreachable, mut moved) = (no_response(Fault::Connect), outcome_unknown(None));
    let mut no_page = rejected(StatusCode::NOT_FOUND);
    for (error, change) in [
        (&mut unreachable, Exchange { unreachable: Some("h:443".to_owned()), ..exchange() }),
        (&mut moved, Exchange { status: Some(StatusCode::FOUND), ..exchange() }),
        (&mut no_page, Exchange { operation: "create_generation", ..exchange() }),
    ] {
        *error.exchange_mut().expect("an exchange") = change;
    }
    let sent = "(request sent, 2 attempts, 1.2 s)";
    let exists = format!("the job exists: wait for {ID}");
    let unknown = "get_generation: outcome unknown";
    let ask = "it may have taken effect: ask support with the request id before repeating it";
    let lines = [
        (Error::invalid_input("too long"), "too long (nothing was sent)".to_owned()),
        (Error::invalid_input("two").about_download(Some(ID)), format!("two (generation {ID} exists)")),
        (
            no_response(Fault::Interrupted),
            format!(
                "get_generation: the connection broke before the response was complete: the cable is cut; nothing was \
                 changed, calling again is safe {sent}"
            ),
        ),
        (
            unreachable,
            format!(
                "get_generation: no connection could be made to h:443: the cable is cut; nothing was changed, calling \
                 again is safe {sent}"
            ),
        ),
        (
            moved,
            format!(
                "{unknown}: status 302 Found: check the base URL; redirects are not followed: the cable is cut; {ask} \
                 {sent}"
            ),
        ),
        (
            no_page,
            format!("create_generation rejected: 404 Not Found: no; check the base URL {sent}"),
        ),
        (
            no_response(Fault::TooLarge),
            format!(
                "get_generation: the response was larger than the client's limit: the cable is cut; raise the limit \
                 to take it {sent}"
            ),
        ),
        (
            outcome_unknown(Some(Fault::Timeout)),
            format!("{unknown}: no complete response came in time: the cable is cut; {ask} {sent}"),
        ),
        (outcome_unknown(None), format!("{unknown}: the response could not be used: the cable is cut; {ask} {sent}")),
        (
            unexpected(),
            format!("get_generation: unexpected response: no id; check the base URL, or update this crate {sent}"),
        ),
        (
            Error::unexpected(storage, "a page"),
            "get_generation: unexpected response (200 OK): a page; ask the service for a new URL, and if that does not \
             help, contact support (request sent, not sent, 1.2 s)"
                .to_owned(),
        ),
        (
            rejected(StatusCode::NOT_FOUND),
            format!(
                "get_generation rejected: 404 Not Found: no; check the id and that the key belongs to the same account \
                 {sent}"
            ),
        ),
        (
            rejected(StatusCode::NOT_FOUND).about_generation(Some(ID)).about_file(OTHER),
            format!(
                "get_generation rejected: 404 Not Found: no; check the id and that the key belongs to the same account \
                 (generation {ID}, file {OTHER}, request sent, 2 attempts, 1.2 s)"
            ),
        ),
        (
            rejected(StatusCode::UNAUTHORIZED).about_submitted(ID),
            format!("get_generation rejected: 401 Unauthorized: no; check the API key; {exists} {sent}"),
        ),
        (
            rejected(StatusCode::SERVICE_UNAVAILABLE).about_submitted(ID),
            format!("get_generation rejected: 503 Service Unavailable: no; {exists} {sent}"),
        ),
        (
            no_response(Fault::Connect).about_submitted(ID),
            format!("get_generation: no connection could be made: the cable is cut; {exists} {sent}"),
        ),
        (
            timeout(Some(no_response(Fault::Connect))).about_submitted(ID),
            format!(
                "generation 7 had no usable response in 5.0 s and 1 poll; its state is unknown: wait again with this id \
                 (last error: get_generation: no connection could be made: the cable is cut; {exists} {sent})"
            ),
        ),
        (
            rate_limited(Limit::Concurrency, None),
            format!("get_generation: {}; try again when one of your jobs has ended {sent}", Limit::Concurrency),
        ),
        (
            rate_limited(Limit::Concurrency, Some(Duration::from_millis(1500))),
            format!(
                "get_generation: {}; try again in 1.5 s, or when one of your jobs has ended {sent}",
                Limit::Concurrency
            ),
        ),
        (
            rate_limited(Limit::Requests, Some(Duration::from_millis(1500))),
            format!("get_generation: {}; try again in 1.5 s {sent}", Limit::Requests),
        ),
        (
            rate_limited(Limit::Requests, None),
            format!("get_generation: {}; try again later {sent}", Limit::Requests),
        ),
        (
            generation_failed(),
            format!("generation {ID} failed: content_moderated: Not this; {}", {
                GenerationFailureCode::ContentModerated.advice()
            }),
        ),
        (file_failed(), format!("file {ID} is failed: no picture; upload another one")),
        (
            broken_disk().about_generation(Some(ID)),
            format!("cannot write a.png: no space; generation {ID} is finished and can be downloaded again"),
        ),
        (
            timeout(None),
            "generation 7 had no usable response in 5.0 s and 1 poll; its state is unknown: wait again with this id"
                .to_owned(),
        ),
        (
            never,
            "generation 7 was never polled in 5.0 s; its state is unknown: wait again with this id".to_owned(),
        ),
        (
            seen,
            format!(
                "generation 7 was still queued after 5.0 s and 2 polls; it goes on: wait again with this id (last \
                 error: get_generation: the response was not valid HTTP: the cable is cut; nothing was changed, \
                 calling again is safe {sent})"
            ),
        ),
    ];
    for (error, line) in lines {
        assert_eq!(error.to_string(), line);
    }
}

#[test]
fn the_debug_form_is_the_line_and_the_long_one_has_all_that_is_known() {
    for error in all() {
        assert_eq!(format!("{error:?}"), error.to_string());
    }
    let text = format!("{:#?}", timeout(Some(unexpected())));
    for part in ["waited_for: \"generation 7\"", "polls: 1", "known: Exists", "no id"] {
        assert!(text.contains(part), "{text}");
    }
    let failed = [generation_failed(), file_failed()].map(|it| format!("{it:#?}"));
    for (text, part) in failed.iter().zip(["Not this.", "no picture."]) {
        assert_eq!(text.matches(part).count(), 1, "{text}");
        assert_eq!(text.matches(&ID.to_string()).count(), 1, "{text}");
    }
}

#[test]
fn each_status_has_its_kind_of_rejection() {
    use RejectionKind as Kind;
    let kinds = [
        (302, Kind::Redirected, Kind::Redirected),
        (400, Kind::InvalidRequest, Kind::InvalidRequest),
        (401, Kind::Unauthorized, Kind::Expired),
        (402, Kind::InsufficientCredits, Kind::InsufficientCredits),
        (403, Kind::Forbidden, Kind::Expired),
        (404, Kind::NotFound, Kind::NotFound),
        (408, Kind::Unavailable, Kind::Unavailable),
        (410, Kind::NotFound, Kind::NotFound),
        (413, Kind::TooLarge, Kind::TooLarge),
        (418, Kind::InvalidRequest, Kind::InvalidRequest),
        (422, Kind::UnusableMedia, Kind::UnusableMedia),
        (429, Kind::Unavailable, Kind::Unavailable),
        (500, Kind::Unavailable, Kind::Unavailable),
    ];
    for (status, of_the_api, of_storage) in kinds {
        let status = StatusCode::from_u16(status).expect("a status");
        for (is_storage, kind) in [(false, of_the_api), (true, of_storage)] {
            let exchange = Exchange { is_storage, ..exchange() };
            let (detail, retry_after) = (String::new(), None);
            let rejected = Rejected { exchange, status, code: None, detail, retry_after };
            assert_eq!(rejected.kind(), kind, "{status}");
            let line = rejected.to_string();
            assert!(line.starts_with(&format!("get_generation rejected: {status}; ")), "{line}");
            assert!(line.ends_with(" (request sent, 2 attempts, 1.2 s)"), "{line}");
            let asks_for_a_url = line.contains("ask the service for a new");
            assert_eq!(asks_for_a_url, is_storage && ![408, 413, 429, 500].contains(&status.as_u16()), "{line}");
        }
    }
}

#[test]
fn storage_puts_its_reason_into_the_code_of_a_bad_request() {
    let bad = StatusCode::BAD_REQUEST;
    for (code, meaning) in [
        (Some("IncompleteBody"), StatusCode::REQUEST_TIMEOUT),
        (Some("RequestExpired"), StatusCode::FORBIDDEN),
        (Some("SlowDown"), StatusCode::SERVICE_UNAVAILABLE),
        (Some("InvalidArgument"), bad),
        (None, bad),
    ] {
        assert_eq!(meaning_of_storage(bad, code), meaning, "{code:?}");
        assert_eq!(meaning_of_storage(StatusCode::CONFLICT, code), StatusCode::CONFLICT, "{code:?}");
    }
}
