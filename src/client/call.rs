//! A call of the API that has not been made yet, and its response.

use std::{
    borrow::Cow,
    fmt,
    future::{self, IntoFuture},
    pin::pin,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderValue;

use crate::{
    client::Client,
    error::{Error, Exchange, Result},
    http::{
        failure::unusable,
        retry::Retry,
        trace::{Subject, log_submission},
        transport::Watcher,
    },
    rate_limit::RateLimit,
    raw::{self, CallState, Record, ResponseValue},
};

type Raw<T> = Result<ResponseValue<T>, raw::Error>;

impl Client {
    /// Any one operation of the API, through the generated client, with the key, retries, limits and
    /// errors of this one. For operations that the rest of this crate has no method for.
    ///
    /// ```no_run
    /// # async fn example(luma: luma_agents::Client) -> luma_agents::Result<()> {
    /// let page = luma.call(async |api| api.list_files().limit(3).send().await).await?;
    /// # Ok(()) }
    /// ```
    pub fn call<T, F, Fut>(&self, operation: F) -> Call<T>
    where
        F: FnOnce(raw::Client) -> Fut + Send + 'static,
        Fut: Future<Output = Result<ResponseValue<T>, raw::Error>> + Send + 'static,
        T: 'static,
    {
        Call::new(self.clone(), operation, |_, _| Ok(()))
    }
}

/// A call of the API that has not been made yet: `.await` it.
///
/// # Cancel safety
///
/// Until it is first polled, nothing is sent. Dropping a read loses nothing. Dropping a call that
/// submits or changes something after it was first polled leaves its outcome unknown: the request may
/// have been sent. For a submission, an event of `tracing` at level WARN then names the request id. To
/// learn the outcome in any case, spawn the call as a task of its own.
#[must_use = "a call does nothing until awaited"]
pub struct Call<T> {
    state: CallState,
    outcome: Result<BoxFuture<'static, Result<T>>>,
}

/// The response to a call, with what its headers say.
#[derive(Clone)]
#[non_exhaustive]
pub struct Response<T> {
    /// What the call is for.
    pub value: T,
    /// How the exchange went: status, request ids, attempts, time.
    pub exchange: Exchange,
    /// The limit on submitted generations, if the response has it: those to `create` do.
    pub rate_limit: Option<RateLimit>,
    body: Bytes,
}

impl<T> Response<T> {
    /// The text of the response as the service sent it, with the fields that this version of the crate
    /// does not know. It may hold signed URLs: do not log it.
    #[must_use]
    pub fn raw(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }
}

/// Without the text, which may hold signed URLs.
impl<T: fmt::Debug> fmt::Debug for Response<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("value", &self.value)
            .field("exchange", &self.exchange)
            .field("rate_limit", &self.rate_limit)
            .finish_non_exhaustive()
    }
}

