//! `submit_once`: one intent, one POST, one id.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use luma_agents::{
    Client, Retry,
    error::Outcome,
    types::{CreateGeneration, Generation},
};
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    digest::Sha256,
    error::{Error, NotRecorded, Result},
    key::Key,
    ledger::{Begin, Doubt, Event, Intent, Ledger, NoJob, Ticket},
    quota::{Class, Limited, Place, Quota, Weight},
    usd::Usd,
};

/// The limit of one submission, as the SDK's own default.
const SUBMIT_TIMEOUT: Duration = Duration::from_secs(180);

/// How often a submission by another process is checked on.
const CHECK: Duration = Duration::from_secs(2);

/// Submits each key once, whatever becomes of the program.
///
/// The intent is in the ledger before the request goes out, and how it ended before anything else happens. A program
/// that was killed in between finds the key in doubt, and sends nothing. See [`submit_once`](Self::submit_once).
///
/// Clones share everything.
pub struct Submitter<L> {
    shared: Arc<Shared<L>>,
}

struct Shared<L> {
    client: Client,
    ledger: Arc<L>,
    quota: Quota,
    submit_timeout: Duration,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// A try has ended.
    ended: Notify,
    /// What was paid for could not be written.
    has_failed: AtomicBool,
}

/// A request to be submitted, and what the ledger is to know of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Submission {
    /// The request, with its media uploaded.
    pub request: CreateGeneration,
    /// What it is recognised by.
    pub fingerprint: Sha256,
    /// The units of the account's limits that it takes.
    pub weight: Weight,
    /// The estimated price, if it is known.
    pub usd: Option<Usd>,
    /// The try whose end the caller has seen, if this is to be the next one.
    pub after: Option<u32>,
}

impl Submission {
    /// A request recognised by `fingerprint`, of unknown price.
    #[must_use]
    pub fn new(request: CreateGeneration, fingerprint: Sha256) -> Self {
        let weight = Weight::from(&request);
        Self { request, fingerprint, weight, usd: None, after: None }
    }

    /// The estimated price.
    #[must_use]
    pub fn usd(self, usd: Option<Usd>) -> Self {
        Self { usd, ..self }
    }

    /// The next try after this one, whose end the caller has seen.
    #[must_use]
    pub fn after(self, attempt: u32) -> Self {
        Self { after: Some(attempt), ..self }
    }
}

/// What `submit_once` has found or done.
#[derive(Debug)]
#[non_exhaustive]
pub enum Submitted {
    /// There is a job.
    Accepted(Box<Accepted>),
    /// There is no job, and none is paid for.
    Rejected {
        /// The last try: [`Submission::after`] of the next one.
        after: u32,
        /// Why.
        reason: NoJob,
        /// The error, if that was now. An earlier one is known by `reason` only.
        error: Option<Box<luma_agents::Error>>,
    },
    /// The last job under this key failed, in this run or an earlier one.
    Failed {
        /// The last try: [`Submission::after`] of the next one.
        after: u32,
        /// The job.
        id: Uuid,
        /// Why it failed, if the service said.
        code: Option<String>,
    },
    /// A job may exist, and nobody knows. Nothing more is sent under this key until somebody has decided.
    InDoubt(Box<Doubt>),
}

/// A job that the service has accepted, now or earlier.
#[derive(Debug)]
#[non_exhaustive]
pub struct Accepted {
    /// Its id.
    pub id: Uuid,
    /// The job as the service sent it, if it was submitted now.
    pub generation: Option<Generation>,
    /// Its ticket and its place, if it was submitted now. Drop the place when the job is seen to end.
    pub new: Option<(Ticket, Place)>,
    /// The line that the ledger could not write: print it. No further job is submitted.
    pub not_recorded: Option<Box<NotRecorded>>,
}

