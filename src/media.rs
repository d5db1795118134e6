//! Arguments that name media: a URL, data, an earlier generation, an uploaded file.

use uuid::Uuid;

use crate::{
    error::{Error, Result},
    types::{Base64, DataRef, File, FileRef, Generation, GenerationRef, MediaRef, Optional, Url, UrlRef},
    util::redact,
};

/// References to media: exactly one of a URL, data, an earlier generation, an uploaded file.
impl MediaRef {
    /// An image that the service fetches from a public `https` URL.
    ///
    /// A video needs its media type too: [`with_media_type`](Self::with_media_type).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] if it is not an absolute `https` URL.
    pub fn url(url: impl AsRef<str>) -> Result<Self> {
        let url = url.as_ref();
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        if scheme.eq_ignore_ascii_case("data") {
            return Err(Error::invalid_input("the service does not fetch `data:` URIs; use `MediaRef::data`"));
        }
        if !scheme.eq_ignore_ascii_case("https") {
            let shown = redact::excerpt(&redact::url(url));
            return Err(Error::invalid_input(format!("the service fetches https URLs only, not `{shown}`")));
        }
        let url = Url::try_from(url).map_err(|e| Error::invalid_input(e.to_string()))?;
        Ok(Self::UrlRef(UrlRef::of(url)))
    }

    /// An image (at most 50 MB) or a video (at most 200 MB), sent inside the request. For more than a few megabytes,
    /// upload a file instead.
    #[must_use]
    pub fn data(bytes: impl AsRef<[u8]>, media_type: impl Into<String>) -> Self {
        Self::DataRef(DataRef::of(Base64::encode(bytes), media_type.into()))
    }

    /// The output of an earlier, completed generation of the same account.
    #[must_use]
    pub fn generation(id: Uuid) -> Self {
        Self::GenerationRef(GenerationRef::of(id))
    }

    /// A file of the same account, in state `ready`.
    #[must_use]
    pub fn file(id: Uuid) -> Self {
        Self::FileRef(FileRef::of(id))
    }

    /// Sets the media type, such as `video/mp4`. Only a URL needs one: data has it already, and the
    /// service knows that of generations and files.
    #[must_use]
    pub fn with_media_type(mut self, media_type: impl Into<String>) -> Self {
        match &mut self {
            Self::UrlRef(it) => it.media_type = Some(media_type.into()),
            Self::DataRef(it) => it.media_type = media_type.into(),
            Self::GenerationRef(_) | Self::FileRef(_) => {}
        }
        self
    }
}

/// A generation or a file converts to a reference to it, also where the reference is optional.
macro_rules! refers {
    ($($what:ty => $reference:ident,)+) => {$(
        impl From<&$what> for MediaRef {
            fn from(it: &$what) -> Self {
                Self::$reference(it.id)
            }
        }

        impl From<&$what> for Option<MediaRef> {
            fn from(it: &$what) -> Self {
                Some(it.into())
            }
        }

        impl From<&$what> for Optional<MediaRef> {
            fn from(it: &$what) -> Self {
                MediaRef::from(it).into()
            }
        }

        impl From<$what> for Optional<MediaRef> {
            fn from(it: $what) -> Self {
                MediaRef::from(it).into()
            }
        }

        impl From<$what> for MediaRef {
            fn from(it: $what) -> Self {
                Self::from(&it)
            }
        }
    )+};
}

refers! {
    Generation => generation,
    File => file,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_urls_are_accepted_and_the_error_is_short() {
        for url in ["https://example.com/a.png", "HTTPS://example.com/a.png?b=c"] {
            assert!(MediaRef::url(url).is_ok(), "{url}");
        }
        let data = format!("data:image/png;base64,{}", "A".repeat(5_000_000));
        let long = format!("http://example.com/{}", "a".repeat(5_000_000));
        for (url, part) in [
            (data.as_str(), "MediaRef::data"),
            (&long, "http://example.com/aaa"),
            ("http://example.com/a?secret", "`http://example.com/a?…`"),
            ("cat.png", "`cat.png`"),
            ("", "``"),
            ("https://", "URL"),
        ] {
            let error = MediaRef::url(url).expect_err("not https").to_string();
            assert!(error.contains(part) && error.len() < 400, "{error}");
        }
    }
}
