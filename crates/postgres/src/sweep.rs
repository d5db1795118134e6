//! What a process does for others that are dead: their work, and the jobs that nobody waits for.

use chrono::{DateTime, Utc};
use luma_agents::{Client, types::GenerationState};
use luma_agents_batch::{CustomId, Error, Event, Key, Ledger as _, Result, Ticket, error::LedgerError};
use sqlx::Row as _;
use uuid::Uuid;

use crate::{error::database_error, ledger::PgLedger, worker::Worker};

/// A job that is accepted, and whose end nobody has recorded. From [`PgLedger::open_jobs`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenJob {
    /// Where its end is recorded.
    pub ticket: Ticket,
    /// The job.
    pub id: Uuid,
    /// When it was accepted.
    pub accepted: DateTime<Utc>,
}

/// What became of an open job. From [`PgLedger::settle`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Settled {
    /// It is completed: save it.
    Completed(Key),
    /// It failed.
    Failed(Key),
    /// It goes on, or could not be asked for.
    Open(Key),
}

impl Worker {
    /// Executors of this account that are dead: none of their processes has a lock, nor was seen within the
    /// [grace](crate::Settings::grace). Each name is locked by this worker until [`bury`](Self::bury) or
    /// [`let_go`](Self::let_go), so that one worker at a time gives their work to others. One that lives after all
    /// loses nothing: the fence decides who sends.
    ///
    /// # Errors
    ///
    /// [`Error::Ledger`] if the database cannot be read, or this worker has lost its own lock.
    pub async fn dead_executors(&self) -> Result<Vec<String>> {
        let mut session = self.shared.session.lock().await;
        let session = session.as_mut().ok_or_else(no_lock)?;
        session.dead_executors(&self.shared.database, &self.shared.identity).await
    }

    /// Forgets a dead executor whose work others have now. Its open intents are in doubt.
    ///
    /// # Errors
    ///
    /// As [`dead_executors`](Self::dead_executors).
    pub async fn bury(&self, executor: &str) -> Result<()> {
        let mut session = self.shared.session.lock().await;
        session.as_mut().ok_or_else(no_lock)?.release(executor, true).await
    }

    /// Leaves a dead executor as it is, for another sweep.
    ///
    /// # Errors
    ///
    /// As [`dead_executors`](Self::dead_executors).
    pub async fn let_go(&self, executor: &str) -> Result<()> {
        let mut session = self.shared.session.lock().await;
        session.as_mut().ok_or_else(no_lock)?.release(executor, false).await
    }
}

fn no_lock() -> Error {
    LedgerError::new("this process has lost its lock at the database; sweep again when it has it")
        .transient(true)
        .into()
}

/// Jobs that hold a place, the oldest first.
pub(crate) const OPEN: &str = "SELECT custom_id, try, job, at FROM luma.tries \
    WHERE batch = $1 AND state = 'accepted' ORDER BY at";

/// Intents without an end whose process is dead.
pub(crate) const ABANDONED: &str = "SELECT custom_id, try FROM luma.tries \
    WHERE batch = $1 AND state = 'intent' AND NOT luma.lives(holder, $2) ORDER BY at";

impl PgLedger {
    /// The jobs that are accepted and whose end nobody has recorded, the oldest first.
    ///
    /// # Errors
    ///
    /// [`Error::Ledger`] if the database cannot be read.
    pub async fn open_jobs(&self) -> Result<Vec<OpenJob>> {
        let rows = sqlx::query(OPEN).bind(self.batch).fetch_all(&self.database().pool).await.map_err(database_error)?;
        let mut jobs = Vec::with_capacity(rows.len());
        for row in &rows {
            let read = || -> sqlx::Result<(String, i32, Option<Uuid>, DateTime<Utc>)> {
                Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))
            };
            let (id, number, job, accepted) = read().map_err(database_error)?;
            let key = Key::new(self.batch, CustomId::new(id)?);
            let ticket = Ticket::new(key, number.try_into().unwrap_or_default());
            jobs.extend(job.map(|id| OpenJob { ticket, id, accepted }));
        }
        Ok(jobs)
    }

    /// Records that nobody knows what became of the requests whose process is dead, and gives their keys. So their
    /// units are free again after the longest time that their jobs may take from now on, while those of a process that
    /// lives wait for the end of the request too. Whoever lives after all still records what it learns.
    ///
    /// # Errors
    ///
    /// [`Error::Ledger`] if the database cannot be read or written.
    pub async fn mark_abandoned(&self) -> Result<Vec<Key>> {
        let database = self.database();
        let rows = sqlx::query_as::<_, (String, i32)>(ABANDONED).bind(self.batch).bind(database.grace());
        let rows = rows.fetch_all(&database.pool).await.map_err(database_error)?;
        let mut keys = Vec::with_capacity(rows.len());
        for (id, number) in rows {
            let key = Key::new(self.batch, CustomId::new(id)?);
            let event = Event::Unknown { fault: "its process is gone".to_owned() };
            self.record(&Ticket::new(key.clone(), number.unsigned_abs()), &event).await?;
            keys.push(key);
        }
        Ok(keys)
    }

    /// Asks once for each of these jobs, and records the end of those that have ended, so that their places are free.
    /// For jobs that no live workflow carries.
    ///
    /// # Errors
    ///
    /// Where the ledger cannot be written. A job that cannot be asked for is `Open`.
    pub async fn settle(&self, client: &Client, jobs: impl IntoIterator<Item = OpenJob>) -> Result<Vec<Settled>> {
        let mut settled = Vec::new();
        for OpenJob { ticket, id, .. } in jobs {
            let key = ticket.key.clone();
            settled.push(match client.generations().get(id).await {
                Ok(generation) if generation.state == GenerationState::Completed => {
                    self.record(&ticket, &Event::Completed { id }).await?;
                    Settled::Completed(key)
                }
                Ok(generation) if generation.state == GenerationState::Failed => {
                    let code = generation.failure_code.as_ref().map(|code| code.as_str().to_owned());
                    self.record(&ticket, &Event::Failed { id, code }).await?;
                    Settled::Failed(key)
                }
                _ => Settled::Open(key),
            });
        }
        Ok(settled)
    }
}
