//! [`Body`]: the bytes of one output, in chunks, as a stream or by a reader.

use std::io;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use tokio::io::AsyncBufRead;
use tokio_util::io::StreamReader;
use uuid::Uuid;

use super::fetch::{Event, Fetch};
use crate::{error::Result, progress::ProgressReporter};

/// The bytes of an output, as they come. From [`Download::open`](super::Download::open).
#[derive(Debug)]
pub struct Body {
    fetch: Fetch,
    /// The generation that it is of.
    about: Option<Uuid>,
    progress: ProgressReporter,
    /// After an error nothing more comes.
    failed: bool,
}

impl Body {
    pub(super) fn new(fetch: Fetch, about: Option<Uuid>, progress: ProgressReporter) -> Self {
        Self { fetch, about, progress, failed: false }
    }

    /// How many bytes were handed out.
    pub(super) fn done(&self) -> u64 {
        self.fetch.done()
    }

    /// How many bytes there are in all (with [`Download::range`](super::Download::range): in the range), if the server
    /// gives the length.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.fetch.wanted()
    }

    /// The media type that the server gives it, such as `image/png`, without parameters.
    #[must_use]
    pub fn media_type(&self) -> Option<&str> {
        self.fetch.media_type.as_deref()
    }

    /// The strong `ETag` of the object, if the server gives one: the same text means the same bytes.
    #[must_use]
    pub fn etag(&self) -> Option<&str> {
        self.fetch.object.etag()
    }

    /// The next bytes, or `None` at the end.
    ///
    /// # Errors
    ///
    /// [`NoResponse`](crate::Error::NoResponse) or [`Rejected`](crate::Error::Rejected) if a broken transfer could not
    /// be resumed; [`UnexpectedResponse`](crate::Error::UnexpectedResponse) if the object changed during the transfer,
    /// is empty, is a page of text (see [`Source`](super::Source)), or has more bytes than announced.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no byte is lost or returned twice.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        if self.failed {
            return Ok(None);
        }
        let chunk = self.fetch.next().await.and_then(|event| match event {
            Event::Bytes(bytes) => Ok(Some(bytes)),
            Event::End => Ok(None),
            // What was handed out cannot be taken back.
            Event::Restart => Err(self.fetch.lost()),
        });
        let chunk = chunk.map_err(|error| error.about_download(self.about));
        self.failed = chunk.is_err();
        let is_last = matches!(chunk, Ok(None));
        self.progress.report(self.fetch.done(), self.fetch.wanted(), is_last);
        chunk
    }

    /// The bytes as an [`AsyncRead`](tokio::io::AsyncRead), with a buffer. Its errors hold an [`Error`](crate::Error).
    pub fn into_reader(self) -> impl AsyncBufRead + Send + Unpin + 'static {
        StreamReader::new(Box::pin(self.into_stream().map_err(io::Error::other)))
    }

    /// The chunks as a [`Stream`], which ends after the first error.
    ///
    /// [`Stream`]: https://docs.rs/futures-core/latest/futures_core/stream/trait.Stream.html
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
        futures_util::stream::try_unfold(
            self,
            |mut body| async move { Ok(body.chunk().await?.map(|chunk| (chunk, body))) },
        )
    }
}
