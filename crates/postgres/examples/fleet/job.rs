//! The workflow of a job: submit, wait, save. Each step may be repeated; the fence sees to it that one submission is
//! paid.

use std::{sync::Arc, time::Duration};

use luma_agents_batch::{CustomId, Key};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::steps::Steps;

/// How many jobs of a key may fail before it counts as failed.
pub(crate) const TRIES: u32 = 3;

/// What DBOS stores as the input of the workflow: nothing of the request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    batch: Uuid,
    custom_id: CustomId,
}

impl From<&Key> for Job {
    fn from(key: &Key) -> Self {
        Self { batch: key.batch, custom_id: key.custom_id.clone() }
    }
}

/// How a workflow ended, which DBOS stores too.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum End {
    Saved {
        id: Uuid,
    },
    Failed {
        id: Uuid,
        code: Option<String>,
    },
    /// The service does not take the request, or the ledger does not let it out.
    NotSent {
        why: String,
    },
    /// Nothing more is done until somebody has decided.
    InDoubt,
    /// The hour in which the service knows a job has passed.
    Forgotten {
        id: Uuid,
    },
}

/// What a step says to the next.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Submitted {
    Accepted { id: Uuid },
    Over(End),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Waited {
    Completed,
    /// The next try begins after this one.
    Again {
        after: u32,
    },
    Over(End),
}

/// Runs, or goes on with what an earlier process has done of it.
pub(crate) async fn run(steps: Arc<Steps>, job: Job) -> dbos::Result<End> {
    let _running = steps.running.enter(dbos::workflow_id().unwrap_or_default());
    let key = Key::new(job.batch, job.custom_id);
    let mut after = None;
    for number in 1..=TRIES {
        let submitted = dbos::step("submit", || async { Ok(steps.submit(&key, after).await) }).await?;
        let id = match submitted {
            Submitted::Accepted { id } => id,
            Submitted::Over(end) => return Ok(end),
        };
        dbos::sleep(steps.pace).await?;
        let waited = dbos::step("wait", || async { Ok(steps.wait(&key, id, number < TRIES).await) }).await?;
        match waited {
            Waited::Completed => return dbos::step("save", || async { Ok(steps.save(&key, id).await) }).await,
            Waited::Again { after: failed } => after = Some(failed),
            Waited::Over(end) => return Ok(end),
        }
    }
    Ok(End::NotSent { why: format!("{TRIES} tries have failed") })
}

/// Between two attempts at what is temporarily impossible, such as reaching the database.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);