impl<L: Ledger + 'static> Submitter<L> {
    /// A submitter with these.
    #[must_use]
    pub fn new(client: Client, ledger: Arc<L>, quota: Quota) -> Self {
        Self::with(client, ledger, quota, SUBMIT_TIMEOUT, CancellationToken::new())
    }

    /// A submitter whose requests may take `submit_timeout`, 180 s by default, and that begins nothing any more once
    /// `stop` is cancelled. Keep the time long: what has no response in time is in doubt.
    #[must_use]
    pub fn with(
        client: Client,
        ledger: Arc<L>,
        quota: Quota,
        submit_timeout: Duration,
        stop: CancellationToken,
    ) -> Self {
        let (tasks, ended, has_failed) = (TaskTracker::new(), Notify::new(), AtomicBool::new(false));
        Self { shared: Arc::new(Shared { client, ledger, quota, submit_timeout, stop, tasks, ended, has_failed }) }
    }

    /// Submits under `key`, unless the ledger knows of a job, or of one that may exist.
    ///
    /// 1. The key is read: one that is known waits for nothing.
    /// 2. A place within the account's limits is waited for: of the quota, and of a ledger that shares them out.
    /// 3. The intent, with a new request id, is written and synced.
    /// 4. One request goes out, with that id. Nothing sends it again.
    /// 5. How it ended is recorded.
    ///
    /// A 429 is recorded too; then a new place is waited for, and the next try has a new intent and a new id.
    /// While another caller or process submits under the same key, this waits for its end.
    ///
    /// # Errors
    ///
    /// [`ChangedRequest`](Error::ChangedRequest), [`Outdated`](Error::Outdated), [`Cap`](Error::Cap), and where the
    /// ledger cannot be read or written: nothing was sent. [`Stopped`](Error::Stopped) if the submitter was stopped
    /// while a place was waited for. [`InFlight`](Error::InFlight) if another submission under this key did not end in
    /// time. [`NotRecorded`](Error::NotRecorded) if there is no job and the ledger could not be written.
    ///
    /// # Cancel safety
    ///
    /// Dropping it before step 3 leaves nothing behind. From then on it runs in a task of its own, so that dropping it
    /// only stops the waiting: the end is recorded all the same. [`drain`](Self::drain) waits for that.
    pub async fn submit_once(&self, key: &Key, submission: &Submission) -> Result<Submitted> {
        self.submit_watched(key, submission, |_| ()).await
    }

    /// As `submit_once`. `is_sent` is called when there is a place, and with `false` when another one is waited for.
    pub(crate) async fn submit_watched(
        &self,
        key: &Key,
        submission: &Submission,
        is_sent: impl Fn(bool) + Sync,
    ) -> Result<Submitted> {
        let shared = &self.shared;
        let mut intent = shared.intent(submission);
        if let Some(known) = shared.known(key, &intent).await? {
            return Ok(known);
        }
        let mut place = shared.unless_stopped(shared.quota.acquire(submission.weight.clone())).await?;
        loop {
            intent.weight = shared.quota.units(submission.weight.clone());
            if let Err(e) = shared.unless_stopped(shared.ledger.admit(key, &intent)).await.flatten() {
                place.not_sent();
                return Err(e);
            }
            is_sent(true);
            match self.send(key, &intent, &submission.request, place).await? {
                Sent::Done(submitted) => return Ok(submitted),
                Sent::Nothing => {
                    if let Some(known) = shared.known(key, &intent).await? {
                        return Ok(known);
                    }
                    is_sent(false);
                    place = shared.unless_stopped(shared.quota.acquire(submission.weight.clone())).await?;
                }
                Sent::Limited { attempt, limited, place: refused } => {
                    is_sent(false);
                    place = shared.unless_stopped(refused.limited(*limited)).await?;
                    intent.request_id = Uuid::new_v4();
                    intent.after = Some(attempt);
                }
            }
        }
    }

    /// Waits until every request that is in flight has ended and is recorded. For the end of the program.
    pub async fn drain(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        self.shared.tasks.reopen();
    }

    /// From the intent to its end, in a task of its own.
    async fn send(&self, key: &Key, intent: &Intent, request: &CreateGeneration, place: Place) -> Result<Sent> {
        let (sender, receiver) = oneshot::channel();
        let (shared, key, intent, request) = (Arc::clone(&self.shared), key.clone(), intent.clone(), request.clone());
        let submitted = key.clone();
        self.shared.tasks.spawn(async move {
            let hold = Class::of(&request).longest();
            let sent = shared.begin_and_post(&key, &intent, request, place).await;
            shared.ended.notify_waiters();
            // Nobody waits for the end of this job, so that its place is held as long as such a job takes.
            if let Err(Ok(Sent::Done(Submitted::Accepted(accepted)))) = sender.send(sent)
                && let Some((_, place)) = accepted.new
            {
                place.unknown(hold);
            }
        });
        // The task is gone only with its runtime.
        receiver.await.unwrap_or(Err(Error::InFlight(submitted)))
    }
}

