//! The API key: checked, never printed, wiped from memory with its last copy.

use std::fmt;

use bytes::Bytes;
use http::HeaderValue;
use zeroize::Zeroizing;

use crate::{
    error::{Error, Result},
    util::redact,
};

const SCHEME: &str = "Bearer ";

/// An API key, checked, hidden in every `Debug`, and wiped from memory with its last copy.
#[derive(Clone)]
pub struct ApiKey {
    authorization: HeaderValue,
}

/// The only key that the emulator accepts, and no account has.
pub(crate) const EMULATOR_KEY: &str = "luma-api-emulator";

impl ApiKey {
    /// The environment variable of the official SDKs.
    pub const VARIABLE: &'static str = "LUMA_AGENTS_API_KEY";

    /// Takes a key; white space around it is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] if it is empty or has characters that a key cannot have.
    /// A key that does not begin with `luma-api-` is accepted with a warning in the log: the
    /// service rejects it today.
    pub fn new(key: impl AsRef<str>) -> Result<Self> {
        let key = key.as_ref().trim();
        if key.is_empty() {
            return Err(Error::invalid_input("the API key is empty: make one at platform.lumalabs.ai"));
        }
        // `docker --env-file` and other tools keep the quotes of a value.
        if key.starts_with(['"', '\'']) || key.ends_with(['"', '\'']) {
            return Err(Error::invalid_input("the API key is in quotes: remove them"));
        }
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::invalid_input("the API key has characters other than visible ASCII"));
        }
        if !key.starts_with(redact::KEY_PREFIX) {
            tracing::warn!("the API key does not begin with `luma-api-`: the service will reject it");
        }
        let bytes = Bytes::from_owner(Zeroizing::new(format!("{SCHEME}{key}").into_bytes()));
        let mut authorization = HeaderValue::from_maybe_shared(bytes)
            .map_err(|_| Error::invalid_input("the API key cannot be sent in a header"))?;
        authorization.set_sensitive(true);
        Ok(Self { authorization })
    }

    /// Takes the key from `LUMA_AGENTS_API_KEY`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] if the variable is not set, or holds no valid key.
    pub fn from_env() -> Result<Self> {
        let variable = Self::VARIABLE;
        match std::env::var(variable) {
            Ok(key) => Self::try_from(key).map_err(|e| e.message()),
            Err(std::env::VarError::NotPresent) => Err("it is not set".to_owned()),
            Err(std::env::VarError::NotUnicode(_)) => Err("it is not valid Unicode".to_owned()),
        }
        .map_err(|problem| {
            Error::invalid_input(format!(
                "{variable}: {problem}; set it to a key of your account (platform.lumalabs.ai), as in `export \
                 {variable}=luma-api-...`"
            ))
        })
    }

    pub(crate) fn is_emulators(&self) -> bool {
        self.authorization.as_bytes().strip_prefix(SCHEME.as_bytes()) == Some(EMULATOR_KEY.as_bytes())
    }

    pub(crate) fn authorization(&self) -> HeaderValue {
        self.authorization.clone()
    }

    /// `text` without the key, should a server have put it there.
    pub(crate) fn hide_in<'a>(&self, text: &'a str) -> std::borrow::Cow<'a, str> {
        match self.authorization.to_str().ok().and_then(|it| it.strip_prefix(SCHEME)) {
            Some(key) if text.contains(key) => text.replace(key, "…").into(),
            _ => text.into(),
        }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

impl std::str::FromStr for ApiKey {
    type Err = Error;

    fn from_str(key: &str) -> Result<Self> {
        Self::new(key)
    }
}

impl TryFrom<&str> for ApiKey {
    type Error = Error;

    fn try_from(key: &str) -> Result<Self> {
        Self::new(key)
    }
}

impl TryFrom<String> for ApiKey {
    type Error = Error;

    fn try_from(key: String) -> Result<Self> {
        Self::new(Zeroizing::new(key).as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_cannot_be_sent_is_refused() {
        for (key, part) in [
            ("", "empty"),
            (" \n", "empty"),
            ("luma-api-ä", "ASCII"),
            ("luma api", "ASCII"),
            ("\"luma-api-a\"", "quotes"),
        ] {
            let error = ApiKey::new(key).expect_err(key).to_string();
            assert!(error.contains(part) && error.contains("nothing was sent"), "{error}");
        }
    }

    #[test]
    fn a_key_is_trimmed_and_never_printed() {
        let key = ApiKey::new(" luma-api-secret\n").expect("a key");
        assert_eq!(key.authorization(), "Bearer luma-api-secret");
        assert!(!format!("{key:?} {:?}", key.authorization()).contains("secret"));
        assert_eq!(key.hide_in("no luma-api-secret here"), "no … here");
    }
}
