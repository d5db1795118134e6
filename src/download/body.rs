//! [`Body`]: the bytes of one output, in chunks, as a stream or by a reader.

use std::{
    fmt, io,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::{
    Stream, StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};
use tokio::io::AsyncBufRead;
use tokio_util::io::StreamReader;
use uuid::Uuid;

use super::fetch::{Event, Fetch};
use crate::{error::Result, progress::ProgressReporter};

/// The bytes of an output, as they come. From [`Download::open`](super::Download::open).
pub struct Body {
    /// Holds what is under way while nobody asks: a dropped `chunk` neither sends a request again nor
    /// begins a timeout anew. Behind a lock that is never taken, so that the body can be shared.
    chunks: Mutex<BoxStream<'static, (Result<Option<Bytes>>, Facts)>>,
    facts: Facts,
    /// The generation that it is of.
    about: Option<Uuid>,
    progress: ProgressReporter,
    /// After an error nothing more comes.
    failed: bool,
}

/// What is known of a transfer.
#[derive(Debug)]
struct Facts {
    /// How many bytes were handed out.
    done: u64,
    total: Option<u64>,
    media_type: Option<String>,
    etag: Option<String>,
}

impl Facts {
    fn of(fetch: &Fetch) -> Self {
        Self {
            done: fetch.done(),
            total: fetch.wanted(),
            media_type: fetch.media_type.clone(),
            etag: fetch.object.etag().map(str::to_owned),
        }
    }
}

impl Body {
    pub(super) fn new(fetch: Fetch, about: Option<Uuid>, progress: ProgressReporter) -> Self {
        let facts = Facts::of(&fetch);
        let chunks = stream::unfold(fetch, async |mut fetch| {
            let chunk = fetch.next().await.and_then(|event| match event {
                Event::Bytes(bytes) => Ok(Some(bytes)),
                Event::End => Ok(None),
                // What was handed out cannot be taken back.
                Event::Restart => Err(fetch.lost()),
            });
            Some(((chunk, Facts::of(&fetch)), fetch))
        });
        Self { chunks: Mutex::new(chunks.boxed()), facts, about, progress, failed: false }
    }

    /// How many bytes were handed out.
    pub(super) fn done(&self) -> u64 {
        self.facts.done
    }

    /// How many bytes there are in all (with [`Download::range`](super::Download::range): in the range), if the server
    /// gives the length.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.facts.total
    }

    /// The media type that the server gives it, such as `image/png`, without parameters.
    #[must_use]
    pub fn media_type(&self) -> Option<&str> {
        self.facts.media_type.as_deref()
    }

    /// The strong `ETag` of the object, if the server gives one: the same text means the same bytes.
    #[must_use]
    pub fn etag(&self) -> Option<&str> {
        self.facts.etag.as_deref()
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
    /// Cancel safe: no byte is lost or returned twice, and the next call goes on where a dropped one was. What
    /// the server takes counts from the first of them; a pause after a chunk does not count.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        if self.failed {
            return Ok(None);
        }
        let chunks = self.chunks.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some((chunk, facts)) = chunks.next().await else { return Ok(None) };
        let chunk = chunk.map_err(|error| error.about_download(self.about));
        self.failed = chunk.is_err();
        let is_last = matches!(chunk, Ok(None));
        self.progress.report(facts.done, facts.total, is_last);
        self.facts = facts;
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

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("facts", &self.facts).field("about", &self.about).finish_non_exhaustive()
    }
}
