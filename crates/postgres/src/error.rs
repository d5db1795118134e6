//! Errors of the database, in the words of the batch crate, and which of them pass.

use std::time::Duration;

use luma_agents_batch::{Error, error::LedgerError};
use tokio::time::{Instant, sleep};

/// One line that says what to do. The driver's own text is the source: it may name hosts, never a password.
pub(crate) fn database_error(error: sqlx::Error) -> Error {
    let is_transient = is_transient(&error);
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code).unwrap_or_default().into_owned();
    let message = match (&error, code.as_str()) {
        (_, "3F000" | "42P01" | "42883" | "42703") => {
            "the database does not have the tables of this version; run the migrations as the role that owns them"
                .to_owned()
        }
        (_, "42501") => "the role of the database may not do this; give it the run-time rights".to_owned(),
        (_, "28000" | "28P01" | "3D000") => {
            "the database does not let this role in; check name, role and password".to_owned()
        }
        (e, _) if is_untrusted(e) => {
            "the certificate of the database is not trusted; check sslrootcert and the host".to_owned()
        }
        _ if is_transient => "the database cannot be reached at the moment; try again when it is up".to_owned(),
        (sqlx::Error::Database(e), _) => format!("the database has refused this ({code}): {}", first_line(e.message())),
        _ => "the database cannot be used; the cause has the details".to_owned(),
    };
    LedgerError::new(message).transient(is_transient).source(error).into()
}

/// rustls reports a bad certificate as invalid data of the connection.
fn is_untrusted(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Tls(_) => true,
        sqlx::Error::Io(e) => e.kind() == std::io::ErrorKind::InvalidData,
        _ => false,
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Whether the same statement may succeed later: a lost connection, a server that starts, stops or fails over, a
/// deadlock.
pub(crate) fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        _ if is_untrusted(error) => false,
        // The last two: a connection that was cut within a message, or within a transaction.
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Protocol(_)
        | sqlx::Error::BeginFailed => true,
        sqlx::Error::Database(e) => {
            let code = e.code().unwrap_or_default();
            code.starts_with("08")
                || code.starts_with("57P")
                || matches!(&*code, "25P03" | "25006" | "40001" | "40P01" | "53300" | "55P03" | "57014")
        }
        _ => false,
    }
}

/// The one loop around what may be repeated: until it succeeds, fails for good, or the time is over.
#[derive(Debug)]
pub(crate) struct Retry {
    deadline: Instant,
    delay: Duration,
}

/// At most between two tries.
const LONGEST: Duration = Duration::from_secs(2);

impl Retry {
    pub(crate) fn new(patience: Duration) -> Self {
        Self { deadline: Instant::now() + patience, delay: Duration::from_millis(50) }
    }

    /// Whether to try again, after a pause.
    pub(crate) async fn again(&mut self, error: &sqlx::Error) -> bool {
        if !is_transient(error) || Instant::now() + self.delay > self.deadline {
            return false;
        }
        sleep(self.delay).await;
        self.delay = (self.delay * 2).min(LONGEST);
        true
    }

    /// As `again`, for an error that is translated already.
    pub(crate) async fn again_for(&mut self, error: &Error) -> bool {
        let is_transient = matches!(error, Error::Ledger(e) if e.is_transient);
        if !is_transient || Instant::now() + self.delay > self.deadline {
            return false;
        }
        sleep(self.delay).await;
        self.delay = (self.delay * 2).min(LONGEST);
        true
    }
}
