//! Bytes in: picks the way, streams from disk, sends again what broke, waits until it is ready.

use std::{
    fmt,
    future::IntoFuture,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use chrono::{DateTime, Utc};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use http::{HeaderName, HeaderValue, header};
use progenitor_client::{ClientHooks as _, OperationInfo};
use tokio::{io::AsyncReadExt as _, time::timeout};

use crate::{
    Call, Client, Error, Progress, Result,
    error::Fault,
    progress::{Meter, Watcher},
    raw, sniff,
    storage::{Storage, checked_url},
    transport::Broken,
    types::{CreateFile, CreateFileResponse, File, FilePurpose, PresignedUpload},
};

/// Up to this size the bytes go along with the request that records the file.
///
/// The service has a limit to that and does not publish it; four megabytes are what it recommends
/// for images. Should it refuse even that, the presigned way is taken.
const INLINE: u64 = 4 * 1024 * 1024;

/// The service's limit for a file: 5 GiB.
const LARGEST: u64 = 5 * 1024 * 1024 * 1024;

/// How much is read from disk at once.
const CHUNK: usize = 256 * 1024;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type ByteStream = Pin<Box<dyn Stream<Item = io::Result<bytes::Bytes>> + Send>>;

/// The bytes of a file to be uploaded: a path, bytes in memory, or a stream of known length.
pub struct Bytes(Kind);

enum Kind {
    Path(PathBuf),
    Memory(bytes::Bytes),
    Stream { stream: ByteStream, length: u64 },
}

impl Bytes {
    /// A stream of exactly `length` bytes. It can be sent only once: a break ends the upload.
    pub fn stream<S>(stream: S, length: u64) -> Self
    where
        S: Stream<Item = io::Result<bytes::Bytes>> + Send + 'static,
    {
        Self(Kind::Stream { stream: Box::pin(stream), length })
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Path(path) => f.debug_tuple("Path").field(path).finish(),
            Kind::Memory(bytes) => f.debug_tuple("Memory").field(&bytes.len()).finish(),
            Kind::Stream { length, .. } => f.debug_tuple("Stream").field(length).finish(),
        }
    }
}

impl From<&str> for Bytes {
    fn from(path: &str) -> Self {
        Self(Kind::Path(path.into()))
    }
}

impl From<String> for Bytes {
    fn from(path: String) -> Self {
        Self(Kind::Path(path.into()))
    }
}

impl From<&Path> for Bytes {
    fn from(path: &Path) -> Self {
        Self(Kind::Path(path.into()))
    }
}

impl From<&PathBuf> for Bytes {
    fn from(path: &PathBuf) -> Self {
        Self(Kind::Path(path.into()))
    }
}

impl From<PathBuf> for Bytes {
    fn from(path: PathBuf) -> Self {
        Self(Kind::Path(path))
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Kind::Memory(bytes.into()))
    }
}

impl From<bytes::Bytes> for Bytes {
    fn from(bytes: bytes::Bytes) -> Self {
        Self(Kind::Memory(bytes))
    }
}

/// An upload that has not begun: `.await` it for the [`File`], which is ready to be used then.
///
/// Small files go along with the request that records them; larger ones (up to 5 GiB) are streamed
/// from disk to a presigned URL, without the key, and never held in memory. If that breaks, they are
/// sent again while the URL is valid: it can only end in the same object.
///
/// # Errors
///
/// - [`InvalidInput`](Error::InvalidInput): the file is missing, empty, too large, a directory, or of
///   a type that the service does not take. Nothing was sent.
/// - [`Io`](Error::Io): it cannot be read.
/// - [`FileFailed`](Error::FileFailed): the service could not use it.
/// - [`WaitTimeout`](Error::WaitTimeout): it was not ready in time; wait for it by its id.
/// - those of [`Files::create`](crate::Files::create).
///
/// # Cancel safety
///
/// Dropping an upload stops it. A file that was recorded by then stays `pending`.
#[must_use = "an upload does nothing until awaited"]
pub struct Upload {
    bytes: Bytes,
    settings: Settings,
}

struct Settings {
    client: Client,
    mime_type: Option<String>,
    purpose: Option<FilePurpose>,
    filename: Option<String>,
    expires_at: Option<DateTime<Utc>>,
    user_id: Option<String>,
    timeout: Option<Duration>,
    watcher: Option<Watcher>,
}

impl Upload {
    pub(crate) fn new(client: Client, bytes: Bytes) -> Self {
        let settings = Settings {
            client,
            mime_type: None,
            purpose: None,
            filename: None,
            expires_at: None,
            user_id: None,
            timeout: None,
            watcher: None,
        };
        Self { bytes, settings }
    }

