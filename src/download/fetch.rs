//! The one loop that resumes: it fetches one object from storage, asks for the rest after a break,
//! replaces an expired URL, and notices when the object has changed.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::{
    object::{Object, ResumePoint, content_range},
    response::{self, Expected, Head, Shown},
};
use crate::{
    error::{Error, Fault, Result},
    http::{
        failure::Failure,
        fault::AttemptError,
        retry::Retry,
        storage::{self, Get},
        transport::CallContext,
        url::signed_url,
    },
    util::redact,
};

/// How often a download may begin again.
const RESTARTS: u32 = 3;

/// Gets a new URL for the output with this index.
pub(crate) type Refresh = Arc<dyn Fn(usize) -> BoxFuture<'static, Result<String>> + Send + Sync>;

/// Which object to fetch.
#[derive(Clone, Debug)]
pub(crate) struct Location {
    pub(crate) url: reqwest::Url,
    /// Of the output, for [`Refresh`].
    pub(crate) index: usize,
    pub(crate) expected: Expected,
    /// Which bytes of it: from the first to before the last, or to the end.
    pub(crate) start: u64,
    pub(crate) end: Option<u64>,
}

/// How objects are fetched.
#[derive(Clone)]
pub(crate) struct FetchOptions {
    pub(crate) http: reqwest::Client,
    pub(crate) retry: Retry,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_bytes: Option<u64>,
    /// `None`: an expired URL cannot be replaced.
    pub(crate) refresh: Option<Refresh>,
}

/// What comes next in a transfer.
#[derive(Debug)]
pub(crate) enum Event {
    Bytes(Bytes),
    /// All bytes so far are of another object, or nothing shows that they are not: begin again.
    Restart,
    End,
}

/// One object being fetched.
pub(crate) struct Fetch {
    options: FetchOptions,
    call: CallContext<'static>,
    location: Location,
    response: Option<http::Response<reqwest::Body>>,
    /// Where in the object the next bytes are.
    pub(crate) offset: u64,
    /// How many bytes of the current response come before the ones to hand out.
    skip: u64,
    /// The media type that the server gives the object, without parameters.
    pub(crate) media_type: Option<String>,
    pub(crate) object: Object,
    /// The first bytes, until they have shown that they are not text. `None`: they have.
    head: Option<Head>,
    /// Whether the URL was replaced since bytes last came.
    refreshed: bool,
    restarts: u32,
    /// Whether the object of the bytes before the last restart could be told from others.
    was_identified: bool,
}

impl Fetch {
    pub(crate) fn new(options: FetchOptions, location: Location, from: ResumePoint) -> Self {
        Self {
            call: storage::call("download", options.idle_timeout, options.retry),
            options,
            response: None,
            offset: from.offset.max(location.start),
            skip: 0,
            media_type: None,
            object: from.object,
            head: (from.offset.max(location.start) == 0).then(Head::default),
            refreshed: false,
            restarts: 0,
            was_identified: false,
            location,
        }
    }

    /// How many of the wanted bytes were handed out.
    pub(crate) fn done(&self) -> u64 {
        self.offset - self.location.start
    }

    /// How many bytes are wanted, if that is known.
    pub(crate) fn wanted(&self) -> Option<u64> {
        self.target().map(|target| target.saturating_sub(self.location.start))
    }

    /// Where in the object the last wanted byte ends, if that is known.
    fn target(&self) -> Option<u64> {
        match (self.location.end, self.object.total) {
            (Some(end), Some(total)) => Some(end.min(total)),
            (end, total) => end.or(total),
        }
    }

