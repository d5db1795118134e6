//! What shows that two responses are about the same object: `ETag`, `Last-Modified`, length.

use http::{HeaderMap, HeaderName, StatusCode, header};

/// Where a transfer goes on, and which object its bytes are of.
#[derive(Debug, Default)]
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
        let total = if status == StatusCode::PARTIAL_CONTENT {
            content_range(headers).and_then(|(_, total)| total)
        } else if headers.contains_key(header::CONTENT_ENCODING) {
            None
        } else {
            text(headers, header::CONTENT_LENGTH).and_then(|length| length.parse().ok())
        };
        Self {
            etag: text(headers, header::ETAG).filter(|etag| !etag.starts_with("W/")).map(str::to_owned),
            last_modified: text(headers, header::LAST_MODIFIED).map(str::to_owned),
            total,
        }
    }

    /// Whether a later response can be compared with this object at all.
    pub(crate) fn is_identified(&self) -> bool {
        self.validator().is_some() || self.total.is_some()
    }

    /// The value for `If-Range`.
    pub(crate) fn validator(&self) -> Option<&str> {
        self.etag.as_deref().or(self.last_modified.as_deref())
    }

    /// Whether both are the same, by the best header that both have. A missing header proves nothing.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let agree = |a: &Option<String>, b: &Option<String>| a.as_ref().zip(b.as_ref()).map(|(a, b)| a == b);
        let totals = self.total.zip(other.total).map(|(a, b)| a == b);
        totals != Some(false)
            && agree(&self.etag, &other.etag)
                .or_else(|| agree(&self.last_modified, &other.last_modified))
                .or(totals)
                .unwrap_or(false)
    }
}

/// `bytes 10-99/100` is (10, Some(100)).
pub(crate) fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let range = text(headers, header::CONTENT_RANGE)?.strip_prefix("bytes ")?;
    let (range, total) = range.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some((first.trim().parse().ok()?, total.trim().parse().ok()))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}
