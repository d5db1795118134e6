//! Bytes out: what can be downloaded, how, and to where.

mod fetch;
mod writer;

use std::{fmt, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use uuid::Uuid;

use self::{
    fetch::{Fetch, Piece, Refresh, ResumePoint},
    writer::{Name, Target},
};
use crate::{
    client::Client,
    error::{Error, Exchange, Result},
    http::{retry::Retry, storage, url::signed_url},
    progress::{Meter, Progress, Watcher},
    types::{Generation, GenerationOutput, Url},
};

pub use writer::Saved;

impl Client {
    /// The outputs of a finished generation, one output, or a URL, ready to be fetched.
    ///
    /// The key is not sent along. Nothing happens before one of the methods of [`Download`] is awaited.
    pub fn download(&self, source: impl Into<Source>) -> Download {
        Download::new(self, source.into())
    }
}

/// Of several outputs, how many are fetched at the same time.
const AT_ONCE: usize = 4;

/// What fits into memory unless the caller says otherwise.
const IN_MEMORY: u64 = 256 * 1024 * 1024;

/// What can be downloaded: a finished [`Generation`], one of its outputs, or a URL.
///
/// Only a generation can outlive the hour that its URLs are good for: the service is asked for new ones.
#[derive(Clone, Debug)]
pub struct Source {
    id: Option<Uuid>,
    outputs: Vec<Output>,
}

#[derive(Clone, Debug)]
struct Output {
    /// `None`: whatever the text was, it is no URL.
    url: Option<Url>,
    name: Name,
}

impl Source {
    fn one(url: Option<Url>, output: Option<&GenerationOutput>) -> Self {
        let name = Name::new(None, 0, output, url.as_ref().map_or("", Url::as_str));
        Self { id: None, outputs: vec![Output { url, name }] }
    }
}

impl From<&Generation> for Source {
    fn from(generation: &Generation) -> Self {
        let id = Some(generation.id);
        let output = |(index, output): (usize, &GenerationOutput)| Output {
            url: Some(output.url.clone()),
            name: Name::new(id, index, Some(output), output.url.as_str()),
        };
        Self { id, outputs: generation.outputs().iter().enumerate().map(output).collect() }
    }
}

impl From<Generation> for Source {
    fn from(generation: Generation) -> Self {
        Self::from(&generation)
    }
}

impl From<&GenerationOutput> for Source {
    fn from(output: &GenerationOutput) -> Self {
        Self::one(Some(output.url.clone()), Some(output))
    }
}

impl From<&Url> for Source {
    fn from(url: &Url) -> Self {
        Self::one(Some(url.clone()), None)
    }
}

impl From<&str> for Source {
    fn from(url: &str) -> Self {
        Self::one(Url::try_from(url).ok(), None)
    }
}

impl From<String> for Source {
    fn from(url: String) -> Self {
        Self::from(url.as_str())
    }
}

/// Outputs to be fetched. Nothing is sent before one of its `async` methods is awaited.
///
/// The API key is not sent along. A break is mended by asking for the missing rest, as long as the
/// server shows that it is still the same object; a URL that has expired is replaced by asking for
/// the generation again. There is no limit to the time as a whole; a transfer that stands still for
/// the idle timeout counts as broken.
///
/// # Cancel safety
///
/// Dropping a download stops it. [`save`](Self::save) leaves nothing behind then, unless it is
/// [`resumable`](Self::resumable).
#[derive(Clone)]
#[must_use = "a download does nothing until one of its methods is awaited"]
pub struct Download {
    http: reqwest::Client,
    source: Source,
    refresh: Option<Refresh>,
    retry: Retry,
    idle_timeout: Duration,
    max_bytes: Option<u64>,
    overwrite: bool,
    resumable: bool,
    watcher: Option<Watcher>,
}

impl Download {
    pub(crate) fn new(client: &Client, source: Source) -> Self {
        let refresh = source.id.map(|id| {
            let client = client.clone();
            let refresh: Refresh = Arc::new(move |index| {
                let call = client.generations().get(id);
                Box::pin(async move {
                    let generation = call.await?;
                    let output = generation.outputs().get(index);
                    output.map(|it| it.url.as_str().to_owned()).ok_or_else(|| {
                        Error::unexpected(
                            Exchange::of("download"),
                            format!("generation {id} has no output {index} any more"),
                        )
                    })
                })
            });
            refresh
        });
        Self {
            http: client.shared().http.clone(),
            source,
            refresh,
            retry: client.options().retry,
            idle_timeout: client.idle_timeout(),
            max_bytes: None,
            overwrite: false,
            resumable: false,
            watcher: None,
        }
    }

    /// Only the output with this index, from 0: such as the video beside an EXR.
    pub fn output(mut self, index: usize) -> Self {
        self.source.outputs = self.source.outputs.into_iter().skip(index).take(1).collect();
        self
    }

    /// Refuses an output of more than `bytes`. By default only [`bytes`](Self::bytes) has a limit.
    pub fn max_bytes(self, bytes: u64) -> Self {
        Self { max_bytes: Some(bytes), ..self }
    }

    /// Replaces a file that is there already, in one step once the new one is complete.
    /// By default it is left as it is, and saving fails before anything is fetched.
    pub fn overwrite(self) -> Self {
        Self { overwrite: true, ..self }
    }

    /// Keeps what was fetched when [`save`](Self::save) fails or is dropped, in hidden files beside
    /// the target, so that a later `save` to the same target goes on there, in this process or another.
    /// No two may do so at the same time.
    pub fn resumable(self) -> Self {
        Self { resumable: true, ..self }
    }

    /// How a break is met: attempts without any byte in between, instead of what the client is set to.
    pub fn retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }

    /// How long the transfer may stand still, instead of what the client is set to.
    pub fn idle_timeout(self, idle_timeout: Duration) -> Self {
        Self { idle_timeout, ..self }
    }

    /// Tells how far each output has come, at most five times a second and once at its end.
    pub fn progress(self, watcher: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self { watcher: Some(Arc::new(watcher)), ..self }
    }

    /// Saves the only output to a file, or into a directory as `<generation id>.<extension>`.
    ///
    /// Written to a hidden temporary file in the same directory, checked for length, synced to disk
    /// and only then moved to its name: nothing partial is ever seen there. The extension of a name
    /// that is made up follows the content, never the URL.
    ///
    /// # Errors
    ///
    /// [`Io`](Error::Io) if the file exists (see [`overwrite`](Self::overwrite)) or cannot be written;
    /// [`InvalidInput`](Error::InvalidInput) if there is no output, or more than one;
    /// [`Rejected`](Error::Rejected), [`NoResponse`](Error::NoResponse), [`UnexpectedResponse`](Error::UnexpectedResponse)
    /// if it cannot be fetched.
    pub async fn save(self, path: impl AsRef<Path>) -> Result<Saved> {
        let target = Target::new(path.as_ref(), self.overwrite, self.resumable).await?;
        let output = self.only("`save_all`, or choose one with `output`")?;
        self.save_one(output, &target).await
    }

    /// Saves every output into a directory, four at a time, as `<generation id>.<extension>`,
    /// `<generation id>-2.<extension>` and so on; layers by index and label. In the order of the outputs.
    ///
    /// # Errors
    ///
    /// As [`save`](Self::save); outputs that were saved before the error stay.
    pub async fn save_all(self, directory: impl AsRef<Path>) -> Result<Vec<Saved>> {
        let target = Target::directory(directory.as_ref(), self.overwrite, self.resumable).await?;
        if self.source.outputs.is_empty() {
            return Err(Error::invalid_input("there is no output to download"));
        }
        futures_util::stream::iter(&self.source.outputs)
            .map(|output| self.save_one(output, &target))
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }

    async fn save_one(&self, output: &Output, target: &Target) -> Result<Saved> {
        let mut part = target.part(&output.name).await?;
        let fetch = self.fetch(output, part.take_resume_point())?;
        writer::save(fetch, part, Meter::new(self.watcher.clone())).await
    }

    /// Fetches the only output into memory, up to [`max_bytes`](Self::max_bytes) or 256 MiB.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open) and [`Body::chunk`].
    pub async fn bytes(self) -> Result<Bytes> {
        let limit = self.max_bytes.unwrap_or(IN_MEMORY);
        let mut body = self.max_bytes(limit).open().await?;
        let mut bytes = bytes::BytesMut::new();
        while let Some(chunk) = body.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }

    /// Copies the only output to a writer, and flushes it. Returns the number of bytes.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open) and [`Body::chunk`]; [`Io`](Error::Io) if the writer fails.
    pub async fn copy_to(self, writer: &mut (impl AsyncWrite + Unpin + ?Sized)) -> Result<u64> {
        let mut body = self.open().await?;
        let io = |e| Error::io("write to", "the given writer", e);
        while let Some(chunk) = body.chunk().await? {
            writer.write_all(&chunk).await.map_err(io)?;
        }
        writer.flush().await.map_err(io)?;
        Ok(body.fetch.offset)
    }

    /// Asks for the only output and returns once its first headers are here.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](Error::InvalidInput) if there is no output, or more than one;
    /// [`Rejected`](Error::Rejected) or [`NoResponse`](Error::NoResponse) if it cannot be fetched.
    pub async fn open(self) -> Result<Body> {
        let mut fetch = self.fetch(self.only("`output` to choose one")?, ResumePoint::default())?;
        fetch.connect().await?;
        Ok(Body { fetch, meter: Meter::new(self.watcher.clone()), broken: false })
    }

    fn only(&self, instead: &str) -> Result<&Output> {
        match self.source.outputs.as_slice() {
            [output] => Ok(output),
            [] => Err(Error::invalid_input("there is no output to download")),
            outputs => {
                Err(Error::invalid_input(format!("there are {} outputs, not one: use {instead}", outputs.len())))
            }
        }
    }

    fn fetch(&self, output: &Output, from: ResumePoint) -> Result<Fetch> {
        let url = output.url.as_ref().ok_or_else(|| Error::invalid_input("what to download is not an absolute URL"))?;
        let call = storage::call("download", self.idle_timeout, self.retry);
        let url = signed_url(url.as_str())?;
        Ok(Fetch::new(
            self.http.clone(),
            call,
            self.idle_timeout,
            url,
            self.refresh.clone(),
            output.name.index,
            self.max_bytes,
            from,
        ))
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download").field("source", &self.source).finish_non_exhaustive()
    }
}

