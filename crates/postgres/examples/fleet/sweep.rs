//! What keeps the fleet going when a worker dies: its workflows, and the places of its jobs.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::{TimeDelta, Utc};
use luma_agents_batch::Ticket;
use luma_agents_postgres::OpenJob;
use tokio::time::{Instant, sleep};

use crate::{engine::Engine, steps::Steps};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

pub(crate) struct Sweeper {
    pub(crate) steps: Arc<Steps>,
    pub(crate) engine: Engine,
    /// For how long a workflow may be this worker's without running, or a job without an end, before anything is done.
    pub(crate) grace: Duration,
    /// How many workflows this worker runs at once.
    pub(crate) slots: i64,
    /// Workflows that this worker has claimed and does not run, and since when.
    pub(crate) idle: HashMap<String, Instant>,
}

impl Sweeper {
    /// Runs until it is dropped. Every worker does it: all of this may happen twice.
    pub(crate) async fn run(mut self) {
        loop {
            sleep((self.grace / 4).min(Duration::from_secs(5))).await;
            for swept in [self.dead().await, self.strays().await, self.jobs().await] {
                if let Err(e) = swept {
                    eprintln!("sweep: {e}");
                }
            }
        }
    }

    /// Workflows of workers that were killed, or have ended, go back on the queue.
    async fn dead(&self) -> Result<()> {
        for ended in self.engine.ended_workers().await? {
            self.engine.requeue(&ended).await?;
        }
        for dead in self.steps.worker.dead_executors().await? {
            let moved = self.engine.requeue(&dead).await?;
            eprintln!("{dead} is gone: {moved} of its workflows are on the queue again");
            self.steps.worker.bury(&dead).await?;
        }
        Ok(())
    }

    /// So do those that this worker has claimed and does not run: it never learnt of it, or DBOS has given one up since
    /// the connection broke. One that has just been claimed, or has just ended, is none of them.
    async fn strays(&mut self) -> Result<()> {
        let claimed = self.engine.claimed_by(self.steps.worker.executor()).await?;
        let idle = claimed.into_iter().filter(|id| !self.steps.running.has(id));
        let since = |id: String| (self.idle.get(&id).copied().unwrap_or_else(Instant::now), id);
        let idle: Vec<_> = idle.map(since).collect();
        let (strays, idle): (Vec<_>, Vec<_>) = idle.into_iter().partition(|(since, _)| since.elapsed() >= self.grace);
        self.idle = idle.into_iter().map(|(since, id)| (id, since)).collect();
        if !strays.is_empty() {
            self.engine.resume(&strays.iter().map(|(_, id)| id.as_str()).collect::<Vec<_>>()).await?;
            eprintln!("{} workflows of this worker did not run and are on the queue again", strays.len());
        }
        self.engine.adopt(self.slots).await?;
        Ok(())
    }

    /// A job ends whether anybody waits for it or not, and holds its place until its end is recorded. So places do not
    /// depend on workflows, which may all be waiting for one.
    async fn jobs(&self) -> Result<()> {
        for batch in self.steps.database.batches().await?.into_iter().filter(|batch| batch.closed.is_none()) {
            let ledger = self.steps.batch(batch.batch).await?.ledger;
            let is_old =
                |job: &OpenJob| Utc::now() - job.accepted > TimeDelta::from_std(self.grace).unwrap_or_default();
            ledger.mark_abandoned().await?;
            let open = ledger.open_jobs().await?;
            ledger.settle(&self.steps.client, open.into_iter().filter(is_old)).await?;
            for Ticket { key, attempt, .. } in ledger.unfinished(self.grace).await? {
                if !self.engine.is_live(&key, attempt).await? {
                    self.engine.enqueue(&key, attempt).await?;
                }
            }
        }
        Ok(())
    }
}
