//! Downloads: an output into a file, into memory, or as a stream of bytes.

mod body;
mod checkpoint;
mod disk;
mod fetch;
mod name;
pub(crate) mod object;
pub(crate) mod response;
mod source;
mod target;
mod template;
mod temporary;
mod writer;

use std::{
    fmt,
    ops::{Bound, RangeBounds},
    path::Path,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    time::Instant,
};

use self::{
    fetch::{Fetch, FetchOptions, Location, Refresh},
    name::FileName,
    object::ResumePoint,
    source::Output,
    target::Target,
};
use crate::{
    client::Client,
    error::{Error, Exchange, Result},
    http::{retry::Retry, url::signed_url},
    progress::{Progress, ProgressCallback, ProgressReporter},
};

pub use body::Body;
pub use source::Source;
pub use writer::Saved;

impl Client {
    /// The outputs of a finished generation, one output, or a URL, ready to be fetched.
    ///
    /// The API key is not sent. Nothing happens before one of the methods of [`Download`] is awaited.
    pub fn download(&self, source: impl Into<Source>) -> Download {
        Download::new(self, source.into())
    }
}

/// Whether a later [`Download::save`] to `path` can write there, as far as that can be known before.
pub(crate) async fn can_save(path: &Path, overwrite: bool) -> Result<()> {
    Target::new(path, overwrite, false).await?.check().await
}

/// The same of a directory.
pub(crate) async fn can_save_into(directory: &Path, overwrite: bool) -> Result<()> {
    Target::directory(directory, overwrite, false).await?.check().await
}

/// How many of several outputs are fetched at the same time.
const CONCURRENT: usize = 4;

/// The limit of [`Download::bytes`] if the caller sets none.
const IN_MEMORY: u64 = 256 * 1024 * 1024;

