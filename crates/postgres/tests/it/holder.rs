//! Who lives and who is dead: by session locks, and with a grace for what only looks dead.

use luma_agents_batch::{Begin, Error, Event, Ledger as _, State};
use luma_agents_postgres::{Account, Database, Settings, Turn, Worker};
use sqlx::PgPool;
use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    cluster::{Cluster, Stop},
    proxy::Proxy,
    support::{ACCOUNT, BASE_URL, bed, bed_with, fresh, intent, key, millis, settings},
};

fn quick() -> Settings {
    settings().grace(millis(400)).recheck(millis(1500))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_worker_is_buried_once_and_its_intents_are_in_doubt() {
    let bed = bed_with(quick(), Account::new(ACCOUNT, BASE_URL)).await;
    let batch = bed.batch().await;
    let dead = bed.worker("dead").await.ledger(batch).await.unwrap();
    let (alive, other) = (bed.worker("alive").await, bed.worker("other").await);
    let ledger = alive.ledger(batch).await.unwrap();
    let ticket = fresh(&dead, "open", 1).await;
    assert_eq!(ledger.begin(&ticket.key, &intent(1)).await.unwrap(), Begin::InFlight);
    assert_eq!(alive.dead_executors().await.unwrap(), [""; 0]);
    assert_eq!(ledger.mark_abandoned().await.unwrap(), []);

    // As after a kill: its locks are gone, and its row stays.
    let row = "INSERT INTO luma.holders SELECT holder, executor, account, lock_key, started_at, seen_at \
         FROM jsonb_populate_record(null::luma.holders, $1)";
    let kept: serde_json::Value = sqlx::query_scalar("SELECT to_jsonb(h) FROM luma.holders h WHERE executor = 'dead'")
        .fetch_one(&bed.pool)
        .await
        .unwrap();
    drop(dead);
    while bed.number("SELECT count(*) FROM luma.holders WHERE executor = 'dead'").await > 0 {
        sleep(millis(20)).await;
    }
    sqlx::query(row).bind(kept).execute(&bed.pool).await.unwrap();
    sleep(millis(600)).await;
    assert!(matches!(ledger.begin(&ticket.key, &intent(1)).await.unwrap(), Begin::InDoubt(_)));
    assert_eq!(alive.dead_executors().await.unwrap(), ["dead"]);
    assert_eq!(other.dead_executors().await.unwrap(), [""; 0], "one sweeps at a time");
    alive.let_go("dead").await.unwrap();
    assert_eq!(other.dead_executors().await.unwrap(), ["dead"]);
    other.bury("dead").await.unwrap();
    assert_eq!(alive.dead_executors().await.unwrap(), [""; 0]);

    // The units of a living process are held for its request too, which may take three minutes.
    let held = "SELECT round(extract(epoch FROM place_until - luma.clock()))::bigint FROM luma.tries";
    assert!((290..=300).contains(&bed.number(held).await));
    assert_eq!(ledger.mark_abandoned().await.unwrap(), std::slice::from_ref(&ticket.key));
    assert!((110..=120).contains(&bed.number(held).await));
    assert_eq!(ledger.mark_abandoned().await.unwrap(), []);
    assert!(matches!(ledger.begin(&ticket.key, &intent(1)).await.unwrap(), Begin::InDoubt(_)));

    // Its job was there after all.
    let id = Uuid::new_v4();
    ledger.record(&ticket, &Event::Accepted { id }).await.unwrap();
    assert_eq!(ledger.begin(&ticket.key, &intent(1)).await.unwrap(), Begin::Accepted(id));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_of_one_name_are_one_too_many() {
    let bed = bed_with(quick(), Account::new(ACCOUNT, BASE_URL)).await;
    let first = bed.worker("same").await;
    let second = Worker::start(&bed.database, "same", ACCOUNT, BASE_URL).await.unwrap_err();
    assert!(second.to_string().contains("another process has the name same"), "{second}");
    first.stop().await;
    bed.worker("same").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_another_account_or_service_does_not_start() {
    let bed = bed().await;
    let worker = Worker::start(&bed.database, "w", ACCOUNT, "http://127.0.0.1:1").await.unwrap_err();
    assert!(matches!(worker, Error::InvalidInput(_)), "{worker}");
    let worker = Worker::start(&bed.database, "w", "another", BASE_URL).await.unwrap_err();
    assert!(matches!(worker, Error::InvalidInput(_)), "{worker}");
    bed.database.set_account(&Account::new("another", BASE_URL)).await.unwrap();
    let batch = bed.batch().await;
    let worker = Worker::start(&bed.database, "w", "another", BASE_URL).await.unwrap();
    assert!(matches!(worker.ledger(batch).await.unwrap_err(), Error::InvalidInput(_)));
    let moved = bed.database.set_account(&Account::new(ACCOUNT, "http://127.0.0.1:1")).await.unwrap_err();
    assert!(matches!(moved, Error::InvalidInput(_)), "{moved}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_database_kills_nobody() {
    let cluster = Cluster::start();
    let url = cluster.database("restart").await;
    let database = Database::connect(&url, settings().grace(millis(2500))).await.unwrap();
    database.migrate().await.unwrap();
    database.set_account(&Account::new(ACCOUNT, BASE_URL)).await.unwrap();
    let run = luma_agents_batch::Run::new(BASE_URL);
    let batch = database.create_batch(ACCOUNT, &run, luma_agents_batch::Cap::NONE).await.unwrap();
    let (one, two) = (
        Worker::start(&database, "one", ACCOUNT, BASE_URL).await.unwrap(),
        Worker::start(&database, "two", ACCOUNT, BASE_URL).await.unwrap(),
    );
    let (first, second) = (one.ledger(batch).await.unwrap(), two.ledger(batch).await.unwrap());
    for stop in [Stop::Immediate, Stop::Fast] {
        let name = format!("{stop:?}");
        let ticket = fresh(&first, &name, 1).await;
        cluster.restart(stop);
        // No lock may be there yet; what was seen a moment ago lives.
        let begun = second.begin(&ticket.key, &intent(1)).await.unwrap();
        assert_eq!(begun, Begin::InFlight, "{name}");
        assert_eq!(two.dead_executors().await.unwrap_or_default(), [""; 0]);
        // The worker has its locks again, and its end is recorded.
        first.record(&ticket, &Event::Accepted { id: Uuid::new_v4() }).await.unwrap();
        while !(one.is_holding() && two.is_holding()) {
            sleep(millis(50)).await;
        }
        fresh(&first, &format!("{name}-after"), 1).await;
    }
    let pool = PgPool::connect(&url).await.unwrap();
    let locked = "SELECT count(*) FROM luma.holders WHERE luma.is_locked(lock_key)";
    while sqlx::query_scalar::<_, i64>(locked).fetch_one(&pool).await.unwrap() < 2 {
        sleep(millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_its_lock_begins_nothing_until_it_has_it_again() {
    let bed = bed_with(quick().patience(millis(600)), Account::new(ACCOUNT, BASE_URL)).await;
    let proxy = Proxy::start(Cluster::shared().port()).await;
    let url = bed.url.replace(&format!(":{}/", Cluster::shared().port()), &format!(":{}/", proxy.port()));
    let database = Database::connect(&url, quick().patience(millis(600))).await.unwrap();
    let batch = bed.batch().await;
    let worker = Worker::start(&database, "one", ACCOUNT, BASE_URL).await.unwrap();
    let ledger = worker.ledger(batch).await.unwrap();
    // Another session takes the lock in the moment in which it is free.
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid <> pg_backend_pid()";
    let lock = "SELECT pg_try_advisory_lock((('x' || substr(encode(sha256('luma executor one'), 'hex'), 1, 16))::bit(64))::bigint)";
    let mut thief = bed.pool.acquire().await.unwrap();
    sqlx::query(kill).execute(&mut *thief).await.unwrap();
    while !sqlx::query_scalar::<_, bool>(lock).fetch_one(&mut *thief).await.unwrap() {
        sqlx::query(kill).execute(&mut *thief).await.unwrap();
    }
    while worker.is_holding() {
        sleep(millis(20)).await;
    }
    let begun = ledger.begin(&key(&ledger, "k"), &intent(1)).await;
    assert!(matches!(&begun, Err(Error::Ledger(e)) if e.is_transient), "{begun:?}");
    assert_eq!(bed.number("SELECT count(*) FROM luma.tries").await, 0);
    drop(thief);
    sqlx::query(kill).execute(&bed.pool).await.unwrap();
    while !worker.is_holding() {
        sleep(millis(20)).await;
    }
    fresh(&ledger, "k", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_waiter_is_skipped_and_one_that_sleeps_goes_to_the_end() {
    let bed = bed_with(quick(), Account::new(ACCOUNT, BASE_URL).concurrency(1)).await;
    let batch = bed.batch().await;
    let dead = bed.worker("dead").await;
    let alive = bed.worker("alive").await.ledger(batch).await.unwrap();
    let quota = alive.worker().quota();
    let running = fresh(&alive, "running", 1).await;
    let (first, sleeper, last) = (intent(1), intent(1), intent(1));
    assert!(matches!(quota.turn(first.request_id, dead.id(), 1).await.unwrap(), Turn::Wait(_)));
    assert!(matches!(quota.turn(sleeper.request_id, alive.worker().id(), 1).await.unwrap(), Turn::Wait(_)));
    drop(dead);
    let id = Uuid::new_v4();
    let admitted = {
        let (ledger, last) = (alive.clone(), last.clone());
        tokio::spawn(async move { ledger.admit(&key(&ledger, "last"), &last).await })
    };
    sleep(millis(200)).await;
    alive.record(&running, &Event::Accepted { id }).await.unwrap();
    alive.record(&running, &Event::Completed { id }).await.unwrap();
    // The first is dead, the second lives and never asks again.
    admitted.await.unwrap().unwrap();
    assert!(matches!(alive.begin(&key(&alive, "last"), &last).await.unwrap(), Begin::Fresh(_)));
    let waiting: Vec<Uuid> =
        sqlx::query_scalar("SELECT request_id FROM luma.waiters").fetch_all(&bed.pool).await.unwrap();
    assert_eq!(waiting, [sleeper.request_id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_gives_up_leaves_the_line_at_once() {
    let bed = bed_with(settings(), Account::new(ACCOUNT, BASE_URL).concurrency(1)).await;
    let ledger = bed.ledger("one").await;
    let ticket = fresh(&ledger, "running", 1).await;
    let (gone, next) = (intent(1), intent(1));
    let waiting = tokio::time::timeout(millis(300), ledger.admit(&key(&ledger, "gone"), &gone)).await;
    assert!(waiting.is_err(), "there is no place");
    ledger.record(&ticket, &Event::NotSent { fault: "no connection".to_owned() }).await.unwrap();
    tokio::time::timeout(millis(5000), ledger.admit(&key(&ledger, "next"), &next)).await.unwrap().unwrap();
    assert!(matches!(ledger.begin(&key(&ledger, "next"), &next).await.unwrap(), Begin::Fresh(_)));
    assert!(matches!(ledger.get(&ticket.key).await.unwrap().unwrap().attempt.state, State::NoJob(_)));
}
