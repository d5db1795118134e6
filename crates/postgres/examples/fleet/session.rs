//! Which workers live: each holds an advisory lock on its id, on a connection of its own, which ends with the process.

use std::{collections::HashMap, time::Duration};

use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};
use tokio::time::{Instant, sleep, timeout};

/// A connection that does not reply in this time is lost.
const LIMIT: Duration = Duration::from_secs(10);

/// A session of PostgreSQL: not one of a pooler, which would give its locks to somebody else.
pub(crate) struct Session {
    options: PgConnectOptions,
    own: String,
    connection: PgConnection,
    /// The locks of others that this session has got, since when.
    others: HashMap<String, Instant>,
}

impl Session {
    /// Takes the lock on the id of this worker. Waits while another process has it, such as a sweeper.
    pub(crate) async fn begin(options: &PgConnectOptions, own: &str) -> sqlx::Result<Self> {
        // By these the server notices soon that this machine is gone.
        let options = options.clone().options([
            ("tcp_keepalives_idle", "5"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_keepalives_count", "3"),
            ("tcp_user_timeout", "15000"),
        ]);
        let mut connection = connect(&options).await?;
        let mut waits = false;
        while !try_lock(&mut connection, own).await? {
            if !waits {
                eprintln!("waiting for the lock on {own}: another process has it");
                waits = true;
            }
            sleep(Duration::from_millis(500)).await;
        }
        Ok(Self { options, own: own.to_owned(), connection, others: HashMap::new() })
    }

    /// Whether the session, and so each lock, is still there.
    pub(crate) async fn is_alive(&mut self) -> bool {
        matches!(timeout(LIMIT, self.connection.ping()).await, Ok(Ok(())))
    }

    /// A new session in place of one that is lost. It has none of the locks of others.
    pub(crate) async fn renew(&mut self) -> sqlx::Result<()> {
        *self = Self::begin(&self.options, &self.own).await?;
        Ok(())
    }

    /// Whether this session has had the lock of another for `grace`: then its process is gone. An immediate restart of
    /// PostgreSQL drops all locks at once, so that a lock alone says nothing yet.
    pub(crate) async fn has_been_gone(&mut self, other: &str, grace: Duration) -> sqlx::Result<bool> {
        if let Some(since) = self.others.get(other) {
            return Ok(since.elapsed() >= grace);
        }
        if try_lock(&mut self.connection, other).await? {
            self.others.insert(other.to_owned(), Instant::now());
        }
        Ok(false)
    }

    /// Gives back the lock of another.
    pub(crate) async fn release(&mut self, other: &str) -> sqlx::Result<()> {
        if self.others.remove(other).is_some() {
            let unlock = "SELECT pg_advisory_unlock(hashtextextended('luma-fleet ' || $1, 0))";
            sqlx::query(unlock).bind(other).execute(&mut self.connection).await?;
        }
        Ok(())
    }
}

async fn connect(options: &PgConnectOptions) -> sqlx::Result<PgConnection> {
    timeout(LIMIT, PgConnection::connect_with(options)).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

async fn try_lock(connection: &mut PgConnection, name: &str) -> sqlx::Result<bool> {
    let lock = "SELECT pg_try_advisory_lock(hashtextextended('luma-fleet ' || $1, 0))";
    let query = sqlx::query_scalar(lock).bind(name).fetch_one(connection);
    timeout(LIMIT, query).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}
