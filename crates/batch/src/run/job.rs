//! One line of the input: what the journal says of it decides what is done next.

use std::{fmt, time::Duration};

use chrono::Utc;
use luma_agents::{
    error::RejectionKind,
    types::{FilePurpose, Generation, GenerationState},
};
use tokio::time::sleep;
use uuid::Uuid;

use super::{
    driver::Context,
    policy::Policy,
    prepare::{age, blocking},
    report::Stop,
    save::{is_there, restore_sidecar, save},
};
use crate::{
    digest::Sha256,
    error::{Error, Result},
    input::Line,
    journal::Uploaded,
    key::CustomId,
    ledger::{Attempt, Doubt, Event, Last, NoJob, SavedFile, State, Ticket},
    progress::Begun,
    quota::Place,
    submit::{Submission, Submitted},
};

/// The service forgets a job after this.
const HOUR: Duration = Duration::from_secs(3600);

/// A job of a run that has ended: its line, and how it ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct Job {
    /// The line.
    pub custom_id: CustomId,
    /// The job, if there is one.
    pub id: Option<Uuid>,
    /// How it ended.
    pub end: End,
}

/// How a job of a run ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum End {
    /// Its outputs are on disk, by this run or an earlier one.
    Saved(Vec<SavedFile>),
    /// It failed, and is not tried again by this run.
    Failed {
        /// Why, if the service said.
        code: Option<String>,
        /// The same for people, with the id of the job and what to do.
        reason: Option<String>,
    },
    /// The service rejected the request: change the line.
    Rejected {
        /// The HTTP status, 0 if it was not sent.
        status: u16,
        /// What kind of rejection it was.
        kind: String,
        /// The error, if that was now.
        error: Option<Box<luma_agents::Error>>,
    },
    /// A job may exist, and nobody knows.
    InDoubt(Box<Doubt>),
    /// The job is accepted, and the next run goes on with it. The error says why this one did not, if there was one.
    Open(Option<Box<Error>>),
    /// It was not sent: the run was stopped before. The next run sends it. The error is about this line, if there is
    /// one.
    Unsent(Option<Box<Error>>),
}

/// One line, without the `custom_id`: what became of the job, why, and what to do. It may have the words of the service.
impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Saved(files) => {
                f.write_str("saved")?;
                files.iter().try_for_each(|file| write!(f, " {}", file.path))
            }
            Self::Failed { reason: Some(reason), .. } => f.write_str(reason),
            Self::Failed { code, .. } => write!(f, "failed: {}", word(code.as_deref().unwrap_or("unknown"))),
            Self::Rejected { error: Some(e), .. } => e.fmt(f),
            Self::Rejected { kind, .. } => write!(f, "rejected: {}", word(kind)),
            Self::InDoubt(doubt) => doubt.fmt_without_key(f),
            Self::Open(None) => f.write_str("accepted; the next run waits for it"),
            Self::Open(Some(e)) => write!(f, "accepted, and the next run waits for it: {e}"),
            Self::Unsent(None) => f.write_str("not sent; the next run sends it"),
            Self::Unsent(Some(e)) => write!(f, "not sent: {e}"),
        }
    }
}

/// A code of the service: short, and on one line.
fn word(code: &str) -> String {
    code.chars().take(64).flat_map(char::escape_debug).collect()
}

/// What is to be done.
enum Step {
    Submit(Option<u32>),
    Wait(Attempt),
    Save(Attempt),
    End(Option<Uuid>, End),
}

/// What this run has done about a line so far.
struct Progress<'a> {
    /// Where it is counted.
    begun: &'a Begun<'a>,
    /// How often it was submitted without a job.
    tries: u32,
    /// The place of its job.
    place: Option<Place>,
    /// The job as last seen.
    generation: Option<Generation>,
    /// Whether a request of this run went out, or was about to.
    was_submitted: bool,
    /// A rejection of this run, after which an unchanged request is not sent again.
    was_rejected: bool,
    /// Whether a job of it has failed in this run.
    has_failed: bool,
}

impl<'a> Progress<'a> {
    fn new(begun: &'a Begun<'a>) -> Self {
        Self {
            begun,
            tries: 0,
            place: None,
            generation: None,
            was_submitted: false,
            was_rejected: false,
            has_failed: false,
        }
    }
}

