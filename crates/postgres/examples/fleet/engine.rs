//! What is used of DBOS: one workflow and one queue, which has no limit for the fleet. That limit is the ledger's.

use std::time::Duration;

use dbos::{
    Client, ClientConfig, Config, EngineOnly, EnqueueOptions, QueueConflict, QueueOptions, ResumeOptions,
    sysdb::{
        INTERNAL_QUEUE, SystemDatabase as _,
        postgres::{PostgresSystemDatabase, Settings},
        types::{WorkflowFilter, WorkflowStatus},
    },
};
use luma_agents_batch::Key;
use sqlx::{AssertSqlSafe, PgPool};

use crate::job::{End, Job};

const APP: &str = "luma-fleet";
const QUEUE: &str = "jobs";
pub(crate) const WORKFLOW: &str = "job";

/// The version of the workflow's steps. It is changed with them only, since DBOS gives work to its own version alone.
pub(crate) const STEPS: &str = "1";

/// Older versions whose unfinished work these steps can go on with.
pub(crate) const COMPATIBLE: &[&str] = &[];

/// The workflow that goes on with a key after this try: 0 is the first one. Each try has one, however many ask for it.
fn workflow(key: &Key, attempt: u32) -> String {
    format!("{}/{}/{attempt}", key.batch, key.custom_id)
}

/// Creates or updates the tables of DBOS, and the queue with this many jobs at once for each worker.
pub(crate) async fn migrate(url: &str, slots: i32, every: Duration) -> Result<(), Box<dyn std::error::Error>> {
    PostgresSystemDatabase::connect(&dbos::sysdb::postgres::Config::new(url)).await?.close().await;
    let client = Client::connect(client_config(url)).await?;
    let options = QueueOptions { worker_concurrency: Some(slots), polling_interval: every, ..QueueOptions::default() };
    client.register_queue(QUEUE, options, QueueConflict::AlwaysUpdate).await?;
    client.close().await;
    Ok(())
}

/// Gives a role what a worker needs of DBOS.
pub(crate) async fn grant(pool: &PgPool, role: &str) -> sqlx::Result<()> {
    let quoted: String = sqlx::query_scalar("SELECT quote_ident($1)").bind(role).fetch_one(pool).await?;
    let grant = format!(
        "GRANT USAGE ON SCHEMA dbos TO {quoted}; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA dbos TO {quoted}; \
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA dbos TO {quoted}; \
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA dbos TO {quoted}"
    );
    // The only part that is not ours is quoted by the server.
    sqlx::raw_sql(AssertSqlSafe(grant)).execute(pool).await?;
    Ok(())
}

/// The settings of a worker. The tables are there already: at run time nothing is created.
pub(crate) fn config(url: &str, worker: &str, steps: &str) -> Config {
    Config {
        migrate: false,
        executor_id: Some(worker.to_owned()),
        app_version: Some(steps.to_owned()),
        listen_queues: Some(vec![QUEUE.to_owned()]),
        ..Config::new(APP, url)
    }
}

fn client_config(url: &str) -> ClientConfig {
    let app_name = Some(APP.to_owned());
    ClientConfig { app_name, max_connections: 2, use_listen_notify: false, ..ClientConfig::new(url) }
}

/// The queue, as those see it who put work on it and back on it.
pub(crate) struct Engine {
    client: Client,
    sysdb: PostgresSystemDatabase,
    pool: PgPool,
    steps: String,
    /// Versions whose work is covered: the own one first.
    covers: Vec<String>,
}

impl Engine {
    pub(crate) async fn connect(url: &str, pool: &PgPool, steps: &str, compatible: &[String]) -> dbos::Result<Self> {
        let client = Client::connect(client_config(url)).await?;
        let settings = Settings { application_name: Some(APP), ..Settings::default() };
        let sysdb = PostgresSystemDatabase::from_pool(pool.clone(), &settings);
        let covers = std::iter::once(steps.to_owned()).chain(compatible.iter().cloned()).collect();
        Ok(Self { client, sysdb, pool: pool.clone(), steps: steps.to_owned(), covers })
    }

