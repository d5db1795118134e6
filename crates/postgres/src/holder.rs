//! The direct connection whose session locks say that a process lives.

use std::time::Duration;

use luma_agents_batch::{Error, Result, Sha256, error::LedgerError};
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::time::timeout;
use uuid::Uuid;

use crate::{database::Database, error::database_error};

/// The server gives up a client that is silent for about this long, and then its locks are free.
const SESSION: &str = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; \
     SET tcp_user_timeout = 25000; SET statement_timeout = '10s'; SET idle_session_timeout = 0";
/// A query on it that takes longer is a lost connection.
const LONGEST: Duration = Duration::from_secs(10);

/// What a process is known by.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// This start of the process.
    pub(crate) holder: Uuid,
    /// The name under which the engine knows it, the same after a restart.
    pub(crate) executor: String,
    pub(crate) account: String,
}

impl Identity {
    fn lock_keys(&self) -> (i64, i64) {
        (lock_key("holder", &self.holder.to_string()), executor_key(&self.executor))
    }
}

pub(crate) fn executor_key(executor: &str) -> i64 {
    lock_key("executor", executor)
}

/// The number of an advisory lock.
pub(crate) fn lock_key(kind: &str, name: &str) -> i64 {
    let digest = Sha256::of(format!("luma {kind} {name}")).to_string();
    let first = digest.get(..16).and_then(|it| u64::from_str_radix(it, 16).ok());
    first.unwrap_or_default().cast_signed()
}

/// A session that holds both locks of a process. They are free when it ends, however it ends.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) connection: PgConnection,
}

impl Session {
    /// Connects and takes both locks. `None`: another process that lives has the executor's name.
    pub(crate) async fn take(database: &Database, identity: &Identity) -> Result<Option<Self>> {
        let connected = timeout(LONGEST, PgConnection::connect_with(&database.options)).await;
        let mut connection = connected.map_err(|_| lost())?.map_err(database_error)?;
        let (holder, executor) = identity.lock_keys();
        sqlx::raw_sql(SESSION).execute(&mut connection).await.map_err(database_error)?;
        let locked = async |connection: &mut PgConnection, key: i64| -> Result<bool> {
            let locked = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(key).fetch_one(connection).await;
            locked.map_err(database_error)
        };
        if !locked(&mut connection, holder).await? {
            // Our own session of before: the server has not noticed yet that its connection is gone.
            sqlx::query(
                "SELECT pg_terminate_backend(pid) FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND granted \
                 AND objsubid = 1 AND database = (SELECT oid FROM pg_catalog.pg_database \
                     WHERE datname = current_database()) \
                 AND classid::bigint = (($1 >> 32) & 4294967295) AND objid::bigint = ($1 & 4294967295)",
            )
            .bind(holder)
            .execute(&mut connection)
            .await
            .map_err(database_error)?;
            return Err(lost());
        }
        if !locked(&mut connection, executor).await? {
            return Ok(None);
        }
        let mut session = Self { connection };
        session.beat(identity).await?;
        Ok(Some(session))
    }

    /// Says that the process lives.
    pub(crate) async fn beat(&mut self, identity: &Identity) -> Result<()> {
        let beat = sqlx::query(
            "INSERT INTO luma.holders (holder, executor, account, lock_key) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (holder) DO UPDATE SET seen_at = clock_timestamp()",
        );
        let beat = beat.bind(identity.holder).bind(&identity.executor).bind(&identity.account);
        let beat = beat.bind(identity.lock_keys().0).execute(&mut self.connection);
        timeout(LONGEST, beat).await.map_err(|_| lost())?.map_err(database_error)?;
        Ok(())
    }

    /// Executors of the account that are dead, each locked by this session from now on.
    pub(crate) async fn dead_executors(&mut self, database: &Database, identity: &Identity) -> Result<Vec<String>> {
        let rows = sqlx::query(
            "SELECT executor FROM luma.holders WHERE account = $1 AND executor <> $2 \
             GROUP BY executor HAVING NOT bool_or(luma.lives(holder, $3)) ORDER BY executor",
        )
        .bind(&identity.account)
        .bind(&identity.executor)
        .bind(database.grace())
        .fetch_all(&mut self.connection)
        .await
        .map_err(database_error)?;
        let mut dead = Vec::new();
        for row in rows {
            let executor: String = row.try_get(0).map_err(database_error)?;
            // Twice by one session is one more to unlock.
            let locked: bool =
                sqlx::query_scalar("SELECT CASE WHEN luma.is_locked($1) THEN false ELSE pg_try_advisory_lock($1) END")
                    .bind(executor_key(&executor))
                    .fetch_one(&mut self.connection)
                    .await
                    .map_err(database_error)?;
            if locked {
                dead.push(executor);
            }
        }
        Ok(dead)
    }

    /// Forgets an executor, if `is_buried`, and lets its name go.
    pub(crate) async fn release(&mut self, executor: &str, is_buried: bool) -> Result<()> {
        if is_buried {
            let gone = sqlx::query("DELETE FROM luma.holders WHERE executor = $1");
            gone.bind(executor).execute(&mut self.connection).await.map_err(database_error)?;
        }
        let unlocked = sqlx::query("SELECT pg_advisory_unlock($1)").bind(executor_key(executor));
        unlocked.execute(&mut self.connection).await.map_err(database_error)?;
        Ok(())
    }

    /// Ends the process in the eyes of all others.
    pub(crate) async fn end(mut self, identity: &Identity) -> Result<()> {
        let gone = sqlx::query("DELETE FROM luma.holders WHERE holder = $1").bind(identity.holder);
        gone.execute(&mut self.connection).await.map_err(database_error)?;
        self.connection.close().await.map_err(database_error)
    }
}

fn lost() -> Error {
    LedgerError::new("the direct connection to the database is lost; it is made again").transient(true).into()
}
