//! Bytes in: picks the way, streams from disk, sends again what broke, waits until it is ready.

mod content;

use std::{
    fmt,
    future::IntoFuture,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, future::BoxFuture};
use http::{HeaderName, HeaderValue, StatusCode, header};
use progenitor_client::{ClientHooks as _, OperationInfo};
use tokio::time::{Instant, timeout};

use self::content::{ByteStream, Opened};
use crate::{
    client::{Client, call::Call},
    error::{Error, Exchange, Fault, Result},
    files::Files,
    http::{failure::Failure, fault::AttemptError, storage, transport::Request, url::signed_url},
    progress::{Meter, Progress, Watcher},
    raw,
    types::{CreateFile, CreateFileResponse, File, FilePurpose, FileState, PresignedUpload},
};

pub use content::Content;

impl Files {
    /// Uploads a file, all steps in one: record it, send the bytes, complete it, wait until it is ready.
    ///
    /// Takes a path, bytes in memory, or [`Content::stream`].
    ///
    /// ```no_run
    /// # async fn example(luma: luma_agents::Client) -> luma_agents::Result<()> {
    /// use luma_agents::types::{CreateGeneration, GenerationType, MediaRef};
    ///
    /// let photo = luma.files().upload("photo.jpg").await?;
    /// let request = CreateGeneration::builder()
    ///     .type_(GenerationType::ImageEdit)
    ///     .prompt("make the sky orange")
    ///     .source(MediaRef::from(&photo));
    /// let job = luma.generations().create(request).await?;
    /// # Ok(()) }
    /// ```
    pub fn upload(&self, content: impl Into<Content>) -> Upload {
        Upload::new(self.client.clone(), content.into())
    }
}

/// Up to this size the bytes go along with the request that records the file.
///
/// The service has a limit to that and does not publish it; four megabytes are what it recommends
/// for images. Should it refuse even that, the presigned way is taken.
const INLINE: u64 = 4 * 1024 * 1024;

/// How often the service is told that the bytes are there, if it is unclear whether it has heard.
const COMPLETIONS: u32 = 3;

