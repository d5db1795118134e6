//! Complete responses that are odd, redirect, reject or limit.

use std::{
    io::Write as _,
    time::{Duration, SystemTime},
};

use luma_agents::error::{Fault, Limit, RejectionKind};
use serde_json::json;

use super::case::{Case, JSON, Name, Outcome, detail, html, secrets, sized};
use crate::support::{
    KEY,
    fault_server::{Action, Request, Then, response_bytes},
    valid,
};

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A correct response with a content coding.
fn coded(name: &'static str, coding: &'static str, encode: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> Case {
    Case::harmless(name, move |request| {
        let action = valid::response(request);
        let (head, body) = action.sends.split_at(action.sends.windows(4).position(|it| it == b"\r\n\r\n").unwrap() + 4);
        let status = std::str::from_utf8(head).unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let body = if body.is_empty() { Vec::new() } else { encode(body) };
        let length = body.len().to_string();
        let mut headers = vec![JSON, ("content-encoding", coding), ("content-length", &length)];
        headers.retain(|(name, _)| status != 204 || *name == "content-type");
        let sends = response_bytes(status, headers, body);
        Action { sends, ..action }
    })
}

pub(super) fn odd_responses() -> Vec<Case> {
    let wrap = |kind: &'static str| {
        move |request: &Request| Action::respond(200, &[("content-type", kind)], &valid::body(request).to_string())
    };
    let json = |body: &str| Action::api(200, body);
    let bomb = gzip(&vec![b' '; 1 << 20]);
    let bomb_length = bomb.len().to_string();
    let bomb = response_bytes(200, [JSON, ("content-encoding", "gzip"), ("content-length", &bomb_length)], bomb);
    vec![
        Case::undecodable("HTML with 200", Action::respond(200, &[("content-type", "text/html")], &html())),
        Case::undecodable("HTML that claims to be JSON", json(&html())),
        Case::undecodable("an empty 200", json("")),
        Case::undecodable("204", Action::respond(204, &[], "")),
        Case::undecodable("`null`", json("null")),
        Case::undecodable("an array", json(&format!("[\"{}\"]", secrets()))),
        Case::undecodable("a string", json(&format!("\"{}\"", secrets()))),
        Case::undecodable("a number", json("7")),
        Case::undecodable("an error with 200", json(&detail())),
        Case::undecodable("half of a JSON text", json(&detail()[..20])),
        Case::undecodable("a content-length that is too short", Action::send(sized(200, 9, &detail()))),
        Case::undecodable(
            "bytes that are not UTF-8",
            Action::send(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n\xff\xfe\x00".to_vec()),
        ),
        Case::always(
            "a gzip bomb",
            Action::send(bomb),
            1,
            (1, Outcome::Unknown(Some(Fault::TooLarge))),
            (1, Outcome::NoResponse(Fault::TooLarge)),
        ),
        coded("gzip that was not requested", "gzip", gzip),
        coded("gzip twice", "gzip, x-gzip", |body| gzip(&gzip(body))),
        coded("gzip in name only", "gzip", <[u8]>::to_vec),
        coded("deflate without its frame", "deflate", |body| {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(body).unwrap();
            encoder.finish().unwrap()
        }),
        Case::harmless("a head and a body that come in pieces of 32 bytes", |request| {
            valid::response(request).in_pieces(32, Duration::from_millis(1))
        }),
        Case::harmless("JSON that claims to be text", wrap("text/plain")),
        Case::harmless("JSON that claims to be HTML", wrap("text/html")),
        Case::harmless("100 and 103 before the response", |request| {
            let action = valid::response(request);
            let early = format!(
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: <{}>\r\n\r\n",
                valid::signed_url()
            );
            Action { sends: [early.as_bytes(), &action.sends].concat(), ..action }
        }),
        Case::harmless("closed after the response", |request| {
            let action = valid::response(request);
            Action { sends: action.sends, then: Then::Close, ..action }
        }),
        Case::always(
            "503 by the API with half an emoji in its text",
            Action::api(503, r#"{"detail":"a cat \ud83d"}"#).without_job(),
            0,
            (3, Outcome::Rejected(RejectionKind::Unavailable)),
            (3, Outcome::Rejected(RejectionKind::Unavailable)),
        ),
        Case::always(
            "101",
            Action::send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"),
            1,
            (1, Outcome::Unknown(None)),
            (1, Outcome::Rejected(RejectionKind::InvalidRequest)),
        ),
    ]
}

pub(super) fn redirects(elsewhere: &str) -> Vec<Case> {
    let case = |status| {
        let action = Action::respond(status, &[("location", &format!("{elsewhere}/generations?key={KEY}"))], &html());
        let read = (1, Outcome::Rejected(RejectionKind::Redirected));
        // No redirect says that the request had no effect; 303 See Other even says that it had one.
        let case = Case::always("", action, 1, (1, Outcome::Unknown(None)), read);
        Case { name: Name::Status("to another host", status), ..case }
    };
    [301, 302, 303, 307, 308].map(case).into()
}

/// The kind for a status, written independently of the crate.
pub(super) fn rejection_kind(status: u16) -> RejectionKind {
    match status {
        401 => RejectionKind::Unauthorized,
        402 => RejectionKind::InsufficientCredits,
        403 => RejectionKind::Forbidden,
        404 | 410 => RejectionKind::NotFound,
        413 => RejectionKind::TooLarge,
        422 => RejectionKind::UnusableMedia,
        408 | 499.. => RejectionKind::Unavailable,
        _ => RejectionKind::InvalidRequest,
    }
}

pub(super) fn statuses() -> Vec<Case> {
    let mut cases = Vec::new();
    for status in (400..=599).filter(|it| *it != 429) {
        let rejected = Outcome::Rejected(rejection_kind(status));
        // 499: a gateway did not wait for the response.
        let transient = status == 408 || status >= 499;
        for by_api in [true, false] {
            let certain = match status {
                502 | 503 | 409 => by_api,
                _ => !transient,
            };
            let action = if by_api { Action::api(status, &detail()) } else { Action::respond(status, &[], &html()) };
            // 409 is documented for files only: for a submission it may mean that the job exists.
            let submission = (status == 409).then_some((1, Outcome::Unknown(None)));
            let creates_job = !certain || submission.is_some();
            let action = Action { creates_job, ..action };
            let write = match (certain, transient) {
                (false, _) => (1, Outcome::Unknown(None)),
                (true, true) => (3, rejected),
                (true, false) => (1, rejected),
            };
            let read = (if transient { 3 } else { 1 }, rejected);
            let from = if by_api { "by the API" } else { "by a gateway" };
            let case = Case::always("", action, usize::from(creates_job), write, read);
            cases.push(Case { name: Name::Status(from, status), submission, ..case });
        }
    }
    cases
}

const HOUR: Duration = Duration::from_secs(3600);

/// The first response asks to wait until its own date, by a clock that differs from that of this machine.
fn dated(name: &'static str, clock: fn(SystemTime) -> SystemTime) -> Case {
    Case::scripted(
        name,
        move |request| match request.number {
            0 => {
                let date = httpdate::fmt_http_date(clock(SystemTime::now()));
                Action::api_with(429, &[("date", &date), ("retry-after", &date)], &detail()).without_job()
            }
            _ => valid::response(request),
        },
        1,
        (2, Outcome::Ok),
        (2, Outcome::Ok),
    )
}

pub(super) fn limits() -> Vec<Case> {
    let numbers = [("x-ratelimit-limit", "30"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1712592060")];
    let hour = |headers: &[(&str, &str)], body: &str| {
        Action::api_with(429, &[headers, &[("retry-after", "3600")]].concat(), body).without_job()
    };
    let limited = |name, action, write, read| {
        let ends = |limit| (1, Outcome::Limited(limit));
        Case::always(name, action, 0, ends(write), ends(read))
    };
    let concurrent = json!({ "detail": format!("Too many concurrent jobs {}", secrets()) }).to_string();
    vec![
        limited("429 for an hour, with numbers", hour(&numbers, &detail()), Limit::Requests, Limit::Requests),
        limited("429 for an hour, \"concurrent\"", hour(&[], &concurrent), Limit::Concurrency, Limit::Concurrency),
        limited(
            "429 for an hour, by a gateway",
            Action::respond(429, &[("retry-after", "3600")], &html()).without_job(),
            Limit::Unknown,
            Limit::Unknown,
        ),
        dated("429 until a date, by a clock that is an hour ahead, then served", |now| now + HOUR),
        dated("429 until a date, by a clock that is an hour behind, then served", |now| now - HOUR),
        Case::scripted(
            "429 four times with a short delay, then served",
            |request| match request.number {
                0..4 => Action::api_with(429, &[("retry-after-ms", "5")], &detail()).without_job(),
                _ => valid::response(request),
            },
            1,
            (5, Outcome::Ok),
            (5, Outcome::Ok),
        ),
    ]
}
