//! Streams and connections that break over HTTP/2.

use std::sync::Arc;

use luma_agents::error::Fault;

use super::case::{Before, Case, Outcome, Place, secrets};
use crate::support::{
    fault_server::{Action, Part, Request, Then},
    http2::{
        CANCEL, ENHANCE_YOUR_CALM, INTERNAL_ERROR, NO_ERROR, REFUSED_STREAM, data, frame, go_away, headers, reset,
    },
    valid,
};

/// The window of a client that may send all it has.
const OPEN: u32 = 65_535;

/// The correct response.
fn response(request: &Request, stream: u32) -> Vec<u8> {
    let api = [("content-type", "application/json"), ("x-api-version", "2026-04-01")];
    match request.method.as_str() {
        "DELETE" => headers(stream, 204, &api, true),
        method => {
            let status = if method == "POST" { 201 } else { 200 };
            let body = data(stream, valid::body(request).to_string().as_bytes(), true);
            [headers(stream, status, &api, false), body].concat()
        }
    }
}

/// What the server sends, in all, in response to every request.
type Frames = fn(&Request, u32) -> Vec<u8>;

fn served(request: &Request, stream: u32) -> Action {
    Action::send(response(request, stream)).then(Then::Stay)
}

fn case(
    name: &'static str,
    script: impl Fn(&Request, u32) -> Action + Send + Sync + 'static,
    jobs: usize,
    write: (usize, Outcome),
    read: (usize, Outcome),
) -> Case {
    Case::new(name, Place::Http2 { window: OPEN, script: Arc::new(script) }, jobs, write, read)
}

/// The server reports that it did nothing, each time or only the first time.
fn not_processed(each: &'static str, once: &'static str, frames: Frames, then: Then) -> [Case; 2] {
    let refusal = move |request: &Request, stream| {
        Action::send(frames(request, stream)).reads(Part::Head).without_job().then(then.clone())
    };
    let ends = (3, Outcome::NoResponse(Fault::NotProcessed));
    let refuses = refusal.clone();
    let then_served = move |request: &Request, stream: u32| match request.number {
        0 => refusal(request, stream),
        _ => served(request, stream),
    };
    [case(each, refuses, 0, ends, ends), case(once, then_served, 1, (2, Outcome::Ok), (2, Outcome::Ok))]
}

/// The request may have had its effect, and no complete response comes.
fn broken(name: &'static str, fault: Fault, frames: Frames, then: Then) -> Case {
    let script = move |request: &Request, stream| Action::send(frames(request, stream)).then(then.clone());
    case(name, script, 1, (1, Outcome::Unknown(Some(fault))), (3, Outcome::NoResponse(fault)))
}

fn begun(stream: u32) -> Vec<u8> {
    headers(stream, 200, &[("content-type", "application/json")], false)
}

#[allow(clippy::too_many_lines, reason = "a table")]
pub(super) fn broken_streams() -> Vec<Case> {
    let (interrupted, timeout) = (Fault::Interrupted, Fault::Timeout);
    let mut cases = vec![
        case("HTTP/2", served, 1, (1, Outcome::Ok), (1, Outcome::Ok)),
        case(
            "HTTP/2: GOAWAY above the stream, then the response",
            |request, stream| {
                Action::send([go_away(stream + 2, NO_ERROR), response(request, stream)].concat()).then(Then::Close)
            },
            1,
            (1, Outcome::Ok),
            (1, Outcome::Ok),
        ),
        case(
            "HTTP/2: GOAWAY between two calls",
            |request, stream| match request.number {
                0 => Action::send([response(request, stream), go_away(stream, NO_ERROR)].concat()).then(Then::Hang),
                _ => served(request, stream),
            },
            1,
            (1, Outcome::Ok),
            (1, Outcome::Ok),
        )
        .after(Before::Call),
        case(
            "HTTP/2: the response, then RST_STREAM without an error",
            |request, stream| Action::send([response(request, stream), reset(stream, NO_ERROR)].concat()),
            1,
            (1, Outcome::Ok),
            (1, Outcome::Ok),
        ),
        broken("HTTP/2: closed after the request", interrupted, |_, _| Vec::new(), Then::Close),
        broken(
            "HTTP/2: GOAWAY at the stream, then closed",
            interrupted,
            |_, stream| go_away(stream, NO_ERROR),
            Then::Close,
        ),
        broken(
            "HTTP/2: GOAWAY at the stream with an error, then closed",
            interrupted,
            |_, stream| go_away(stream, INTERNAL_ERROR),
            Then::Close,
        ),
        broken(
            "HTTP/2: GOAWAY above the stream, then reset",
            interrupted,
            |_, stream| go_away(stream + 2, NO_ERROR),
            Then::Reset,
        ),
        broken("HTTP/2: RST_STREAM after the request", interrupted, |_, stream| reset(stream, CANCEL), Then::Stay),
        broken(
            "HTTP/2: RST_STREAM after the headers",
            interrupted,
            |_, stream| [begun(stream), reset(stream, INTERNAL_ERROR)].concat(),
            Then::Stay,
        ),
        broken(
            "HTTP/2: REFUSED_STREAM after the headers",
            interrupted,
            |_, stream| [begun(stream), reset(stream, REFUSED_STREAM)].concat(),
            Then::Stay,
        ),
        broken(
            "HTTP/2: GOAWAY below the stream after the headers",
            interrupted,
            |_, stream| [begun(stream), go_away(0, ENHANCE_YOUR_CALM)].concat(),
            Then::Stay,
        ),
        broken(
            "HTTP/2: closed inside the body",
            interrupted,
            |_, stream| [begun(stream), data(stream, b"{\"id\":", false)].concat(),
            Then::Close,
        ),
        broken(
            "HTTP/2: a body shorter than its content-length",
            interrupted,
            |_, stream| {
                let head = headers(stream, 200, &[("content-length", "100")], false);
                [head, data(stream, b"{}", true)].concat()
            },
            Then::Stay,
        ),
        broken(
            "HTTP/2: half a body, then silence",
            timeout,
            |_, stream| [begun(stream), data(stream, b"{\"id\":", false)].concat(),
            Then::Stay,
        ),
        broken(
            "HTTP/2: headers without a status",
            interrupted,
            |_, stream| frame(1, 5, stream, &[0, 1, b'x', 1, b'y']),
            Then::Stay,
        ),
        broken("HTTP/2: text in the place of frames", interrupted, |_, _| secrets().into_bytes(), Then::Close),
    ];
    cases.extend(not_processed(
        "HTTP/2: REFUSED_STREAM",
        "HTTP/2: REFUSED_STREAM once, then served",
        |_, stream| reset(stream, REFUSED_STREAM),
        Then::Stay,
    ));
    cases.extend(not_processed(
        "HTTP/2: GOAWAY below the stream",
        "HTTP/2: GOAWAY below the stream once, then served",
        |_, _| go_away(0, NO_ERROR),
        Then::Close,
    ));
    cases.extend(not_processed(
        "HTTP/2: GOAWAY below the stream, to calm down",
        "HTTP/2: GOAWAY below the stream, to calm down, once, then served",
        |_, _| go_away(0, ENHANCE_YOUR_CALM),
        Then::Close,
    ));
    let never =
        Place::Http2 { window: 0, script: Arc::new(|_, _| Action::send("").reads(Part::Head).then(Then::Stay)) };
    let (write, read) = ((1, Outcome::Unknown(Some(timeout))), (3, Outcome::NoResponse(timeout)));
    cases.push(Case::new("HTTP/2: a window that never opens", never, 0, write, read));
    cases
}
