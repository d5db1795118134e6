//! Strings of the API that must not be printed: signed URLs, media in base64, storage credentials.
//!
//! `build.rs` maps the string formats `uri`, `byte` and `password` to these types. Each goes over
//! the wire unchanged; `Debug` hides the sensitive part.

use std::fmt;

use base64::Engine as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::util::redact;

/// A URL of the API, usually signed: whoever holds it may fetch what it names until it expires.
///
/// `Debug` leaves out the query, where the signature is; [`as_str`](Self::as_str) is the whole of it.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Url(Box<str>);

impl Url {
    /// The whole URL, with its signature.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Url {
    type Error = InvalidUrl;

    fn try_from(url: &str) -> Result<Self, InvalidUrl> {
        Self::try_from(url.to_owned())
    }
}

impl TryFrom<String> for Url {
    type Error = InvalidUrl;

    fn try_from(url: String) -> Result<Self, InvalidUrl> {
        // A full parse costs more than decoding the rest of a generation; it is done on use.
        let scheme_ok =
            |scheme: &str| !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c));
        match url.split_once("://") {
            Some((scheme, rest))
                if scheme_ok(scheme) && rest.starts_with(|c: char| c.is_alphanumeric() || c == '[') =>
            {
                Ok(Self(url.into()))
            }
            _ => Err(InvalidUrl),
        }
    }
}

impl<'de> Deserialize<'de> for Url {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl AsRef<str> for Url {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", redact::url(&self.0))
    }
}

/// A text that should be an absolute URL is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidUrl;

impl fmt::Display for InvalidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an absolute URL")
    }
}

impl std::error::Error for InvalidUrl {}

/// Media in base64 (standard alphabet, padded), as it goes inline in a request.
///
/// `Debug` shows its length only.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Base64(Box<str>);

impl Base64 {
    /// Encodes `bytes`.
    #[must_use]
    pub fn encode(bytes: impl AsRef<[u8]>) -> Self {
        Self(base64::engine::general_purpose::STANDARD.encode(bytes).into())
    }

    /// The encoded text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Takes text that is base64 already; the service checks it.
impl From<String> for Base64 {
    fn from(encoded: String) -> Self {
        Self(encoded.into())
    }
}

impl fmt::Debug for Base64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} characters of base64>", self.0.len())
    }
}

/// A value that may be a credential, such as a header of a presigned upload.
///
/// `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(Box<str>);

impl Secret {
    /// The value itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value.into())
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self(value.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_is_printed_without_it() {
        let url = Url::try_from("https://h/p?sig=hush".to_owned()).expect("a URL");
        assert_eq!(format!("{url:?}"), r#""https://h/p?…""#);
        assert_eq!(format!("{:?}", Secret::from("hush")), "<redacted>");
        assert_eq!(format!("{:?}", Base64::encode("hush")), "<8 characters of base64>");
        assert_eq!(InvalidUrl.to_string(), "not an absolute URL");
    }
}