    /// Puts a key on the queue, to go on after this try. Again for the same try, it changes nothing.
    pub(crate) async fn enqueue(&self, key: &Key, attempt: u32) -> dbos::Result<()> {
        let id = workflow(key, attempt);
        let options =
            EnqueueOptions { workflow_id: Some(&id), app_version: Some(&self.steps), ..EnqueueOptions::new(QUEUE) };
        self.client.enqueue_with::<_, End, EngineOnly>(WORKFLOW, Job::from(key), options).await?;
        Ok(())
    }

    /// Whether a workflow of the key is on the queue or runs. `attempt` is its last try.
    pub(crate) async fn is_live(&self, key: &Key, attempt: u32) -> dbos::Result<bool> {
        let ids: Vec<_> = (0..=attempt).map(|attempt| workflow(key, attempt)).collect();
        let filter = WorkflowFilter {
            workflow_ids: ids.iter().map(String::as_str).collect(),
            status: vec![WorkflowStatus::Enqueued, WorkflowStatus::Pending],
            ..light()
        };
        Ok(!self.sysdb.list_workflows(&filter, None).await.map_err(dbos::Error::SystemDatabase)?.is_empty())
    }

    /// Whether no workflow waits or runs.
    pub(crate) async fn is_empty(&self) -> sqlx::Result<bool> {
        let query = "SELECT NOT EXISTS (SELECT FROM dbos.workflow_status \
             WHERE status IN ('ENQUEUED', 'PENDING') AND application_name = $1)";
        sqlx::query_scalar(query).bind(APP).fetch_one(&self.pool).await
    }

    /// Workers that have left workflows behind, and have ended in good order: the ledger no longer knows them.
    pub(crate) async fn ended_workers(&self) -> sqlx::Result<Vec<String>> {
        let ended = "SELECT DISTINCT executor_id FROM dbos.workflow_status \
             WHERE status = 'PENDING' AND application_version = ANY($1) \
             AND NOT EXISTS (SELECT FROM luma.holders WHERE executor = executor_id)";
        sqlx::query_scalar(ended).bind(&self.covers).fetch_all(&self.pool).await
    }

    /// Puts the workflows of a dead worker back on the queue. DBOS does it only when a worker of the same id starts.
    pub(crate) async fn requeue(&self, dead: &str) -> dbos::Result<usize> {
        let mut moved = 0;
        for version in &self.covers {
            let ids = self.sysdb.reenqueue_for_recovery(&[dead], version, INTERNAL_QUEUE).await;
            moved += ids.map_err(dbos::Error::SystemDatabase)?.len();
        }
        Ok(moved)
    }

    /// Workflows that are this worker's by the database.
    pub(crate) async fn claimed_by(&self, me: &str) -> dbos::Result<Vec<String>> {
        let filter = WorkflowFilter { executor_ids: vec![me], status: vec![WorkflowStatus::Pending], ..light() };
        let rows = self.sysdb.list_workflows(&filter, None).await.map_err(dbos::Error::SystemDatabase)?;
        Ok(rows.into_iter().map(|row| row.workflow_id).collect())
    }

    /// Puts these workflows back on the queue, unless they have ended.
    pub(crate) async fn resume(&self, ids: &[&str]) -> dbos::Result<()> {
        let queue = ResumeOptions { queue: Some(QUEUE) };
        self.client.resume_all::<End, EngineOnly>(ids, queue).await?;
        Ok(())
    }

    /// Takes over work of older versions that waits, as much as the workers of this version can begin soon.
    pub(crate) async fn adopt(&self, number: i64) -> sqlx::Result<u64> {
        let adopt = "UPDATE dbos.workflow_status SET application_version = $1 WHERE workflow_uuid IN ( \
             SELECT workflow_uuid FROM dbos.workflow_status \
             WHERE status = 'ENQUEUED' AND queue_name = $2 AND application_version = ANY($3) \
             ORDER BY priority, created_at \
             LIMIT greatest(0, $4 - (SELECT count(*) FROM dbos.workflow_status \
                 WHERE status = 'ENQUEUED' AND queue_name = $2 AND application_version = $1)) \
             FOR UPDATE SKIP LOCKED)";
        let older = &self.covers[1..];
        if older.is_empty() {
            return Ok(0);
        }
        let query = sqlx::query(adopt).bind(&self.steps).bind(QUEUE).bind(older).bind(number);
        Ok(query.execute(&self.pool).await?.rows_affected())
    }
}

fn light() -> WorkflowFilter<'static> {
    WorkflowFilter { load_input: false, load_output: false, ..WorkflowFilter::default() }
}