enum Sent {
    Done(Submitted),
    /// Another caller is submitting, or the place was lost to one.
    Nothing,
    Limited {
        attempt: u32,
        limited: Box<Limited>,
        place: Place,
    },
}

impl<L: Ledger> Shared<L> {
    async fn unless_stopped<T>(&self, waiting: impl Future<Output = T>) -> Result<T> {
        self.stop.run_until_cancelled(waiting).await.ok_or(Error::Stopped)
    }

    fn intent(&self, submission: &Submission) -> Intent {
        let class = Class::of(&submission.request);
        let mut intent = Intent::new(submission.fingerprint, class.model.as_str(), class.kind.as_str());
        intent.after = submission.after;
        intent.usd = submission.usd;
        intent.weight = self.quota.units(submission.weight.clone());
        intent
    }

    /// What the ledger knows of the key, once nobody is submitting under it. `None`: it may be submitted.
    async fn known(&self, key: &Key, intent: &Intent) -> Result<Option<Submitted>> {
        let start = Instant::now();
        loop {
            if self.has_failed.load(Ordering::Acquire) {
                return Err(Error::LedgerFailed);
            }
            let ended = self.ended.notified();
            match self.ledger.peek(key, intent).await? {
                None => return Ok(None),
                Some(Begin::InFlight) if start.elapsed() > self.submit_timeout => {
                    return Err(Error::InFlight(key.clone()));
                }
                // By this process the end is announced, by another one it is not.
                Some(Begin::InFlight) => _ = timeout(CHECK, ended).await,
                Some(reply) => return Ok(found(reply)),
            }
        }
    }

    async fn begin_and_post(
        &self,
        key: &Key,
        intent: &Intent,
        request: CreateGeneration,
        place: Place,
    ) -> Result<Sent> {
        let begun = if self.has_failed.load(Ordering::Acquire) {
            Err(Error::LedgerFailed)
        } else if self.stop.is_cancelled() {
            Err(Error::Stopped)
        } else {
            self.ledger.begin(key, intent).await
        };
        let ticket = match begun {
            Ok(Begin::Fresh(ticket)) => ticket,
            other => {
                place.not_sent();
                return other.map(|reply| found(reply).map_or(Sent::Nothing, Sent::Done));
            }
        };
        let hold = Class::of(&request).longest();
        let call = self.client.generations().create(request).retry(Retry::none()).timeout(self.submit_timeout);
        let response = call.request_id(intent.request_id).response().await;
        let event = event(&response);
        // First of all: until it is written, a kill leaves a doubt.
        let recorded = self.ledger.record(&ticket, &event).await;
        if recorded.is_err() {
            self.has_failed.store(true, Ordering::Release);
        }
        match event {
            Event::Accepted { id } => {
                let (generation, rate_limit) =
                    response.map_or((None, None), |response| (Some(response.value), response.rate_limit));
                place.accepted(rate_limit);
                let not_recorded = match recorded {
                    Ok(()) => None,
                    Err(Error::NotRecorded(e)) => Some(e),
                    // Another ledger may say it otherwise. The id must not be lost.
                    Err(source) => Some(Box::new(NotRecorded {
                        ledger: "the ledger".to_owned(),
                        key: key.clone(),
                        id: Some(id),
                        line: format!("accepted {key} {id}"),
                        source,
                    })),
                };
                let new = Some((ticket, place));
                Ok(Sent::Done(Submitted::Accepted(Box::new(Accepted { id, generation, new, not_recorded }))))
            }
            Event::Unknown { fault } => {
                place.unknown(hold);
                recorded?;
                let (request_id, fingerprint) = (Some(intent.request_id), Some(intent.fingerprint));
                let (key, attempt, since) = (key.clone(), ticket.attempt, chrono::Utc::now());
                let doubt = Doubt { key, attempt, request_id, fingerprint, since, fault: Some(fault), job: None };
                Ok(Sent::Done(Submitted::InDoubt(Box::new(doubt))))
            }
            event => {
                let attempt = ticket.attempt;
                let error = match (response, &event) {
                    (Err(luma_agents::Error::RateLimited(e)), Event::Rejected { .. }) if recorded.is_ok() => {
                        return Ok(Sent::Limited { attempt, limited: Box::new(Limited::from(&*e)), place });
                    }
                    (response, _) => response.err().map(Box::new),
                };
                let reason = match event {
                    Event::Rejected { status, kind } => NoJob::Rejected { status, kind },
                    _ => NoJob::NotSent,
                };
                if reason == NoJob::NotSent {
                    place.not_sent();
                }
                recorded?;
                Ok(Sent::Done(Submitted::Rejected { after: attempt, reason, error }))
            }
        }
    }
}