impl<T: 'static> Call<T> {
    /// `check` says what is wrong with a response that decodes.
    pub(crate) fn new<F, Fut>(
        client: Client,
        operation: F,
        check: impl FnOnce(&T, &Exchange) -> Result<(), String> + Send + 'static,
    ) -> Self
    where
        F: FnOnce(raw::Client) -> Fut + Send + 'static,
        Fut: Future<Output = Raw<T>> + Send + 'static,
    {
        let state = client.call_state();
        let call = state.clone();
        let outcome = Box::pin(async move {
            // Pinned where it is: it is large.
            let operation = pin!(operation(client.raw(call.clone())));
            let result = conclude(&call, operation.await, check);
            if let (Err(error), Subject::Submission { .. }) = (&result, &call.options().subject) {
                log_submission(error);
            }
            result
        });
        Self { state, outcome: Ok(outcome) }
    }

    /// A call that cannot be made: it fails when awaited.
    pub(crate) fn invalid(client: &Client, error: Error) -> Self {
        Self { state: client.call_state(), outcome: Err(error) }
    }

    /// What the call is about, for its span and its errors.
    pub(crate) fn subject(self, subject: Subject) -> Self {
        self.state.options().subject = subject;
        self
    }

    /// When to send this call again, instead of what the client is set to.
    pub fn retry(self, retry: Retry) -> Self {
        self.state.options().retry = retry;
        self
    }

    /// Sends this `X-Request-Id`, a UUID or a text of your own, instead of a random one, so that it can be
    /// written down before anything is sent.
    ///
    /// The call becomes one request, as with [`Retry::none`], whatever its policy says: a second
    /// attempt would need a second id. Several operations in one [`Client::call`] all send it.
    ///
    /// A text that is empty or has anything but visible ASCII characters ends the call with
    /// [`InvalidInput`](Error::InvalidInput) before anything is sent.
    pub fn request_id(mut self, id: impl fmt::Display) -> Self {
        let id = id.to_string();
        match HeaderValue::from_str(&id) {
            Ok(value) if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic()) => {
                self.state.options().request_id = Some(value);
            }
            _ if self.outcome.is_ok() => {
                self.outcome = Err(Error::invalid_input(
                    "the request id cannot be a header: use a UUID or visible ASCII characters",
                ));
            }
            _ => {}
        }
        self
    }

    /// Calls `watch` with the `X-Request-Id` of each request just before it is sent, and with `None` as soon as it is
    /// no longer under way. If the call is dropped, the last value thus names the request whose outcome nobody
    /// knows. It must not block.
    pub fn on_request(self, watch: impl Fn(Option<&str>) + Send + Sync + 'static) -> Self {
        self.state.options().watcher = Some(Watcher::new(watch));
        self
    }

    /// Limit of one attempt of this call, instead of what the client is set to. The budget of the
    /// [`Retry`] policy (five minutes by default) is a limit to the call as a whole.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.state.options().timeout = timeout;
        self
    }

    /// Makes the call and returns its response with what the headers say. Dropping it is as dropping the call.
    ///
    /// # Errors
    ///
    /// As the call itself.
    pub async fn response(self) -> Result<Response<T>> {
        let value = self.outcome?.await?;
        let Record { exchange, rate_limit, body, .. } = std::mem::take(&mut *self.state.record());
        Ok(Response { value, exchange, rate_limit, body })
    }
}

/// What a call ends with, once its operation has.
fn conclude<T>(
    state: &CallState,
    outcome: Raw<T>,
    check: impl FnOnce(&T, &Exchange) -> Result<(), String>,
) -> Result<T> {
    let mut record = state.record();
    let problem = match outcome {
        Ok(value) => match check(&value, &record.exchange) {
            Ok(()) => return Ok(value.into_inner()),
            Err(problem) => problem,
        },
        Err(error) => match (record.error.take(), error) {
            (Some(error), _) => return Err(error.about_generation(state.options().subject.generation_id())),
            (None, raw::Error::InvalidRequest(message)) => return Err(Error::invalid_input(message)),
            (None, raw::Error::CommunicationError(e)) => {
                return Err(Error::invalid_input(e.without_url().to_string()));
            }
            (None, raw::Error::InvalidResponsePayload(_, e)) => e.to_string(),
            (None, e) => e.to_string(),
        },
    };
    let Record { exchange, body, .. } = std::mem::take(&mut *record);
    let error = unusable(exchange, &body, &problem, |text| state.shared().excerpt(text));
    Err(error.about_generation(state.options().subject.generation_id()))
}

impl<T: Send + 'static> IntoFuture for Call<T> {
    type Output = Result<T>;
    type IntoFuture = BoxFuture<'static, Result<T>>;

    fn into_future(self) -> Self::IntoFuture {
        self.outcome.unwrap_or_else(|error| Box::pin(future::ready(Err(error))))
    }
}

impl<T> fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("options", &*self.state.options()).finish_non_exhaustive()
    }
}
