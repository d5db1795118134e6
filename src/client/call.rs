//! A call of the API that has not been made yet, and its response.

use std::{fmt, future::IntoFuture, time::Duration};

use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::{
    client::Client,
    error::{Error, Exchange, OutcomeUnknown, Result, UnexpectedResponse},
    http::{
        retry::Retry,
        transport::{Options, created_id, text},
    },
    rate_limit::RateLimit,
    raw::{self, Record, ResponseValue},
};

type Raw<T> = Result<ResponseValue<T>, raw::Error>;
type Operation<T> = Box<dyn FnOnce(raw::Client) -> BoxFuture<'static, Raw<T>> + Send>;
type Check<T> = Box<dyn FnOnce(&T) -> Result<(), String> + Send>;

/// A call of the API that has not been made yet: `.await` it.
///
/// # Cancel safety
///
/// Dropping a read loses nothing. Dropping a call that submits or changes something after it was
/// first polled leaves its outcome unknown: the request may have been sent.
#[must_use = "a call does nothing until awaited"]
pub struct Call<T> {
    client: Client,
    options: Options,
    operation: Result<Operation<T>>,
    check: Option<Check<T>>,
    about: Option<Uuid>,
}

/// The answer to a call, with what its headers told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Response<T> {
    /// What the call is for.
    pub value: T,
    /// How the exchange went: status, request ids, attempts, time.
    pub exchange: Exchange,
    /// The limit on submitted generations, if the answer told it: those to `create` do.
    pub rate_limit: Option<RateLimit>,
}

impl<T: 'static> Call<T> {
    pub(crate) fn new<F, Fut>(client: Client, operation: F) -> Self
    where
        F: FnOnce(raw::Client) -> Fut + Send + 'static,
        Fut: Future<Output = Raw<T>> + Send + 'static,
    {
        let operation: Operation<T> = Box::new(|api| Box::pin(operation(api)));
        Self { options: client.options(), client, operation: Ok(operation), check: None, about: None }
    }

    /// A call that cannot be made: it fails when awaited.
    pub(crate) fn invalid(client: Client, error: Error) -> Self {
        Self { options: client.options(), client, operation: Err(error), check: None, about: None }
    }

    /// What has to be true of the answer beyond its types.
    pub(crate) fn check(self, check: impl FnOnce(&T) -> Result<(), String> + Send + 'static) -> Self {
        Self { check: Some(Box::new(check)), ..self }
    }

    /// The generation that the call is about.
    pub(crate) fn about(self, id: Uuid) -> Self {
        Self { about: Some(id), ..self }
    }

    /// When to send this call again, instead of what the client is set to.
    pub fn retry(self, retry: Retry) -> Self {
        Self { options: Options { retry, ..self.options }, ..self }
    }

    /// Limit of one attempt of this call, instead of what the client is set to. The budget of the
    /// [`Retry`] policy (five minutes by default) is a limit to the call as a whole.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { options: Options { timeout, ..self.options }, ..self }
    }

    /// Makes the call and returns its answer with what the headers told.
    ///
    /// # Errors
    ///
    /// As the call itself.
    pub async fn response(self) -> Result<Response<T>> {
        let api = self.client.raw(self.options);
        let state = api.inner.clone();
        let outcome = (self.operation?)(api).await;
        let mut record = state.take_record();
        let unusable = Unusable { client: &self.client, about: self.about };
        if outcome.is_err()
            && let Some(error) = record.error.take()
        {
            return Err(error);
        }
        match outcome {
            Ok(value) => {
                let value = value.into_inner();
                match self.check.map_or(Ok(()), |check| check(&value)) {
                    Ok(()) => Ok(Response { value, exchange: record.exchange, rate_limit: record.rate_limit }),
                    Err(problem) => Err(unusable.error(record, &problem)),
                }
            }
            Err(raw::Error::InvalidRequest(message)) => Err(Error::invalid_input(message)),
            Err(raw::Error::CommunicationError(e)) => Err(Error::invalid_input(e.without_url().to_string())),
            Err(raw::Error::InvalidResponsePayload(_, e)) => Err(unusable.error(record, &e.to_string())),
            Err(e) => Err(unusable.error(record, &e.to_string())),
        }
    }
}

/// The makings of an error about an answer with a 2xx status that cannot be used.
struct Unusable<'a> {
    client: &'a Client,
    about: Option<Uuid>,
}

impl Unusable<'_> {
    fn error(&self, record: Record, problem: &str) -> Error {
        let transport = self.client.transport();
        let problem = transport.excerpt(problem);
        let excerpt = transport.excerpt(&text(&record.body));
        let exchange = record.exchange;
        if !exchange.repeatable {
            // The request was accepted by all we know. If the id can be made out, nothing is lost.
            return Error::OutcomeUnknown(Box::new(OutcomeUnknown {
                fault: None,
                generation_id: created_id(exchange.operation, &record.body),
                problem: Some(format!("{problem}: {excerpt}")),
                source: None,
                exchange,
            }));
        }
        Error::UnexpectedResponse(Box::new(UnexpectedResponse {
            exchange,
            problem,
            excerpt,
            generation_id: self.about,
        }))
    }
}

impl<T: Send + 'static> IntoFuture for Call<T> {
    type Output = Result<T>;
    type IntoFuture = BoxFuture<'static, Result<T>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async { Ok(self.response().await?.value) })
    }
}

impl<T> fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("options", &self.options).finish_non_exhaustive()
    }
}