/// What the ledger has replied, unless somebody is submitting or it is for this caller to do.
fn found(reply: Begin) -> Option<Submitted> {
    Some(match reply {
        Begin::Accepted(id) => {
            Submitted::Accepted(Box::new(Accepted { id, generation: None, new: None, not_recorded: None }))
        }
        Begin::Rejected { after, reason } => Submitted::Rejected { after, reason, error: None },
        Begin::Failed { after, id, code } => Submitted::Failed { after, id, code },
        Begin::InDoubt(doubt) => Submitted::InDoubt(Box::new(doubt)),
        Begin::Fresh(_) | Begin::InFlight | Begin::NoPlace => return None,
    })
}

/// What became of the request, in words that hold nothing of it.
fn event(response: &luma_agents::Result<luma_agents::Response<Generation>>) -> Event {
    let error = match response {
        Ok(response) => return Event::Accepted { id: response.value.id },
        Err(error) => error,
    };
    match error.outcome() {
        Outcome::Accepted(id) => Event::Accepted { id },
        Outcome::NotSent => Event::NotSent { fault: fault(error) },
        Outcome::Rejected => {
            let status = error.status().map_or(0, |status| status.as_u16());
            Event::Rejected { status, kind: kind(error) }
        }
        Outcome::Unknown => Event::Unknown { fault: fault(error) },
    }
}

fn fault(error: &luma_agents::Error) -> String {
    match (error, error.status()) {
        (luma_agents::Error::NoResponse(e), _) => e.fault.to_string(),
        (luma_agents::Error::InvalidInput(_), _) => "the request is invalid".to_owned(),
        (luma_agents::Error::OutcomeUnknown(e), None) => {
            e.fault.map_or_else(|| "no usable response".to_owned(), |fault| fault.to_string())
        }
        (_, Some(status)) => format!("status {}", status.as_u16()),
        _ => "no usable response".to_owned(),
    }
}

/// The kind of a rejection, as the journal names it.
fn kind(error: &luma_agents::Error) -> String {
    use luma_agents::error::{Limit, RejectionKind as Kind};
    let kind = match error {
        luma_agents::Error::Rejected(e) => match e.kind() {
            Kind::InvalidRequest => "invalid_request",
            Kind::Unauthorized => "unauthorized",
            Kind::InsufficientCredits => "insufficient_credits",
            Kind::Forbidden => "forbidden",
            Kind::NotFound => "not_found",
            Kind::TooLarge => "too_large",
            Kind::UnusableMedia => "unusable_media",
            Kind::Unavailable => "unavailable",
            Kind::Redirected => "redirected",
            _ => "other",
        },
        luma_agents::Error::RateLimited(e) if e.limit == Limit::Concurrency => "concurrency",
        luma_agents::Error::RateLimited(_) => "rate_limited",
        _ => "other",
    };
    kind.to_owned()
}

impl<L> Clone for Submitter<L> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<L> fmt::Debug for Submitter<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submitter").field("in_flight", &self.shared.tasks.len()).finish_non_exhaustive()
    }
}
