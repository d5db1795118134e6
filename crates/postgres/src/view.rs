//! Reads a batch beside the processes that write it. Changes nothing.

use std::collections::BTreeMap;

use luma_agents_batch::{Book, CustomId, Doubt, Key, Last, Result, Spent};
use sqlx::Row as _;
use uuid::Uuid;

use crate::{batches::BatchRow, database::Database, error::database_error, rows::Stored};

/// How many rows are read at once.
const PAGE: usize = 5_000;

/// A batch as it stands. From [`Database::view`].
#[derive(Debug)]
pub struct View {
    batch: BatchRow,
    book: Book,
    ids: Vec<CustomId>,
}

impl View {
    /// The batch's own row.
    #[must_use]
    pub fn batch(&self) -> &BatchRow {
        &self.batch
    }

    /// What is known of a line.
    #[must_use]
    pub fn get(&self, id: &CustomId) -> Option<Last> {
        self.book.last(&Key::new(self.batch.batch, id.clone()))
    }

    /// What is known of every line, in the order of the ids.
    pub fn iter(&self) -> impl Iterator<Item = (&CustomId, Last)> {
        self.ids.iter().filter_map(|id| Some((id, self.get(id)?)))
    }

    /// Every try of which nobody knows whether there is a job, in the order of the ids.
    #[must_use]
    pub fn doubts(&self) -> Vec<Doubt> {
        self.book.doubts(self.batch.batch)
    }

    /// What the batch has cost so far.
    #[must_use]
    pub fn spent(&self) -> Spent {
        self.batch.spent
    }
}

impl Database {
    /// A batch as it stands, all of it.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`](luma_agents_batch::Error::InvalidInput) if there is no such batch.
    pub async fn view(&self, batch: Uuid) -> Result<View> {
        let row = self.batch(batch).await?;
        let mut book = Book::new(row.spent);
        let mut ids = Vec::new();
        let mut after = String::new();
        loop {
            let page = tries_after(self, None, batch, &after).await?;
            let Some((last, _)) = page.last_key_value() else { break };
            last.as_str().clone_into(&mut after);
            for (id, stored) in page {
                ids.push(id.clone());
                book.load(id, stored.into_iter().map(|it| it.attempt).collect());
            }
        }
        if let Some(since) = row.doubted {
            book.doubt_all(since);
            let lifted = sqlx::query_scalar("SELECT custom_id FROM luma.lifted WHERE batch = $1 AND at >= $2");
            let lifted: Vec<String> =
                lifted.bind(batch).bind(since).fetch_all(&self.pool).await.map_err(database_error)?;
            for id in lifted {
                book.lift(CustomId::new(id)?);
            }
        }
        Ok(View { batch: row, book, ids })
    }
}

/// What is known of the keys after this one. Empty where there are no more.
pub(crate) async fn keys_after(
    database: &Database,
    me: Option<Uuid>,
    batch: Uuid,
    after: &str,
) -> Result<Vec<(Key, Last)>> {
    let mut book = Book::default();
    let mut keys = Vec::new();
    for (id, stored) in tries_after(database, me, batch, after).await? {
        let key = Key::new(batch, id.clone());
        book.load(id, stored.into_iter().map(|it| it.attempt).collect());
        keys.extend(book.last(&key).map(|last| (key, last)));
    }
    Ok(keys)
}

/// The tries of the keys after this one, in the order of the ids; of the last key only if all of them are read.
async fn tries_after(
    database: &Database,
    me: Option<Uuid>,
    batch: Uuid,
    after: &str,
) -> Result<BTreeMap<CustomId, Vec<Stored>>> {
    let mut limit = PAGE;
    loop {
        let rows = sqlx::query(TRIES)
            .bind(batch)
            .bind(after)
            .bind(me)
            .bind(database.grace())
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&database.pool)
            .await
            .map_err(database_error)?;
        let mut keys: BTreeMap<CustomId, Vec<Stored>> = BTreeMap::new();
        for row in &rows {
            if let Some((id, stored)) = Stored::from_row(row).map_err(database_error)? {
                keys.entry(id).or_default().push(stored);
            }
        }
        if rows.len() < limit {
            return Ok(keys);
        }
        if keys.len() > 1 {
            keys.pop_last();
            return Ok(keys);
        }
        // One key with more tries than a page.
        limit *= 2;
    }
}

pub(crate) const TRIES: &str = "SELECT t.*, \
        CASE WHEN t.state = 'intent' THEN t.holder = $3 OR luma.lives(t.holder, $4) END AS lives \
    FROM luma.tries t WHERE t.batch = $1 AND t.custom_id > $2 ORDER BY t.custom_id, t.try LIMIT $5";

/// How many rows are in each state: for a status without reading them all.
pub(crate) const STATES: &str = "SELECT state, count(*) AS number FROM luma.tries WHERE batch = $1 GROUP BY state";

impl Database {
    /// How many tries of a batch are in each state, by the names in the database.
    ///
    /// # Errors
    ///
    /// [`Error::Ledger`](luma_agents_batch::Error::Ledger) if the database cannot be read.
    pub async fn states(&self, batch: Uuid) -> Result<BTreeMap<String, u64>> {
        let rows = sqlx::query(STATES).bind(batch).fetch_all(&self.pool).await.map_err(database_error)?;
        let read =
            |row: &sqlx::postgres::PgRow| Ok((row.try_get("state")?, row.try_get::<i64, _>("number")?.cast_unsigned()));
        rows.iter().map(read).collect::<sqlx::Result<_>>().map_err(database_error)
    }
}
