//! Images and videos: submit, get, wait; and how a generation is waited for.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use futures_util::{Stream, StreamExt, stream::FuturesUnordered};
use uuid::Uuid;

use crate::{
    client::{Client, call::Call},
    error::{Error, GenerationFailed, Result, WaitTimeout},
    http::{retry::Retry, trace::Subject},
    id::GenerationId,
    types::{CreateGeneration, Generation, GenerationFailureCode, GenerationState, GenerationType, Model},
    util::redact,
    wait::{Job, Outcome, POLL_TIMEOUT, TimedOut, Timing, Wait},
};

impl Client {
    /// Images and videos: submit, get, wait.
    #[must_use]
    pub fn generations(&self) -> Generations {
        Generations { client: self.clone() }
    }
}

/// Images and videos: submit, get, wait. From [`Client::generations`].
#[derive(Clone, Debug)]
pub struct Generations {
    pub(crate) client: Client,
}

impl Generations {
    /// Submits a job. Costs money once accepted; there is no way to cancel or list jobs, so keep the id.
    ///
    /// **At most one job is created, whatever happens.** The request is sent again only where nothing
    /// can have been created: no connection could be made, the response was 429, or the service
    /// itself wrote a 502 or 503. A 429 is waited out as far as the [`Retry`] policy allows.
    ///
    /// [`Call::response`] gives the rate limit along with the generation. For a program that keeps a
    /// record of what it pays for: [`Call::request_id`] names the request before it is sent, and
    /// [`Error::outcome`] says what became of it.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](Error::InvalidInput): the request is incomplete or out of bounds.
    /// - [`Rejected`](Error::Rejected), [`RateLimited`](Error::RateLimited),
    ///   [`NoResponse`](Error::NoResponse): nothing was created and nothing is charged.
    /// - [`OutcomeUnknown`](Error::OutcomeUnknown): a job may exist. Ask support with the request id
    ///   before submitting it again; if the error has a [`generation_id`](Error::generation_id), wait for that.
    pub fn create<R>(&self, request: R) -> Call<Generation>
    where
        R: TryInto<CreateGeneration, Error: std::fmt::Display>,
    {
        // In a box, since a request is large and is moved from future to future.
        let request: Box<CreateGeneration> = match request.try_into() {
            Ok(request) => Box::new(request),
            Err(e) => return Call::invalid(&self.client, not_built(e)),
        };
        let subject = subject(&request);
        let call = Call::new(
            self.client.clone(),
            async |api: crate::raw::Client| api.create_generation().body(*request).send().await,
            |generation, exchange| {
                // Values of an event are made only where it is logged.
                tracing::info!(
                    id = %generation.id,
                    state = %redact::excerpt(generation.state.as_str()),
                    attempts = exchange.attempts,
                    seconds = exchange.elapsed.as_secs_f64(),
                    "generation created"
                );
                Ok(())
            },
        );
        call.timeout(self.client.submit_timeout()).subject(subject)
    }

    /// Gets a generation. Free. Each call for a completed one mints new URLs for its outputs, valid
    /// for one hour.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](Error::InvalidInput) if the id is not a UUID; [`Rejected`](Error::Rejected) with
    /// 404 if there is no such generation, or it is another account's.
    pub fn get(&self, id: impl Into<GenerationId>) -> Call<Generation> {
        match id.into().id {
            Ok(id) => get(&self.client, id),
            Err(error) => Call::invalid(&self.client, error),
        }
    }

    /// Waits until a generation has ended. Give it the generation that `create` returned, or just
    /// an id, from this process or an earlier one.
    ///
    /// ```no_run
    /// # async fn example(luma: luma_agents::Client, id: &str) -> luma_agents::Result<()> {
    /// let mut updates = luma.generations().wait(id).updates();
    /// while let Some(generation) = updates.next().await {
    ///     println!("{}", generation?.state);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`GenerationFailed`](Error::GenerationFailed) if it failed; [`WaitTimeout`](Error::WaitTimeout),
    /// with the id and the last state, at the deadline; [`Rejected`](Error::Rejected) on 401, 403 and a
    /// lasting 404.
    pub fn wait(&self, id: impl Into<GenerationId>) -> Wait<Generation> {
        let GenerationId { id, known } = id.into();
        let client = self.client.clone();
        let about = id.as_ref().ok().copied().unwrap_or_default();
        let default = POLL_TIMEOUT.min(client.options().timeout);
        // The loop is the retry: one poll, one request.
        let poll = Arc::new(move |limit: Option<Duration>| {
            get(&client, about).retry(Retry::none()).timeout(limit.unwrap_or(default)).into_future()
        });
        let (pace, polls) = (self.client.pace(), self.client.polls());
        Wait { id, known: known.map(|it| *it), pace, poll, polls }
    }

    /// Waits for many generations at once: yields results in the order in which they end, each with
    /// its id. One failure does not affect the others.
    ///
    /// However many there are, at most 64 requests are in flight, and a 429 for one of them delays
    /// all.
    ///
    /// ```no_run
    /// # async fn example(luma: luma_agents::Client, ids: Vec<uuid::Uuid>) -> luma_agents::Result<()> {
    /// let hour = std::time::Duration::from_secs(3600);
    /// let mut outcomes = luma.generations().wait_all(ids).timeout(hour);
    /// while let Some((id, outcome)) = outcomes.next().await {
    ///     println!("{id}: {outcome:?}");
    /// }
    /// # Ok(()) }
    /// ```
    pub fn wait_all<I>(&self, ids: I) -> WaitAll
    where
        I: IntoIterator<Item: Into<GenerationId>>,
    {
        let waiting = ids.into_iter().map(|id| self.wait(id)).collect();
        WaitAll { waiting, running: FuturesUnordered::new() }
    }
}