/// Submits, waits and saves, until there is nothing more to do in this run.
pub(super) async fn run(context: &Context, line: &Line, begun: &Begun<'_>) -> Job {
    let mut progress = Progress::new(begun);
    loop {
        let last = context.journal.line(&line.custom_id);
        let id = last.as_ref().and_then(|last| last.attempt.state.id());
        let ended = match step(context, line, last.as_ref(), &progress).await {
            Ok(Step::End(id, end)) => Some((id, end)),
            Ok(Step::Submit(after)) => submit(context, line, after, &mut progress).await.map(|end| (None, end)),
            Ok(Step::Wait(attempt)) => wait(context, line, &attempt, &mut progress).await.map(|end| (id, end)),
            Ok(Step::Save(attempt)) => save_job(context, line, &attempt, &mut progress).await.map(|end| (id, end)),
            Err(e) => Some((id, End::Unsent(Some(Box::new(e))))),
        };
        if let Some((mut id, mut end)) = ended {
            if let End::InDoubt(doubt) = &mut end {
                doubt.job = context.job_of_sidecar(&doubt.key.custom_id).await;
            }
            let last = || context.journal.line(&line.custom_id).map(|last| last.attempt.state);
            if let (End::Unsent(None), Some(State::Failed { id: job, code })) = (&end, last()) {
                // There may be another try, but not by this run.
                (id, end) = (Some(job), failed_end(context, line, job, code).await);
            }
            // A failure of an earlier run has been counted by that.
            if progress.has_failed || !matches!(end, End::Failed { .. }) {
                context.count(&end);
            }
            return Job { custom_id: line.custom_id.clone(), id, end };
        }
    }
}

async fn step(context: &Context, line: &Line, last: Option<&Last>, progress: &Progress<'_>) -> Result<Step> {
    let policy = &context.batch.policy;
    // Once it was sent by this run, a line is as any other.
    let is_retry = policy.is_retry() && !progress.was_submitted;
    let unsent = || Step::End(None, End::Unsent(None));
    let Some(last) = last else { return Ok(if is_retry { unsent() } else { Step::Submit(None) }) };
    let attempt = &last.attempt;
    let next = Step::Submit(Some(last.last));
    Ok(match &attempt.state {
        State::InFlight => Step::Submit(None),
        State::Accepted { .. } => Step::Wait(attempt.clone()),
        State::Completed { .. } => Step::Save(attempt.clone()),
        State::Saved { id, file, more } => {
            let files = || std::iter::once(file).chain(more);
            if is_there(context.batch.folder(), files()) {
                let files: Vec<_> = files().cloned().collect();
                match restore_sidecar(context, line, *id, files.clone()).await {
                    Ok(()) => Step::End(Some(*id), End::Saved(files)),
                    Err(e) => Step::End(Some(*id), End::Open(Some(Box::new(e)))),
                }
            } else {
                Step::Save(attempt.clone())
            }
        }
        State::Failed { id, code } => {
            let failed = last.others.iter().filter(|it| matches!(it.state, State::Failed { .. })).count() + 1;
            let is_sent_again = if is_retry {
                policy.is_once_more(code.as_deref().unwrap_or("unknown"))
            } else {
                policy.retries(code.as_deref(), failed) || is_changed(context, line, attempt).await?
            };
            if is_sent_again { next } else { Step::End(Some(*id), failed_end(context, line, *id, code.clone()).await) }
        }
        State::InDoubt { fault } => Step::End(
            None,
            End::InDoubt(Box::new(Doubt {
                key: context.journal.key(&line.custom_id)?,
                attempt: attempt.number,
                request_id: attempt.request_id,
                fingerprint: attempt.fingerprint,
                since: attempt.begun,
                fault: fault.clone(),
                job: None,
            })),
        ),
        State::NoJob(NoJob::Rejected { status, kind }) => {
            let may_pass = Policy::is_passing(kind);
            let is_sent_again = if is_retry {
                policy.is_once_more(kind)
            } else {
                may_pass || (!progress.was_rejected && is_changed(context, line, attempt).await?)
            };
            if is_sent_again {
                next
            } else if may_pass {
                unsent()
            } else {
                Step::End(None, End::Rejected { status: *status, kind: kind.clone(), error: None })
            }
        }
        State::NoJob(_) | State::Resent if is_retry => unsent(),
        State::NoJob(_) | State::Resent => next,
    })
}

