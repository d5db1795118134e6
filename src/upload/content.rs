//! The bytes to upload: where they are, how many, and their media type.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    pin::Pin,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    time::timeout,
};
use tokio_util::io::ReaderStream;

use crate::{
    error::{Error, Result},
    util::{media_type, redact},
};

/// The service's limit for a file: 5 GiB.
const LARGEST: u64 = 5 * 1024 * 1024 * 1024;

/// How much is read from disk at a time.
const CHUNK: usize = 1024 * 1024;

/// How much is handed over at a time: a line that is too slow for so much within the idle timeout stands still.
const SLICE: usize = 64 * 1024;

pub(crate) type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// What to upload: a path, bytes in memory, a [`stream`](Self::stream) or a [`reader`](Self::reader).
///
/// Text and paths name a file on disk; `Vec<u8>`, slices and [`Bytes`](bytes::Bytes) are the bytes themselves. A stream or
/// reader is read once, and its length has to be known.
pub struct Content(Kind);

enum Kind {
    Path(PathBuf),
    Memory(Bytes),
    Stream { stream: ByteStream, length: u64 },
}

impl Content {
    /// A stream of exactly `length` bytes, which then ends. More or fewer bytes are an error.
    ///
    /// It can be sent only once: a broken connection ends the upload.
    pub fn stream<S>(stream: S, length: u64) -> Self
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        Self(Kind::Stream { stream: Box::pin(stream), length })
    }
}

impl Content {
    /// What a reader gives, of exactly `length` bytes. As [`stream`](Self::stream), it can be sent only once.
    pub fn reader<R>(reader: R, length: u64) -> Self
    where
        R: AsyncRead + Send + 'static,
    {
        Self::stream(ReaderStream::with_capacity(reader, CHUNK), length)
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Path(path) => f.debug_tuple("Path").field(path).finish(),
            Kind::Memory(bytes) => f.debug_tuple("Memory").field(&bytes.len()).finish(),
            Kind::Stream { length, .. } => f.debug_tuple("Stream").field(length).finish(),
        }
    }
}

impl From<&str> for Content {
    fn from(path: &str) -> Self {
        Self(Kind::Path(path.into()))
    }
}

impl From<String> for Content {
    fn from(path: String) -> Self {
        Self(Kind::Path(path.into()))
    }
}

impl From<&Path> for Content {
    fn from(path: &Path) -> Self {
        Self(Kind::Path(path.into()))
    }
}

impl From<&PathBuf> for Content {
    fn from(path: &PathBuf) -> Self {
        Self(Kind::Path(path.into()))
    }
}

impl From<&String> for Content {
    fn from(path: &String) -> Self {
        Self(Kind::Path(path.into()))
    }
}

impl From<PathBuf> for Content {
    fn from(path: PathBuf) -> Self {
        Self(Kind::Path(path))
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Kind::Memory(bytes.into()))
    }
}

impl From<&[u8]> for Content {
    fn from(bytes: &[u8]) -> Self {
        Self(Kind::Memory(Bytes::copy_from_slice(bytes)))
    }
}

impl<const N: usize> From<&[u8; N]> for Content {
    fn from(bytes: &[u8; N]) -> Self {
        Self::from(bytes.as_slice())
    }
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        Self(Kind::Memory(bytes))
    }
}

/// Content whose length and first bytes are known.
pub(crate) struct Opened {
    kind: Kind,
    pub(crate) length: u64,
    head: Vec<u8>,
}

