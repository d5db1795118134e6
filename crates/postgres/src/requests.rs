//! The requests of a batch: the only table with prompts, and its retention.

use std::time::Duration;

use luma_agents_batch::{CustomId, Key, Result};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    database::{Database, interval},
    error::database_error,
};

impl Database {
    /// Stores the bodies of requests, so that any worker can send them. A body that is there is replaced; whether that
    /// may be sent is for the ledger to say.
    ///
    /// # Errors
    ///
    /// [`Error::Ledger`](luma_agents_batch::Error::Ledger) if there is no such batch, or the database cannot be
    /// written.
    pub async fn add_requests(&self, batch: Uuid, requests: &[(CustomId, Value)]) -> Result<()> {
        for chunk in requests.chunks(1000) {
            let ids: Vec<&str> = chunk.iter().map(|(id, _)| id.as_str()).collect();
            let bodies: Vec<&Value> = chunk.iter().map(|(_, body)| body).collect();
            let added = sqlx::query(
                "INSERT INTO luma.requests (batch, custom_id, body, created_at) \
                 SELECT $1, id, body, luma.clock() FROM unnest($2::text[], $3::jsonb[]) AS given (id, body) \
                 ON CONFLICT (batch, custom_id) DO UPDATE SET body = excluded.body, created_at = excluded.created_at",
            );
            added.bind(batch).bind(ids).bind(bodies).execute(&self.pool).await.map_err(database_error)?;
        }
        Ok(())
    }

    /// The body of a request, while the retention keeps it.
    ///
    /// # Errors
    ///
    /// [`Error::Ledger`](luma_agents_batch::Error::Ledger) if the database cannot be read.
    pub async fn request(&self, key: &Key) -> Result<Option<Value>> {
        let found = sqlx::query_scalar("SELECT body FROM luma.requests WHERE batch = $1 AND custom_id = $2");
        let found = found.bind(key.batch).bind(key.custom_id.as_str()).fetch_optional(&self.pool);
        found.await.map_err(database_error)
    }

    /// Deletes the requests that were stored longer ago than this. Returns their number.
    ///
    /// # Errors
    ///
    /// [`Error::Ledger`](luma_agents_batch::Error::Ledger) if the database cannot be written.
    pub async fn prune_requests(&self, older_than: Duration) -> Result<u64> {
        let pruned = sqlx::query("DELETE FROM luma.requests WHERE created_at < (SELECT luma.clock()) - $1");
        let pruned = pruned.bind(interval(older_than)).execute(&self.pool).await.map_err(database_error)?;
        Ok(pruned.rows_affected())
    }
}
