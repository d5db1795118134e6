//! What a server or an environment may hold, into each parser of it. Only for tests and fuzzing: see `fuzz/`.

#![allow(missing_docs, clippy::missing_panics_doc, reason = "no part of the API")]

use std::{fmt::Debug, time::SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    download::{
        object::{Object, content_range},
        response::{self, Expected, Head, Shown},
    },
    error::{Effect, Error, Exchange, GenerationFailed},
    http::{
        failure::{Failure, unusable},
        key::ApiKey,
        response::{CompleteResponse, decode_body},
        retry::Disposition,
        retry_after::retry_after,
        url,
    },
    rate_limit::RateLimit,
    types::{CreateFileResponse, File, FilePage, Generation, lenient},
    util::{media_type, redact},
};

/// Occurs in the signed URL of every response here, and must not be printed.
const SIGNATURE: &str = "hush-51c9a3f7";

/// What one input goes into.
type Target = fn(&[u8]);

/// Every target by its name, which is also that of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("api_error", api_error),
    ("content_coding", content_coding),
    ("created_file", created_file),
    ("created_generation", created_generation),
    ("file", file),
    ("file_page", file_page),
    ("generation", generation),
    ("headers", headers),
    ("job_failure", job_failure),
    ("object", object),
    ("settings", settings),
    ("storage_error", storage_error),
];

pub fn generation(body: &[u8]) {
    decode::<Generation>(body);
}

pub fn file(body: &[u8]) {
    decode::<File>(body);
}

pub fn file_page(body: &[u8]) {
    decode::<FilePage>(body);
}

pub fn created_file(body: &[u8]) {
    decode::<CreateFileResponse>(body);
}

/// What was decoded can be printed, and stored without a loss.
fn decode<T: DeserializeOwned + Serialize + Debug>(body: &[u8]) {
    let Ok(value) = lenient::decode::<T>(body) else { return };
    let _ = format!("{value:?}");
    let stored = serde_json::to_string(&value).unwrap_or_default();
    let again = lenient::decode::<T>(stored.as_bytes()).ok().and_then(|again| serde_json::to_string(&again).ok());
    assert_eq!(again, Some(stored), "a stored value is another one");
}

/// The response to a submission that cannot be used: the id is one of those in it.
pub fn created_generation(body: &[u8]) {
    let exchange = Exchange { effect: Effect::Pays, ..Exchange::of("create_generation") };
    let error = unusable(exchange, body, "broken", redact::excerpt);
    if let Some(id) = error.generation_id() {
        let text = String::from_utf8_lossy(body).to_ascii_lowercase();
        let found = [id.hyphenated().to_string(), id.simple().to_string()].iter().any(|id| text.contains(id));
        assert!(found || text.contains('\\'), "{id} was made up");
    }
    check(&error);
}

pub fn api_error(body: &[u8]) {
    for status in [StatusCode::BAD_REQUEST, StatusCode::TOO_MANY_REQUESTS, StatusCode::BAD_GATEWAY] {
        error_of(status, body, false, &HeaderMap::new());
    }
}

pub fn storage_error(body: &[u8]) {
    for status in [StatusCode::BAD_REQUEST, StatusCode::FORBIDDEN, StatusCode::SERVICE_UNAVAILABLE] {
        error_of(status, body, true, &HeaderMap::new());
    }
}

fn error_of(status: StatusCode, body: &[u8], is_storage: bool, headers: &HeaderMap) {
    let Ok(url) = reqwest::Url::parse(&format!("https://h/o.png?X-Amz-Signature={SIGNATURE}")) else { return };
    let body = if is_storage {
        redact::hide_query(&url, &String::from_utf8_lossy(body)).into()
    } else {
        Bytes::copy_from_slice(body)
    };
    for disposition in [Disposition::Rejected, Disposition::RateLimited, Disposition::OutcomeUnknown] {
        let response = CompleteResponse {
            status,
            headers: headers.clone(),
            rate_limit: RateLimit::from_headers(headers),
            body: body.clone(),
        };
        let _ = (response.api_author(), response.is_expired(), response.limit(Effect::Pays));
        let exchange = Exchange { is_storage, status: Some(status), ..Exchange::of("fuzz") };
        let asked = retry_after(headers, SystemTime::now());
        let error = Failure::Status(Box::new(response)).into_error(exchange, disposition, asked, redact::excerpt);
        check(&error);
        assert!(!is_storage || !format!("{error}{error:?}").contains(SIGNATURE), "{error:?}");
    }
}

/// An error is one line, and not long.
fn check(error: &Error) {
    let text = error.to_string();
    assert!(text.lines().count() <= 1 && text.chars().count() < 2000, "{text}");
}

