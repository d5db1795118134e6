//! A database of its own for each test, with an account and a batch.

use std::time::Duration;

use luma_agents_batch::{Begin, Cap, CustomId, Intent, Key, Ledger as _, Run, Sha256, Ticket};
use luma_agents_postgres::{Account, Database, PgLedger, Settings, Worker};
use sqlx::PgPool;
use uuid::Uuid;

use crate::cluster::Cluster;

pub(crate) const BASE_URL: &str = "https://agents.example";
pub(crate) const ACCOUNT: &str = "studio";

/// A database with its tables.
pub(crate) struct Bed {
    pub(crate) url: String,
    pub(crate) database: Database,
    /// As the superuser, to see and to break things.
    pub(crate) pool: PgPool,
}

pub(crate) fn settings() -> Settings {
    Settings::default().connections(24).patience(Duration::from_secs(10))
}

/// With limits of 10 units at the same time and a thousand a minute.
pub(crate) async fn bed() -> Bed {
    bed_with(settings(), Account::new(ACCOUNT, BASE_URL).per_minute(1000)).await
}

pub(crate) async fn bed_with(settings: Settings, account: Account) -> Bed {
    let url = Cluster::shared().database(&Uuid::new_v4().to_string()).await;
    let database = Database::connect(&url, settings).await.unwrap();
    database.migrate().await.unwrap();
    database.set_account(&account).await.unwrap();
    let pool = PgPool::connect(&url).await.unwrap();
    Bed { url, database, pool }
}

impl Bed {
    pub(crate) async fn worker(&self, executor: &str) -> Worker {
        Worker::start(&self.database, executor, ACCOUNT, BASE_URL).await.unwrap()
    }

    pub(crate) async fn batch(&self) -> Uuid {
        self.database.create_batch(ACCOUNT, &Run::new(BASE_URL), Cap::NONE).await.unwrap()
    }

    pub(crate) async fn ledger(&self, executor: &str) -> PgLedger {
        let batch = self.batch().await;
        self.worker(executor).await.ledger(batch).await.unwrap()
    }

    /// From here on the quota's clock stands still, at the given time after 2026 began.
    pub(crate) async fn set_clock(&self, at: Duration) {
        let frozen = format!(
            "CREATE OR REPLACE FUNCTION luma.clock() RETURNS timestamptz LANGUAGE sql VOLATILE \
             AS $$ SELECT timestamptz '2026-01-01' + {} * interval '1 millisecond' $$",
            at.as_millis()
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(frozen)).execute(&self.pool).await.unwrap();
    }

    /// A number that a query gives.
    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }
}

pub(crate) fn key(ledger: &PgLedger, id: &str) -> Key {
    Key::new(ledger.batch(), CustomId::new(id).unwrap())
}

pub(crate) fn intent(weight: u32) -> Intent {
    let mut intent = Intent::new(Sha256::of("the request"), "uni-1", "image");
    intent.weight = weight;
    intent
}

pub(crate) async fn fresh(ledger: &PgLedger, id: &str, weight: u32) -> Ticket {
    match ledger.begin(&key(ledger, id), &intent(weight)).await {
        Ok(Begin::Fresh(ticket)) => ticket,
        other => panic!("{id} should be fresh: it is {other:?}"),
    }
}

pub(crate) fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}
