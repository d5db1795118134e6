//! Whatever a response looks like, its call loses no job and claims nothing that was not sent.

use std::sync::{Arc, Mutex};

use luma_agents::{
    Client, Error, Retry,
    types::{CreateGeneration, FilePage, Generation, GenerationState},
};
use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::{any_json, layered, places};
use crate::support::{
    fast_builder,
    fault_server::{Action, FaultServer, Then, response_bytes},
    valid,
};

/// A client, and a server that sends what it is given.
#[derive(Clone)]
struct Judge {
    runtime: Arc<Runtime>,
    luma: Client,
    next: Arc<Mutex<Action>>,
    http: reqwest::Client,
    server: Arc<FaultServer>,
}

fn client(server: &FaultServer, http: &reqwest::Client) -> Client {
    // Time is not what is judged.
    let limit = std::time::Duration::from_secs(20);
    let builder = fast_builder(server.url()).http_client(http.clone()).retry(Retry::none());
    builder.timeout(limit).submit_timeout(limit).build().unwrap()
}

impl Judge {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let next = Arc::new(Mutex::new(Action::send("")));
        let script = Arc::clone(&next);
        let server = runtime.block_on(FaultServer::start(move |_| script.lock().unwrap().clone())).unwrap();
        // A POST has a connection of its own: what a case leaves behind does not meet the next.
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
        let luma = client(&server, &http);
        Self { runtime: Arc::new(runtime), luma, next, http, server: Arc::new(server) }
    }

    /// A client that no limit of an earlier case holds back.
    fn forgetful(&self) -> Self {
        Self { luma: client(&self.server, &self.http), ..self.clone() }
    }

    fn sends(&self, action: Action) {
        *self.next.lock().unwrap() = action;
    }

    fn create(&self, action: Action) -> Result<Generation, Error> {
        self.sends(action);
        self.runtime.block_on(async {
            self.luma.generations().create(CreateGeneration::builder().prompt("a lighthouse")).await
        })
    }

    fn get(&self, action: Action) -> Result<Generation, Error> {
        self.sends(action);
        self.runtime.block_on(async { self.luma.generations().get(valid::ID).await })
    }

    fn page(&self, action: Action) -> Result<FilePage, Error> {
        self.sends(action);
        self.runtime.block_on(async { self.luma.files().list().page().await })
    }
}

/// The outcome of a submission whose response was `body`: the id, if the caller has it.
fn id_of(outcome: &Result<Generation, Error>) -> Result<Option<Uuid>, TestCaseError> {
    match outcome {
        Ok(generation) => Ok(Some(generation.id)),
        Err(error @ Error::OutcomeUnknown(_)) => Ok(error.generation_id()),
        Err(error) => Err(TestCaseError::fail(format!("a paid job is denied: {error}"))),
    }
}

/// Two outputs, so that one of them is good when the other is not.
fn two_outputs() -> Value {
    let mut generation = layered();
    let good = generation["output"][0].clone();
    generation["output"].as_array_mut().unwrap().push(good);
    generation
}

/// Where the id is in a body, with its key.
fn id_range(body: &str) -> std::ops::Range<usize> {
    let text = format!("\"id\":\"{}\"", valid::ID);
    let start = body.find(&text).unwrap();
    start..start + text.len()
}

fn one_of(value: &Value, place: Index, allowed: impl Fn(&str) -> bool) -> String {
    let mut found = Vec::new();
    places(value, "", &mut found);
    found.retain(|it| allowed(it));
    found[place.index(found.len())].clone()
}

fn ok(body: impl AsRef<[u8]>) -> Action {
    let length = body.as_ref().len().to_string();
    let headers = [("content-type", "application/json"), ("content-length", length.as_str())];
    Action { then: Then::Stay, ..Action::send(response_bytes(201, headers, body)) }
}

