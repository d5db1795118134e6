//! The database: its address, its pool, and how long anybody waits for it.

use std::{fmt, str::FromStr as _, time::Duration};

use luma_agents_batch::Result;
use sqlx::{
    PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions, types::PgInterval},
};

use crate::error::{Retry, database_error};

/// Times and sizes of a [`Database`].
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Settings {
    pub(crate) grace: Duration,
    pub(crate) recheck: Duration,
    pub(crate) patience: Duration,
    pub(crate) submit_timeout: Duration,
    pub(crate) connections: u32,
}

impl Default for Settings {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        let (grace, recheck, patience) = (seconds(30), seconds(30), seconds(60));
        Self { grace, recheck, patience, submit_timeout: seconds(180), connections: 8 }
    }
}

impl Settings {
    /// How long a process that has lost its lock counts as living. Default 30 s, the same for the whole fleet.
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// After this time a waiter asks again whether it is its turn, notified or not; a first in line that has not
    /// entered for this long goes to the end. Default 30 s.
    pub fn recheck(self, recheck: Duration) -> Self {
        Self { recheck, ..self }
    }

    /// For how long a call is repeated while the database cannot be reached. Default 60 s.
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// How long one submission may take: that of the [`Submitter`](luma_agents_batch::Submitter). Default 180 s.
    pub fn submit_timeout(self, limit: Duration) -> Self {
        Self { submit_timeout: limit, ..self }
    }

    /// The largest number of connections of the pool, at least 2. A [`Worker`](crate::Worker) has one more. Default 8.
    pub fn connections(self, connections: u32) -> Self {
        Self { connections: connections.max(2), ..self }
    }
}

/// A PostgreSQL database with the tables of a fleet, in the schema `luma`.
///
/// Clones share one pool. Nothing here creates a table but [`migrate`](Self::migrate).
#[derive(Clone)]
pub struct Database {
    pub(crate) pool: PgPool,
    pub(crate) options: PgConnectOptions,
    pub(crate) settings: Settings,
}

/// Begins every transaction: each statement sees what is committed before it, whatever the role's defaults are.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = on; \
     SET LOCAL lock_timeout = '20s'; SET LOCAL idle_in_transaction_session_timeout = '20s'";

impl Database {
    /// Connects by a URL such as `postgres://user:password@host/name?sslmode=verify-full&sslrootcert=ca.pem`.
    ///
    /// Without `sslmode` TLS is used where the server has it, without a check of its certificate: on a network that is
    /// not yours name `verify-full`. What the URL leaves out comes from `PGHOST`, `PGPASSWORD` and so on.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`](luma_agents_batch::Error::InvalidInput) if the URL cannot be read, and
    /// [`Error::Ledger`](luma_agents_batch::Error::Ledger) if nothing answers there. Neither shows the password.
    pub async fn connect(url: &str, settings: Settings) -> Result<Self> {
        let options = PgConnectOptions::from_str(url).map_err(|_| {
            luma_agents_batch::Error::InvalidInput(
                "the database URL cannot be read: write it like postgres://user:password@host/name".to_owned(),
            )
        })?;
        let options = options.application_name("luma-agents");
        let pool = PgPoolOptions::new()
            .max_connections(settings.connections)
            .acquire_timeout(Duration::from_secs(10).min(settings.patience))
            .connect_lazy_with(options.clone());
        let database = Self { pool, options, settings };
        let mut retry = Retry::new(settings.patience.min(Duration::from_secs(10)));
        loop {
            match sqlx::query("SELECT 1").execute(&database.pool).await {
                Err(e) if retry.again(&e).await => {}
                connected => {
                    connected.map_err(database_error)?;
                    return Ok(database);
                }
            }
        }
    }

    /// Host and name, without user and password: for messages, and for the journal that was moved here.
    #[must_use]
    pub fn label(&self) -> String {
        let name = self.options.get_database().unwrap_or_else(|| self.options.get_username());
        format!("{}:{}/{name}", self.options.get_host(), self.options.get_port())
    }

    /// Closes the pool, once what runs in it has ended.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    pub(crate) async fn begin(&self) -> sqlx::Result<Transaction<'static, Postgres>> {
        self.pool.begin_with(BEGIN).await
    }

    pub(crate) fn retry(&self) -> Retry {
        Retry::new(self.settings.patience)
    }

    pub(crate) fn grace(&self) -> PgInterval {
        interval(self.settings.grace)
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Database").field(&self.label()).finish()
    }
}

pub(crate) fn interval(time: Duration) -> PgInterval {
    PgInterval { months: 0, days: 0, microseconds: i64::try_from(time.as_micros()).unwrap_or(i64::MAX) }
}
