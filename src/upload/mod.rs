//! Uploads: the steps from bytes to a file that is ready.

mod content;
mod form;
mod monitor;

use std::{fmt, future::IntoFuture, sync::Arc, time::Duration};

use chrono::{DateTime, SecondsFormat, SubsecRound as _, Utc};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use reqwest::Url;
use tokio::time::Instant;

use self::{content::Opened, form::Form, monitor::UploadMonitor};
use crate::{
    client::Client,
    error::{Error, Exchange, Fault, Result},
    files::Files,
    http::{failure::Failure, fault::AttemptError, storage, transport::Request, url::signed_url},
    progress::{Progress, ProgressCallback, ProgressReporter},
    types::{CreateFile, CreateFileResponse, File, FilePurpose, FileState, PresignedUpload},
    util::{clock, redact},
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

/// Up to this size the bytes are sent in the request that records the file.
///
/// The service has such a limit and does not publish it; it recommends at most 4 MB for images. If it
/// rejects a form of that size, the presigned URL is used.
const INLINE: u64 = 4 * 1024 * 1024;

/// How often a file is completed if it is unclear whether the service received the request.
const COMPLETIONS: u32 = 3;

/// An upload that has not begun: `.await` it for the [`File`], which is then ready to be used.
///
/// Small files are sent in the request that records them. Larger ones (up to 5 GiB) are streamed
/// from disk to a presigned URL, without the API key, and never held in memory. If the connection
/// breaks, they are sent again: the result is the same object.
///
/// # Errors
///
/// - [`InvalidInput`](Error::InvalidInput): it is empty, too large, no regular file (a directory, a
///   pipe, a device), or of a type that the service does not accept. Nothing was sent.
/// - [`Io`](Error::Io): it is missing, cannot be read, or became shorter or longer while it was sent.
/// - [`FileFailed`](Error::FileFailed): the service could not use it.
/// - [`WaitTimeout`](Error::WaitTimeout): it was not ready in time; wait for it by its id.
/// - those of [`Files::create`](crate::Files::create); [`Error::file_id`] is the file that was
///   recorded by then.
///
/// # Panics
///
/// If the progress callback or the caller's stream panics: the panic reaches the caller, and nothing is
/// sent again.
///
/// # Cancel safety
///
/// Dropping an upload stops it. A file that was recorded by then stays `pending`; one of up to 4 MiB, which is sent in
/// one request, may be recorded all the same.
#[must_use = "an upload does nothing until awaited"]
pub struct Upload {
    content: Content,
    options: UploadOptions,
}

struct UploadOptions {
    client: Client,
    mime_type: Option<String>,
    purpose: Option<FilePurpose>,
    filename: Option<String>,
    expires_at: Option<DateTime<Utc>>,
    user_id: Option<String>,
    timeout: Option<Duration>,
    callback: Option<ProgressCallback>,
}

impl Upload {
    pub(crate) fn new(client: Client, content: Content) -> Self {
        let options = UploadOptions {
            client,
            mime_type: None,
            purpose: None,
            filename: None,
            expires_at: None,
            user_id: None,
            timeout: None,
            callback: None,
        };
        Self { content, options }
    }

    /// The media type, such as `video/mp4`, instead of the one that the first bytes show. It is not checked.
    pub fn mime_type(mut self, mime_type: impl Into<String>) -> Self {
        self.options.mime_type = Some(mime_type.into());
        self
    }

    /// What the file is for. The service has a default that it does not publish.
    pub fn purpose(mut self, purpose: FilePurpose) -> Self {
        self.options.purpose = Some(purpose);
        self
    }

    /// The name to record. By default the file name of the path.
    pub fn filename(mut self, filename: impl Into<String>) -> Self {
        self.options.filename = Some(filename.into());
        self
    }

    /// When the service may delete the file by itself. To the microsecond; what is finer is cut off.
    pub fn expires_at(mut self, expires_at: impl Into<DateTime<Utc>>) -> Self {
        // What the service documents; JSON and the form are the same text then.
        self.options.expires_at = Some(expires_at.into().trunc_subsecs(6));
        self
    }

    /// An opaque tag of your end user, which the service returns with the file.
    pub fn user_id(mut self, user_id: impl Into<String>) -> Self {
        self.options.user_id = Some(user_id.into());
        self
    }

    /// How long to wait for the file to be ready after its bytes were sent. Default five minutes.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// Calls `callback` with the progress of the bytes, at most five times a second and once at the end.
    pub fn progress(mut self, callback: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.options.callback = Some(Arc::new(callback));
        self
    }
}

impl UploadOptions {
    async fn run(mut self, content: Content) -> Result<File> {
        let mut content = Opened::open(content, self.client.idle_timeout()).await?;
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

    /// Sends the bytes in the request that records the file. `None`: they are too many for that.
    async fn inline(&self, content: &mut Opened, mime_type: &str) -> Option<Result<CreateFileResponse>> {
        if content.length > INLINE {
            return None;
        }
        let form = match self.form(content, mime_type).await {
            Ok(form) => form,
            Err(error) => return Some(Err(error)),
        };
        let call = self.client.call(async move |api| form.send(api).await);
        let response = call.timeout(self.client.submit_timeout()).await;
        if response.is_ok() {
            ProgressReporter::new(self.callback.clone()).report(content.length, Some(content.length), true);
        }
        Some(response)
    }

    async fn form(&self, content: &mut Opened, mime_type: &str) -> Result<Form> {
        let fields = [
            ("purpose", self.purpose.as_ref().map(ToString::to_string)),
            ("expires_at", self.expires_at.map(|it| it.to_rfc3339_opts(SecondsFormat::AutoSi, true))),
            ("user_id", self.user_id.clone()),
        ];
        let filename = self.filename.as_deref().unwrap_or("file");
        Form::new(content.memory().await?, mime_type, filename, fields).await
    }

    /// Records the file, sends the bytes to the presigned URL, completes the file.
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

    /// If it is unclear whether the service received the request, the state of the file shows it.
    /// Completing a file twice is harmless.
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
            return Err(unexpected(format!("the bytes are to be sent by {}, not PUT", envelope.method)));
        }
        let url = signed_url(envelope.url.as_str()).map_err(|_| unexpected("the URL for the bytes is not https"))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &envelope.headers {
            let pair = HeaderName::try_from(name.as_str()).ok().zip(HeaderValue::from_str(value.expose()).ok());
            let (name, mut value) = pair.ok_or_else(|| unexpected("it requires a header that cannot be sent"))?;
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
            progress: ProgressReporter::new(self.callback.clone()),
            has_moved: false,
        };
        storage::call("upload", idle_timeout, self.client.options().retry).send(&mut put).await?;
        Ok(())
    }
}