/// The same bytes, cut into chunks of these sizes.
fn chunked(body: &[u8], sizes: &[u8]) -> Vec<u8> {
    let mut rest = body;
    let mut coded = Vec::new();
    for size in sizes.iter().cycle() {
        let (chunk, others) = rest.split_at(usize::from(*size).min(rest.len()));
        rest = others;
        if !chunk.is_empty() {
            coded.extend([format!("{:x};x=y\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
        }
        if rest.is_empty() {
            break;
        }
    }
    coded.extend(b"0\r\n\r\n");
    coded
}

#[test]
fn any_value_in_an_optional_field_of_a_generation_costs_at_most_that_field() {
    let judge = Judge::new();
    proptest!(|(place in any::<Index>(), value in any_json())| {
        let mut body = two_outputs();
        let place = one_of(&body, place, |it| !matches!(it, "" | "/id" | "/state"));
        *body.pointer_mut(&place).unwrap() = value;
        let created = judge.create(ok(body.to_string()));
        let created = created.map_err(|e| TestCaseError::fail(format!("{place}: {e}")))?;
        prop_assert_eq!((created.id, &created.state), (valid::ID, &GenerationState::Completed));
        let good = created.outputs().iter().filter(|it| it.url.as_str() == valid::signed_url()).count();
        prop_assert!(good > 0 || place == "/output", "{}: {:?}", place, created.output);
        match judge.get(ok(body.to_string())) {
            Ok(generation) => prop_assert_eq!(generation.id, valid::ID),
            Err(Error::UnexpectedResponse(_)) => prop_assert!(place == "/output"),
            Err(error) => prop_assert!(false, "{}", error),
        }
    });
}

#[test]
fn any_value_in_one_file_of_a_page_hides_no_other_file() {
    let judge = Judge::new();
    proptest!(|(place in any::<Index>(), value in any_json())| {
        let mut body = json!({ "data": [valid::file(), valid::file(), valid::file()], "has_more": true, "next_cursor": "c" });
        let place = one_of(&body, place, |it| !it.is_empty() && it != "/data");
        *body.pointer_mut(&place).unwrap() = value;
        let page = judge.page(ok(body.to_string())).map_err(|e| TestCaseError::fail(format!("{place}: {e}")))?;
        prop_assert!((2..=3).contains(&page.data.len()), "{}: {:?}", place, page.data);
    });
}

#[test]
fn any_byte_of_the_response_to_a_submission_may_be_another() {
    let judge = Judge::new();
    let body = valid::generation(valid::ID, "queued").to_string();
    proptest!(|(at in 0..body.len(), byte in any::<u8>())| {
        let mut flipped = body.clone().into_bytes();
        flipped[at] = byte;
        let outcome = judge.create(ok(&flipped));
        let id = id_of(&outcome)?;
        prop_assert!(id == Some(valid::ID) || id_range(&body).contains(&at), "{:?}: {:?}", id, outcome);
        if let Ok(generation) = outcome {
            prop_assert!(!generation.state.is_terminal());
        }
        match judge.get(ok(&flipped)) {
            Ok(generation) => prop_assert_eq!(generation.id, valid::ID),
            Err(error) => prop_assert!(matches!(error, Error::UnexpectedResponse(_)), "{}", error),
        }
    });
}

#[test]
fn the_response_to_a_submission_may_end_anywhere() {
    let judge = Judge::new();
    let body = valid::generation(valid::ID, "queued").to_string();
    proptest!(|(at in 0..body.len(), announced in any::<bool>())| {
        let length = body.len().to_string();
        let length = [("content-length", length.as_str())];
        let headers = if announced { &length[..] } else { &[] };
        let outcome = judge.create(Action::send(response_bytes(201, headers.iter().copied(), &body[..at])));
        prop_assert!(outcome.is_err());
        let id = id_of(&outcome)?;
        // The closing quote is not needed.
        prop_assert_eq!(id.is_some(), at + 1 >= id_range(&body).end, "{:?}", outcome);
    });
}

#[test]
fn a_body_may_come_in_any_pieces() {
    let judge = Judge::new();
    let body = two_outputs().to_string();
    let whole = judge.get(ok(&body)).unwrap();
    proptest!(|(sizes in vec(1..=u8::MAX, 1..8), piece in 1..400_usize, framed in any::<bool>())| {
        let action = if framed {
            Action::send(response_bytes(200, [("transfer-encoding", "chunked")], chunked(body.as_bytes(), &sizes)))
        } else {
            ok(&body)
        };
        let action = action.in_pieces(piece, std::time::Duration::ZERO);
        let read = judge.get(action).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(serde_json::to_value(read).unwrap(), serde_json::to_value(&whole).unwrap());
    });
}

#[test]
fn any_status_headers_and_text_are_an_error_or_a_result() {
    let judge = Judge::new();
    let value = "[ -~]{0,40}";
    proptest!(|(
        status in 200..=599_u16,
        headers in vec(
            (proptest::sample::select(vec![
                "retry-after", "retry-after-ms", "date", "location", "x-request-id", "x-api-version", "content-encoding",
                "content-type", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset",
            ]), value),
            0..5,
        ),
        body in vec(any::<u8>(), 0..200),
    )| {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let outcome = judge.forgetful().create(Action::send(response_bytes(status, headers, body)));
        if let Err(error) = outcome {
            prop_assert_eq!(error.to_string().lines().count(), 1, "{}", error);
        }
    });
}
