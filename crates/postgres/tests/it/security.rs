//! What may be in the database, who may do what there, and over which wire.

use std::{os::unix::fs::PermissionsExt as _, path::Path};

use luma_agents_batch::{Begin, Cap, CustomId, Error, Event, Key, Ledger as _, Run};
use luma_agents_postgres::{Account, Database, Worker};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::{
    cluster::Cluster,
    support::{ACCOUNT, BASE_URL, bed, fresh, intent, key, settings},
};

/// The same database as another role.
fn as_role(url: &str, role: &str) -> String {
    url.replace("postgres://postgres@", &format!("postgres://{role}:secret-of-the-role@"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_ddl_suffices_at_run_time() {
    let bed = bed().await;
    let role = format!("worker_{}", Uuid::new_v4().simple());
    let create = format!("CREATE ROLE {role} LOGIN PASSWORD 'secret-of-the-role'");
    sqlx::raw_sql(AssertSqlSafe(create)).execute(&bed.pool).await.unwrap();
    let url = as_role(&bed.url, &role);
    let database = Database::connect(&url, settings()).await.unwrap();
    let denied = database.batches().await.unwrap_err();
    assert!(denied.to_string().contains("run-time rights"), "{denied}");

    bed.database.grant(&role).await.unwrap();
    let batch = database.create_batch(ACCOUNT, &Run::new(BASE_URL), Cap::NONE).await.unwrap();
    let worker = Worker::start(&database, "one", ACCOUNT, BASE_URL).await.unwrap();
    let ledger = worker.ledger(batch).await.unwrap();
    database.add_requests(batch, &[(CustomId::new("a").unwrap(), json!({ "prompt": "a duck" }))]).await.unwrap();
    let waiting = intent(1);
    ledger.admit(&key(&ledger, "a"), &waiting).await.unwrap();
    let Begin::Fresh(ticket) = ledger.begin(&key(&ledger, "a"), &waiting).await.unwrap() else { panic!("it is new") };
    ledger.record(&ticket, &Event::Unknown { fault: "timeout".to_owned() }).await.unwrap();
    ledger.record(&ticket, &Event::Resend).await.unwrap();
    assert_eq!(worker.dead_executors().await.unwrap(), [""; 0]);
    assert_eq!(database.prune_requests(std::time::Duration::ZERO).await.unwrap(), 1);
    assert_eq!(database.mark_in_doubt().await.unwrap(), 1);
    worker.stop().await;

    // And no more than that.
    let pool = PgPool::connect(&url).await.unwrap();
    for denied in [
        "CREATE TABLE luma.mine (a int)",
        "ALTER TABLE luma.tries ADD COLUMN a int",
        "DROP TABLE luma.tries",
        "DELETE FROM luma.tries",
        "TRUNCATE luma.tries",
        "DELETE FROM luma.batches",
        "UPDATE luma.migrations SET version = 7",
        "CREATE OR REPLACE FUNCTION luma.clock() RETURNS timestamptz LANGUAGE sql AS 'SELECT now()'",
    ] {
        let error = sqlx::query(denied).execute(&pool).await.unwrap_err();
        assert_eq!(
            error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref(),
            Some("42501"),
            "{denied}: {error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_name_is_a_value() {
    let hostile = "'; DROP TABLE luma.tries; --";
    assert!(CustomId::new(hostile).is_err(), "an id has no such letters");
    let bed = bed().await;
    let account = Account::new(hostile, BASE_URL);
    bed.database.set_account(&account).await.unwrap();
    let batch = bed.database.create_batch(hostile, &Run::new(BASE_URL), Cap::NONE).await.unwrap();
    let worker = Worker::start(&bed.database, hostile, hostile, BASE_URL).await.unwrap();
    let ledger = worker.ledger(batch).await.unwrap();
    let mut wild = intent(1);
    (wild.model, wild.kind) = (hostile.to_owned(), hostile.to_owned());
    let Begin::Fresh(ticket) = ledger.begin(&key(&ledger, "a"), &wild).await.unwrap() else { panic!("it is new") };
    ledger.record(&ticket, &Event::Unknown { fault: hostile.to_owned() }).await.unwrap();
    let body = json!({ "prompt": hostile });
    bed.database.add_requests(batch, &[(CustomId::new("a").unwrap(), body.clone())]).await.unwrap();
    let request = bed.database.request(&Key::new(batch, CustomId::new("a").unwrap())).await.unwrap();
    assert_eq!(request, Some(body));
    assert_eq!(worker.dead_executors().await.unwrap(), [""; 0]);
    assert_eq!(bed.number("SELECT count(*) FROM luma.tries").await, 1);
    let role = bed.database.grant("nobody; DROP TABLE luma.tries").await.unwrap_err();
    assert!(matches!(role, Error::Ledger(_)), "{role}");
    assert_eq!(bed.number("SELECT count(*) FROM luma.tries").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn prompts_are_in_one_table_and_go_when_their_time_is_over() {
    let bed = bed().await;
    let ledger = bed.ledger("one").await;
    let prompt = "a very private duck";
    let id = CustomId::new("a").unwrap();
    let body = json!({ "prompt": prompt, "image_ref": [{ "url": "https://x/y?X-Amz-Signature=abc" }] });
    bed.database.add_requests(ledger.batch(), &[(id.clone(), body)]).await.unwrap();
    let ticket = fresh(&ledger, "a", 1).await;
    ledger.record(&ticket, &Event::Accepted { id: Uuid::new_v4() }).await.unwrap();
    let tables: Vec<String> = sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = 'luma'")
        .fetch_all(&bed.pool)
        .await
        .unwrap();
    assert!(tables.len() >= 8, "{tables:?}");
    for table in tables {
        let count = format!("SELECT count(*) FROM luma.{table} t WHERE t::text LIKE '%private duck%'");
        let rows: i64 = sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&bed.pool).await.unwrap();
        assert_eq!(rows, i64::from(table == "requests"), "{table}");
    }
    let hour = std::time::Duration::from_secs(3600);
    assert_eq!(bed.database.prune_requests(hour).await.unwrap(), 0);
    sqlx::query("UPDATE luma.requests SET created_at = created_at - interval '2 hours'")
        .execute(&bed.pool)
        .await
        .unwrap();
    assert_eq!(bed.database.prune_requests(hour).await.unwrap(), 1);
    assert_eq!(bed.database.request(&ticket.key).await.unwrap(), None);
    assert!(matches!(ledger.begin(&ticket.key, &intent(1)).await.unwrap(), Begin::Accepted(_)), "the ledger stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_hold_no_values_and_the_log_no_prompt() {
    let cluster = Cluster::start();
    cluster.configure("shared_preload_libraries = 'pg_stat_statements'\nlog_min_duration_statement = 0\n");
    let url = cluster.database("seen").await;
    let pool = PgPool::connect(&url).await.unwrap();
    sqlx::raw_sql("CREATE EXTENSION pg_stat_statements").execute(&pool).await.unwrap();
    let database = Database::connect(&url, settings()).await.unwrap();
    database.migrate().await.unwrap();
    database.set_account(&Account::new(ACCOUNT, BASE_URL)).await.unwrap();
    let batch = database.create_batch(ACCOUNT, &Run::new(BASE_URL), Cap::NONE).await.unwrap();
    let worker = Worker::start(&database, "one", ACCOUNT, BASE_URL).await.unwrap();
    let ledger = worker.ledger(batch).await.unwrap();
    let body = json!({ "prompt": "a very private duck" });
    database.add_requests(batch, &[(CustomId::new("sku-private").unwrap(), body)]).await.unwrap();
    fresh(&ledger, "sku-private", 1).await;
    let seen: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_statements WHERE query LIKE '%INSERT INTO luma.tries%' AND query LIKE '%$1%'",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(seen, 1);
    let values: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pg_stat_statements WHERE query ~ 'private' AND query !~ 'pg_stat'")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(values, 0);
    drop(worker);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_checked_where_it_is_asked_for() {
    let authority = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let cluster = Cluster::start();
    let write = |name: &str, text: String| {
        let path = cluster.data().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        cluster.own(&path);
        path
    };
    let certificate = write("server.crt", authority.cert.pem());
    write("server.key", authority.signing_key.serialize_pem());
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = write("other.crt", other.cert.pem());
    cluster.configure("ssl = on\n");
    let url = cluster.database("tls").await.replace("127.0.0.1", "localhost");
    let connect = async |mode: &str, root: &Path| {
        let url = format!("{url}?sslmode={mode}&sslrootcert={}", root.display());
        Database::connect(&url, settings().patience(std::time::Duration::from_secs(1))).await
    };
    let database = connect("verify-full", &certificate).await.unwrap();
    database.migrate().await.unwrap();
    database.set_account(&Account::new(ACCOUNT, BASE_URL)).await.unwrap();
    let worker = Worker::start(&database, "one", ACCOUNT, BASE_URL).await.unwrap();
    let pool = PgPool::connect(&url).await.unwrap();
    let plain: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'luma-agents' AND NOT ssl",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(plain, 0);
    worker.stop().await;
    let untrusted = connect("verify-full", &other).await.unwrap_err();
    assert!(untrusted.to_string().contains("certificate"), "{untrusted}");
}

#[tokio::test]
async fn an_error_shows_no_password() {
    let quick = settings().patience(std::time::Duration::from_millis(100));
    for url in ["postgres://me:hunter2@127.0.0.1:1/db", "postgres://me:hunter2@[bad", "hunter2"] {
        let error = Database::connect(url, quick).await.unwrap_err();
        let mut text = format!("{error} {error:?}");
        let mut source = std::error::Error::source(&error);
        while let Some(e) = source {
            text.push_str(&e.to_string());
            source = e.source();
        }
        assert!(!text.contains("hunter2"), "{text}");
    }
}
