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

/// How many bytes of nothing but text show that an object is text.
const TEXT: usize = 64;

/// The first bytes of an object, as far as they are needed to see what it is.
#[derive(Debug, Default)]
pub(crate) struct Head(Vec<u8>);

/// What the first bytes of an object show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Text, or a packed file: neither an image nor a video.
    NoMedia(&'static str),
    /// Perhaps media.
    Binary,
    /// Later bytes decide. At the end of the object they are text.
    Nothing,
}

impl Head {
    /// Adds the next bytes of the object.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Shown {
        let wanted = TEXT - self.0.len().min(TEXT);
        self.0.extend_from_slice(&bytes[..bytes.len().min(wanted)]);
        let head = self.0.as_slice();
        // The bytes of a byte order mark count as blank. JPEG begins with the first byte of another one.
        if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
            return Shown::NoMedia("text");
        }
        if head.starts_with(b"\x1f\x8b") || head.starts_with(b"PK\x03\x04") || head.starts_with(b"\x28\xb5\x2f\xfd") {
            return Shown::NoMedia("a packed file");
        }
        let is_blank = |byte: &u8| byte.is_ascii_whitespace() || b"\xef\xbb\xbf".contains(byte);
        let is_text = |byte: &u8| byte.is_ascii_graphic() || is_blank(byte);
        match head.iter().find(|byte| !is_blank(byte)) {
            Some(b'<' | b'{' | b'[') => Shown::NoMedia("text"),
            // The longest mark of the above.
            _ if head.len() < 4 => Shown::Nothing,
            _ if !head.iter().all(is_text) => Shown::Binary,
            _ if head.len() < TEXT => Shown::Nothing,
            _ => Shown::NoMedia("text"),
        }
    }
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
    fn text_and_packed_files_are_found_by_their_first_bytes() {
        let (text, packed) = (Shown::NoMedia("text"), Shown::NoMedia("a packed file"));
        let long = b"upstream connect error or disconnect/reset before headers. reset reason\0";
        for (bytes, expected) in [
            (&b"<!DOCTYPE html>"[..], text),
            (b"\xef\xbb\xbf\r\n <html>", text),
            (b"\xff\xfe<\0h\0", text),
            (b"\xfe\xff\0<\0h", text),
            (b"<?xml version=\"1.0\"?>", text),
            (b"<Error>", text),
            (b"{\"error\":1}", text),
            (long, text),
            (b"Not found", Shown::Nothing),
            (b" \n", Shown::Nothing),
            (b"", Shown::Nothing),
            (b"\x1f\x8b\x08", packed),
            (b"PK\x03\x04", packed),
            (b"\x28\xb5\x2f\xfd", packed),
            (b"\x89PNG", Shown::Binary),
            (b"\xff\xd8\xff\xe0", Shown::Binary),
            (b"RIFF\x10\0\0\0WEBP", Shown::Binary),
            (b"GIF89a\x01\0", Shown::Binary),
            (b"\0\0\0\x18ftyp", Shown::Binary),
            (b"\x1a\x45\xdf\xa3", Shown::Binary),
            (b"\x76\x2f\x31\x01", Shown::Binary),
        ] {
            assert_eq!(Head::default().add(bytes), expected, "{}", bytes.escape_ascii());
            // Also if they come one by one, or in two halves.
            for size in [1, bytes.len().div_ceil(2).max(1)] {
                let mut head = Head::default();
                let shown = bytes.chunks(size).map(|bytes| head.add(bytes)).find(|it| *it != Shown::Nothing);
                assert_eq!(shown.unwrap_or(Shown::Nothing), expected, "{}", bytes.escape_ascii());
            }
        }
    }
}
