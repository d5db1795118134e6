//! Arguments that name media: a URL, data, an earlier generation, an uploaded file.

use uuid::Uuid;

use crate::{
    error::{Error, Result},
    types::{Base64, DataRef, File, FileRef, Generation, GenerationRef, MediaRef, Url, UrlRef},
};

/// References to media: exactly one of a URL, data, an earlier generation, an uploaded file.
impl MediaRef {
    /// An image that the service fetches from a public `https` URL.
    ///
    /// A video needs its media type too: [`with_media_type`](Self::with_media_type).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] if it is not an absolute `https` URL: the service takes no other.
    pub fn url(url: impl AsRef<str>) -> Result<Self> {
        let url = url.as_ref();
        if !url.starts_with("https://") {
            let shown = crate::util::redact::url(url);
            return Err(Error::invalid_input(format!(
                "`{shown}` cannot be fetched by the service: it takes https only"
            )));
        }
        let url = Url::try_from(url).map_err(|e| Error::invalid_input(e.to_string()))?;
        Ok(Self::UrlRef(UrlRef::of(url)))
    }

    /// An image or video sent inline, at most 50 MB and 200 MB. For more than a few megabytes,
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

    /// Says what the media is, such as `video/mp4`. Only a URL needs it: data has it already, and
    /// the service knows it of generations and files.
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

/// What can be referred to can stand where a reference is asked for, optional or not.
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
