//! What the sweep of the example goes on with: whatever no workflow carries, or one that nobody runs.

use std::{path::Path, time::Duration};

use luma_agents::mock::Emulator;
use sqlx::PgPool;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};
use uuid::Uuid;

use crate::{cluster::Cluster, program};

/// Jobs of one line each, on the example.
struct Bench {
    fleet: std::path::PathBuf,
    url: String,
    pool: PgPool,
    emulator: Emulator,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn new(name: &str, ids: &[&str]) -> Self {
        let url = Cluster::shared().database(name).await;
        let pool = PgPool::connect(&url).await.unwrap();
        let (emulator, folder) = (Emulator::start().await.unwrap(), tempfile::tempdir().unwrap());
        let bench = Self { fleet: program::build().await, url, pool, emulator, folder };
        let input = bench.folder.path().join("in.jsonl");
        let line = |id: &&str| format!("{{\"custom_id\": \"{id}\", \"body\": {{\"prompt\": \"{id}\"}}}}\n");
        std::fs::write(&input, ids.iter().map(line).collect::<String>()).unwrap();
        for arguments in [&["migrate", "--grace", "0.2"][..], &["add", input.to_str().unwrap()]] {
            assert!(bench.command().args(arguments).status().await.unwrap().success());
        }
        bench
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.fleet);
        command.env("DATABASE_URL", &self.url).env("FLEET_OUT", self.folder.path()).kill_on_drop(true);
        command.env("LUMA_BASE_URL", self.emulator.base_url()).env("LUMA_AGENTS_API_KEY", self.emulator.api_key());
        command
    }

    fn worker(&self, id: &str) -> Child {
        self.command().args(["work", "--id", id, "--grace", "1", "--pace", "0.1"]).spawn().unwrap()
    }

    async fn sql(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&self.pool).await.unwrap();
    }

    async fn until(&self, what: &'static str) {
        let start = Instant::now();
        while !sqlx::query_scalar::<_, bool>(what).fetch_one(&self.pool).await.unwrap() {
            assert!(start.elapsed() < Duration::from_secs(60), "not yet: {what}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn has(&self, file: &str) -> bool {
        Path::new(self.folder.path()).join(file).exists()
    }
}

#[tokio::test]
async fn what_no_workflow_carries_is_found_and_finished() {
    let bench = Bench::new("sweeps", &["claimed", "accepted", "settled"]).await;
    bench.sql("UPDATE dbos.workflow_status SET status = 'CANCELLED' WHERE workflow_uuid LIKE '%claimed/0'").await;
    bench.sql("DELETE FROM dbos.workflow_status WHERE workflow_uuid NOT LIKE '%claimed/0'").await;
    // Its worker died after it was accepted, and so did the workflow.
    let job = Uuid::new_v4();
    bench.emulator.existing(job);
    let intent = "INSERT INTO luma.tries (batch, custom_id, try, account, request_id, model, kind, weight, begun_at, at, state, job) \
        SELECT batch, $1, 1, account, gen_random_uuid(), 'uni-1', 'image', 1, now(), now(), $2, $3 FROM luma.batches";
    for (id, state, job) in [("accepted", "accepted", Some(job)), ("settled", "settled", None)] {
        sqlx::query(intent).bind(id).bind(state).bind(job).execute(&bench.pool).await.unwrap();
    }
    let mut worker = bench.worker("w1");
    bench.until("SELECT EXISTS (SELECT FROM luma.holders WHERE executor = 'w1')").await;
    sleep(Duration::from_secs(1)).await;
    // DBOS has claimed it for this worker, which has not heard of it.
    bench
        .sql(
            "UPDATE dbos.workflow_status SET status = 'PENDING', executor_id = 'w1', started_at_epoch_ms = 0 \
         WHERE workflow_uuid LIKE '%claimed/0'",
        )
        .await;
    bench.until("SELECT count(*) = 3 FROM luma.tries WHERE state = 'saved'").await;
    assert_eq!(["claimed-0.png", "accepted-0.png", "settled-0.png"].map(|file| bench.has(file)), [true; 3]);
    assert_eq!(bench.emulator.jobs().len(), 3, "one was there, two were submitted");
    worker.kill().await.unwrap();
}

#[tokio::test]
async fn what_a_worker_leaves_when_it_ends_in_good_order_goes_on_elsewhere() {
    let bench = Bench::new("ends", &["left"]).await;
    bench.emulator.prompts_with("left", luma_agents::mock::Script::new().takes(Duration::from_secs(3)));
    let mut first = bench.worker("first");
    bench.until("SELECT EXISTS (SELECT FROM luma.tries WHERE state = 'accepted')").await;
    let id = first.id().unwrap().to_string();
    assert!(Command::new("kill").arg(id).status().await.unwrap().success());
    assert!(first.wait().await.unwrap().success());
    assert!(!bench.has("left-0.png"));
    let mut second = bench.worker("second");
    bench.until("SELECT count(*) = 1 FROM luma.tries WHERE state = 'saved'").await;
    assert!(bench.has("left-0.png"));
    assert_eq!(bench.emulator.jobs().len(), 1);
    second.kill().await.unwrap();
}
