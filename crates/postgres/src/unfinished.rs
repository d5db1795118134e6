//! Keys that somebody has to go on with: workflows may have been lost, or ended before somebody decided on a doubt.

use std::time::Duration;

use luma_agents_batch::{CustomId, Error, Key, Result, Ticket};

use crate::{database::interval, error::database_error, ledger::PgLedger};

/// Each by its last try, 0 where there is none.
const UNFINISHED: &str = "\
    SELECT custom_id, try FROM luma.tries \
    WHERE batch = $1 AND state IN ('accepted', 'completed') AND at < (SELECT luma.clock()) - $2 \
    UNION \
    SELECT custom_id, try FROM luma.tries AS decided \
    WHERE batch = $1 AND state IN ('settled', 'resent') AND NOT EXISTS ( \
        SELECT FROM luma.tries AS later \
        WHERE later.batch = decided.batch AND later.custom_id = decided.custom_id AND later.try > decided.try) \
    UNION \
    SELECT custom_id, 0 FROM luma.lifted \
    WHERE batch = $1 AND NOT EXISTS ( \
        SELECT FROM luma.tries WHERE tries.batch = lifted.batch AND tries.custom_id = lifted.custom_id) \
    ORDER BY custom_id, try";

impl PgLedger {
    /// The tries that are to be gone on with: a job that has not been saved for `older_than` since it was accepted or
    /// completed, and a doubt that was ended by `none` or `resend`. A program puts those on its queue that none of its
    /// workflows carries. The number of the try is 0 for a key that was lifted out of doubt without a try.
    ///
    /// # Errors
    ///
    /// [`Error::Ledger`] if the database cannot be read.
    pub async fn unfinished(&self, older_than: Duration) -> Result<Vec<Ticket>> {
        let rows = sqlx::query_as::<_, (String, i32)>(UNFINISHED).bind(self.batch).bind(interval(older_than));
        let rows = rows.fetch_all(&self.database().pool).await.map_err(database_error)?;
        rows.into_iter()
            .map(|(id, number)| Ok(Ticket::new(Key::new(self.batch, CustomId::new(id)?), number.unsigned_abs())))
            .collect::<Result<_, Error>>()
    }
}