/// Waits for many generations at once. A [`Stream`] too, of each generation's id and outcome.
///
/// [`Stream`]: https://docs.rs/futures-core/latest/futures_core/stream/trait.Stream.html
///
/// It begins when it is first awaited, and makes progress while it is awaited. Dropping it stops all
/// waiting; the jobs go on.
///
/// # Panics
///
/// As a [`Wait`].
#[must_use = "nothing is waited for until this is awaited"]
pub struct WaitAll {
    /// Not begun yet.
    waiting: Vec<Wait<Generation>>,
    running: FuturesUnordered<Outcome<Generation>>,
}

impl WaitAll {
    /// The delay before the first poll of each.
    pub fn first_after(self, delay: Duration) -> Self {
        self.each(|wait| wait.first_after(delay))
    }

    /// The delay between polls of each.
    pub fn every(self, interval: Duration) -> Self {
        self.each(|wait| wait.every(interval))
    }

    /// The limit of each wait, counted from when this is first awaited.
    pub fn timeout(self, limit: Duration) -> Self {
        self.each(|wait| wait.timeout(limit))
    }

    /// Sets each wait by itself, in the order of the ids.
    pub fn each(self, change: impl FnMut(Wait<Generation>) -> Wait<Generation>) -> Self {
        Self { waiting: self.waiting.into_iter().map(change).collect(), ..self }
    }

    /// The next generation that has ended or can no longer be waited for, or `None` after the last.
    ///
    /// A malformed id has the nil UUID, and its text in the error.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a dropped `next` loses no outcome.
    pub async fn next(&mut self) -> Option<(Uuid, Result<Generation>)> {
        StreamExt::next(self).await
    }
}

impl Stream for WaitAll {
    type Item = (Uuid, Result<Generation>);

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        this.running.extend(std::mem::take(&mut this.waiting).into_iter().map(Wait::outcome));
        this.running.poll_next_unpin(cx)
    }
}

impl fmt::Debug for WaitAll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitAll").field("open", &(self.waiting.len() + self.running.len())).finish_non_exhaustive()
    }
}

/// Without a type and a model, the service makes an image with `uni-1`.
fn subject(request: &CreateGeneration) -> Subject {
    let model = request.model.clone().unwrap_or(Model::Uni1);
    let output = match request.type_ {
        Some(GenerationType::Video | GenerationType::VideoEdit | GenerationType::VideoReframe) => "video",
        _ => "image",
    };
    Subject::Submission { model, output }
}

fn get(client: &Client, id: Uuid) -> Call<Generation> {
    let call = Call::new(
        client.clone(),
        async move |api: crate::raw::Client| api.get_generation().generation_id(id).send().await,
        move |generation, _| check(generation, id),
    );
    call.subject(Subject::Generation(id))
}

/// Values may be unknown; the structure may not.
fn check(generation: &Generation, id: Uuid) -> Result<(), String> {
    if generation.id != id {
        return Err(format!("it is about another generation, {}", generation.id));
    }
    if generation.state == GenerationState::Completed && generation.outputs().is_empty() {
        return Err("it is completed but has no output".to_owned());
    }
    Ok(())
}

/// The error of a request that cannot be built.
pub(crate) fn not_built(problem: impl std::fmt::Display) -> Error {
    Error::invalid_input(format!("the generation cannot be submitted: {problem}"))
}

impl Job for Generation {
    fn failure_code(&self) -> Option<&str> {
        self.failure_code.as_ref().map(GenerationFailureCode::as_str)
    }

    const KIND: &str = "generation";

    fn state(&self) -> &str {
        self.state.as_str()
    }

    fn is_terminal(&self) -> bool {
        self.state.is_terminal()
    }

    fn kind(&self) -> Option<String> {
        Some(format!("{} {}", self.type_, self.model))
    }

    /// The service's own advice for images and videos; layers take longer than images.
    fn timing(&self) -> Timing {
        match self.type_ {
            GenerationType::Image | GenerationType::ImageEdit => Timing::seconds(20, 2, 120),
            GenerationType::Layering => Timing::seconds(20, 2, 240),
            _ => Timing::UNKNOWN,
        }
    }

    fn created_at(&self) -> Option<SystemTime> {
        chrono::DateTime::parse_from_rfc3339(&self.created_at).ok().map(SystemTime::from)
    }

    fn into_result(self) -> Result<Self> {
        match self.state {
            GenerationState::Failed => Err(Error::GenerationFailed(Box::new(GenerationFailed { generation: self }))),
            _ => Ok(self),
        }
    }

    fn timed_out(TimedOut { id, known, last, elapsed, polls, last_error }: TimedOut<Self>) -> Error {
        Error::WaitTimeout(Box::new(WaitTimeout {
            waited_for: format!("generation {id}"),
            generation_id: Some(id),
            file_id: None,
            generation: last,
            file: None,
            elapsed,
            polls,
            source: last_error,
            known,
        }))
    }
}