/// Lines such as `retry-after: 7`.
pub fn headers(lines: &[u8]) {
    let pairs = lines.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(line[..colon].trim_ascii()).ok()?;
        Some((name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?))
    });
    let headers: HeaderMap = pairs.collect();
    let longest = std::time::Duration::from_secs(24 * 3600);
    assert!(retry_after(&headers, SystemTime::now()).is_none_or(|delay| delay <= longest));
    if let Some(limit) = RateLimit::from_headers(&headers) {
        let _ = limit.spacing();
    }
    if let Some(range) = content_range(&headers) {
        assert!(range.total.is_none_or(|total| range.first < total));
    }
    for status in [StatusCode::OK, StatusCode::PARTIAL_CONTENT] {
        let object = Object::of(status, &headers);
        let _ = (object.is_identified(), object.validator(), object.is_same(&object));
        for expected in [Expected::Media, Expected::Bytes] {
            if let Some(problem) = response::problem(status, &headers, expected) {
                check(&Error::unexpected(Exchange::of("download"), problem));
            }
        }
    }
    error_of(StatusCode::TOO_MANY_REQUESTS, b"", false, &headers);
}

/// The first line names codings, the rest is the body.
pub fn content_coding(data: &[u8]) {
    const CAP: usize = 4096;
    let (codings, body) = data.split_at(data.iter().position(|byte| *byte == b'\n').unwrap_or(0));
    let mut headers = HeaderMap::new();
    if let Ok(codings) = HeaderValue::from_bytes(codings) {
        headers.insert(http::header::CONTENT_ENCODING, codings);
    }
    let body = Bytes::copy_from_slice(body.strip_prefix(b"\n").unwrap_or(body));
    let decoded = match decode_body(&headers, Ok(body.clone()), CAP) {
        Ok(decoded) => decoded,
        Err(error) => error.begin,
    };
    assert!(decoded.len() <= CAP || decoded == body);
}

/// What the bytes of an object show does not depend on how they are cut.
pub fn object(bytes: &[u8]) {
    let _ = media_type::detect(bytes);
    let whole = Head::default().add(bytes);
    let mut head = Head::default();
    let cut = bytes.iter().map(|byte| head.add(&[*byte])).find(|shown| *shown != Shown::Nothing);
    assert_eq!(whole, cut.unwrap_or(Shown::Nothing));
}

/// The reason of a failed job, for people and for logs.
pub fn job_failure(reason: &[u8]) {
    let reason = String::from_utf8_lossy(reason);
    let generation = serde_json::json!({
        "id": uuid::Uuid::nil(), "type": "image", "state": "failed", "model": "uni-1", "created_at": "",
        "output": [], "failure_reason": reason, "failure_code": reason,
    });
    let Ok(generation) = lenient::decode(generation.to_string().as_bytes()) else { return };
    let error = Error::GenerationFailed(Box::new(GenerationFailed { generation }));
    let _ = format!("{error:?}");
    check(&error);
}

/// Base URLs, keys and URLs of objects.
pub fn settings(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    for url in [url::base_url(text), url::signed_url(text)] {
        match url {
            Ok(url) => assert!(url.scheme() == "https" || url::is_loopback(&url), "{url}"),
            Err(error) => check(&error),
        }
    }
    if let Ok(from) = reqwest::Url::parse("https://h/o.png") {
        assert!(url::redirect(&from, text).is_none_or(|to| to.scheme() == "https"));
    }
    if let Err(error) = ApiKey::new(text) {
        check(&error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The inputs of a target. None: the package has no corpora.
    fn corpus(name: &str) -> Vec<Vec<u8>> {
        let corpora = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        if !corpora.exists() {
            return Vec::new();
        }
        let files = std::fs::read_dir(corpora.join(name)).expect(name).flatten();
        let inputs: Vec<_> = files.map(|file| std::fs::read(file.path()).expect("an input")).collect();
        assert!(!inputs.is_empty(), "{name} has no corpus");
        inputs
    }

    #[test]
    fn every_corpus_holds() {
        for (name, target) in TARGETS {
            for input in corpus(name) {
                target(&input);
            }
        }
    }

    /// Without the coverage that guides cargo-fuzz, but on every toolchain. `FUZZ_CASES` sets the number for
    /// each target.
    #[test]
    fn changes_of_every_corpus_hold() {
        let cases = std::env::var("FUZZ_CASES").ok().and_then(|it| it.parse().ok()).unwrap_or(1000);
        for (name, target) in TARGETS {
            let corpus = corpus(name);
            let mut random = fastrand::Rng::with_seed(7);
            for _ in 0..if corpus.is_empty() { 0 } else { cases } {
                let input = changed(&corpus, &mut random);
                let held = std::panic::catch_unwind(|| target(&input));
                assert!(held.is_ok(), "{name}: {}", input.escape_ascii());
            }
        }
    }

    fn changed(corpus: &[Vec<u8>], random: &mut fastrand::Rng) -> Vec<u8> {
        let mut input = corpus[random.usize(..corpus.len())].clone();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(..=input.len());
            match random.u8(..5) {
                0 => input.truncate(at),
                1 => input.insert(at, random.u8(..)),
                2 => {
                    let again = input[at / 2..at].to_vec();
                    input.splice(at..at, again).for_each(drop);
                }
                3 => {
                    let other = &corpus[random.usize(..corpus.len())];
                    input.extend_from_slice(&other[random.usize(..=other.len())..]);
                }
                _ if at < input.len() => input[at] ^= 1 << random.u8(..8),
                _ => {}
            }
        }
        input
    }
}