/// Outputs to be fetched: set what you like, then await one of the `async` methods, such as [`save`](Self::save). Nothing
/// is sent before that.
///
/// The API key is not sent. A broken transfer is resumed where it stopped, as long as the server
/// shows that the object is still the same; an expired URL is replaced by getting the generation
/// again. There is no limit on the total time; a transfer without a byte for the idle timeout counts
/// as broken. An object with a content coding, such as gzip, is an error: it would be saved compressed.
///
/// # Cancel safety
///
/// Dropping a download stops it. [`save`](Self::save) leaves nothing behind then, unless it is
/// [`resumable`](Self::resumable).
#[derive(Clone)]
#[must_use = "a download does nothing until one of its methods is awaited"]
pub struct Download {
    source: Source,
    options: FetchOptions,
    overwrite: bool,
    resumable: bool,
    template: Option<String>,
    /// The first wanted byte, and the one after the last.
    range: (u64, Option<u64>),
    callback: Option<ProgressCallback>,
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
                            format!("generation {id} no longer has output {index}"),
                        )
                    })
                })
            });
            refresh
        });
        let options = FetchOptions {
            http: client.shared().http.clone(),
            retry: client.options().retry,
            idle_timeout: client.idle_timeout(),
            max_bytes: None,
            refresh,
        };
        Self { source, options, overwrite: false, resumable: false, template: None, range: (0, None), callback: None }
    }

    /// Only the output with this index, from 0, such as the EXR beside a video.
    pub fn output(mut self, index: usize) -> Self {
        self.source.outputs = self.source.outputs.into_iter().skip(index).take(1).collect();
        self
    }

    /// Fails for an output of more than `bytes`. By default only [`bytes`](Self::bytes) has a limit.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.options.max_bytes = Some(bytes);
        self
    }

    /// Replaces an existing file, in one step once the new one is complete. Its permissions stay.
    /// By default an existing file stays as it is, and saving fails before anything is fetched.
    ///
    /// Only regular files are replaced, never a device or a pipe. If the path given to
    /// [`save`](Self::save) is a symbolic link, the file that it leads to is replaced.
    pub fn overwrite(mut self) -> Self {
        self.overwrite = true;
        self
    }

    /// Keeps what was fetched when [`save`](Self::save) fails or is dropped, in hidden files beside
    /// the target (`.<name>.part` and `.<name>.part.json`), so that a later `save` of the same source to
    /// the same target resumes there, in this process or another. A second one at the same time fails.
    ///
    /// For a URL, the same source means the same text: a URL that was signed anew begins again.
    pub fn resumable(mut self) -> Self {
        self.resumable = true;
        self
    }

    /// How to name files in the directory that [`save`](Self::save) or [`save_all`](Self::save_all) is given:
    /// `{id}` is the id of the generation, `{index}` that of the output from 0, `{ext}` the extension that
    /// follows the content; the rest is literal, such as `cover-{index}.{ext}`.
    ///
    /// A template that gives no valid name, or two outputs the same one, is
    /// [`InvalidInput`](Error::InvalidInput) before anything is fetched.
    pub fn names(mut self, template: impl Into<String>) -> Self {
        self.template = Some(template.into());
        self
    }

    /// Only these bytes of the output, such as `0..1024` or `1024..`: for [`bytes`](Self::bytes),
    /// [`copy_to`](Self::copy_to) and [`open`](Self::open). If the server ignores the range,
    /// the other bytes are dropped here.
    pub fn range(mut self, range: impl RangeBounds<u64>) -> Self {
        let start = match range.start_bound() {
            Bound::Included(first) => *first,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => Some(last.saturating_add(1)),
            Bound::Excluded(end) => Some(*end),
            Bound::Unbounded => None,
        };
        self.range = (start, end);
        self
    }

    /// How to retry, instead of the client's setting. Attempts count from the last byte that came.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.options.retry = retry;
        self
    }

    /// How long the transfer may go without a byte, instead of the client's setting.
    pub fn idle_timeout(mut self, idle_timeout: Duration) -> Self {
        self.options.idle_timeout = idle_timeout;
        self
    }

    /// Calls `callback` with the progress of each output, at most five times a second and once at its end.
    pub fn progress(mut self, callback: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.callback = Some(Arc::new(callback));
        self
    }

    /// Saves the only output to a file, or into a directory as `<generation id>.<extension>`.
    ///
    /// It is written to a hidden temporary file in the same directory, checked for length, synced to
    /// disk and then moved to its name: a partial file never has that name. The extension of a
    /// generated name follows the content, not the URL.
    ///
    /// A process that is killed leaves its temporary file, `.luma-<6 letters>.part`. The first `save`
    /// into the directory by a later process removes it if it is older than a day.
    ///
    /// # Errors
    ///
    /// [`Io`](Error::Io) if the file exists (see [`overwrite`](Self::overwrite)), is not a regular file,
    /// or cannot be written: all that can be known before is checked before anything is fetched;
    /// [`InvalidInput`](Error::InvalidInput) if there is no output, or more than one;
    /// [`Rejected`](Error::Rejected), [`NoResponse`](Error::NoResponse),
    /// [`UnexpectedResponse`](Error::UnexpectedResponse) if it cannot be fetched.
    pub async fn save(self, path: impl AsRef<Path>) -> Result<Saved> {
        let id = self.source.id;
        self.save_only(path.as_ref()).await.map_err(|error| error.about_download(id))
    }

    async fn save_only(self, path: &Path) -> Result<Saved> {
        let target = Target::new(path, self.overwrite, self.resumable).await?;
        let this = self.named(&target)?;
        let output = this.only("`save_all`, or choose one with `output`")?;
        this.save_one(output, &target).await
    }

    /// Saves every output into a directory, four at a time, as `<generation id>.<extension>`,
    /// `<generation id>-2.<extension>` and so on; layers as
    /// `<generation id>-layer-<index>-<label>.<extension>`. No two outputs have the same name.
    ///
    /// Returns them in the order of the outputs.
    ///
    /// # Errors
    ///
    /// As [`save`](Self::save). Outputs that were saved before the error stay.
    pub async fn save_all(self, directory: impl AsRef<Path>) -> Result<Vec<Saved>> {
        let id = self.source.id;
        self.save_each(directory.as_ref()).await.map_err(|error| error.about_download(id))
    }

    async fn save_each(self, directory: &Path) -> Result<Vec<Saved>> {
        let target = Target::directory(directory, self.overwrite, self.resumable).await?;
        if self.source.outputs.is_empty() {
            return Err(Error::invalid_input("there is no output to download"));
        }
        let this = self.named(&target)?;
        // By index: with a closure over references, the compiler cannot prove the future `Send`
        // (https://github.com/rust-lang/rust/issues/102211).
        futures_util::stream::iter(0..this.source.outputs.len())
            .map(|index| this.save_one(&this.source.outputs[index], &target))
            .buffered(CONCURRENT)
            .try_collect()
            .await
    }

    /// With the names that the template gives, if there is one, and checked for what cannot be saved.
    fn named(mut self, target: &Target) -> Result<Self> {
        if self.range != (0, None) {
            return Err(Error::invalid_input("a range is not saved as a file: use `bytes`, `copy_to` or `open`"));
        }
        let Some(template) = &self.template else { return Ok(self) };
        if !target.is_directory() {
            return Err(Error::invalid_input("a template names files in a directory: give `save` a directory"));
        }
        let mut taken: Vec<FileName> = Vec::new();
        for output in &mut self.source.outputs {
            let name = template::render(template, self.source.id, output.index)?;
            if taken.iter().any(|it| it.is_same(&name)) {
                return Err(Error::invalid_input("the template gives two outputs the same name: add `{index}`"));
            }
            taken.push(name.clone());
            output.name.file = name;
        }
        Ok(self)
    }

    async fn save_one(&self, output: &Output, target: &Target) -> Result<Saved> {
        let (begun, id) = (Instant::now(), self.source.id);
        let saved = self.save_to(output, target).await?;
        let (path, bytes, seconds) = (saved.path.display(), saved.bytes, begun.elapsed().as_secs_f64());
        tracing::info!(id = id.map(tracing::field::display), %path, bytes, seconds, "output saved");
        Ok(saved)
    }

    async fn save_to(&self, output: &Output, target: &Target) -> Result<Saved> {
        let mut part = target.open_part(&output.name).await?;
        let fetch = self.fetch(output, part.take_resume_point())?;
        // Boxed: the future of a caller that saves stays small.
        Box::pin(writer::save(fetch, part, ProgressReporter::new(self.callback.clone()))).await
    }

    /// Fetches the only output into memory, up to [`max_bytes`](Self::max_bytes) or 256 MiB.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open) and [`Body::chunk`].
    pub async fn bytes(self) -> Result<Bytes> {
        let limit = self.options.max_bytes.unwrap_or(IN_MEMORY);
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
        let id = self.source.id;
        let mut body = self.open().await?;
        let io = |e| Error::io("write to", "the given writer", e).about_download(id);
        while let Some(chunk) = body.chunk().await? {
            writer.write_all(&chunk).await.map_err(io)?;
        }
        writer.flush().await.map_err(io)?;
        Ok(body.done())
    }

    /// Requests the only output, and returns once the headers of the response are here.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](Error::InvalidInput) if there is no output, or more than one;
    /// [`Rejected`](Error::Rejected) or [`NoResponse`](Error::NoResponse) if it cannot be fetched;
    /// [`UnexpectedResponse`](Error::UnexpectedResponse) if the headers show something else (see [`Source`]).
    pub async fn open(self) -> Result<Body> {
        let id = self.source.id;
        let fetch = self.connected().await.map_err(|error| error.about_download(id))?;
        Ok(Body::new(fetch, id, ProgressReporter::new(self.callback.clone())))
    }

    async fn connected(&self) -> Result<Fetch> {
        let mut fetch = self.fetch(self.only("`output` to choose one")?, ResumePoint::default())?;
        fetch.connect().await?;
        Ok(fetch)
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
        let url = output.url.as_ref().ok_or_else(|| Error::invalid_input("the source is not an absolute URL"))?;
        let (start, end) = self.range;
        if end.is_some_and(|end| end <= start) {
            return Err(Error::invalid_input("the range of bytes is empty"));
        }
        let (url, index) = (signed_url(url.as_str())?, output.index);
        let location = Location { url, index, expected: output.expected, start, end };
        Ok(Fetch::new(self.options.clone(), location, from))
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download").field("source", &self.source).finish_non_exhaustive()
    }
}