impl Opened {
    /// A stream fails when it gives nothing for the idle timeout.
    pub(crate) async fn open(content: Content, idle_timeout: Duration) -> Result<Self> {
        let (kind, length, head) = match content.0 {
            Kind::Path(path) => {
                let (file, length) = open_file(&path).await?;
                let mut head = Vec::new();
                file.take(media_type::HEAD).read_to_end(&mut head).await.map_err(|e| Error::io("read", &path, e))?;
                (Kind::Path(path), length, head)
            }
            Kind::Memory(bytes) => {
                let head = head_of(&bytes);
                let length = bytes.len() as u64;
                (Kind::Memory(bytes), length, head)
            }
            Kind::Stream { stream, length } => {
                let mut stream: ByteStream = Box::pin(never_idle(stream, idle_timeout));
                let mut begin = Vec::new();
                while (begin.len() as u64) < media_type::HEAD {
                    match stream.next().await {
                        Some(chunk) => {
                            begin.extend_from_slice(&chunk.map_err(|e| Error::io("read", "the given stream", e))?);
                        }
                        None => break,
                    }
                }
                let head = head_of(&begin);
                let whole = futures_util::stream::iter([Ok(begin.into())]).chain(stream);
                (Kind::Stream { stream: Box::pin(whole), length }, length, head)
            }
        };
        if length == 0 {
            return Err(Error::invalid_input("the file to upload is empty"));
        }
        if length > LARGEST {
            return Err(Error::invalid_input(format!(
                "the file to upload has {length} bytes; the service accepts {LARGEST} at most"
            )));
        }
        Ok(Self { kind, length, head })
    }

    pub(crate) fn size(&self) -> Result<i64> {
        i64::try_from(self.length).map_err(|_| Error::invalid_input("the file to upload is too large"))
    }

    /// The error of reading the bytes.
    pub(crate) fn read_error(&self, error: io::Error) -> Error {
        let path = match &self.kind {
            Kind::Path(path) => path,
            Kind::Memory(_) => Path::new("the given bytes"),
            Kind::Stream { .. } => Path::new("the given stream"),
        };
        Error::io("read", path, error)
    }

    pub(crate) fn filename(&self) -> Option<String> {
        match &self.kind {
            Kind::Path(path) => path.file_name().map(|name| name.to_string_lossy().into_owned()),
            Kind::Memory(_) | Kind::Stream { .. } => None,
        }
    }

    /// Whether the bytes can be read only once.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.kind, Kind::Stream { .. })
    }

    /// All bytes. They stay in memory in case they have to be sent another way.
    pub(crate) async fn memory(&mut self) -> Result<Bytes> {
        if let Kind::Memory(bytes) = &self.kind {
            return Ok(bytes.clone());
        }
        let mut stream = self.stream().await?;
        let mut bytes = BytesMut::new();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk.map_err(|e| match e.downcast::<WrongLength>() {
                Ok(wrong) => Error::invalid_input(format!("the length of the upload is wrong: {wrong}")),
                Err(e) => self.read_error(e),
            })?);
        }
        let bytes = bytes.freeze();
        self.kind = Kind::Memory(bytes.clone());
        Ok(bytes)
    }

    /// The bytes from the beginning in small slices, checked for length. A stream gives them only once.
    pub(crate) async fn stream(&mut self) -> Result<ByteStream> {
        let stream: ByteStream = match &mut self.kind {
            Kind::Memory(bytes) => Box::pin(futures_util::stream::iter([Ok(bytes.clone())])),
            Kind::Path(path) => Box::pin(read(open_file(path).await?.0)),
            Kind::Stream { stream, .. } => std::mem::replace(stream, Box::pin(futures_util::stream::empty())),
        };
        Ok(Box::pin(of_length(stream, self.length).map_ok(slices).try_flatten()))
    }
}

/// Opens a regular file, and returns its length. The check comes first: to open a pipe waits for its
/// other end, and to open a device may have an effect.
async fn open_file(path: &Path) -> Result<(tokio::fs::File, u64)> {
    let io = |e| Error::io("read", path, e);
    let length = |metadata: std::fs::Metadata| {
        let not_a_file = || {
            Error::invalid_input(format!(
                "{} is not a file that can be uploaded",
                redact::short(&path.display().to_string())
            ))
        };
        if metadata.is_file() { Ok(metadata.len()) } else { Err(not_a_file()) }
    };
    length(tokio::fs::metadata(path).await.map_err(io)?)?;
    let file = tokio::fs::File::open(path).await.map_err(io)?;
    // It may have been replaced in between.
    let length = length(file.metadata().await.map_err(io)?)?;
    Ok((file, length))
}

/// There are fewer or more bytes than announced.
#[derive(Debug)]
struct WrongLength {
    length: u64,
    /// `None`: more.
    end: Option<u64>,
}