async fn failed_end(context: &Context, line: &Line, id: Uuid, code: Option<String>) -> End {
    let reason = context.reason(&line.custom_id, code.as_deref().unwrap_or("unknown"), id).await;
    End::Failed { code, reason }
}

/// A changed line is the repair of one that was rejected or has failed.
async fn is_changed(context: &Context, line: &Line, attempt: &Attempt) -> Result<bool> {
    if line.body.is_null() {
        return Ok(false);
    }
    Ok(attempt.fingerprint != Some(fingerprint(context, line).await?))
}

async fn fingerprint(context: &Context, line: &Line) -> Result<Sha256> {
    let (line, folder) = (line.clone(), context.batch.input.folder().to_owned());
    let digest = move |path: &str| {
        let path = folder.join(path);
        let read = std::fs::File::open(&path).and_then(Sha256::of_reader);
        read.map(|(sha256, _)| sha256).map_err(|e| Error::io("read", path, e))
    };
    if line.local_paths().is_empty() {
        line.fingerprint(digest)
    } else {
        blocking(move || line.fingerprint(digest)).await
    }
}

/// One submission. `None`: go on with what the journal says now.
async fn submit(context: &Context, line: &Line, after: Option<u32>, progress: &mut Progress<'_>) -> Option<End> {
    if context.is_stopped() {
        return Some(End::Unsent(None));
    }
    // Of a job that is no longer in the input only the end is of interest.
    if line.body.is_null() {
        return Some(End::Unsent(None));
    }
    progress.was_submitted = true;
    progress.begun.waits();
    match try_submit(context, line, after, progress).await {
        Ok(end) => end,
        Err(e) => Some(context.failed_to_submit(e)),
    }
}

async fn try_submit(
    context: &Context,
    line: &Line,
    after: Option<u32>,
    progress: &mut Progress<'_>,
) -> Result<Option<End>> {
    let fingerprint = fingerprint(context, line).await?;
    let uploads = upload(context, line).await?;
    let file = |path: &str| {
        let file = uploads.iter().find(|(of, _)| of == path);
        file.map(|(_, file)| file.file_id).unwrap_or_default()
    };
    let request = line.request(file)?;
    let estimate = context.batch.prices.estimate(&request, line.source_seconds);
    let mut submission = Submission::new(request, fingerprint).usd(estimate.high());
    submission.after = after;
    let key = context.journal.key(&line.custom_id)?;
    let begun = progress.begun;
    let is_sent = |is_sent| if is_sent { begun.sent() } else { begun.waits() };
    let submitted = Box::pin(context.submitter.submit_watched(&key, &submission, is_sent)).await?;
    match submitted {
        Submitted::Accepted(accepted) => {
            if let Some(not_recorded) = accepted.not_recorded {
                context.not_recorded(*not_recorded);
            }
            progress.generation = accepted.generation;
            progress.place = accepted.new.map(|(_, place)| place);
            Ok(None)
        }
        Submitted::InDoubt(doubt) => Ok(Some(End::InDoubt(doubt))),
        // An earlier end, which the journal has shown in the meantime.
        Submitted::Failed { .. } | Submitted::Rejected { error: None, .. } => Ok(None),
        Submitted::Rejected { reason, error: Some(error), .. } => {
            progress.tries += 1;
            let (status, kind) = match reason {
                NoJob::Rejected { status, kind } => (status, kind),
                _ => (0, "not_sent".to_owned()),
            };
            if Policy::is_of_the_account(&kind) {
                context.stop(Stop::Account(error));
                return Ok(Some(End::Unsent(None)));
            }
            let is_of_a_file = matches!(status, 404 | 422) && !uploads.is_empty() && progress.tries == 1;
            if is_of_a_file {
                for (_, file) in &uploads {
                    context.uploads.forget(file).await;
                }
                return Box::pin(submit_again(context, line, progress)).await;
            }
            progress.begun.waits();
            if status == 0 || Policy::is_passing(&kind) {
                let Some(delay) = Policy::delay(progress.tries) else {
                    return Ok(Some(End::Unsent(Some(Box::new(Error::Api(*error))))));
                };
                context.pause(delay).await;
                return Ok(None);
            }
            progress.was_rejected = true;
            context.keep_reason(&line.custom_id, &kind, &error);
            Ok(Some(End::Rejected { status, kind, error: Some(error) }))
        }
    }
}

