//! A complete response: how it is read, and what its headers and the text of an error say.

use std::{
    io::Read as _,
    pin::{Pin, pin},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, StatusCode, header};
use serde_json::Value;
use tokio::time::Sleep;
use uuid::Uuid;

use super::{fault::AttemptError, retry::Author};
use crate::{
    error::{Effect, Fault, meaning_of_storage},
    rate_limit::{Limit, RateLimit},
    types::lenient,
    util::clock::before,
};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const API_VERSION: HeaderName = HeaderName::from_static("x-api-version");

/// How much of the text of an error is read.
pub(crate) const MAX_ERROR_BODY: usize = 64 * 1024;

/// A response with its whole body.
#[derive(Debug)]
pub(crate) struct CompleteResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) rate_limit: Option<RateLimit>,
    pub(crate) body: Bytes,
}

impl CompleteResponse {
    /// Reads the body before `end`: at most `cap` bytes of a success, the beginning of anything else.
    pub(crate) async fn read(
        mut response: reqwest::Response,
        end: Pin<&mut Sleep>,
        cap: usize,
    ) -> Result<Self, AttemptError> {
        let status = response.status();
        let headers = std::mem::take(response.headers_mut());
        let cap = if status.is_success() { cap } else { MAX_ERROR_BODY };
        let body = match decode_body(&headers, read_body(&mut response, end, cap).await, cap) {
            Ok(body) => body,
            // A rejection is one even if its text is cut short.
            Err(error) if !status.is_success() => error.begin,
            // A response that has begun is no proof that nothing was done, whatever ends it.
            Err(error) if error.fault == Fault::NotProcessed => {
                return Err(AttemptError { status: Some(status), fault: Fault::Interrupted, ..error });
            }
            Err(error) => return Err(AttemptError { status: Some(status), ..error }),
        };
        Ok(Self { status, rate_limit: RateLimit::from_headers(&headers), headers, body })
    }

    /// Whether the API wrote it, and not a gateway in front of it.
    pub(crate) fn api_author(&self) -> Author {
        if self.headers.contains_key(API_VERSION) && detail(&self.body).is_some() {
            Author::Api
        } else {
            Author::Unknown
        }
    }

    /// What an error says: the `detail` of the API, the message of storage, else whatever it begins with.
    pub(crate) fn error_text(&self) -> String {
        error_text(&self.body)
    }

    /// The `<Code>` that storage gives as its reason, such as `ExpiredToken`.
    pub(crate) fn error_code(&self) -> Option<String> {
        xml_element(&self.body, "Code")
    }

    /// Whether storage means that a signed URL has expired or its object has moved: a new URL may help.
    pub(crate) fn is_expired(&self) -> bool {
        let status = meaning_of_storage(self.status, self.error_code().as_deref());
        matches!(status.as_u16(), 401 | 403 | 404 | 410)
    }

    /// Which limit a 429 is about. Its wording has changed before, so it is read loosely.
    pub(crate) fn limit(&self, effect: Effect) -> Limit {
        let detail = detail(&self.body);
        if detail.as_deref().is_some_and(|text| text.to_ascii_lowercase().contains("concurrent")) {
            Limit::Concurrency
        } else if self.headers.keys().any(|name| name.as_str().starts_with("x-ratelimit-")) {
            Limit::Requests
        } else if detail.is_some() && effect == Effect::Pays {
            // The limit on requests always comes with its numbers, the one on jobs never does.
            Limit::Concurrency
        } else {
            Limit::Unknown
        }
    }
}

/// Reads a body of at most `cap` bytes. An error carries what came before it.
async fn read_body(
    response: &mut reqwest::Response,
    mut end: Pin<&mut Sleep>,
    cap: usize,
) -> Result<Bytes, AttemptError> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let error = loop {
        match before(end.as_mut(), pin!(response.chunk())).await {
            Some(Ok(None)) => return Ok(if rest.is_empty() { first } else { rest.freeze() }),
            Some(Ok(Some(chunk))) if rest.len() + first.len() + chunk.len() > cap => {
                // The id of a paid job may be in what fits.
                let fits = cap - rest.len() - first.len();
                rest.extend_from_slice(&std::mem::take(&mut first));
                rest.extend_from_slice(&chunk[..fits]);
                break AttemptError::new(Fault::TooLarge);
            }
            Some(Ok(Some(chunk))) => {
                // One chunk is the rule: it is passed on as it came.
                if first.is_empty() && rest.is_empty() {
                    first = chunk;
                } else {
                    rest.extend_from_slice(&std::mem::take(&mut first));
                    rest.extend_from_slice(&chunk);
                }
            }
            Some(Err(error)) => break AttemptError::from(error),
            None => break AttemptError::new(Fault::Timeout),
        }
    };
    Err(AttemptError { begin: if rest.is_empty() { first } else { rest.freeze() }, ..error })
}

