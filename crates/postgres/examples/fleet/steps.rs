//! The steps of a job. Only `submit` pays, and only by way of the ledger.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use luma_agents::{
    Client,
    error::{Error as ApiError, RejectionKind},
    types::{CreateGeneration, Generation, GenerationFailureCode},
};
use luma_agents_batch::{
    Error, Event, Key, Ledger as _, NoJob, Quota, Result, SavedFile, Sha256, Submission, Submitter, Ticket,
    estimate::Prices, fingerprint,
};
use luma_agents_postgres::{Database, PgLedger, Worker};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    arguments::Arguments,
    job::{End, PAUSE, Submitted, TRIES, Waited},
    running::Running,
};

/// The service forgets a job after this.
const HOUR: Duration = Duration::from_secs(3600);

/// A submission that takes longer is in doubt.
pub(crate) const SUBMIT_TIMEOUT: Duration = Duration::from_secs(180);

/// What the steps of all jobs of this process share.
pub(crate) struct Steps {
    pub(crate) client: Client,
    pub(crate) database: Database,
    pub(crate) worker: Worker,
    pub(crate) running: Running,
    pub(crate) out: PathBuf,
    /// How often a job is asked for.
    pub(crate) pace: Duration,
    /// Ends this process: its workflows go on elsewhere, or here when it is started again.
    pub(crate) stop: CancellationToken,
    /// Whether it ends by itself, since something is wrong that others have to see to.
    pub(crate) has_failed: AtomicBool,
    batches: Mutex<HashMap<Uuid, Batch>>,
}

/// The ledger of a batch, and the only way to submit for it.
#[derive(Clone)]
pub(crate) struct Batch {
    pub(crate) ledger: PgLedger,
    submitter: Submitter<PgLedger>,
}

impl Steps {
    pub(crate) fn new(client: Client, database: Database, worker: Worker, arguments: &Arguments) -> Self {
        let (out, pace, stop) = (arguments.out.clone(), arguments.pace, CancellationToken::new());
        let (running, has_failed, batches) = (Running::default(), AtomicBool::new(false), Mutex::default());
        Self { client, database, worker, running, out, pace, stop, has_failed, batches }
    }

