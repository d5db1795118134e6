//! Runs the jobs of a batch side by side, and hands them out as they end.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    future::IntoFuture as _,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Batch,
    job::{self, End, Job},
    prepare::{Opened, blocking},
    report::{Reasons, Report, Stop, write_results},
    save::PARTIAL,
};
use crate::{
    digest::Sha256,
    error::{Error, NotRecorded, Result},
    input::Line,
    journal::Journal,
    key::CustomId,
    ledger::{Event, Ledger as _, State, Ticket},
    output::ResultError,
    progress::{Ended, Progress, Tracker},
    quota::Place,
    submit::Submitter,
    upload::Uploads,
};

/// How many lines are worked on at once: most of them wait for a place or for their job.
const AT_ONCE: usize = 64;

/// How long the service is asked for the reason of an old failure.
const ASKED: Duration = Duration::from_secs(5);

/// What the jobs of a run share.
pub(super) struct Context {
    pub(super) batch: Batch,
    pub(super) journal: Journal,
    pub(super) submitter: Submitter<Journal>,
    pub(super) uploads: Uploads,
    /// Cancelled when nothing more is to be submitted; jobs that run are still waited for.
    pub(super) no_more: CancellationToken,
    tracker: Tracker,
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    /// The places of jobs that an earlier run has submitted.
    places: HashMap<Uuid, Place>,
    stop: Option<Stop>,
    not_recorded: Vec<NotRecorded>,
    reasons: Reasons,
    /// The code of the last failures, and how many there were in a row.
    failures: (String, u32),
}

impl Context {
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.no_more.is_cancelled()
    }

    /// Submits nothing more. The first reason counts.
    pub(super) fn stop(&self, reason: Stop) {
        self.shared().stop.get_or_insert(reason);
        self.no_more.cancel();
    }

    pub(super) fn take_place(&self, id: Uuid) -> Option<Place> {
        self.shared().places.remove(&id)
    }

    pub(super) fn not_recorded(&self, line: NotRecorded) {
        self.shared().not_recorded.push(line);
        self.stop(Stop::Ledger(None));
    }

    /// Records what the next run would find out by itself. If that fails, nothing more is submitted.
    pub(super) async fn record(&self, ticket: &Ticket, event: &Event) {
        if let Err(e) = self.journal.record(ticket, event).await {
            self.stop(Stop::Ledger(Some(Box::new(e))));
        }
    }

    /// The job whose outputs are there, for a line in doubt.
    pub(super) async fn job_of_sidecar(&self, id: &CustomId) -> Option<Uuid> {
        let (names, id) = (self.batch.names.clone(), id.clone());
        blocking(move || Ok(names.job(&id))).await.ok().flatten()
    }

    /// Keeps why a job has no output, for the results. `code` is what the journal has of it.
    pub(super) fn keep_reason(&self, id: &CustomId, code: &str, error: &luma_agents::Error) -> String {
        let (code, message) = (code.to_owned(), error.to_string());
        self.shared().reasons.insert(id.clone(), ResultError { code, message: message.clone() });
        message
    }

    /// Why a job has failed, in the words of the service. After a kill they are not on disk, so the job is asked.
    pub(super) async fn reason(&self, id: &CustomId, code: &str, job: Uuid) -> Option<String> {
        let known = self.shared().reasons.get(id).filter(|it| it.code == code).map(|it| it.message.clone());
        if known.is_some() {
            return known;
        }
        let wait = self.batch.client.generations().wait(job).timeout(ASKED);
        match Box::pin(wait.into_future()).await {
            Err(error @ luma_agents::Error::GenerationFailed(_)) => Some(self.keep_reason(id, code, &error)),
            _ => None,
        }
    }

    /// What an error of a submission means for the line and for the run.
    pub(super) fn failed_to_submit(&self, error: Error) -> End {
        match error {
            Error::Stopped => return End::Unsent(None),
            Error::Cap(cap) => self.stop(Stop::Cap(cap)),
            Error::NotRecorded(line) => self.not_recorded(*line),
            Error::LedgerFailed => self.stop(Stop::Ledger(None)),
            Error::Io(e) if e.path == self.journal.path() => self.stop(Stop::Ledger(Some(Box::new(Error::Io(e))))),
            error @ Error::Journal(_) => self.stop(Stop::Ledger(Some(Box::new(error)))),
            // About this line only: a file that is gone, an upload that failed.
            error => return End::Unsent(Some(Box::new(error))),
        }
        End::Unsent(None)
    }

    /// Counts failures in a row.
    pub(super) fn count(&self, end: &End) {
        let code = match end {
            End::Saved(_) => {
                self.shared().failures = (String::new(), 0);
                return;
            }
            End::Failed { code, .. } => code.clone().unwrap_or_default(),
            End::Rejected { kind, error: Some(_), .. } => kind.clone(),
            _ => return,
        };
        let count = {
            let failures = &mut self.shared().failures;
            if failures.0 != code {
                *failures = (code.clone(), 0);
            }
            failures.1 += 1;
            failures.1
        };
        if count >= self.batch.policy.max_failures {
            self.stop(Stop::Failures { code, count });
        }
    }

    async fn update(&self) {
        if let Ok(spent) = self.journal.spent().await {
            self.tracker.update(&spent, &self.batch.quota.status());
        }
    }

    /// One line, from what the journal says to its end in this run.
    async fn run(&self, line: Line) -> Job {
        let last = self.journal.line(&line.custom_id);
        let begun = self.tracker.begin();
        let units = last.map_or(1, |last| last.attempt.weight);
        let job = job::run(self, &line, &begun).await;
        begun.end(
            match &job.end {
                End::Saved(_) => Ended::Done,
                End::Failed { .. } | End::Rejected { .. } => Ended::Failed,
                End::InDoubt(_) => Ended::InDoubt,
                End::Open(_) | End::Unsent(_) => Ended::Queued,
            },
            units,
        );
        self.update().await;
        job
    }
}

