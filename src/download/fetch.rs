//! One object on its way from storage: broken answers are resumed where it is safe, expired URLs
//! replaced, changed objects noticed.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::time::timeout;

use crate::{
    error::{Error, Fault, Result},
    http::{failure::Failure, fault::AttemptError, storage::Get, transport::CallContext, url::signed_url},
    util::redact,
};

/// How often an object may change under a download.
const RESTARTS: u32 = 3;

/// Mints a new URL for the output with this index.
pub(crate) type Refresh = Arc<dyn Fn(usize) -> BoxFuture<'static, Result<String>> + Send + Sync>;

/// What an earlier attempt has left behind.
#[derive(Debug, Default)]
pub(crate) struct ResumePoint {
    pub(crate) offset: u64,
    pub(crate) object: Object,
}

/// What shows that two answers are about the same object.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Object {
    /// Strong only.
    etag: Option<String>,
    last_modified: Option<String>,
    pub(crate) total: Option<u64>,
}

impl Object {
    fn of(response: &reqwest::Response) -> Self {
        let text = |name| response.headers().get(name)?.to_str().ok().map(str::to_owned);
        let total = if response.status() == StatusCode::PARTIAL_CONTENT {
            content_range(response.headers()).and_then(|(_, total)| total)
        } else if response.headers().contains_key(header::CONTENT_ENCODING) {
            None
        } else {
            text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok())
        };
        Self {
            etag: text(header::ETAG).filter(|etag| !etag.starts_with("W/")),
            last_modified: text(header::LAST_MODIFIED),
            total,
        }
    }

    /// Whether anything could show a later answer to be about the same object.
    fn is_known(&self) -> bool {
        self.etag.is_some() || self.last_modified.is_some() || self.total.is_some()
    }

    /// Whether `other` is the same, judged by the best that both tell; silence is no agreement.
    fn is_same(&self, other: &Self) -> bool {
        let agree = |a: &Option<String>, b: &Option<String>| a.as_ref().zip(b.as_ref()).map(|(a, b)| a == b);
        let totals = self.total.zip(other.total).map(|(a, b)| a == b);
        totals != Some(false)
            && agree(&self.etag, &other.etag)
                .or_else(|| agree(&self.last_modified, &other.last_modified))
                .or(totals)
                .unwrap_or(false)
    }
}

/// `bytes 10-99/100` is (10, Some(100)).
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let range = headers.get(header::CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    let (range, total) = range.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, total.trim().parse().ok()))
}

/// What comes next in a transfer.
#[derive(Debug)]
pub(crate) enum Piece {
    Bytes(Bytes),
    /// What came so far is of another object: begin anew.
    Restart,
    End,
}

/// One object on its way. The only loop that resumes.
pub(crate) struct Fetch {
    http: reqwest::Client,
    call: CallContext<'static>,
    idle_timeout: Duration,
    url: reqwest::Url,
    refresh: Option<Refresh>,
    index: usize,
    max_bytes: Option<u64>,
    response: Option<reqwest::Response>,
    /// How much was handed out.
    pub(crate) offset: u64,
    /// How much of the current answer was handed out before it.
    skip: u64,
    pub(crate) object: Object,
    /// Whether the URL was replaced since bytes last came.
    refreshed: bool,
    /// How often the object turned out to be another one.
    restarts: u32,
}

impl Fetch {
    pub(crate) fn new(
        http: reqwest::Client,
        call: CallContext<'static>,
        idle_timeout: Duration,
        url: reqwest::Url,
        refresh: Option<Refresh>,
        index: usize,
        max_bytes: Option<u64>,
        ResumePoint { offset, object }: ResumePoint,
    ) -> Self {
        Self {
            http,
            call,
            idle_timeout,
            url,
            refresh,
            index,
            max_bytes,
            response: None,
            offset,
            skip: 0,
            object,
            refreshed: false,
            restarts: 0,
        }
    }

