//! The ways in which a quota in a database admits too much, each as a test that fails if it is written so.

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use luma_agents_batch::{Begin, Event, Ledger as _};
use luma_agents_postgres::Turn;
use sqlx::Connection as _;
use tokio::time::sleep;
use uuid::Uuid;

use crate::support::{Bed, bed, fresh, intent, key, millis};

/// Takes the lock of the account until it is dropped. Its number is that of the only transaction lock that a begin
/// takes.
async fn block(bed: &Bed) -> sqlx::Transaction<'static, sqlx::Postgres> {
    let key: i64 = {
        let ledger = bed.ledger("probe").await;
        let mut connection = sqlx::PgConnection::connect(&bed.url).await.unwrap();
        sqlx::raw_sql("BEGIN; LOCK TABLE luma.batches IN ACCESS EXCLUSIVE MODE")
            .execute(&mut connection)
            .await
            .unwrap();
        let probe = tokio::spawn(async move { ledger.begin(&key(&ledger, "probe"), &intent(1)).await });
        let found = loop {
            let found: Option<i64> = sqlx::query_scalar(
                "SELECT (l.classid::bigint << 32) | l.objid::bigint FROM pg_locks l JOIN pg_locks w USING (pid) \
                 WHERE l.locktype = 'advisory' AND l.granted AND NOT w.granted \
                 AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            )
            .fetch_optional(&mut connection)
            .await
            .unwrap();
            if let Some(found) = found {
                break found;
            }
            sleep(millis(20)).await;
        };
        sqlx::raw_sql("ROLLBACK").execute(&mut connection).await.unwrap();
        let ledger = probe.await.unwrap().unwrap();
        assert!(matches!(ledger, Begin::Fresh(_)));
        found
    };
    sqlx::query("DELETE FROM luma.tries").execute(&bed.pool).await.unwrap();
    let mut blocker = bed.pool.begin().await.unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(key).execute(&mut *blocker).await.unwrap();
    blocker
}

async fn until_waiting(bed: &Bed, number: i64) {
    let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    while bed.number(waiting).await < number {
        sleep(millis(20)).await;
    }
}

