//! Successful responses that do not carry the object: other statuses, codings, pages of text, nothing.

use http::{HeaderMap, StatusCode, header};

/// What a response is expected to carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// An image, a video, an EXR: never text.
    Media,
    /// Anything but nothing.
    Bytes,
}

impl Expected {
    /// By the `type` of an output. A type that is not known yet may be text.
    pub(crate) fn of(output_type: &str) -> Self {
        if ["image", "video", "exr"].iter().any(|it| it.eq_ignore_ascii_case(output_type)) {
            Self::Media
        } else {
            Self::Bytes
        }
    }
}

/// Why the object cannot be in this response, by its headers.
pub(crate) fn problem(status: StatusCode, headers: &HeaderMap, expected: Expected) -> Option<String> {
    if !matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
        return Some(format!("the status is {status}, which carries no object"));
    }
    // `identity` was requested, and a range of the coded bytes could not be continued.
    if let Some(coding) = coding(headers) {
        return Some(format!("the object is stored or sent with the content coding `{coding}`, which is not decoded"));
    }
    let media_type = media_type(headers);
    if expected == Expected::Media && is_text(&media_type) {
        return Some(format!("it carries `{media_type}`, not an image or a video"));
    }
    None
}

/// The first coding other than `identity` and `chunked`.
fn coding(headers: &HeaderMap) -> Option<String> {
    [header::CONTENT_ENCODING, header::TRANSFER_ENCODING]
        .iter()
        .flat_map(|name| headers.get_all(name))
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(|token| String::from_utf8_lossy(token.trim_ascii()).to_ascii_lowercase())
        .find(|token| !matches!(token.as_str(), "" | "identity" | "chunked"))
}

/// The media type without its parameters, in lower case; empty if there is none.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// HTML, XML and JSON, as gateways and storage write errors. `text/plain` is what some servers call
/// every file whose type they do not know.
fn is_text(media_type: &str) -> bool {
    let subtype = media_type.split_once('/').map_or("", |(_, subtype)| subtype);
    ["html", "xml", "json"].iter().any(|it| subtype == *it || subtype.ends_with(&format!("+{it}")))
}

/// Whether text in HTML, XML or JSON begins with `bytes`; `None` if they are blank, so that later bytes decide.
/// No image or video begins like that.
pub(crate) fn begins_as_text(bytes: &[u8]) -> Option<bool> {
    // The bytes of a byte order mark count as blank.
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace() && !b"\xef\xbb\xbf".contains(byte))?;
    Some(matches!(first, b'<' | b'{' | b'['))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().expect("a header value"))])
    }

    #[test]
    fn a_success_without_the_object_is_found_by_its_headers() {
        let ok = StatusCode::OK;
        for (status, headers, media, bytes) in [
            (ok, headers(header::CONTENT_TYPE, "image/png"), true, true),
            (ok, headers(header::CONTENT_TYPE, "binary/octet-stream"), true, true),
            (ok, headers(header::CONTENT_TYPE, "text/plain"), true, true),
            (ok, headers(header::CONTENT_TYPE, ""), true, true),
            (ok, HeaderMap::new(), true, true),
            (ok, headers(header::CONTENT_TYPE, "Text/HTML; charset=utf-8"), false, true),
            (ok, headers(header::CONTENT_TYPE, "application/xml"), false, true),
            (ok, headers(header::CONTENT_TYPE, "application/xhtml+xml"), false, true),
            (ok, headers(header::CONTENT_TYPE, "application/problem+json"), false, true),
            (ok, headers(header::CONTENT_ENCODING, "gzip"), false, false),
            (ok, headers(header::CONTENT_ENCODING, "identity, BR"), false, false),
            (ok, headers(header::CONTENT_ENCODING, "Identity"), true, true),
            (ok, headers(header::TRANSFER_ENCODING, "gzip, chunked"), false, false),
            (ok, headers(header::TRANSFER_ENCODING, "chunked"), true, true),
            (StatusCode::PARTIAL_CONTENT, HeaderMap::new(), true, true),
            (StatusCode::NO_CONTENT, HeaderMap::new(), false, false),
            (StatusCode::ACCEPTED, HeaderMap::new(), false, false),
        ] {
            let usable = |expected| problem(status, &headers, expected).is_none();
            assert_eq!((usable(Expected::Media), usable(Expected::Bytes)), (media, bytes), "{status} {headers:?}");
        }
    }

    #[test]
    fn text_is_found_by_its_first_byte() {
        for (bytes, expected) in [
            (&b"<!DOCTYPE html>"[..], Some(true)),
            (b"\xef\xbb\xbf\r\n <html>", Some(true)),
            (b"<?xml version=\"1.0\"?>", Some(true)),
            (b"<Error>", Some(true)),
            (b"{\"error\":1}", Some(true)),
            (b" \n", None),
            (b"", None),
            (b"\x89PNG", Some(false)),
            (b"\xff\xd8\xff", Some(false)),
            (b"RIFF", Some(false)),
            (b"\0\0\0\x18ftyp", Some(false)),
            (b"\x76\x2f\x31\x01", Some(false)),
        ] {
            assert_eq!(begins_as_text(bytes), expected, "{}", bytes.escape_ascii());
        }
    }
}