/// A batch that is running. From [`Opened::start`](crate::Opened::start).
///
/// Its jobs go on whether or not [`next`](Self::next) is called. Dropping it stops it, as the token does.
pub struct Running {
    context: Arc<Context>,
    jobs: mpsc::UnboundedReceiver<Job>,
    driver: Option<JoinHandle<Result<()>>>,
    stop: CancellationToken,
}

impl Running {
    pub(super) fn start(opened: &Opened, places: Vec<(CustomId, Uuid, Place)>, reasons: Reasons) -> Self {
        let total = opened.checked().lines;
        let Opened { batch, journal, .. } = opened;
        let (batch, journal) = (batch.clone(), journal.clone());
        let stop = batch.stop.child_token();
        let no_more = stop.child_token();
        let submitter = Submitter::with(
            batch.client.clone(),
            Arc::new(journal.clone()),
            batch.quota.clone(),
            batch.submit_timeout,
            no_more.clone(),
        );
        let uploads = Uploads::new(batch.client.clone(), journal.uploads());
        let open: HashSet<_> = places.iter().map(|(id, ..)| id.clone()).collect();
        let places = places.into_iter().map(|(_, id, place)| (id, place)).collect();
        let shared = Mutex::new(Shared { places, reasons, ..Shared::default() });
        let tracker = Tracker::new(total);
        let context = Arc::new(Context { batch, journal, submitter, uploads, no_more, tracker, shared });
        let (sender, jobs) = mpsc::unbounded_channel();
        let driver = tokio::spawn(drive(Arc::clone(&context), opened.checked().sha256, open, sender, stop.clone()));
        Self { context, jobs, driver: Some(driver), stop }
    }

    /// The progress: always the latest.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.context.tracker.subscribe()
    }

    /// The next job that has ended, in the order in which they end. `None` after the last.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a dropped `next` loses no job.
    pub async fn next(&mut self) -> Option<Job> {
        self.jobs.recv().await
    }

    /// Waits for the end of the run, and writes the files of results. What went wrong is in the report, beside what
    /// must not be lost.
    pub async fn finish(mut self) -> Report {
        let mut report = Report::default();
        while let Some(job) = self.jobs.recv().await {
            drop(job);
        }
        let driven = match self.driver.take() {
            Some(driver) => driver.await.unwrap_or_else(|e| Err(Error::invalid_input(format!("the run ended: {e}")))),
            None => Ok(()),
        };
        report.spent = self.context.journal.spent().await.unwrap_or_default();
        let is_open = |id: &CustomId| {
            let last = self.context.journal.line(id);
            last.is_some_and(|it| matches!(it.attempt.state, State::Accepted { .. } | State::Completed { .. }))
        };
        report.open = self.context.journal.unsettled().iter().filter(|id| is_open(id)).count() as u64;
        {
            let mut shared = self.context.shared();
            report.stop = shared.stop.take();
            report.not_recorded = std::mem::take(&mut shared.not_recorded);
        }
        if report.stop.is_none() && self.stop.is_cancelled() {
            report.stop = Some(Stop::Token);
        }
        report.doubts = self.context.journal.doubts();
        for doubt in &mut report.doubts {
            doubt.job = self.context.job_of_sidecar(&doubt.key.custom_id).await;
        }
        let progress = *self.context.tracker.subscribe().borrow();
        (report.saved, report.failed, report.in_doubt) = (progress.done, progress.failed, progress.in_doubt);
        report.left = progress.total.saturating_sub(progress.done + progress.failed + progress.in_doubt);
        // Only if it is empty.
        let _ = tokio::fs::remove_dir(self.context.batch.names.folder().join(PARTIAL)).await;
        let reasons = std::mem::take(&mut self.context.shared().reasons);
        let written = write_results(&self.context.batch, &self.context.journal, reasons).await;
        report.error = driven.and(written).err().map(Box::new);
        report
    }
}

