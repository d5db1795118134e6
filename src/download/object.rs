//! What shows that two responses are about the same object: `ETag`, `Last-Modified`, length.

use http::{HeaderMap, HeaderName, StatusCode, header};

/// Where a transfer goes on, and which object its bytes are of.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ResumePoint {
    pub(crate) offset: u64,
    pub(crate) object: Object,
}

/// An object, as far as the headers of a response identify it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Object {
    /// Strong only.
    etag: Option<String>,
    last_modified: Option<String>,
    pub(crate) total: Option<u64>,
}

impl Object {
    pub(crate) fn of(status: StatusCode, headers: &HeaderMap) -> Self {
        let total = match status {
            StatusCode::PARTIAL_CONTENT => content_range(headers).and_then(|range| range.total),
            _ => text(headers, header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        };
        Self {
            etag: text(headers, header::ETAG).filter(|etag| !is_weak(etag)).map(str::to_owned),
            last_modified: text(headers, header::LAST_MODIFIED).map(str::to_owned),
            total,
        }
    }

    pub(crate) fn etag(&self) -> Option<&str> {
        self.etag.as_deref()
    }

    /// Whether a later response can be compared with this object at all.
    pub(crate) fn is_identified(&self) -> bool {
        self.validator().is_some() || self.total.is_some()
    }

    /// The value for `If-Range`.
    pub(crate) fn validator(&self) -> Option<&str> {
        self.etag.as_deref().or(self.last_modified.as_deref())
    }

    /// Whether both have the same best validator. A missing header proves nothing.
    pub(crate) fn has_validator_of(&self, other: &Self) -> Option<bool> {
        let agree = |a: &Option<String>, b: &Option<String>| a.as_ref().zip(b.as_ref()).map(|(a, b)| a == b);
        agree(&self.etag, &other.etag).or_else(|| agree(&self.last_modified, &other.last_modified))
    }

    /// Whether both are the same, by the best header that both have.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let totals = self.total.zip(other.total).map(|(a, b)| a == b);
        totals != Some(false) && self.has_validator_of(other).or(totals).unwrap_or(false)
    }
}

/// A weak `ETag` does not promise equal bytes. The standard writes `W/`; some servers write `w/`.
fn is_weak(etag: &str) -> bool {
    etag.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("W/"))
}

/// The part of an object that a response carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContentRange {
    pub(crate) first: u64,
    pub(crate) total: Option<u64>,
}

/// `bytes 10-99/100`, unless it contradicts itself. The unit is case-insensitive (RFC 9110, 14.1).
pub(crate) fn content_range(headers: &HeaderMap) -> Option<ContentRange> {
    let (unit, range) = text(headers, header::CONTENT_RANGE)?.trim().split_once(' ')?;
    let (range, total) = range.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let total: Option<u64> = match total.trim() {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    let is_valid = unit.eq_ignore_ascii_case("bytes") && first <= last && total.is_none_or(|total| last < total);
    is_valid.then_some(ContentRange { first, total })
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().expect("a header value"))])
    }

    #[test]
    fn a_content_range_is_read_unless_it_contradicts_itself() {
        for (text, expected) in [
            ("bytes 10-99/100", Some((10, Some(100)))),
            ("Bytes 400-999/1000", Some((400, Some(1000)))),
            ("BYTES  0-0/1", Some((0, Some(1)))),
            ("bytes 10-99/*", Some((10, None))),
            ("bytes 10-100/100", None),
            ("bytes 99-10/100", None),
            ("bytes */100", None),
            ("bytes 10-99/many", None),
            ("bytes -10-99/100", None),
            ("items 10-99/100", None),
            ("bytes", None),
        ] {
            let expected = expected.map(|(first, total)| ContentRange { first, total });
            assert_eq!(content_range(&headers(header::CONTENT_RANGE, text)), expected, "{text}");
        }
    }

    #[test]
    fn only_a_strong_etag_identifies_an_object() {
        for (etag, expected) in [(r#""a""#, Some(r#""a""#)), (r#"W/"a""#, None), (r#"w/"a""#, None), ("w", Some("w"))] {
            let object = Object::of(StatusCode::OK, &headers(header::ETAG, etag));
            assert_eq!(object.validator(), expected, "{etag}");
        }
    }

    #[test]
    fn objects_are_compared_by_the_best_header_that_both_have() {
        let object = |etag: Option<&str>, last_modified: Option<&str>, total| Object {
            etag: etag.map(str::to_owned),
            last_modified: last_modified.map(str::to_owned),
            total,
        };
        for (a, b, same) in [
            (object(Some("a"), Some("mon"), Some(1)), object(Some("a"), Some("tue"), Some(1)), true),
            (object(Some("a"), Some("mon"), Some(1)), object(Some("b"), Some("mon"), Some(1)), false),
            (object(Some("a"), Some("mon"), Some(1)), object(None, Some("mon"), None), true),
            (object(Some("a"), None, Some(1)), object(Some("a"), None, Some(2)), false),
            (object(Some("a"), None, Some(1)), object(None, Some("mon"), Some(1)), true),
            (object(Some("a"), None, None), object(None, Some("mon"), None), false),
            (object(None, None, None), object(None, None, None), false),
        ] {
            assert_eq!((a.is_same(&b), b.is_same(&a)), (same, same), "{a:?} {b:?}");
        }
    }
}
