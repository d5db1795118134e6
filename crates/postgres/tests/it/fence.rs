//! One intent, one POST, one id: also with many at once, a commit without a reply, and a restore.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use luma_agents::{mock::Emulator, types::CreateGeneration};
use luma_agents_batch::{
    Begin, Cap, Error, Event, Ledger as _, NoJob, Quota, Run, Sha256, State, Submission, Submitted, Submitter,
};
use luma_agents_postgres::{Account, Worker};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::{
    cluster::Cluster,
    proxy::Proxy,
    support::{ACCOUNT, BASE_URL, bed, bed_with, fresh, intent, key, millis, settings},
};

#[tokio::test(flavor = "multi_thread")]
async fn of_sixteen_that_submit_a_key_at_once_one_sends_and_all_get_its_job() {
    let emulator = Emulator::start().await.unwrap();
    let client = emulator.client();
    let base_url = client.base_url().to_string();
    let bed = bed_with(settings(), Account::new(ACCOUNT, &base_url)).await;
    let batch = bed.database.create_batch(ACCOUNT, &Run::new(&base_url), Cap::NONE).await.unwrap();
    let mut tasks = Vec::new();
    for number in 0..4 {
        let worker = Worker::start(&bed.database, &format!("w{number}"), ACCOUNT, &base_url).await.unwrap();
        let ledger = worker.ledger(batch).await.unwrap();
        let submitter = Submitter::new(client.clone(), Arc::new(ledger.clone()), Quota::unlimited());
        for _ in 0..4 {
            let (submitter, key) = (submitter.clone(), key(&ledger, "the-same"));
            tasks.push(tokio::spawn(async move {
                let request: CreateGeneration = CreateGeneration::builder().prompt("a duck").try_into().unwrap();
                submitter.submit_once(&key, &Submission::new(request, Sha256::of("a duck"))).await
            }));
        }
    }
    let mut ids = Vec::new();
    for submitted in join_all(tasks).await {
        match submitted.unwrap().unwrap() {
            Submitted::Accepted(accepted) => ids.push(accepted.id),
            other => panic!("each gets the job: {other:?}"),
        }
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(bed.number("SELECT count(*) FROM luma.tries").await, 1);
    assert_eq!(bed.number("SELECT count(*) FROM luma.waiters").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intent_of_an_unknown_commit_is_found_by_its_request_id() {
    let bed = bed().await;
    let ledger = bed.ledger("one").await;
    let (key, intent) = (key(&ledger, "k"), intent(1));
    let Begin::Fresh(first) = ledger.begin(&key, &intent).await.unwrap() else { panic!("a new key is fresh") };
    // As if the reply to the commit had not come.
    assert_eq!(ledger.begin(&key, &intent).await.unwrap(), Begin::Fresh(first));
    assert_eq!(bed.number("SELECT count(*) FROM luma.tries").await, 1);
    assert_eq!(bed.number("SELECT jobs FROM luma.batches").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_at_any_moment_opens_no_second_try() {
    let proxy = Proxy::start(Cluster::shared().port()).await;
    let direct = bed_with(settings(), Account::new(ACCOUNT, BASE_URL).per_minute(10_000).concurrency(10_000)).await;
    let url = direct.url.replace(&format!(":{}/", Cluster::shared().port()), &format!(":{}/", proxy.port()));
    let database = luma_agents_postgres::Database::connect(&url, settings()).await.unwrap();
    let batch = direct.batch().await;
    let ledger = Worker::start(&database, "cut", ACCOUNT, BASE_URL).await.unwrap().ledger(batch).await.unwrap();
    let cutter = tokio::spawn(async move {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..40 {
            sleep(millis(random.u64(1..60))).await;
            proxy.cut();
        }
        proxy
    });
    let tasks: Vec<_> = (0..60)
        .map(|number| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                sleep(millis(number * 20)).await;
                let key = key(&ledger, &format!("k{number}"));
                let Begin::Fresh(ticket) = ledger.begin(&key, &intent(1)).await.unwrap() else {
                    panic!("nobody else begins {key}");
                };
                ledger.record(&ticket, &Event::Accepted { id: Uuid::new_v4() }).await.unwrap();
            })
        })
        .collect();
    for ended in join_all(tasks).await {
        ended.unwrap();
    }
    drop(cutter.await.unwrap());
    assert_eq!(direct.number("SELECT count(*) FROM luma.tries WHERE state = 'accepted' AND try = 1").await, 60);
    assert_eq!(direct.number("SELECT count(*) FROM luma.tries").await, 60);
    assert_eq!(direct.number("SELECT jobs FROM luma.batches").await, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_begun_and_not_sent_is_recorded_as_that() {
    let bed = bed().await;
    let ledger = bed.ledger("one").await;
    let key = key(&ledger, "k");
    let begin = {
        let (ledger, key) = (ledger.clone(), key.clone());
        // Dropped somewhere between the first statement and the commit, or after it.
        tokio::spawn(async move { timeout(millis(4), ledger.begin(&key, &intent(1))).await.is_ok() })
    };
    if begin.await.unwrap() {
        return;
    }
    for _ in 0..100 {
        match ledger.get(&key).await.unwrap().map(|last| last.attempt.state) {
            None | Some(State::NoJob(NoJob::NotSent)) => return,
            Some(State::InFlight) => sleep(millis(50)).await,
            other => panic!("nothing was sent: {other:?}"),
        }
    }
    panic!("nobody sends it, and it stays in flight");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_every_key_without_a_job_is_in_doubt_until_somebody_decides() {
    let bed = bed().await;
    let ledger = bed.ledger("one").await;
    let id = Uuid::new_v4();
    let accepted = fresh(&ledger, "accepted", 1).await;
    ledger.record(&accepted, &Event::Accepted { id }).await.unwrap();
    let rejected = fresh(&ledger, "rejected", 1).await;
    ledger.record(&rejected, &Event::Rejected { status: 503, kind: "unavailable".to_owned() }).await.unwrap();
    let over = bed.batch().await;
    bed.database.close_batch(over).await.unwrap();

    assert_eq!(bed.database.mark_in_doubt().await.unwrap(), 1);
    let begin = async |name: &str, after| {
        let mut intent = intent(1);
        intent.after = after;
        ledger.begin(&key(&ledger, name), &intent).await.unwrap()
    };
    assert_eq!(begin("accepted", None).await, Begin::Accepted(id));
    assert!(matches!(begin("rejected", Some(1)).await, Begin::InDoubt(_)));
    assert!(matches!(begin("never-named", None).await, Begin::InDoubt(_)));

    for (name, number, event) in [("rejected", 1, Event::None), ("never-named", 0, Event::Resend)] {
        let ticket = luma_agents_batch::Ticket::new(key(&ledger, name), number);
        ledger.record(&ticket, &event).await.unwrap();
    }
    assert!(matches!(begin("rejected", Some(1)).await, Begin::Fresh(_)));
    assert!(matches!(begin("never-named", None).await, Begin::Fresh(_)));
    assert!(matches!(begin("another", None).await, Begin::InDoubt(_)));
    assert_eq!(bed.database.view(ledger.batch()).await.unwrap().doubts().len(), 0, "all that have rows are decided");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_is_printed_and_written_later() {
    let patient = settings().patience(millis(300));
    let bed = bed_with(patient, Account::new(ACCOUNT, BASE_URL)).await;
    let ledger = bed.ledger("one").await;
    let ticket = fresh(&ledger, "paid", 1).await;
    let id = Uuid::new_v4();
    let mut blocker = bed.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE luma.tries IN ACCESS EXCLUSIVE MODE").execute(&mut *blocker).await.unwrap();
    let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&bed.pool).await.unwrap();
    let killer = tokio::spawn({
        let pool = bed.pool.clone();
        async move {
            for _ in 0..30 {
                let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 \
                     AND wait_event_type = 'Lock'";
                sqlx::query(kill).bind(&name).execute(&pool).await.unwrap();
                sleep(millis(30)).await;
            }
        }
    });
    match ledger.record(&ticket, &Event::Accepted { id }).await {
        Err(Error::NotRecorded(e)) => {
            assert_eq!(e.id, Some(id));
            assert!(e.line.contains(&format!("paid={id}")), "{}", e.line);
        }
        other => panic!("it cannot be written: {other:?}"),
    }
    blocker.rollback().await.unwrap();
    killer.await.unwrap();
    let written = async {
        while ledger.get(&ticket.key).await.unwrap().unwrap().attempt.state != (State::Accepted { id }) {
            sleep(millis(50)).await;
        }
    };
    timeout(Duration::from_secs(20), written).await.unwrap();
}