    /// Cancel safe: state changes only after the last `await` of a step.
    pub(crate) async fn next(&mut self) -> Result<Event> {
        // Time the consumer spends between chunks does not count as idle.
        self.call.resume();
        loop {
            if self.response.is_none() && self.target() == Some(self.offset) && self.done() > 0 {
                return Ok(Event::End);
            }
            if !self.connect().await? {
                return Ok(Event::Restart);
            }
            let target = self.target();
            let Some(response) = &mut self.response else { continue };
            let error = match timeout(self.options.idle_timeout, chunk(response)).await {
                Ok(Ok(Some(mut bytes))) => {
                    let skipped = self.skip.min(bytes.len() as u64);
                    self.skip -= skipped;
                    bytes = bytes.split_off(usize::try_from(skipped).unwrap_or(bytes.len()));
                    // A server without ranges sends what comes after the wanted bytes, too.
                    let left = self.location.end.map_or(u64::MAX, |end| end - self.offset);
                    bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                    if bytes.is_empty() {
                        continue;
                    }
                    self.check_bytes(&bytes)?;
                    self.offset += bytes.len() as u64;
                    if self.location.end == Some(self.offset) {
                        self.response = None;
                    }
                    self.refreshed = false;
                    self.call.progress();
                    return Ok(Event::Bytes(bytes));
                }
                Ok(Ok(None))
                    if self.skip == 0 && target.map_or_else(|| has_ended(response), |it| it == self.offset) =>
                {
                    return self.end();
                }
                Ok(Ok(None)) => AttemptError::new(Fault::Interrupted),
                Ok(Err(error)) => AttemptError::from(error),
                Err(_) => AttemptError::new(Fault::Timeout),
            };
            self.response = None;
            self.call.retry(error.into()).await?;
        }
    }

    /// Makes sure that there is a response to read from. `false`: it is another object than before.
    pub(crate) async fn connect(&mut self) -> Result<bool> {
        while self.response.is_none() {
            let mut get = Get { http: &self.options.http, url: &self.location.url, headers: self.headers() };
            let failure = match self.call.attempt(&mut get).await {
                Ok(response) => return self.accept(response),
                Err(failure) => failure,
            };
            match &failure {
                // The object is shorter than what was fetched: it is another one.
                Failure::Status(response)
                    if response.status == StatusCode::RANGE_NOT_SATISFIABLE && self.done() > 0 =>
                {
                    self.restart()?;
                    return Ok(false);
                }
                Failure::Status(response) if response.is_expired() && !self.refreshed => {
                    let Some(refresh) = &self.options.refresh else { return Err(self.call.error(failure)) };
                    tracing::warn!("the URL of an output has expired: getting a new one");
                    let url = refresh(self.location.index).await?;
                    self.location.url = signed_url(&url)?;
                    self.refreshed = true;
                }
                _ => self.call.retry(failure).await?,
            }
        }
        Ok(true)
    }

    /// Decides how a response continues what came before it.
    fn accept(&mut self, response: reqwest::Response) -> Result<bool> {
        let (status, headers) = (response.status(), response.headers());
        if let Some(problem) = response::problem(status, headers, self.location.expected) {
            return Err(self.unexpected(problem));
        }
        let object = Object::of(status, headers);
        let media_type = response::media_type(headers);
        let first = match status {
            // Without a total, a part that was not requested may be any part of the object.
            StatusCode::PARTIAL_CONTENT => content_range(headers)
                .filter(|range| range.total.is_some() || self.offset > 0 || self.location.end.is_some())
                .map(|range| range.first),
            _ => Some(0),
        };
        // The whole object in answer to `If-Range` is another one, unless it shows the same validator (RFC 9110,
        // 13.1.5).
        let is_answer = status == StatusCode::PARTIAL_CONTENT
            || self.object.validator().is_none()
            || self.object.has_validator_of(&object) == Some(true);
        let is_same = is_answer && self.object.is_same(&object);
        let continues = self.done() == 0 || (is_same && object.total.is_none_or(|total| total >= self.offset));
        match first {
            Some(first) if self.done() == 0 && (first == 0 || first == self.offset) => {
                self.object = object;
                self.media_type = Some(media_type).filter(|it| !it.is_empty());
                self.skip = self.offset - first;
            }
            // A server without ranges sends the whole object again.
            Some(first) if continues && (first == 0 || first == self.offset) => {
                self.skip = self.offset - first;
                // A later response may have the total that the first response did not have.
                self.object.total = self.object.total.or(object.total);
            }
            Some(0) => {
                self.restart()?;
                self.object = object;
                self.response = Some(response.into());
                return Ok(false);
            }
            _ if self.done() > 0 => {
                self.restart()?;
                return Ok(false);
            }
            _ => return Err(self.unexpected("it has a part of the object that was not requested")),
        }
        if let Some(wanted) = self.wanted() {
            self.check_size(wanted)?;
        }
        self.response = Some(response.into());
        Ok(true)
    }