/// The request that sends the bytes to a presigned URL.
struct Put<'a> {
    http: &'a reqwest::Client,
    url: Url,
    headers: HeaderMap,
    content: &'a mut Opened,
    idle_timeout: Duration,
    progress: ProgressReporter,
    has_moved: bool,
}

impl Request for Put<'_> {
    type Response = reqwest::Response;

    fn route(&self) -> (Method, Option<&'static str>) {
        (Method::PUT, None)
    }

    /// Follows redirects by hand, as a download does.
    async fn send(&mut self, exchange: &mut Exchange, _: Instant) -> Result<reqwest::Response, Failure> {
        let mut url = self.url.clone();
        for _ in 0..=storage::REDIRECTS {
            let monitor = UploadMonitor::new(self.content.length, self.progress.clone());
            let response = self.send_to(&url, &monitor).await?;
            match storage::redirected(&url, &response) {
                Some(next) if self.is_repeatable() && keeps_method(response.status()) => url = next,
                _ => {
                    let end = clock::after(Instant::now(), self.idle_timeout);
                    let response = storage::check(response, exchange, end).await.map_err(|e| self.hide_headers(e))?;
                    // A success before the last byte was sent cannot be about all of them.
                    if !monitor.is_complete() {
                        return Err(AttemptError::new(Fault::Interrupted).into());
                    }
                    return Ok(response);
                }
            }
        }
        Err(AttemptError::new(Fault::Protocol).into())
    }

    fn has_moved(&self) -> bool {
        self.has_moved
    }

    fn is_repeatable(&self) -> bool {
        !self.content.is_stream()
    }
}

impl Put<'_> {
    /// Storage may repeat the request in the text of its error.
    fn hide_headers(&self, mut failure: Failure) -> Failure {
        if let Failure::Status(response) = &mut failure {
            let values = self.headers.values().map(|value| String::from_utf8_lossy(value.as_bytes()));
            response.body = redact::hide(values, &String::from_utf8_lossy(&response.body)).into();
        }
        failure
    }

    async fn send_to(&mut self, url: &Url, monitor: &UploadMonitor) -> Result<reqwest::Response, Failure> {
        let body = reqwest::Body::wrap_stream(monitor.watch(self.content.stream().await.map_err(Failure::Local)?));
        let request = self.http.put(url.clone()).headers(self.headers.clone()).body(body);
        let response = monitor.with_idle_timeout(request.send(), self.idle_timeout).await;
        self.has_moved = monitor.has_begun();
        match monitor.take_error() {
            Some(error) => Err(Failure::Local(self.content.read_error(error))),
            None => Ok(response?),
        }
    }
}

/// Whether a redirect asks for the same request at another URL (RFC 9110, 15.4.8 and 15.4.9).
fn keeps_method(status: StatusCode) -> bool {
    matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT)
}

impl IntoFuture for Upload {
    type Output = Result<File>;
    type IntoFuture = BoxFuture<'static, Result<File>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.options.run(self.content))
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("content", &self.content)
            .field("mime_type", &self.options.mime_type)
            .finish_non_exhaustive()
    }
}

fn unexpected(problem: impl Into<String>) -> Error {
    Error::unexpected(Exchange::of("upload"), problem)
}
