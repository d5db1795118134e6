//! The ledger in PostgreSQL keeps every promise that the journal keeps.

use luma_agents_batch::{
    Cap, Run,
    conformance::{self, Bench},
};
use luma_agents_postgres::{Account, PgLedger};
use tokio::time::sleep;
use uuid::Uuid;

use crate::support::{ACCOUNT, BASE_URL, Bed, bed_with, millis, settings};

struct Postgres {
    bed: Bed,
}

impl Bench for Postgres {
    type Ledger = PgLedger;

    async fn create(&self, batch: Uuid, cap: Cap) -> PgLedger {
        self.bed.database.create_batch_as(batch, ACCOUNT, &Run::new(BASE_URL), cap).await.unwrap();
        let worker = self.bed.worker(&Uuid::new_v4().to_string()).await;
        worker.ledger(batch).await.unwrap()
    }

    async fn holder_dies(&self, ledger: PgLedger) -> Option<PgLedger> {
        let batch = ledger.batch();
        // The last handle: its locks are free, as after a kill.
        drop(ledger);
        sleep(millis(600)).await;
        Some(self.bed.worker("another").await.ledger(batch).await.unwrap())
    }
}

#[tokio::test]
async fn postgres_is_a_ledger() {
    let account = Account::new(ACCOUNT, BASE_URL).per_minute(10_000).concurrency(10_000);
    let bed = bed_with(settings().grace(millis(300)), account).await;
    conformance::check(&Postgres { bed }).await.unwrap();
}