/// Undoes the content codings; what came before an error, as far as that goes. `identity` is asked for, but
/// a gateway may compress all the same (RFC 9110, 12.5.3), and a job that was paid for must not be lost to that.
pub(crate) fn decode_body(
    headers: &HeaderMap,
    body: Result<Bytes, AttemptError>,
    cap: usize,
) -> Result<Bytes, AttemptError> {
    let codings =
        headers.get_all(header::CONTENT_ENCODING).iter().flat_map(|value| value.as_bytes().split(|it| *it == b','));
    let codings: Vec<_> = codings.map(|coding| coding.trim_ascii().to_ascii_lowercase()).collect();
    // The last one was applied last.
    codings.iter().rev().fold(body, |body, coding| match body {
        Ok(body) => decode(coding, body, cap),
        Err(mut error) => {
            error.begin = decode(coding, std::mem::take(&mut error.begin), cap).unwrap_or_else(|it| it.begin);
            Err(error)
        }
    })
}

fn decode(coding: &[u8], body: Bytes, cap: usize) -> Result<Bytes, AttemptError> {
    match coding {
        b"gzip" | b"x-gzip" if is_gzip(&body) => unpack(flate2::read::MultiGzDecoder::new(body.as_ref()), cap),
        b"deflate" if is_zlib(&body) => unpack(flate2::read::ZlibDecoder::new(body.as_ref()), cap),
        // Some servers leave out the frame that the standard asks for (RFC 9110, 8.4.1.2).
        b"deflate" if !is_json(&body) => unpack(flate2::read::DeflateDecoder::new(body.as_ref()), cap),
        // `identity`, or a coding in name only. One that is not known fails as JSON, and its error shows the beginning.
        _ => Ok(body),
    }
}

fn unpack(decoder: impl std::io::Read, cap: usize) -> Result<Bytes, AttemptError> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(cap).unwrap_or(u64::MAX).saturating_add(1);
    let fault = match decoder.take(limit).read_to_end(&mut bytes) {
        Ok(_) if bytes.len() <= cap => return Ok(bytes.into()),
        Ok(_) => Fault::TooLarge,
        Err(_) => Fault::Interrupted,
    };
    bytes.truncate(cap);
    Err(AttemptError { begin: bytes.into(), ..AttemptError::new(fault) })
}

fn is_gzip(body: &[u8]) -> bool {
    body.starts_with(&[0x1f, 0x8b])
}

/// By the two bytes of the frame (RFC 1950, 2.2).
fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [method, flags, ..] if method & 0x0f == 8 && (u16::from(*method) * 256 + u16::from(*flags)) % 31 == 0)
}

fn is_json(body: &[u8]) -> bool {
    matches!(body.trim_ascii_start().first(), None | Some(b'{' | b'[' | b'"'))
}

/// The `detail` of an error of the API: a text, or a list of complaints about fields, or anything.
fn detail(body: &[u8]) -> Option<String> {
    let value = lenient::parse(body)?;
    let detail = value.as_object()?.get("detail")?;
    Some(match detail {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(complaint).collect::<Vec<_>>().join("; "),
        other => other.to_string(),
    })
}

/// `{"loc": ["body", "prompt"], "msg": "too short"}` reads `body.prompt: too short`.
fn complaint(item: &Value) -> String {
    let Some(message) = item["msg"].as_str() else { return item.to_string() };
    let place: Vec<_> = item["loc"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned))
        .collect();
    if place.is_empty() { message.to_owned() } else { format!("{}: {message}", place.join(".")) }
}

fn error_text(body: &[u8]) -> String {
    detail(body).or_else(|| storage_text(body)).unwrap_or_else(|| text(body))
}

/// Code and message of an error that storage writes in XML. Its other elements may echo parts of the
/// signed URL, so they are not shown
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>).
fn storage_text(body: &[u8]) -> Option<String> {
    let code = xml_element(body, "Code")?;
    Some(match xml_element(body, "Message") {
        Some(message) => format!("{code}: {message}"),
        None => code,
    })
}

/// The text of the first element with this name, in a document that is XML by its first bytes.
fn xml_element(body: &[u8], name: &str) -> Option<String> {
    let body = text(body);
    let body = body.trim_start_matches('\u{feff}').trim_start();
    if !(body.starts_with("<?xml") || body.starts_with("<Error")) {
        return None;
    }
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    let (value, _) = rest.split_once(&format!("</{name}>"))?;
    let value = value.trim();
    let plain = value.strip_prefix("<![CDATA[").and_then(|value| value.strip_suffix("]]>"));
    Some(plain.unwrap_or(value).trim().to_owned())
}