#[cfg(test)]
impl Running {
    pub(super) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Ends with what is in flight still open.
    pub(super) async fn finish_now(self) -> Report {
        self.stop.cancel();
        self.finish().await
    }
}

#[cfg(test)]
impl Context {
    /// Why nothing more is submitted.
    pub(super) fn stop_reason(&self) -> String {
        format!("{:?}", self.shared().stop)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("progress", &*self.context.tracker.subscribe().borrow()).finish_non_exhaustive()
    }
}

/// All lines, then the jobs that are no longer in the input.
async fn drive(
    context: Arc<Context>,
    input: Sha256,
    mut open: HashSet<CustomId>,
    jobs: mpsc::UnboundedSender<Job>,
    stop: CancellationToken,
) -> Result<()> {
    let waiting = tokio::spawn(give_places_back(Arc::clone(&context), stop.clone()));
    let waits = tokio::spawn(emit_waits(Arc::clone(&context), stop.clone()));
    let failed = Mutex::new(None);
    {
        let mut lines = context.batch.input.lines(input)?;
        // What is complete but not saved is saved, whether or not the input still has it.
        let unsaved = |id: &CustomId| {
            let state = context.journal.line(id).map(|last| last.attempt.state);
            matches!(state, Some(State::Accepted { .. } | State::Completed { .. }))
        };
        open.extend(context.journal.unsettled().into_iter().filter(unsaved));
        let mut orphans = None;
        let lines = std::iter::from_fn(|| {
            if orphans.is_none() {
                match lines.next() {
                    Some(Ok(line)) => {
                        open.remove(&line.custom_id);
                        return Some(line);
                    }
                    Some(Err(e)) => {
                        context.no_more.cancel();
                        *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(e);
                    }
                    None => {}
                }
            }
            let orphans = orphans.get_or_insert_with(|| {
                let ids = std::mem::take(&mut open);
                context.tracker.add(ids.len() as u64);
                ids.into_iter()
            });
            let id = orphans.next()?;
            Some(Line { number: 0, custom_id: id, body: serde_json::Value::Null, source_seconds: None })
        });
        let mut running = pin!(stream::iter(lines).map(|line| context.run(line)).buffer_unordered(AT_ONCE));
        while let Some(Some(job)) = stop.run_until_cancelled(running.next()).await {
            // Nobody may listen.
            let _ = jobs.send(job);
        }
    }
    for task in [waiting, waits] {
        task.abort();
        // It holds the journal until it is gone.
        let _ = task.await;
    }
    context.submitter.drain().await;
    context.update().await;
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// Waits for the jobs of earlier runs, whose lines may come late: their places are needed before.
async fn give_places_back(context: Arc<Context>, stop: CancellationToken) {
    let ids: Vec<_> = context.shared().places.keys().copied().collect();
    let hour = Duration::from_secs(3600);
    let mut ended = context.batch.client.generations().wait_all(ids).timeout(hour);
    while let Some(Some((id, _))) = stop.run_until_cancelled(ended.next()).await {
        drop(context.take_place(id));
    }
}

/// Emits the progress each second: how long the rate limit makes jobs wait changes though nothing else happens.
async fn emit_waits(context: Arc<Context>, stop: CancellationToken) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    while stop.run_until_cancelled(second.tick()).await.is_some() {
        context.update().await;
    }
}