    /// Cancel safe: state changes only after the last `await` of a step.
    pub(crate) async fn next(&mut self) -> Result<Piece> {
        // What the taker of the bytes needs for itself is no time of the transfer.
        self.call.resume();
        loop {
            if self.response.is_none() && self.object.total == Some(self.offset) && self.offset > 0 {
                return Ok(Piece::End);
            }
            if !self.connect().await? {
                return Ok(Piece::Restart);
            }
            let Some(response) = &mut self.response else { continue };
            let error = match timeout(self.idle_timeout, response.chunk()).await {
                Ok(Ok(Some(mut bytes))) => {
                    let skipped = self.skip.min(bytes.len() as u64);
                    self.skip -= skipped;
                    bytes = bytes.split_off(usize::try_from(skipped).unwrap_or(bytes.len()));
                    if bytes.is_empty() {
                        continue;
                    }
                    self.offset += bytes.len() as u64;
                    self.refreshed = false;
                    self.call.progress();
                    self.check_size(self.offset)?;
                    return Ok(Piece::Bytes(bytes));
                }
                Ok(Ok(None)) if self.skip == 0 && self.object.total.is_none_or(|total| total == self.offset) => {
                    return Ok(Piece::End);
                }
                Ok(Ok(None)) => AttemptError::new(Fault::Interrupted),
                Ok(Err(error)) => AttemptError::from(error),
                Err(_) => AttemptError::new(Fault::Timeout),
            };
            self.response = None;
            self.call.retry(error.into()).await?;
        }
    }

    /// Makes sure that there is an answer to read from. `false`: it is another object than before.
    pub(crate) async fn connect(&mut self) -> Result<bool> {
        while self.response.is_none() {
            let mut get = Get { http: &self.http, url: &self.url, headers: self.headers() };
            let failure = match self.call.attempt(&mut get).await {
                Ok(response) => return self.accept(response),
                Err(failure) => failure,
            };
            match &failure {
                // What we have is not within what there is: it is another object.
                Failure::Status(response)
                    if response.status == StatusCode::RANGE_NOT_SATISFIABLE && self.offset > 0 =>
                {
                    self.begin_anew()?;
                    return Ok(false);
                }
                Failure::Status(response) if response.is_expired() && !self.refreshed => {
                    let Some(refresh) = &self.refresh else { return Err(self.call.error(failure)) };
                    tracing::debug!("the URL has expired: asking for a new one");
                    let url = refresh(self.index).await?;
                    self.url = signed_url(&url)?;
                    self.refreshed = true;
                }
                _ => self.call.retry(failure).await?,
            }
        }
        Ok(true)
    }

    /// Decides how an answer continues what came before it.
    fn accept(&mut self, response: reqwest::Response) -> Result<bool> {
        let object = Object::of(&response);
        let start = match response.status() {
            StatusCode::PARTIAL_CONTENT => content_range(response.headers()).map(|(start, _)| start),
            _ => Some(0),
        };
        let continues = self.offset == 0 || self.object.is_same(&object);
        match start {
            Some(0) if self.offset == 0 => self.object = object,
            // A server without ranges sends all of it again.
            Some(0) if continues => self.skip = self.offset,
            Some(start) if start == self.offset && continues => {
                self.skip = 0;
                // A partial answer may tell the total that the first one did not.
                self.object.total = self.object.total.or(object.total);
            }
            Some(0) => {
                self.begin_anew()?;
                self.object = object;
                self.response = Some(response);
                return Ok(false);
            }
            _ if self.offset > 0 => {
                self.begin_anew()?;
                return Ok(false);
            }
            _ => return Err(self.unexpected("the server answered with a part that was not asked for")),
        }
        if let Some(total) = self.object.total {
            self.check_size(total)?;
        }
        self.response = Some(response);
        Ok(true)
    }

    fn begin_anew(&mut self) -> Result<()> {
        self.restarts += 1;
        if self.restarts > RESTARTS {
            return Err(self.unexpected("the object keeps changing while it is being fetched"));
        }
        self.response = None;
        self.offset = 0;
        self.skip = 0;
        self.object = Object::default();
        Ok(())
    }

    /// Asks for the missing rest only if the answer can show that it belongs to what is here.
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if self.offset > 0 && self.object.is_known() {
            let mut set = |name, value: &str| {
                if let Ok(value) = HeaderValue::from_str(value) {
                    headers.insert(name, value);
                }
            };
            set(header::RANGE, &format!("bytes={}-", self.offset));
            if let Some(validator) = self.object.etag.as_ref().or(self.object.last_modified.as_ref()) {
                set(header::IF_RANGE, validator);
            }
        }
        headers
    }

    fn check_size(&mut self, bytes: u64) -> Result<()> {
        match self.max_bytes {
            Some(max) if bytes > max => Err(self.call.error(AttemptError::new(Fault::TooLarge).into())),
            _ => Ok(()),
        }
    }

    pub(crate) fn unexpected(&self, problem: &str) -> Error {
        Error::unexpected(self.call.exchange(), problem)
    }
}

impl fmt::Debug for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetch")
            .field("url", &redact::url(self.url.as_str()))
            .field("offset", &self.offset)
            .field("object", &self.object)
            .finish_non_exhaustive()
    }
}