/// Once more, with files that are uploaded anew.
async fn submit_again(context: &Context, line: &Line, progress: &mut Progress<'_>) -> Result<Option<End>> {
    let after = context.journal.line(&line.custom_id).map(|last| last.last);
    try_submit(context, line, after, progress).await
}

/// The files of the local media, each uploaded if need be.
async fn upload(context: &Context, line: &Line) -> Result<Vec<(String, Uploaded)>> {
    let mut uploads = Vec::new();
    for path in line.local_paths() {
        let full = context.batch.input.folder().join(path);
        let local = context.uploads.get(full, FilePurpose::Input).await?;
        if local.is_new {
            context.journal.record_upload(&local.file).await?;
        }
        uploads.push((path.to_owned(), local.file));
    }
    Ok(uploads)
}

/// Waits for the end of a job and records it. `None`: go on.
async fn wait(context: &Context, line: &Line, attempt: &Attempt, progress: &mut Progress<'_>) -> Option<End> {
    let id = attempt.state.id()?;
    progress.begun.sent();
    let generations = context.batch.client.generations();
    let wait = match progress.generation.take().filter(|generation| generation.id == id) {
        Some(generation) => generations.wait(&generation),
        None => generations.wait(id),
    };
    let rest = HOUR.saturating_sub(age(attempt.at, Utc::now()));
    let result = Box::pin(wait.timeout(rest).into_future()).await;
    let place = (progress.place.take(), context.take_place(id));
    let ticket = Ticket::new(context.journal.key(&line.custom_id).ok()?, attempt.number);
    match result {
        Ok(generation) => {
            context.record(&ticket, &Event::Completed { id }).await;
            progress.generation = Some(generation);
        }
        Err(error @ luma_agents::Error::GenerationFailed(_)) => {
            let code = error.failure_code().map(|code| code.as_str().to_owned());
            context.keep_reason(&line.custom_id, code.as_deref().unwrap_or("unknown"), &error);
            progress.has_failed = true;
            context.record(&ticket, &Event::Failed { id, code }).await;
        }
        Err(e) => return Some(open(context, e)),
    }
    drop(place);
    None
}

/// The end of a run for a job that goes on.
fn open(context: &Context, error: luma_agents::Error) -> End {
    let kind = if let luma_agents::Error::Rejected(e) = &error { Some(e.kind()) } else { None };
    match (kind, error) {
        (Some(RejectionKind::Unauthorized | RejectionKind::Forbidden), error) => {
            context.stop(Stop::Account(Box::new(error)));
            End::Open(None)
        }
        (_, error) => End::Open(Some(Box::new(error.into()))),
    }
}

async fn save_job(context: &Context, line: &Line, attempt: &Attempt, progress: &mut Progress<'_>) -> Option<End> {
    let id = attempt.state.id()?;
    progress.begun.sent();
    let ticket = Ticket::new(context.journal.key(&line.custom_id).ok()?, attempt.number);
    let generation = match progress.generation.take().filter(|generation| generation.id == id) {
        Some(generation) => generation,
        None => match context.batch.client.generations().get(id).await {
            Ok(generation) => generation,
            Err(e) => return Some(open(context, e)),
        },
    };
    if generation.state == GenerationState::Failed {
        let code = generation.failure_code.as_ref().map(|code| code.as_str().to_owned());
        progress.has_failed = true;
        context.record(&ticket, &Event::Failed { id, code }).await;
        return None;
    }
    match save(context, line, &generation).await {
        Ok(files) => {
            let mut all = files.clone().into_iter();
            if let Some(file) = all.next() {
                context.record(&ticket, &Event::Saved { id, file, more: all.collect() }).await;
            }
            Some(End::Saved(files))
        }
        Err(e @ (Error::Io(_) | Error::Api(luma_agents::Error::Io(_)))) => {
            context.stop(Stop::Disk(Box::new(e)));
            Some(End::Open(None))
        }
        Err(e) => Some(End::Open(Some(Box::new(e)))),
    }
}

impl Context {
    /// Waits before a request goes out again, unless the run is stopped.
    async fn pause(&self, delay: Duration) {
        let _ = self.no_more.run_until_cancelled(sleep(delay)).await;
    }
}