    /// The batch of this id, opened at the first call.
    pub(crate) async fn batch(&self, id: Uuid) -> Result<Batch> {
        let known = self.batches.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        if let Some(batch) = known {
            return Ok(batch);
        }
        let ledger = self.worker.ledger(id).await?;
        // The limits are the ledger's, which shares them out among all workers.
        let (client, quota, stop) = (self.client.clone(), Quota::unlimited(), self.stop.clone());
        let submitter = Submitter::with(client, Arc::new(ledger.clone()), quota, SUBMIT_TIMEOUT, stop);
        let batch = Batch { ledger, submitter };
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).insert(id, batch.clone());
        Ok(batch)
    }

    /// Submits nothing more, and waits until what is under way is recorded.
    pub(crate) async fn drain(&self) {
        self.stop.cancel();
        let batches: Vec<_> = self.batches.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for batch in batches {
            batch.submitter.drain().await;
        }
    }

    /// Submits the request of a key, unless there is a job, or may be one.
    pub(crate) async fn submit(&self, key: &Key, mut after: Option<u32>) -> Submitted {
        loop {
            match self.try_submit(key, after).await {
                Ok(Step::Done(submitted)) => return submitted,
                Ok(Step::Again { after: last, pause }) => {
                    after = Some(last);
                    sleep(pause).await;
                }
                Err(Error::Stopped) => std::future::pending().await,
                Err(e @ Error::LedgerFailed) => self.end(e.to_string()).await,
                Err(Error::NotRecorded(line)) => self.end(line.to_string()).await,
                // Somebody else has gone on with the key.
                Err(Error::Outdated(_)) => after = None,
                Err(e) if e.is_retryable() => sleep(PAUSE).await,
                Err(e) => return Submitted::Over(End::NotSent { why: e.to_string() }),
            }
        }
    }

    async fn try_submit(&self, key: &Key, after: Option<u32>) -> Result<Step> {
        let Some(body) = self.database.request(key).await? else {
            return Ok(Step::over(End::NotSent { why: "its request is no longer stored".to_owned() }));
        };
        let no_file = |path: &str| Err(Error::InvalidInput(format!("{path} is a file of another machine")));
        let fingerprint = fingerprint(&body, no_file)?;
        let request: CreateGeneration =
            serde_json::from_value(body).map_err(|e| Error::InvalidInput(format!("the request of {key}: {e}")))?;
        let usd = Prices::default().estimate(&request, None).high();
        let mut submission = Submission::new(request, fingerprint).usd(usd);
        submission.after = after;
        Ok(match Box::pin(self.batch(key.batch).await?.submitter.submit_once(key, &submission)).await? {
            luma_agents_batch::Submitted::Accepted(accepted) => {
                if let Some(line) = accepted.not_recorded {
                    // It is paid for: whoever runs this can write it into the database by hand.
                    eprintln!("{line}");
                }
                Step::Done(Submitted::Accepted { id: accepted.id })
            }
            luma_agents_batch::Submitted::Rejected { after, reason, .. } => self.no_job(after, reason).await,
            luma_agents_batch::Submitted::Failed { after, id, code } if is_retryable(code.as_deref()) => {
                // Failed in an earlier life of this workflow: the number of tries is counted by the ledger.
                if after < TRIES { Step::again(after, PAUSE) } else { Step::over(End::Failed { id, code }) }
            }
            luma_agents_batch::Submitted::Failed { id, code, .. } => Step::over(End::Failed { id, code }),
            luma_agents_batch::Submitted::InDoubt(doubt) => {
                eprintln!("{doubt}");
                Step::over(End::InDoubt)
            }
            other => Step::over(End::NotSent { why: format!("{other:?}") }),
        })
    }

    /// What follows from a try that left no job.
    async fn no_job(&self, after: u32, reason: NoJob) -> Step {
        match reason {
            NoJob::Rejected { kind, .. } if is_of_the_account(&kind) => {
                self.end(format!("the account cannot submit: {kind}")).await
            }
            NoJob::Rejected { kind, .. } if is_passing(&kind) => Step::again(after, 5 * PAUSE),
            NoJob::Rejected { status, kind } => Step::over(End::NotSent { why: format!("{status} {kind}") }),
            _ => Step::again(after, PAUSE),
        }
    }

    /// Waits for the end of a job and records it.
    pub(crate) async fn wait(&self, key: &Key, id: Uuid, may_repeat: bool) -> Waited {
        let start = Instant::now();
        loop {
            let rest = HOUR.saturating_sub(start.elapsed());
            match Box::pin(self.client.generations().wait(id).timeout(rest).into_future()).await {
                Ok(_) => {
                    self.record(key, id, &Event::Completed { id }).await;
                    return Waited::Completed;
                }
                Err(ApiError::GenerationFailed(e)) => {
                    let code = e.code().map(|code| code.as_str().to_owned());
                    let is_retryable = may_repeat && is_retryable(code.as_deref());
                    let number = self.record(key, id, &Event::Failed { id, code: code.clone() }).await;
                    return match number {
                        Some(after) if is_retryable => Waited::Again { after },
                        _ => Waited::Over(End::Failed { id, code }),
                    };
                }
                Err(ApiError::WaitTimeout(_)) if start.elapsed() >= HOUR => {
                    return Waited::Over(End::Forgotten { id });
                }
                Err(e) if is_unknown(&e) => return Waited::Over(End::Forgotten { id }),
                Err(e) => {
                    eprintln!("{key}: {e}");
                    sleep(5 * PAUSE).await;
                }
            }
        }
    }

    /// Fetches the outputs of a completed job. Files of an earlier attempt are replaced.
    pub(crate) async fn save(&self, key: &Key, id: Uuid) -> End {
        loop {
            match Box::pin(self.try_save(key, id)).await {
                Ok(()) => return End::Saved { id },
                Err(e) if is_unknown(&e) => return End::Forgotten { id },
                Err(e) => {
                    eprintln!("{key}: {e}");
                    sleep(5 * PAUSE).await;
                }
            }
        }
    }

    async fn try_save(&self, key: &Key, id: Uuid) -> luma_agents::Result<()> {
        // Got anew, since its URLs live for an hour.
        let generation: Generation = self.client.generations().get(id).await?;
        let names = format!("{}-{{index}}.{{ext}}", key.custom_id);
        let saved = self.client.download(&generation).names(names).overwrite().save_all(&self.out).await?;
        let mut files = saved.iter().map(|file| {
            let path = file.path.strip_prefix(&self.out).unwrap_or(&file.path).to_string_lossy();
            SavedFile::new(path, file.bytes, file.sha256.parse().unwrap_or_else(|_| Sha256::of("")))
        });
        if let Some(file) = files.next() {
            self.record(key, id, &Event::Saved { id, file, more: files.collect() }).await;
        }
        Ok(())
    }

    /// Records what became of the job `id` of a key. The number of its try, if the ledger has it.
    pub(crate) async fn record(&self, key: &Key, id: Uuid, event: &Event) -> Option<u32> {
        loop {
            match self.try_record(key, id, event).await {
                Ok(number) => return number,
                Err(e) if e.is_retryable() => sleep(PAUSE).await,
                Err(e) => {
                    eprintln!("{key}: {e}");
                    return None;
                }
            }
        }
    }

    async fn try_record(&self, key: &Key, id: Uuid, event: &Event) -> Result<Option<u32>> {
        let ledger = self.batch(key.batch).await?.ledger;
        let Some(last) = ledger.get(key).await? else { return Ok(None) };
        let mut tries = std::iter::once(&last.attempt).chain(&last.others);
        let Some(attempt) = tries.find(|attempt| attempt.state.id() == Some(id)) else { return Ok(None) };
        ledger.record(&Ticket::new(key.clone(), attempt.number), event).await?;
        Ok(Some(attempt.number))
    }

    /// Stops the whole worker, and this step with it.
    async fn end<T>(&self, why: String) -> T {
        eprintln!("{why}");
        self.has_failed.store(true, Ordering::Release);
        self.stop.cancel();
        std::future::pending().await
    }
}

enum Step {
    Done(Submitted),
    Again { after: u32, pause: Duration },
}

impl Step {
    fn over(end: End) -> Self {
        Self::Done(Submitted::Over(end))
    }

    fn again(after: u32, pause: Duration) -> Self {
        Self::Again { after, pause }
    }
}

fn is_retryable(code: Option<&str>) -> bool {
    code.is_some_and(|code| GenerationFailureCode::from(code).is_retryable())
}

fn is_of_the_account(kind: &str) -> bool {
    matches!(kind, "unauthorized" | "insufficient_credits" | "forbidden" | "redirected")
}

fn is_passing(kind: &str) -> bool {
    matches!(kind, "unavailable" | "concurrency" | "rate_limited")
}

/// Whether the service does not know the job, or no longer. That is no reason to submit it again.
fn is_unknown(error: &ApiError) -> bool {
    matches!(error, ApiError::Rejected(e) if e.kind() == RejectionKind::NotFound)
}
