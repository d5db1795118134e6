//! A journal becomes rows.

use chrono::{DateTime, TimeDelta, Utc};
use luma_agents_batch::{Cap, Error, Journal, Key, Ledger as _, Result, Spent, State};
use uuid::Uuid;

use crate::{
    batches::column,
    database::Database,
    error::database_error,
    record::{insert, longest, write_spent},
    rows::Stored,
};

/// What [`Database::import`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// The batch, under the id of the journal.
    pub batch: Uuid,
    /// How many lines it names.
    pub lines: u64,
    /// How many tries were written now: none if the rows were there already.
    pub tries: u64,
}

impl Database {
    /// Makes rows of a journal, which stays locked as long as it is open, and ends with a line that says where it went.
    ///
    /// That line is on disk before the rows are committed: a crash in between leaves a journal that does not run, and
    /// whose import may be repeated until the rows are there. Then it changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] if the journal has no run, or the account is unknown or of another base URL;
    /// [`Error::Journal`] if it was moved to another database; [`Error::Ledger`] if the database cannot be written.
    pub async fn import(&self, journal: &Journal, account: &str, cap: Cap) -> Result<Imported> {
        let (Some(batch), Some(run)) = (journal.batch(), journal.last_run()) else {
            return Err(Error::InvalidInput(format!("{} has no run to import", journal.path().display())));
        };
        let ids = journal.ids()?;
        let lines = column(ids.len() as u64).cast_unsigned();
        self.create_batch_as(batch, account, &run, cap).await?;
        let mut transaction = self.begin().await.map_err(database_error)?;
        let lock = "SELECT jobs = 0 AND NOT EXISTS (SELECT FROM luma.tries t WHERE t.batch = b.batch) \
             FROM luma.batches b WHERE batch = $1 FOR UPDATE";
        let is_empty: bool =
            sqlx::query_scalar(lock).bind(batch).fetch_one(&mut *transaction).await.map_err(database_error)?;
        journal.move_to(self.label()).await?;
        if !is_empty {
            return Ok(Imported { batch, lines, tries: 0 });
        }
        let now: DateTime<Utc> =
            sqlx::query_scalar("SELECT luma.clock()").fetch_one(&mut *transaction).await.map_err(database_error)?;
        let mut tries = 0;
        for id in ids {
            let key = Key::new(batch, id.clone());
            for mut attempt in journal.attempts(&id)? {
                if attempt.state == State::InFlight {
                    attempt.state = State::InDoubt { fault: None };
                }
                let (place_until, counts_until) = counts(&attempt, now);
                insert(&mut transaction, &key, account, &Stored { attempt, place_until, counts_until }, None).await?;
                tries += 1;
            }
            if journal.repaired().is_some() && !journal.is_suspected(&id) {
                let lifted = sqlx::query("INSERT INTO luma.lifted (batch, custom_id, at) VALUES ($1, $2, $3)");
                let lifted = lifted.bind(batch).bind(id.as_str()).bind(now).execute(&mut *transaction);
                lifted.await.map_err(database_error)?;
            }
        }
        write_spent(&mut transaction, batch, Spent::default(), journal.spent().await?).await?;
        if let Some(since) = journal.repaired() {
            let doubted =
                sqlx::query("UPDATE luma.batches SET doubted_at = $2 WHERE batch = $1").bind(batch).bind(since);
            doubted.execute(&mut *transaction).await.map_err(database_error)?;
        }
        transaction.commit().await.map_err(database_error)?;
        Ok(Imported { batch, lines, tries })
    }
}

/// How long a try of a journal still counts. A clock that was wrong delays by at most the limits themselves.
fn counts(attempt: &luma_agents_batch::Attempt, now: DateTime<Utc>) -> (Option<DateTime<Utc>>, Option<DateTime<Utc>>) {
    let at = attempt.at.min(now);
    let place = match attempt.state {
        State::Accepted { .. } => Some(at + TimeDelta::hours(1)),
        State::InDoubt { .. } => Some(at + longest(attempt)),
        _ => None,
    };
    let window = (!matches!(attempt.state, State::NoJob(_))).then(|| at + TimeDelta::seconds(60));
    (place.filter(|it| *it > now), window.filter(|it| *it > now))
}
