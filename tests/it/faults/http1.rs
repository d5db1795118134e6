//! Connections that break and responses without an end, over HTTP/1.1.

use std::time::Duration;

use luma_agents::error::Fault;

use super::case::{Before, Case, Front, Outcome, Place, chunked, secrets, sized};
use crate::support::{
    fault_server::{Action, Part, Then},
    valid,
};

pub(super) fn broken_connections() -> Vec<Case> {
    let ends = |fault| ((1, Outcome::Unknown(Some(fault))), (3, Outcome::NoResponse(fault)));
    let never_sent = (3, Outcome::NoResponse(Fault::Connect));
    let (interrupted_write, interrupted_read) = ends(Fault::Interrupted);
    let (timeout_write, timeout_read) = ends(Fault::Timeout);
    let (protocol_write, protocol_read) = ends(Fault::Protocol);
    let reset = |part| Action::send("").reads(part).then(Then::Reset);
    let interrupted = |name, jobs, action| Case::always(name, action, jobs, interrupted_write, interrupted_read);
    let timeout = |name, action| Case::always(name, action, 1, timeout_write, timeout_read);
    let protocol = |name, bytes: Vec<u8>| Case::always(name, Action::send(bytes), 1, protocol_write, protocol_read);
    let pause = Duration::from_millis(5);
    vec![
        Case::new("nothing listens", Place::UnusedPort, 0, never_sent, never_sent),
        Case::scripted("no TLS behind https", valid::response, 0, never_sent, never_sent).behind(Front::NoTls),
        Case::new(
            "reset before the request is read",
            Place::NeverReads(Then::Reset),
            0,
            interrupted_write,
            interrupted_read,
        ),
        Case::new(
            "closed before the request is read",
            Place::NeverReads(Then::Close),
            0,
            interrupted_write,
            interrupted_read,
        ),
        Case::new("the server never reads the request", Place::NeverReads(Then::Hang), 0, timeout_write, timeout_read),
        interrupted("reset before the request body is read", 0, reset(Part::Head)),
        interrupted("reset inside the request body", 0, reset(Part::HalfOfBody)),
        interrupted("reset after the request", 1, reset(Part::All)),
        interrupted("closed without a response", 1, Action::send("")),
        interrupted("closed inside the head", 1, Action::send("HTTP/1.1 200 OK\r\ncontent-le")),
        timeout("no response", Action::send("").then(Then::Hang)),
        timeout("half a head, then silence", Action::send("HTTP/1.1 200 OK\r\ncontent-le").then(Then::Hang)),
        timeout("a head, then silence", Action::send(sized(200, 100, "")).then(Then::Hang)),
        timeout("half a body, then silence", Action::send(sized(200, 100, "{\"id\":")).then(Then::Hang)),
        timeout(
            "a head that arrives byte by byte",
            Action::send("HTTP/1.1 200 OK\r\n").then(Then::Repeat(b"a".to_vec(), pause)),
        ),
        timeout(
            "a body that arrives byte by byte",
            Action::send(chunked("")).then(Then::Repeat(b"1\r\n \r\n".to_vec(), pause)),
        ),
        timeout(
            "100 Continue forever",
            Action::send("").then(Then::Repeat(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), pause)),
        ),
        interrupted("a truncated body", 1, Action::send(sized(200, 100, "{}"))),
        interrupted("a body truncated by a reset", 1, Action::send(sized(200, 100, "{}")).then(Then::Reset)),
        interrupted("a truncated chunked body", 1, Action::send(chunked("5\r\n{\"id\"\r\n"))),
        interrupted("chunks without sizes", 1, Action::send(chunked("nonsense\r\n{}\r\n"))),
        interrupted("chunks of impossible size", 1, Action::send(chunked("ffffffffffffffffff\r\n{}\r\n"))),
        protocol("garbage instead of a status line", format!("{}\r\n\r\n", secrets()).into_bytes()),
        protocol("another protocol", b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()),
        protocol("a status that is not a number", b"HTTP/1.1 abc OK\r\n\r\n".to_vec()),
        protocol("a content-length that is not a number", sized(200, "many", "{}")),
        protocol(
            "two different content-lengths",
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}".to_vec(),
        ),
        protocol("a malformed header line", format!("HTTP/1.1 200 OK\r\n{}\r\n\r\n{{}}", secrets()).into_bytes()),
        Case::scripted(
            "closed on a reused connection",
            |request| if request.number == 0 { valid::response(request) } else { Action::send("") },
            1,
            interrupted_write,
            interrupted_read,
        )
        .after(Before::Call),
        Case::scripted(
            "closed between two calls",
            |request| {
                if request.number == 0 { valid::response(request).then(Then::Close) } else { valid::response(request) }
            },
            1,
            (1, Outcome::Ok),
            (1, Outcome::Ok),
        )
        .after(Before::Call),
        Case::scripted(
            "reset once, then served",
            |request| if request.number == 0 { Action::send("").then(Then::Reset) } else { valid::response(request) },
            1,
            interrupted_write,
            (2, Outcome::Ok),
        ),
    ]
}

/// They keep a core busy, so only a few may run at once.
pub(super) fn endless_responses() -> Vec<Case> {
    vec![
        Case::always(
            "an endless head",
            Action::send("HTTP/1.1 200 OK\r\n").then(Then::Repeat(b"x-filler: x\r\n".repeat(5000), Duration::ZERO)),
            1,
            (1, Outcome::Unknown(Some(Fault::Protocol))),
            (3, Outcome::NoResponse(Fault::Protocol)),
        ),
        Case::always(
            "an endless body",
            Action::send(chunked("")).then(Then::Repeat(
                b"400\r\n".iter().copied().chain([b' '; 1024]).chain(*b"\r\n").collect(),
                Duration::ZERO,
            )),
            1,
            (1, Outcome::Unknown(Some(Fault::TooLarge))),
            (1, Outcome::NoResponse(Fault::TooLarge)),
        ),
    ]
}