    fn restart(&mut self) -> Result<()> {
        self.restarts += 1;
        self.was_identified = self.object.is_identified();
        if self.restarts > RESTARTS {
            return Err(self.lost());
        }
        self.response = None;
        self.offset = self.location.start;
        self.skip = 0;
        self.object = Object::default();
        self.head = (self.offset == 0).then(Head::default);
        Ok(())
    }

    /// Why the bytes before a restart are of no use. An object that nothing identifies has not changed: it
    /// cannot be resumed.
    pub(crate) fn lost(&mut self) -> Error {
        if self.was_identified {
            self.unexpected("the object changed while it was being fetched")
        } else {
            self.call.error(AttemptError::new(Fault::Interrupted).into())
        }
    }

    /// Asks for the rest only if the response can show that it belongs to the bytes already here.
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let begins = self.done() == 0;
        if (begins && (self.offset > 0 || self.location.end.is_some())) || (!begins && self.object.is_identified()) {
            let mut set = |name, value: &str| {
                if let Ok(value) = HeaderValue::from_str(value) {
                    headers.insert(name, value);
                }
            };
            let last = self.location.end.map(|end| (end - 1).to_string()).unwrap_or_default();
            set(header::RANGE, &format!("bytes={}-{last}", self.offset));
            if let Some(validator) = self.object.validator() {
                set(header::IF_RANGE, validator);
            }
        }
        headers
    }

    /// Whether the next bytes can be bytes of the object.
    fn check_bytes(&mut self, bytes: &Bytes) -> Result<()> {
        let end = self.offset + bytes.len() as u64;
        if let Some(total) = self.object.total.filter(|total| *total < end) {
            return Err(self.unexpected(format!("it has more bytes than the {total} that were announced")));
        }
        self.check_size(end - self.location.start)?;
        if self.location.expected == Expected::Media
            && let Some(head) = &mut self.head
        {
            match head.add(bytes) {
                Shown::NoMedia(what) => {
                    return Err(self.unexpected(format!("it carries {what}, not an image or a video")));
                }
                Shown::Binary => self.head = None,
                Shown::Nothing => {}
            }
        }
        Ok(())
    }

    fn end(&self) -> Result<Event> {
        match self.location.expected {
            _ if self.done() == 0 => Err(self.unexpected("the object is empty")),
            // A few bytes that the caller asked for show nothing.
            Expected::Media if self.head.is_some() && self.location.end.is_none() => {
                Err(self.unexpected("it carries a few characters, not an image or a video"))
            }
            _ => Ok(Event::End),
        }
    }

    fn check_size(&mut self, bytes: u64) -> Result<()> {
        match self.options.max_bytes {
            Some(max) if bytes > max => Err(self.call.error(AttemptError::new(Fault::TooLarge).into())),
            _ => Ok(()),
        }
    }

    pub(crate) fn unexpected(&self, problem: impl Into<String>) -> Error {
        Error::unexpected(self.call.exchange(), problem)
    }
}

/// The next bytes of a body.
async fn chunk(response: &mut http::Response<reqwest::Body>) -> reqwest::Result<Option<Bytes>> {
    while let Some(frame) = response.body_mut().frame().await {
        // Trailers are no bytes.
        if let Ok(bytes) = frame?.into_data() {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

/// Whether the server said that a body without a length ends where it did. hyper takes a stream of HTTP/2 that
/// is reset with `NO_ERROR` for one that has ended.
fn has_ended(response: &http::Response<reqwest::Body>) -> bool {
    /// By a bound, the methods of `http_body::Body` can be called without that crate.
    fn is_end_stream(body: &impl BodyExt) -> bool {
        body.is_end_stream()
    }
    response.version() != Version::HTTP_2 || is_end_stream(response.body())
}

impl fmt::Debug for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetch")
            .field("url", &redact::url(self.location.url.as_str()))
            .field("offset", &self.offset)
            .field("object", &self.object)
            .finish_non_exhaustive()
    }
}
