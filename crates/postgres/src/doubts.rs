//! The doubts of a batch, for somebody who decides on them: no process of the fleet.

use chrono::{DateTime, Utc};
use luma_agents_batch::{CustomId, Doubt, DoubtLedger, Event, Key, Last, Result, Ticket};
use uuid::Uuid;

use crate::{database::Database, error::database_error, record, record::Page};

/// The doubts of a batch, for [`Doubts`](luma_agents_batch::Doubts). From [`Database::doubts`].
#[derive(Clone, Debug)]
pub struct PgDoubts {
    database: Database,
    batch: Uuid,
}

impl Database {
    /// The doubts of a batch. What is decided is acted on by the workers' next sweep.
    #[must_use]
    pub fn doubts(&self, batch: Uuid) -> PgDoubts {
        PgDoubts { database: self.clone(), batch }
    }
}

impl PgDoubts {
    /// The key of a line of this batch.
    #[must_use]
    pub fn key(&self, id: &CustomId) -> Key {
        Key::new(self.batch, id.clone())
    }

    async fn page(&self, key: &Key) -> Result<Page> {
        let mut connection = self.database.pool.acquire().await.map_err(database_error)?;
        Page::read(&self.database, &mut connection, None, key, false).await
    }
}

impl DoubtLedger for PgDoubts {
    async fn doubts(&self) -> Result<Vec<Doubt>> {
        Ok(self.database.view(self.batch).await?.doubts())
    }

    async fn unnamed_doubt(&self, id: &CustomId) -> Result<Option<Doubt>> {
        let page = self.page(&self.key(id)).await?;
        Ok(page.book.suspected(&self.key(id)).filter(|_| page.stored.is_empty()))
    }

    async fn find(&self, key: &Key) -> Result<Option<Last>> {
        Ok(self.page(key).await?.book.last(key))
    }

    async fn find_job(&self, id: Uuid) -> Result<Option<CustomId>> {
        let found = sqlx::query_scalar("SELECT custom_id FROM luma.tries WHERE batch = $1 AND job = $2 LIMIT 1");
        let found: Option<String> =
            found.bind(self.batch).bind(id).fetch_optional(&self.database.pool).await.map_err(database_error)?;
        found.map(CustomId::new).transpose()
    }

    async fn now(&self) -> Result<DateTime<Utc>> {
        sqlx::query_scalar("SELECT luma.clock()").fetch_one(&self.database.pool).await.map_err(database_error)
    }

    async fn decide(&self, ticket: &Ticket, event: &Event) -> Result<()> {
        record::record(&self.database, None, ticket, event).await
    }
}