    /// What the bytes are, such as `video/mp4`, instead of what their beginning shows. It is not checked.
    pub fn mime_type(mut self, mime_type: impl Into<String>) -> Self {
        self.settings.mime_type = Some(mime_type.into());
        self
    }

    /// What the file is for. The service has a default that it does not publish.
    pub fn purpose(mut self, purpose: FilePurpose) -> Self {
        self.settings.purpose = Some(purpose);
        self
    }

    /// The name to record. By default that of the path.
    pub fn filename(mut self, filename: impl Into<String>) -> Self {
        self.settings.filename = Some(filename.into());
        self
    }

    /// When the service may delete the file by itself.
    pub fn expires_at(mut self, expires_at: impl Into<DateTime<Utc>>) -> Self {
        self.settings.expires_at = Some(expires_at.into());
        self
    }

    /// An opaque tag of your end user, echoed by the service.
    pub fn user_id(mut self, user_id: impl Into<String>) -> Self {
        self.settings.user_id = Some(user_id.into());
        self
    }

    /// How long to wait for the file to be ready once its bytes are there. Default five minutes.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = Some(timeout);
        self
    }

    /// Tells how far the bytes have come, at most five times a second and once at the end.
    pub fn progress(mut self, watcher: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.settings.watcher = Some(Arc::new(watcher));
        self
    }
}

impl Settings {
    async fn run(mut self, bytes: Bytes) -> Result<File> {
        let mut content = Content::open(bytes).await?;
        let mime_type = match &self.mime_type {
            Some(mime_type) => mime_type.clone(),
            None => accepted_type(&content)?,
        };
        self.filename = self.filename.take().or_else(|| content.filename());

        let recorded = match self.inline(&mut content, &mime_type).await {
            Some(Err(Error::Refused(e))) if e.status == http::StatusCode::PAYLOAD_TOO_LARGE => None,
            other => other,
        };
        let file = match recorded {
            Some(recorded) => recorded?.file,
            None => self.presigned(&mut content, &mime_type).await?,
        };
        let wait = self.client.files().wait(&file);
        match self.timeout {
            Some(timeout) => wait.timeout(timeout).await,
            None => wait.await,
        }
    }

    /// The bytes along with the request. `None`: they are too many for that.
    async fn inline(&self, content: &mut Content, mime_type: &str) -> Option<Result<CreateFileResponse>> {
        if content.length > INLINE {
            return None;
        }
        let bytes = match content.memory().await {
            Ok(bytes) => bytes,
            Err(error) => return Some(Err(error)),
        };
        let length = content.length;
        let form = match self.form(bytes, mime_type).await {
            Ok(form) => form,
            Err(error) => return Some(Err(error)),
        };
        let call = Call::new(self.client.clone(), async move |api: raw::Client| form.send(api).await);
        let answer = call.timeout(self.client.submit_timeout()).await;
        if answer.is_ok() {
            Meter::new(self.watcher.clone()).tell(length, Some(length), true);
        }
        Some(answer)
    }

