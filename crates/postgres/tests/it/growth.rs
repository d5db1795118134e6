//! How fast the ledger is beside a bare `INSERT` on the same server. Measured, not asserted.

#![allow(clippy::cast_precision_loss, reason = "figures of a test")]

use std::{process::Command, time::Duration};

use luma_agents_batch::{Begin, Event, Ledger as _};
use luma_agents_postgres::{Account, Database, Worker};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    cluster::Cluster,
    support::{ACCOUNT, BASE_URL, intent, key, settings},
};

const SECONDS: u32 = 8;

/// `cargo test -p luma-agents-postgres --test it growth -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute, and the machine for itself"]
async fn the_ledger_beside_a_bare_insert() {
    let cluster = Cluster::start();
    cluster.configure("fsync = on\nsynchronous_commit = on\n");
    let url = cluster.database("growth").await;
    let database = Database::connect(&url, settings()).await.unwrap();
    database.migrate().await.unwrap();
    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    sqlx::raw_sql("CREATE TABLE bare (id uuid PRIMARY KEY, at timestamptz, state text)").execute(&pool).await.unwrap();
    let script = cluster.data().join("insert.sql");
    std::fs::write(&script, "INSERT INTO bare VALUES (gen_random_uuid(), clock_timestamp(), 'intent');\n").unwrap();
    cluster.own(&script);
    database
        .set_account(&Account::new(ACCOUNT, BASE_URL).per_minute(1_000_000_000).concurrency(1_000_000_000))
        .await
        .unwrap();
    let run = luma_agents_batch::Run::new(BASE_URL);

    println!("| workers | steps/s | a step, ms | bare INSERT/s |");
    println!("| ---: | ---: | ---: | ---: |");
    for workers in [1, 4, 16] {
        let bare = pgbench(&cluster, workers, &script);
        let batch = database.create_batch(ACCOUNT, &run, luma_agents_batch::Cap::NONE).await.unwrap();
        let end = Instant::now() + Duration::from_secs(SECONDS.into());
        let mut tasks = Vec::new();
        for number in 0..workers {
            let one = Database::connect(&url, settings().connections(2)).await.unwrap();
            let worker = Worker::start(&one, &format!("{workers}-{number}"), ACCOUNT, BASE_URL).await.unwrap();
            let ledger = worker.ledger(batch).await.unwrap();
            tasks.push(tokio::spawn(async move {
                let mut steps = 0_u32;
                while Instant::now() < end {
                    let key = key(&ledger, &format!("{number}-{steps}"));
                    let Begin::Fresh(ticket) = ledger.begin(&key, &intent(1)).await.unwrap() else {
                        panic!("{key} is new")
                    };
                    let id = Uuid::new_v4();
                    ledger.record(&ticket, &Event::Accepted { id }).await.unwrap();
                    ledger.record(&ticket, &Event::Completed { id }).await.unwrap();
                    steps += 3;
                }
                steps
            }));
        }
        let mut steps = 0.0;
        for task in tasks {
            steps += f64::from(task.await.unwrap());
        }
        let a_second = steps / f64::from(SECONDS);
        println!("| {workers} | {a_second:.0} | {:.1} | {bare} |", f64::from(workers) * 1000.0 / a_second);
    }
}

fn pgbench(cluster: &Cluster, clients: u32, script: &std::path::Path) -> String {
    let mut command = Command::new(cluster.program("pgbench"));
    command.args([
        "-n",
        "-h",
        "127.0.0.1",
        "-U",
        "postgres",
        "-T",
        &SECONDS.to_string(),
        "-c",
        &clients.to_string(),
        "-j",
        "2",
    ]);
    let output =
        command.arg("-p").arg(cluster.port().to_string()).arg("-f").arg(script).arg("growth").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with("tps")).unwrap_or_else(|| panic!("{text}"));
    line.split_whitespace().nth(2).unwrap().split('.').next().unwrap().to_owned()
}