impl fmt::Display for WrongLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.end {
            Some(end) => write!(f, "it became shorter: {end} bytes, not {}", self.length),
            None => write!(f, "it became longer: more than {} bytes", self.length),
        }
    }
}

impl std::error::Error for WrongLength {}

/// The same stream, with an error if it has not exactly `length` bytes. The last chunk is held back
/// until the stream has ended: a server that has the announced number of bytes would take a longer
/// file for complete.
fn of_length(stream: ByteStream, length: u64) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let wrong = move |end| Err(io::Error::new(io::ErrorKind::InvalidData, WrongLength { length, end }));
    let chunks = stream.try_filter(|chunk| std::future::ready(!chunk.is_empty())).fuse();
    futures_util::stream::try_unfold((chunks, 0), move |(mut chunks, sent)| async move {
        let Some(chunk) = chunks.try_next().await? else {
            return if sent == length { Ok(None) } else { wrong(Some(sent)) };
        };
        let sent = sent + chunk.len() as u64;
        if sent > length || (sent == length && chunks.try_next().await?.is_some()) {
            return wrong(None);
        }
        Ok(Some((chunk, (chunks, sent))))
    })
}

/// The same stream, with an error if the next chunk takes longer than `idle_timeout`.
fn never_idle(stream: ByteStream, idle_timeout: Duration) -> impl Stream<Item = io::Result<Bytes>> + Send {
    futures_util::stream::try_unfold(stream, move |mut stream| async move {
        let next = timeout(idle_timeout, stream.try_next()).await?;
        Ok(next?.map(|chunk| (chunk, stream)))
    })
}

/// The same bytes in slices.
fn slices(chunk: Bytes) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let slices = (0..chunk.len()).step_by(SLICE).map(move |at| Ok(chunk.slice(at..chunk.len().min(at + SLICE))));
    futures_util::stream::iter(slices)
}

/// A file as a stream of chunks.
fn read(mut file: tokio::fs::File) -> impl Stream<Item = io::Result<Bytes>> + Send {
    file.set_max_buf_size(CHUNK);
    futures_util::stream::try_unfold(file, async |mut file| {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        let read = file.read_buf(&mut chunk).await?;
        Ok((read > 0).then(|| (chunk.freeze(), file)))
    })
}

impl Opened {
    /// The media type, if the service documents that it accepts it: JPEG, PNG, WebP, still GIF, videos.
    pub(crate) fn accepted_type(&self) -> Result<String> {
        match media_type::detect(&self.head) {
            Some((found @ ("image/jpeg" | "image/png" | "image/webp" | "image/gif"), _)) => Ok(found.to_owned()),
            Some((found, _)) if found.starts_with("video/") => Ok(found.to_owned()),
            found => {
                let found = found.map_or("of an unknown type", |(media_type, _)| media_type);
                Err(Error::invalid_input(format!(
                    "the file to upload is {found}; the service accepts JPEG, PNG, WebP, GIF and videos; set its MIME type to send it anyway"
                )))
            }
        }
    }
}

fn head_of(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().take(usize::try_from(media_type::HEAD).unwrap_or(bytes.len())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_chunk_is_so_large_that_a_slow_line_seems_to_stand_still() {
        let bytes = Bytes::from((0..251).cycle().take(3 * CHUNK + 7).collect::<Vec<u8>>());
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), &bytes).expect("written");
        let length = bytes.len() as u64;
        let stream = Content::stream(futures_util::stream::iter([Ok(bytes.clone())]), length);
        let reader = Content::reader(std::io::Cursor::new(bytes.clone()), length);
        for content in [Content::from(bytes.clone()), Content::from(file.path()), stream, reader] {
            let shown = format!("{content:?}");
            let mut opened = Opened::open(content, Duration::from_secs(60)).await.expect("opened");
            let chunks: Vec<_> = opened.stream().await.expect("a stream").try_collect().await.expect("read");
            let largest = chunks.iter().map(Bytes::len).max();
            assert!(largest.is_some_and(|it| it <= 64 * 1024), "{largest:?} of {shown}");
            assert!(chunks.concat() == bytes, "{shown}");
        }
    }
}