/// 16 begin at once behind a lock, so that whoever reads before it has the lock reads that nothing runs.
async fn admitted(bed: &Bed) -> (i64, usize) {
    let blocker = block(bed).await;
    let ledger = bed.ledger("one").await;
    let tasks: Vec<_> = (0..16)
        .map(|number| {
            let ledger = ledger.clone();
            tokio::spawn(async move { ledger.begin(&key(&ledger, &format!("k{number}")), &intent(1)).await.unwrap() })
        })
        .collect();
    until_waiting(bed, 16).await;
    blocker.rollback().await.unwrap();
    let begun = join_all(tasks).await;
    let is_fresh = |begun: &Result<Begin, _>| matches!(begun, Ok(Begin::Fresh(_)));
    let fresh = begun.iter().filter(|it| is_fresh(it)).count();
    assert!(begun.iter().all(|it| is_fresh(it) || matches!(it, Ok(Begin::NoPlace))), "{begun:?}");
    (bed.number("SELECT COALESCE(sum(weight), 0)::bigint FROM luma.tries WHERE place_until IS NOT NULL").await, fresh)
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_connections_at_once_never_admit_an_eleventh_unit() {
    let bed = bed().await;
    assert_eq!(admitted(&bed).await, (10, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_whose_default_is_repeatable_read_admits_no_more() {
    let bed = bed().await;
    let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&bed.pool).await.unwrap();
    let alter = format!("ALTER DATABASE \"{name}\" SET default_transaction_isolation = 'repeatable read'");
    sqlx::raw_sql(sqlx::AssertSqlSafe(alter)).execute(&bed.pool).await.unwrap();
    let strict = crate::support::settings();
    let bed = Bed { database: luma_agents_postgres::Database::connect(&bed.url, strict).await.unwrap(), ..bed };
    assert_eq!(admitted(&bed).await, (10, 10));
}

/// What the two tests above are for: the same check in one statement with its lock, or with one snapshot for all.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_and_a_check_in_one_statement_or_one_snapshot_admit_everybody() {
    for (isolation, statements) in [
        (
            "READ COMMITTED",
            &["WITH locked AS MATERIALIZED (SELECT pg_advisory_xact_lock(7)) \
            INSERT INTO places SELECT 1 FROM locked WHERE (SELECT count(*) FROM places) < 10"][..],
        ),
        (
            "REPEATABLE READ",
            &[
                "SELECT pg_advisory_xact_lock(7)",
                "INSERT INTO places SELECT 1 WHERE (SELECT count(*) FROM places) < 10",
            ][..],
        ),
    ] {
        let bed = bed().await;
        sqlx::raw_sql("CREATE TABLE places (unit int)").execute(&bed.pool).await.unwrap();
        let mut blocker = bed.pool.begin().await.unwrap();
        sqlx::query("SELECT pg_advisory_xact_lock(7)").execute(&mut *blocker).await.unwrap();
        let url = bed.url.clone();
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                let url = url.clone();
                tokio::spawn(async move {
                    let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
                    let begin = format!("BEGIN ISOLATION LEVEL {isolation}");
                    sqlx::raw_sql(sqlx::AssertSqlSafe(begin)).execute(&mut connection).await.unwrap();
                    for statement in statements {
                        sqlx::query(*statement).execute(&mut connection).await.unwrap();
                    }
                    sqlx::raw_sql("COMMIT").execute(&mut connection).await.unwrap();
                })
            })
            .collect();
        until_waiting(&bed, 16).await;
        blocker.rollback().await.unwrap();
        join_all(tasks).await;
        assert!(bed.number("SELECT count(*) FROM places").await > 10, "{isolation}: the trap is none any more");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_is_that_of_the_moment_not_that_of_the_transaction() {
    let bed = bed().await;
    let blocker = block(&bed).await;
    let ledger = bed.ledger("one").await;
    let begin = tokio::spawn({
        let ledger = ledger.clone();
        async move { ledger.begin(&key(&ledger, "late"), &intent(1)).await.unwrap() }
    });
    until_waiting(&bed, 1).await;
    sleep(millis(1200)).await;
    let released: DateTime<Utc> = sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&bed.pool).await.unwrap();
    blocker.rollback().await.unwrap();
    assert!(matches!(begin.await.unwrap(), Begin::Fresh(_)));
    let started: DateTime<Utc> =
        sqlx::query_scalar("SELECT begun_at FROM luma.tries").fetch_one(&bed.pool).await.unwrap();
    assert!(started >= released, "the intent is of {started}, and the lock was free at {released}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heavy_job_is_not_overtaken_by_light_ones_that_would_fit() {
    let bed = bed().await;
    let ledger = bed.ledger("one").await;
    let mut running = Vec::new();
    for number in 0..9 {
        running.push(fresh(&ledger, &format!("r{number}"), 1).await);
    }
    let (quota, me) = (ledger.worker().quota(), ledger.worker().id());
    let (heavy, light) = (intent(3), intent(1));
    assert!(matches!(quota.turn(heavy.request_id, me, 3).await.unwrap(), Turn::Wait(_)));
    // One unit is free: enough for the light one, which came later.
    assert!(matches!(quota.turn(light.request_id, me, 1).await.unwrap(), Turn::Wait(_)));
    let begun = ledger.begin(&key(&ledger, "light"), &light).await.unwrap();
    assert_eq!(begun, Begin::NoPlace);
    // Nor may one that waits in no line.
    assert_eq!(ledger.begin(&key(&ledger, "rude"), &intent(1)).await.unwrap(), Begin::NoPlace);
    for ticket in running.drain(..2) {
        let id = Uuid::new_v4();
        ledger.record(&ticket, &Event::Accepted { id }).await.unwrap();
        ledger.record(&ticket, &Event::Completed { id }).await.unwrap();
    }
    assert_eq!(quota.turn(heavy.request_id, me, 3).await.unwrap(), Turn::Now);
    assert!(matches!(ledger.begin(&key(&ledger, "heavy"), &heavy).await.unwrap(), Begin::Fresh(_)));
    // All ten are taken now, and the light one is the first in line.
    assert!(matches!(quota.turn(light.request_id, me, 1).await.unwrap(), Turn::Wait(_)));
}
