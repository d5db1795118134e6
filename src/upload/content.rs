//! The bytes to upload: where they are, how many, and their media type.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    pin::Pin,
};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use tokio::io::AsyncReadExt as _;

use crate::{
    error::{Error, Result},
    util::media_type,
};

/// The service's limit for a file: 5 GiB.
const LARGEST: u64 = 5 * 1024 * 1024 * 1024;

/// How much is read from disk at a time.
const CHUNK: usize = 1024 * 1024;

pub(crate) type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// What to upload: text and paths are the path of a file; `Vec<u8>`, slices and [`Bytes`] are its bytes;
/// [`stream`](Self::stream) is for a stream of known length.
pub struct Content(Kind);

enum Kind {
    Path(PathBuf),
    Memory(Bytes),
    Stream { stream: ByteStream, length: u64 },
}

impl Content {
    /// A stream of exactly `length` bytes. It can be sent only once: a broken connection ends the upload.
    pub fn stream<S>(stream: S, length: u64) -> Self
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        Self(Kind::Stream { stream: Box::pin(stream), length })
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
    pub(crate) async fn open(content: Content) -> Result<Self> {
        let (kind, length, head) = match content.0 {
            Kind::Path(path) => {
                let file = tokio::fs::File::open(&path).await.map_err(|e| Error::io("read", &path, e))?;
                let about = file.metadata().await.map_err(|e| Error::io("read", &path, e))?;
                if !about.is_file() {
                    return Err(Error::invalid_input(format!("{} is not a file", path.display())));
                }
                let mut head = Vec::new();
                file.take(media_type::HEAD).read_to_end(&mut head).await.map_err(|e| Error::io("read", &path, e))?;
                (Kind::Path(path), about.len(), head)
            }
            Kind::Memory(bytes) => {
                let head = head_of(&bytes);
                let length = bytes.len() as u64;
                (Kind::Memory(bytes), length, head)
            }
            Kind::Stream { mut stream, length } => {
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

    pub(crate) fn path(&self) -> &Path {
        match &self.kind {
            Kind::Path(path) => path,
            Kind::Memory(_) | Kind::Stream { .. } => Path::new("the given bytes"),
        }
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
        let bytes = match &mut self.kind {
            Kind::Memory(bytes) => bytes.clone(),
            Kind::Path(path) => tokio::fs::read(&path).await.map_err(|e| Error::io("read", &*path, e))?.into(),
            Kind::Stream { stream, .. } => {
                let mut bytes = BytesMut::new();
                // A stream may be endless: reading stops once it is too long.
                while let Some(chunk) = stream.next().await {
                    bytes.extend_from_slice(&chunk.map_err(|e| Error::io("read", "the given stream", e))?);
                    if bytes.len() as u64 > self.length {
                        break;
                    }
                }
                bytes.freeze()
            }
        };
        if bytes.len() as u64 != self.length {
            return Err(Error::invalid_input(format!(
                "{} bytes came, not the {} that were announced",
                bytes.len(),
                self.length
            )));
        }
        self.kind = Kind::Memory(bytes.clone());
        Ok(bytes)
    }

    /// The bytes from the beginning. A stream gives them only once.
    pub(crate) async fn stream(&mut self) -> Result<ByteStream> {
        Ok(match &mut self.kind {
            Kind::Memory(bytes) => {
                let bytes = bytes.clone();
                let chunks =
                    (0..bytes.len()).step_by(CHUNK).map(move |at| Ok(bytes.slice(at..bytes.len().min(at + CHUNK))));
                Box::pin(futures_util::stream::iter(chunks))
            }
            Kind::Path(path) => {
                let file = tokio::fs::File::open(&path).await.map_err(|e| Error::io("read", &*path, e))?;
                Box::pin(read(file))
            }
            Kind::Stream { stream, .. } => std::mem::replace(stream, Box::pin(futures_util::stream::empty())),
        })
    }
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
                let found = found.map_or("something unknown", |(media_type, _)| media_type);
                Err(Error::invalid_input(format!(
                    "the file to upload seems to be {found}; the service accepts JPEG, PNG, WebP, GIF and videos (set mime_type to send it anyway)"
                )))
            }
        }
    }
}

fn head_of(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().take(usize::try_from(media_type::HEAD).unwrap_or(bytes.len())).collect()
}