/// The id of the generation in the response to its submission, however broken or cut short that is.
pub(super) fn created_id(body: &[u8]) -> Option<Uuid> {
    let text = String::from_utf8_lossy(body);
    match lenient::parse(body) {
        // What follows the first value may still be of the response, if that was broken.
        Some(value) => id_in(&value).or_else(|| outermost_id(&text, 1)),
        None => outermost_id(&text, usize::MAX),
    }
}

/// An `id` further inside is one of something else, unless all that is around it is a wrapper.
fn id_in(value: &Value) -> Option<Uuid> {
    match value {
        Value::Object(fields) => {
            let own = fields.get("id").and_then(|id| id.as_str()?.trim().parse().ok());
            own.or_else(|| ["data", "generation"].iter().find_map(|name| id_in(fields.get(*name)?)))
        }
        Value::Array(items) if items.len() == 1 => id_in(&items[0]),
        _ => None,
    }
}

/// The first of the `id`s that the fewest brackets surround, and at most `deepest`, in a text that is no JSON.
fn outermost_id(text: &str, deepest: usize) -> Option<Uuid> {
    let mut depth = 0_usize;
    let mut outermost: Option<(usize, Uuid)> = None;
    for (at, c) in text.char_indices() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.saturating_sub(1),
            '"' if depth <= deepest && outermost.is_none_or(|(known, _)| depth < known) => {
                outermost = id_at(&text[at..]).map(|id| (depth, id)).or(outermost);
            }
            _ => {}
        }
    }
    outermost.map(|(_, id)| id)
}

/// The value of a text that begins with `"id": "`.
fn id_at(text: &str) -> Option<Uuid> {
    let value = text.strip_prefix("\"id\"")?.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    value.get(..36)?.parse().ok()
}

