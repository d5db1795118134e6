//! What keeps the fleet going when a worker dies: its lock, its workflows, and the places of its jobs.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use luma_agents::types::GenerationState;
use luma_agents_batch::{Event, Key};
use tokio::{sync::watch, time::sleep};
use uuid::Uuid;

use crate::{
    engine::{Engine, Occasion},
    session::Session,
    worker::Worker,
};

/// How many jobs are asked for at the same time.
const GETS: usize = 8;

pub(crate) struct Sweeper {
    pub(crate) worker: Arc<Worker>,
    pub(crate) engine: Engine,
    pub(crate) session: Session,
    /// The id of this worker.
    pub(crate) me: String,
    /// Says whether this worker has the lock on its id.
    pub(crate) has_lock: watch::Sender<bool>,
    /// For how long somebody has to be gone, or a job to be alone, before anything is done about it.
    pub(crate) grace: Duration,
    /// How many workflows this worker runs at once.
    pub(crate) slots: i64,
}

impl Sweeper {
    /// Runs until the worker ends. Every worker does it: all of this may happen twice.
    pub(crate) async fn run(mut self) {
        loop {
            sleep((self.grace / 4).min(Duration::from_secs(5))).await;
            if let Err(e) = self.sweep().await {
                eprintln!("sweep: {e}");
            }
        }
    }

    async fn sweep(&mut self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if !self.session.is_alive().await {
            self.has_lock.send_replace(false);
            self.session.renew().await?;
            self.has_lock.send_replace(true);
        }
        for other in self.engine.workers().await? {
            if other != self.me && self.session.has_been_gone(&other, self.grace).await? {
                let moved = self.engine.requeue(&other).await?;
                eprintln!("{other} is gone: {moved} of its jobs are on the queue again");
                self.session.release(&other).await?;
            }
        }
        let strays = self.engine.requeue_strays(&self.me, &self.worker.running, self.grace).await?;
        if strays > 0 {
            eprintln!("{strays} jobs of this worker were lost and are on the queue again");
        }
        self.engine.adopt(self.slots).await?;
        self.look_after_jobs().await
    }

    /// Jobs end whether anybody waits for them or not, and each holds a place until its end is recorded. So their places
    /// do not depend on workflows, which may all be waiting for a place.
    async fn look_after_jobs(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let open = self.worker.ledger.open_jobs(self.grace).await?;
        stream::iter(&open).for_each_concurrent(GETS, |job| self.record_end(&job.key, job.id)).await;
        for job in open {
            if !self.engine.is_live(&job.key, job.attempt).await? {
                self.engine.enqueue(&job.key, Occasion::HasJob(job.attempt)).await?;
            }
        }
        for (key, attempt) in self.worker.ledger.settled().await? {
            if !self.engine.is_live(&key, attempt).await? {
                self.engine.enqueue(&key, Occasion::IsSettled(attempt)).await?;
            }
        }
        Ok(())
    }

    async fn record_end(&self, key: &Key, id: Uuid) {
        let Ok(generation) = self.worker.client.generations().get(id).await else { return };
        let event = match generation.state {
            GenerationState::Completed => Event::Completed { id },
            GenerationState::Failed => {
                Event::Failed { id, code: generation.failure_code.map(|code| code.as_str().to_owned()) }
            }
            _ => return,
        };
        self.worker.record(key, id, &event).await;
    }
}