/// The bytes of an output, as they come. From [`Download::open`].
#[derive(Debug)]
pub struct Body {
    fetch: Fetch,
    meter: Meter,
    /// After an error nothing comes any more.
    broken: bool,
}

impl Body {
    /// How many bytes there are in all, if the server says so.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.fetch.object.total
    }

    /// The next bytes, or `None` at the end.
    ///
    /// # Errors
    ///
    /// [`NoResponse`](Error::NoResponse) or [`Rejected`](Error::Rejected) if a break could not be mended;
    /// [`UnexpectedResponse`](Error::UnexpectedResponse) if the object changed on the way.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no byte is lost or told twice.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        if self.broken {
            return Ok(None);
        }
        let piece = self.fetch.next().await.and_then(|piece| match piece {
            Piece::Bytes(bytes) => Ok(Some(bytes)),
            Piece::End => Ok(None),
            Piece::Restart => Err(self.fetch.unexpected("the object changed while it was being fetched")),
        });
        self.broken = piece.is_err();
        let last = matches!(piece, Ok(None));
        self.meter.tell(self.fetch.offset, self.fetch.object.total, last);
        piece
    }

    /// The chunks as a [`Stream`], which ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
        futures_util::stream::try_unfold(
            self,
            |mut body| async move { Ok(body.chunk().await?.map(|chunk| (chunk, body))) },
        )
    }
}
