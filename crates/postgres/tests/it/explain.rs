//! With a hundred thousand rows every query of a running fleet goes by an index: the server counts what does not.

use luma_agents_batch::{Begin, Ledger as _};
use luma_agents_postgres::{Database, Turn, Worker};
use sqlx::AssertSqlSafe;
use tokio::time::Instant;

use crate::support::{ACCOUNT, BASE_URL, bed, intent, key, millis, settings};

const ROWS: u32 = 100_000;

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_a_large_batch_goes_by_an_index() {
    let bed = bed().await;
    let ledger = bed.ledger("one").await;
    let fill = format!(
        "INSERT INTO luma.tries (batch, custom_id, try, account, request_id, fingerprint, model, kind, weight, begun_at, at, \
             state, job, place_until, counts_until) \
         SELECT '{}', 'sku-' || n, 1, 'studio', gen_random_uuid(), 'f', 'uni-1', 'image', 1, t, t, \
             CASE WHEN n % 1000 = 0 THEN 'accepted' ELSE 'saved' END, gen_random_uuid(), \
             CASE WHEN n % 50000 = 0 THEN clock_timestamp() + interval '1 hour' WHEN n % 1000 = 0 THEN t + interval '1 hour' END, \
             t + interval '60 s' \
         FROM (SELECT n, clock_timestamp() - interval '1 day' - n * interval '1 s' AS t FROM generate_series(1, {ROWS}) n) AS rows; \
         ANALYZE luma.tries",
        ledger.batch()
    );
    sqlx::raw_sql(AssertSqlSafe(fill)).execute(&bed.pool).await.unwrap();

    // Each index was built by a scan, which the server counts at the latest when that connection ends.
    let batch = ledger.batch();
    drop(ledger);
    bed.database.close().await;
    let database = Database::connect(&bed.url, settings()).await.unwrap();
    let ledger = Worker::start(&database, "two", ACCOUNT, BASE_URL).await.unwrap().ledger(batch).await.unwrap();
    tokio::time::sleep(millis(1_500)).await;
    let before = sequential_scans(&bed).await;
    let start = Instant::now();
    for number in 0..8 {
        let (key, intent) = (key(&ledger, &format!("new-{number}")), intent(1));
        let (quota, me) = (ledger.worker().quota(), ledger.worker().id());
        assert_eq!(ledger.peek(&key, &intent).await.unwrap(), None);
        assert_eq!(quota.turn(intent.request_id, me, 1).await.unwrap(), Turn::Now);
        let Begin::Fresh(ticket) = ledger.begin(&key, &intent).await.unwrap() else { panic!("{key} is new") };
        let id = uuid::Uuid::new_v4();
        for event in [luma_agents_batch::Event::Accepted { id }, luma_agents_batch::Event::Completed { id }] {
            ledger.record(&ticket, &event).await.unwrap();
        }
        assert!(ledger.get(&key).await.unwrap().is_some());
        assert!(!ledger.open_jobs().await.unwrap().is_empty());
        assert!(ledger.mark_abandoned().await.unwrap().is_empty());
        quota.status().await.unwrap();
    }
    assert!(start.elapsed() < millis(8_000), "{:?} for 8 jobs", start.elapsed());
    tokio::time::sleep(millis(1_500)).await;
    assert_eq!(sequential_scans(&bed).await, before, "a query reads the whole table");
}

/// Of the large table, by all sessions that are idle or gone.
async fn sequential_scans(bed: &crate::support::Bed) -> i64 {
    bed.number("SELECT COALESCE(sum(seq_scan), 0)::bigint FROM pg_stat_all_tables WHERE relid = 'luma.tries'::regclass")
        .await
}