    async fn form(&self, bytes: bytes::Bytes, mime_type: &str) -> Result<Form> {
        use reqwest::multipart::{Form as Parts, Part};
        let filename = self.filename.clone().unwrap_or_else(|| "file".to_owned());
        let part = Part::stream_with_length(bytes.clone(), bytes.len() as u64)
            .file_name(filename.clone())
            .mime_str(mime_type)
            .map_err(|_| Error::invalid_input(format!("`{}` is not a media type", mime_type.escape_debug())))?;
        let mut parts = Parts::new().part("file", part).text("filename", filename);
        let fields = [
            ("purpose", self.purpose.as_ref().map(ToString::to_string)),
            ("expires_at", self.expires_at.map(|it| it.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))),
            ("user_id", self.user_id.clone()),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                parts = parts.text(name, value);
            }
        }
        // In one piece, so that it can be sent again where that is safe.
        let content_type = format!("multipart/form-data; boundary={}", parts.boundary());
        let body = parts.into_stream().try_collect::<Vec<_>>().await;
        let body = body.map_err(|e| Error::invalid_input(format!("the form cannot be made: {e}")))?;
        Ok(Form { content_type, body: body.concat().into() })
    }

    /// Record, PUT, complete.
    async fn presigned(&self, content: &mut Content, mime_type: &str) -> Result<File> {
        let mut request = CreateFile::builder().mime_type(mime_type).size_bytes(content.size()?);
        request = request.purpose(self.purpose.clone()).filename(self.filename.clone());
        request = request.expires_at(self.expires_at).user_id(self.user_id.clone());
        let recorded = self.client.files().create(request).await?;
        let Some(envelope) = recorded.upload else {
            return Err(Error::invalid_input(format!(
                "the service gave no URL for the bytes of file {}, and it is too large to send inline",
                recorded.id
            )));
        };
        self.put(&envelope, content).await?;
        match self.client.files().complete(&recorded.file).await {
            // It may have been heard: the state of the file will tell.
            Ok(_) | Err(Error::OutcomeUnknown(_)) => Ok(recorded.file),
            Err(error) => Err(error),
        }
    }

    async fn put(&self, envelope: &PresignedUpload, content: &mut Content) -> Result<()> {
        if !envelope.method.eq_ignore_ascii_case("PUT") {
            let method = envelope.method.escape_debug();
            return Err(Error::invalid_input(format!(
                "the service asks to {method} the bytes; this crate can only PUT"
            )));
        }
        let url = checked_url(envelope.url.as_str())?;
        let mut headers = http::HeaderMap::new();
        for (name, value) in &envelope.headers {
            let pair = HeaderName::try_from(name.as_str()).ok().zip(HeaderValue::from_str(value.expose()).ok());
            let (name, mut value) =
                pair.ok_or_else(|| Error::invalid_input("the service asks for a header that cannot be sent"))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        headers.insert(header::CONTENT_LENGTH, content.length.into());

        let http = self.client.transport().http.clone();
        let mut storage = Storage::new(http, "upload", self.client.idle_timeout(), self.client.options().retry);
        loop {
            let sent = Sent::new(content.length, Meter::new(self.watcher.clone()));
            let body = reqwest::Body::wrap_stream(sent.watch(content.stream().await?));
            let request = storage.http.put(url.clone()).headers(headers.clone()).body(body);
            storage.attempt();
            let broken = match sent.guard(request.send(), storage.idle_timeout).await {
                Ok(response) if response.status().is_success() => return Ok(()),
                Ok(response) => {
                    if content.is_stream() {
                        return Err(storage.refusal(response).await);
                    }
                    storage.refused(response).await?;
                    continue;
                }
                Err(broken) => broken,
            };
            if let Some(error) = sent.take_error() {
                return Err(Error::io("read", content.path(), error));
            }
            if content.is_stream() || SystemTime::now() >= SystemTime::from(envelope.expires_at) {
                return Err(storage.no_answer(broken));
            }
            storage.pause(broken).await?;
        }
    }
}

impl IntoFuture for Upload {
    type Output = Result<File>;
    type IntoFuture = BoxFuture<Result<File>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.settings.run(self.bytes))
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("bytes", &self.bytes)
            .field("mime_type", &self.settings.mime_type)
            .finish_non_exhaustive()
    }
}

/// The multipart form of `create_file`, which progenitor cannot generate.
struct Form {
    content_type: String,
    body: bytes::Bytes,
}

impl Form {
    async fn send(self, api: raw::Client) -> Result<raw::ResponseValue<CreateFileResponse>, raw::Error> {
        let mut request = api
            .client
            .post(format!("{}/files", api.baseurl))
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, self.content_type)
            .body(self.body)
            .build()?;
        let info = OperationInfo { operation_id: "create_file" };
        api.pre(&mut request, &info).await?;
        let response = api.exec(request, &info).await;
        api.post(&response, &info).await?;
        raw::ResponseValue::from_response(response?).await
    }
}

/// What is uploaded, opened and measured.
struct Content {
    kind: Kind,
    length: u64,
    head: Vec<u8>,
}

impl Content {
    async fn open(bytes: Bytes) -> Result<Self> {
        let (kind, length, head) = match bytes.0 {
            Kind::Path(path) => {
                let file = tokio::fs::File::open(&path).await.map_err(|e| Error::io("read", &path, e))?;
                let about = file.metadata().await.map_err(|e| Error::io("read", &path, e))?;
                if !about.is_file() {
                    return Err(Error::invalid_input(format!("{} is not a file", path.display())));
                }
                let mut head = Vec::new();
                file.take(sniff::ENOUGH).read_to_end(&mut head).await.map_err(|e| Error::io("read", &path, e))?;
                (Kind::Path(path), about.len(), head)
            }
            Kind::Memory(bytes) => {
                let head = bytes.iter().copied().take(512).collect();
                let length = bytes.len() as u64;
                (Kind::Memory(bytes), length, head)
            }
            Kind::Stream { mut stream, length } => {
                let mut begin = Vec::new();
                while (begin.len() as u64) < sniff::ENOUGH {
                    match stream.next().await {
                        Some(chunk) => {
                            begin.extend_from_slice(&chunk.map_err(|e| Error::io("read", "the given stream", e))?);
                        }
                        None => break,
                    }
                }
                let head = begin.iter().copied().take(512).collect();
                let whole = futures_util::stream::iter([Ok(begin.into())]).chain(stream);
                (Kind::Stream { stream: Box::pin(whole), length }, length, head)
            }
        };
        if length == 0 {
            return Err(Error::invalid_input("the file to upload is empty"));
        }
        if length > LARGEST {
            return Err(Error::invalid_input(format!(
                "the file to upload has {length} bytes; the service takes {LARGEST} at most"
            )));
        }
        Ok(Self { kind, length, head })
    }