/// An upload that has not begun: `.await` it for the [`File`], which is ready to be used then.
///
/// Small files go along with the request that records them; larger ones (up to 5 GiB) are streamed
/// from disk to a presigned URL, without the key, and never held in memory. If that breaks, they are
/// sent again while the URL is valid: it can only end in the same object.
///
/// # Errors
///
/// - [`InvalidInput`](Error::InvalidInput): it is empty, too large, a directory, or of a type that
///   the service does not take. Nothing was sent.
/// - [`Io`](Error::Io): it is missing or cannot be read.
/// - [`FileFailed`](Error::FileFailed): the service could not use it.
/// - [`WaitTimeout`](Error::WaitTimeout): it was not ready in time; wait for it by its id.
/// - those of [`Files::create`](crate::Files::create); [`Error::file_id`] tells the file that was
///   recorded by then.
///
/// # Cancel safety
///
/// Dropping an upload stops it. A file that was recorded by then stays `pending`.
#[must_use = "an upload does nothing until awaited"]
pub struct Upload {
    content: Content,
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
    pub(crate) fn new(client: Client, content: Content) -> Self {
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
        Self { content, settings }
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
    async fn run(mut self, content: Content) -> Result<File> {
        let mut content = Opened::open(content).await?;
        let mime_type = match &self.mime_type {
            Some(mime_type) => mime_type.clone(),
            None => content.accepted_type()?,
        };
        self.filename = self.filename.take().or_else(|| content.filename());

        let recorded = match self.inline(&mut content, &mime_type).await {
            Some(Err(Error::Rejected(e))) if e.status == StatusCode::PAYLOAD_TOO_LARGE => None,
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
    async fn inline(&self, content: &mut Opened, mime_type: &str) -> Option<Result<CreateFileResponse>> {
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

    async fn form(&self, bytes: Bytes, mime_type: &str) -> Result<Form> {
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
    async fn presigned(&self, content: &mut Opened, mime_type: &str) -> Result<File> {
        let mut request = CreateFile::builder().mime_type(mime_type).size_bytes(content.size()?);
        request = request.purpose(self.purpose.clone()).filename(self.filename.clone());
        request = request.expires_at(self.expires_at).user_id(self.user_id.clone());
        let CreateFileResponse { file, upload, .. } = self.client.files().create(request).await?;
        let sent = match upload {
            Some(envelope) => self.put(&envelope, content).await,
            None => Err(unexpected("there is no URL for the bytes, and they are too many to send inline")),
        };
        match sent {
            Ok(()) => self.complete(&file).await,
            Err(error) => Err(error),
        }
        .map_err(|error| error.about_file(file.id))?;
        Ok(file)
    }

    /// If it is unclear whether the service has heard, the state of the file tells; to tell it twice
    /// is harmless.
    async fn complete(&self, file: &File) -> Result<()> {
        let files = self.client.files();
        let mut doubt = None;
        for _ in 0..COMPLETIONS {
            match files.complete(file).await {
                Ok(_) => return Ok(()),
                Err(Error::Rejected(e)) if doubt.is_some() && e.status == StatusCode::CONFLICT => return Ok(()),
                Err(error @ Error::OutcomeUnknown(_)) => doubt = Some(error),
                Err(error) => return Err(error),
            }
            if files.get(file).await?.state != FileState::Pending {
                return Ok(());
            }
        }
        doubt.map_or(Ok(()), Err)
    }

    async fn put(&self, envelope: &PresignedUpload, content: &mut Opened) -> Result<()> {
        if !envelope.method.eq_ignore_ascii_case("PUT") {
            let method = envelope.method.escape_debug();
            return Err(unexpected(format!("the bytes are to be sent by {method}, not PUT")));
        }
        let url = signed_url(envelope.url.as_str()).map_err(|_| unexpected("the URL for the bytes is not https"))?;
        let mut headers = http::HeaderMap::new();
        for (name, value) in &envelope.headers {
            let pair = HeaderName::try_from(name.as_str()).ok().zip(HeaderValue::from_str(value.expose()).ok());
            let (name, mut value) = pair.ok_or_else(|| unexpected("a header that cannot be sent is asked for"))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        headers.insert(header::CONTENT_LENGTH, content.length.into());

        let idle_timeout = self.client.idle_timeout();
        let mut put = Put {
            http: &self.client.shared().http,
            url,
            headers,
            content,
            idle_timeout,
            progress: Meter::new(self.watcher.clone()),
        };
        storage::call("upload", idle_timeout, self.client.options().retry).send(&mut put).await?;
        Ok(())
    }
}

/// The bytes on their way to a signed URL.
struct Put<'a> {
    http: &'a reqwest::Client,
    url: reqwest::Url,
    headers: http::HeaderMap,
    content: &'a mut Opened,
    idle_timeout: Duration,
    progress: Meter,
}

impl Request for Put<'_> {
    type Response = reqwest::Response;

    async fn send(&mut self, exchange: &mut Exchange, _: Instant) -> Result<reqwest::Response, Failure> {
        let sent = Sent::new(self.content.length, self.progress.clone());
        let body = reqwest::Body::wrap_stream(sent.watch(self.content.stream().await.map_err(Failure::Local)?));
        let request = self.http.put(self.url.clone()).headers(self.headers.clone()).body(body);
        match sent.guard(request.send(), self.idle_timeout).await {
            Ok(response) => storage::check(response, exchange, Instant::now() + self.idle_timeout).await,
            Err(error) => Err(match sent.take_error() {
                Some(error) => Failure::Local(Error::io("read", self.content.path(), error)),
                None => error.into(),
            }),
        }
    }

    fn is_repeatable(&self) -> bool {
        !self.content.is_stream()
    }
}

impl IntoFuture for Upload {
    type Output = Result<File>;
    type IntoFuture = BoxFuture<'static, Result<File>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.settings.run(self.content))
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("content", &self.content)
            .field("mime_type", &self.settings.mime_type)
            .finish_non_exhaustive()
    }
}

fn unexpected(problem: impl Into<String>) -> Error {
    Error::unexpected(Exchange::of("upload"), problem)
}

/// The multipart form of `create_file`, which progenitor cannot generate.
struct Form {
    content_type: String,
    body: Bytes,
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
    fn watch(&self, stream: ByteStream) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
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
    ) -> Result<reqwest::Response, AttemptError> {
        let mut request = std::pin::pin!(request);
        let mut seen = 0;
        loop {
            if let Ok(response) = timeout(idle_timeout, request.as_mut()).await {
                return Ok(response?);
            }
            let now = self.bytes.load(Ordering::Relaxed);
            if now == seen {
                return Err(AttemptError::new(Fault::Timeout));
            }
            seen = now;
        }
    }
}