/// The beginning of a body as text.
pub(crate) fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(4096)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_ids_that_are_equally_far_outside_the_first_counts() {
        let id = |number: u128| Uuid::from_u128(number);
        let text =
            |a: u128, b: u128| format!(r#"{{"id": "{}", "x": [{{"id": "{}"}}], "id": "{}", "#, id(a), id(9), id(b));
        assert_eq!(outermost_id(&text(1, 2), 1), Some(id(1)));
        assert_eq!(outermost_id(&text(2, 1), 1), Some(id(2)));
        assert_eq!(outermost_id(&text(1, 2), 0), None);
    }

    #[test]
    fn detail_is_read_in_every_form() {
        for (body, expected) in [
            (r#"{"detail":"Generation not found"}"#, Some("Generation not found")),
            (
                r#"{"detail":[{"loc":["body","video",0],"msg":"too short","type":"x"},{"msg":"bad"}]}"#,
                Some("body.video.0: too short; bad"),
            ),
            (r#"{"detail":[7]}"#, Some("7")),
            (r#"{"detail":{"a":1}}"#, Some(r#"{"a":1}"#)),
            (r#"{"detail":null}"#, Some("null")),
            (r#"{"detail":"a cat \ud83d"}"#, Some("a cat \u{fffd}")),
            ("\u{feff}{\"detail\":\"x\"}\n", Some("x")),
            (r#"{"error":"x"}"#, None),
            (r#"["detail"]"#, None),
            ("<html>", None),
            ("", None),
        ] {
            assert_eq!(detail(body.as_bytes()).as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn the_id_of_a_paid_job_is_found_in_whatever_came_of_the_response() {
        let id = "d290f1ee-6c54-4b01-90e6-d701748f0851";
        let other = "00000000-6c54-4b01-90e6-d701748f0851";
        let found = Some(id.parse().expect("an id"));
        for (body, expected) in [
            (format!(r#"{{"id": "{id}", "state": nul"#).into_bytes(), found),
            (format!(r#"{{"type":"image","id":"{id}"#).into_bytes(), found),
            (format!(r#"{{"output":[{{"id":"x"}}],"id":"{id}"}}"#).into_bytes(), found),
            ([b"{\"type\":\"\xff\",\"id\":\"".as_slice(), id.as_bytes(), b"\"}"].concat(), found),
            (format!(r#"[{{"id":"{id}"}}]"#).into_bytes(), found),
            (format!(r#"{{"data":{{"id":"{id}","state":"queued"}}}}"#).into_bytes(), found),
            (format!(r#"{{"output":[{{"id":"{other}"}}],"id":"{id}","stat"#).into_bytes(), found),
            (format!(r#"{{"id":"{id}","output":[{{"id":"{other}"}}"#).into_bytes(), found),
            (format!(r#"{{"failure_reason":"\ud83d","id":"{id}"}}"#).into_bytes(), found),
            (format!(r#"{{"type":"image"}}"id":"{id}"}}"#).into_bytes(), found),
            (format!("\u{feff}{{\"id\":\"{id}\"}} trailing").into_bytes(), found),
            (format!(r#"{{"user":{{"id":"{other}"}}}}"#).into_bytes(), None),
            (br#"{"id":"d290f1ee"#.to_vec(), None),
            (br#"{"id":42}"#.to_vec(), None),
            (b"<html>".to_vec(), None),
        ] {
            assert_eq!(created_id(&body), expected, "{}", text(&body));
        }
    }

    #[test]
    fn storage_gives_code_and_message_and_nothing_else() {
        for (body, expected) in [
            (
                "<?xml version=\"1.0\"?>\n<Error><Code>ExpiredToken</Code><Message>The token has expired</Message>\
                 <Token-0>hush</Token-0></Error>",
                "ExpiredToken: The token has expired",
            ),
            ("\u{feff} <Error><Code>SlowDown</Code></Error>", "SlowDown"),
            ("<Error><Code> <![CDATA[SlowDown]]> </Code></Error>", "SlowDown"),
            ("<html><Code>x</Code>", "<html><Code>x</Code>"),
            ("<?xml?><Error></Error>", "<?xml?><Error></Error>"),
        ] {
            assert_eq!(error_text(body.as_bytes()), expected);
        }
    }

    #[test]
    fn a_compressed_body_is_decoded_up_to_the_limit() {
        use std::io::Write as _;
        let coded =
            |coding: &'static str| HeaderMap::from_iter([(header::CONTENT_ENCODING, coding.parse().expect("a value"))]);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(b"{\"id\":1}").expect("in memory");
        let gzip = Bytes::from(gzip.finish().expect("in memory"));
        assert_eq!(decode_body(&coded("GZip"), Ok(gzip.clone()), 8).expect("decoded"), r#"{"id":1}"#);
        assert_eq!(decode_body(&coded("identity"), Ok(gzip.clone()), 8).expect("as it is"), gzip);
        assert_eq!(decode_body(&coded("br"), Ok(gzip.clone()), 8).expect("as it is"), gzip);
        let error = decode_body(&coded("gzip"), Ok(gzip.clone()), 7).expect_err("too large");
        assert_eq!((error.fault, error.begin.as_ref()), (Fault::TooLarge, b"{\"id\":1".as_slice()));
        let error = decode_body(&coded("gzip"), Ok(gzip.slice(..gzip.len() - 9)), 8).expect_err("cut short");
        assert_eq!(error.fault, Fault::Interrupted);
        let plain = Bytes::from_static(br#"{"id":1}"#);
        for in_name_only in ["gzip", "deflate", "gzip, deflate", "br"] {
            assert_eq!(
                decode_body(&coded(in_name_only), Ok(plain.clone()), 8).expect("as it is"),
                plain,
                "{in_name_only}"
            );
        }
        let mut twice = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        twice.write_all(&gzip).expect("in memory");
        let twice = Bytes::from(twice.finish().expect("in memory"));
        assert_eq!(decode_body(&coded("gzip, identity, deflate"), Ok(twice), 64).expect("decoded"), plain);
    }

    #[test]
    fn a_429_is_understood_whatever_its_wording() {
        let response = |headers: &[(&'static str, &'static str)], body: &'static str| CompleteResponse {
            status: StatusCode::TOO_MANY_REQUESTS,
            headers: headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), http::HeaderValue::from_static(value)))
                .collect(),
            rate_limit: None,
            body: Bytes::from_static(body.as_bytes()),
        };
        let numbers = [("x-ratelimit-limit", "30")];
        let cases = [
            (response(&numbers, r#"{"detail":"Rate limit exceeded"}"#), Limit::Requests),
            (response(&[], r#"{"detail":"Too many concurrent jobs"}"#), Limit::Concurrency),
            (response(&numbers, r#"{"detail":"Concurrent generation capacity reached"}"#), Limit::Concurrency),
            (response(&[], r#"{"detail":"Busy"}"#), Limit::Concurrency),
            (response(&[], "<html>slow down</html>"), Limit::Unknown),
        ];
        for (response, expected) in cases {
            assert_eq!(response.limit(Effect::Pays), expected, "{response:?}");
        }
        assert_eq!(response(&[], r#"{"detail":"Busy"}"#).limit(Effect::Idempotent), Limit::Unknown);
    }
}