    fn size(&self) -> Result<i64> {
        i64::try_from(self.length).map_err(|_| Error::invalid_input("the file to upload is too large"))
    }

    fn path(&self) -> &Path {
        match &self.kind {
            Kind::Path(path) => path,
            Kind::Memory(_) | Kind::Stream { .. } => Path::new("the given bytes"),
        }
    }

    fn filename(&self) -> Option<String> {
        match &self.kind {
            Kind::Path(path) => path.file_name().map(|name| name.to_string_lossy().into_owned()),
            Kind::Memory(_) | Kind::Stream { .. } => None,
        }
    }

    /// Whether the bytes can be given out only once.
    fn is_stream(&self) -> bool {
        matches!(self.kind, Kind::Stream { .. })
    }

    /// All of it; kept, in case it has to go another way after all.
    async fn memory(&mut self) -> Result<bytes::Bytes> {
        let bytes = match &mut self.kind {
            Kind::Memory(bytes) => bytes.clone(),
            Kind::Path(path) => tokio::fs::read(&path).await.map_err(|e| Error::io("read", &*path, e))?.into(),
            Kind::Stream { stream, .. } => {
                let chunks: Vec<_> =
                    stream.try_collect().await.map_err(|e| Error::io("read", "the given stream", e))?;
                chunks.concat().into()
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

    /// From the beginning; a stream only once.
    async fn stream(&mut self) -> Result<ByteStream> {
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
fn read(mut file: tokio::fs::File) -> impl Stream<Item = io::Result<bytes::Bytes>> + Send {
    file.set_max_buf_size(CHUNK);
    futures_util::stream::try_unfold(file, async |mut file| {
        let mut chunk = bytes::BytesMut::with_capacity(CHUNK);
        let read = file.read_buf(&mut chunk).await?;
        Ok((read > 0).then(|| (chunk.freeze(), file)))
    })
}

/// What the service takes, as far as it says: JPEG, PNG, WebP, still GIF; videos.
fn accepted_type(content: &Content) -> Result<String> {
    match sniff::kind(&content.head) {
        Some((kind @ ("image/jpeg" | "image/png" | "image/webp" | "image/gif"), _)) => Ok(kind.to_owned()),
        Some((kind, _)) if kind.starts_with("video/") => Ok(kind.to_owned()),
        found => {
            let found = found.map_or("something unknown", |(kind, _)| kind);
            Err(Error::invalid_input(format!(
                "the file to upload looks like {found}; the service takes JPEG, PNG, WebP, GIF and videos (set mime_type to try it all the same)"
            )))
        }
    }
}

/// Watches the bytes leave.
#[derive(Clone)]
struct Sent {
    bytes: Arc<AtomicU64>,
    length: u64,
    meter: Arc<Mutex<Meter>>,
    error: Arc<Mutex<Option<io::Error>>>,
}

impl Sent {
    fn new(length: u64, meter: Meter) -> Self {
        Self { bytes: Arc::default(), length, meter: Arc::new(Mutex::new(meter)), error: Arc::default() }
    }

    /// Counts the bytes; an error of the file stays here, since HTTP would only call it a break.
    fn watch(&self, stream: ByteStream) -> impl Stream<Item = io::Result<bytes::Bytes>> + Send + 'static {
        let this = self.clone();
        stream.map(move |chunk| match chunk {
            Ok(chunk) => {
                let bytes = this.bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed) + chunk.len() as u64;
                let mut meter = this.meter.lock().unwrap_or_else(PoisonError::into_inner);
                meter.tell(bytes, Some(this.length), bytes == this.length);
                Ok(chunk)
            }
            Err(error) => {
                let kind = error.kind();
                *this.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Err(kind.into())
            }
        })
    }

    fn take_error(&self) -> Option<io::Error> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Gives up when no byte has moved for the idle timeout.
    async fn guard(
        &self,
        request: impl Future<Output = reqwest::Result<reqwest::Response>>,
        idle_timeout: Duration,
    ) -> Result<reqwest::Response, Broken> {
        let mut request = std::pin::pin!(request);
        let mut seen = 0;
        loop {
            if let Ok(response) = timeout(idle_timeout, request.as_mut()).await {
                return Ok(response?);
            }
            let now = self.bytes.load(Ordering::Relaxed);
            if now == seen {
                return Err(Broken::new(Fault::Timeout));
            }
            seen = now;
        }
    }
}
