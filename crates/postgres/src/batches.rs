//! The rows of batches: what was started, and what it has spent.

use chrono::{DateTime, Utc};
use luma_agents_batch::{Cap, Error, Result, Run, Spent, Usd};
use sqlx::{FromRow as _, Row as _, postgres::PgRow};
use uuid::Uuid;

use crate::{account::other_service, database::Database, error::database_error};

/// A batch, as its row in the database has it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BatchRow {
    /// Its id, as the first line of a journal names it.
    pub batch: Uuid,
    /// The label of its account.
    pub account: String,
    /// The service, and the input, if it came from a file.
    pub run: Run,
    /// The most that it may cost.
    pub cap: Cap,
    /// What it has cost so far.
    pub spent: Spent,
    /// Since when each key without a job is in doubt, after a restore.
    pub doubted: Option<DateTime<Utc>>,
    /// When it was created.
    pub created: DateTime<Utc>,
    /// When it was closed.
    pub closed: Option<DateTime<Utc>>,
}

impl sqlx::FromRow<'_, PgRow> for BatchRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let number = |name: &str| -> sqlx::Result<Option<u64>> {
            Ok(row.try_get::<Option<i64>, _>(name)?.map(i64::cast_unsigned))
        };
        let mut run = Run::new(row.try_get::<String, _>("base_url")?);
        run.input = row.try_get("input")?;
        run.input_sha256 = row.try_get::<Option<String>, _>("input_sha256")?.and_then(|it| it.parse().ok());
        run.lines = number("lines")?;
        let mut spent = Spent::default();
        spent.low = Usd::from_ten_thousandths(number("low")?.unwrap_or_default());
        spent.high = Usd::from_ten_thousandths(number("high")?.unwrap_or_default());
        spent.jobs = number("jobs")?.unwrap_or_default();
        spent.unpriced = number("unpriced")?.unwrap_or_default();
        let mut cap = Cap::NONE;
        cap.usd = number("cap_usd")?.map(Usd::from_ten_thousandths);
        cap.jobs = number("cap_jobs")?;
        Ok(Self {
            batch: row.try_get("batch")?,
            account: row.try_get("account")?,
            run,
            cap,
            spent,
            doubted: row.try_get("doubted_at")?,
            created: row.try_get("created_at")?,
            closed: row.try_get("closed_at")?,
        })
    }
}

/// As a column: no amount of ours is that large.
pub(crate) fn column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Database {
    /// Adds a batch of an account.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] if there is no such account, or it is of another base URL than the run's.
    pub async fn create_batch(&self, account: &str, run: &Run, cap: Cap) -> Result<Uuid> {
        let batch = Uuid::new_v4();
        self.create_batch_as(batch, account, run, cap).await?;
        Ok(batch)
    }

    /// As [`create_batch`](Self::create_batch), under this id. A batch that is there gets the new cap.
    ///
    /// # Errors
    ///
    /// As `create_batch`, and if the batch is of another account.
    pub async fn create_batch_as(&self, batch: Uuid, account: &str, run: &Run, cap: Cap) -> Result<()> {
        let known: Option<String> = sqlx::query_scalar("SELECT base_url FROM luma.accounts WHERE account = $1")
            .bind(account)
            .fetch_optional(&self.pool)
            .await
            .map_err(database_error)?;
        match known {
            None => return Err(Error::InvalidInput(format!("there is no account {account}; add it first"))),
            Some(base_url) if base_url != run.base_url => return Err(other_service(account, &run.base_url)),
            Some(_) => {}
        }
        let written = sqlx::query(
            "INSERT INTO luma.batches (batch, account, base_url, input, input_sha256, lines, cap_usd, cap_jobs, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, luma.clock()) \
             ON CONFLICT (batch) DO UPDATE SET cap_usd = excluded.cap_usd, cap_jobs = excluded.cap_jobs \
             WHERE batches.account = excluded.account",
        )
        .bind(batch)
        .bind(account)
        .bind(&run.base_url)
        .bind(&run.input)
        .bind(run.input_sha256.map(|it| it.to_string()))
        .bind(run.lines.map(column))
        .bind(cap.usd.map(|usd| column(usd.ten_thousandths())))
        .bind(cap.jobs.map(column))
        .execute(&self.pool)
        .await
        .map_err(database_error)?;
        if written.rows_affected() == 0 {
            return Err(Error::InvalidInput(format!("the batch {batch} is of another account than {account}")));
        }
        Ok(())
    }

    /// Every batch, the newest first.
    ///
    /// # Errors
    ///
    /// [`Error::Ledger`] if the database cannot be read.
    pub async fn batches(&self) -> Result<Vec<BatchRow>> {
        let rows =
            sqlx::query("SELECT * FROM luma.batches ORDER BY created_at DESC, batch").fetch_all(&self.pool).await;
        rows.and_then(|rows| rows.iter().map(BatchRow::from_row).collect()).map_err(database_error)
    }

    /// One batch.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] if there is none of this id.
    pub async fn batch(&self, batch: Uuid) -> Result<BatchRow> {
        let row =
            sqlx::query("SELECT * FROM luma.batches WHERE batch = $1").bind(batch).fetch_optional(&self.pool).await;
        let row = row.and_then(|row| row.as_ref().map(BatchRow::from_row).transpose()).map_err(database_error)?;
        row.ok_or_else(|| Error::InvalidInput(format!("the database has no batch {batch}; check the id")))
    }

    /// Says that a batch is over: [`mark_in_doubt`](Self::mark_in_doubt) leaves it alone. It can still be read.
    ///
    /// # Errors
    ///
    /// [`Error::Ledger`] if the database cannot be written.
    pub async fn close_batch(&self, batch: Uuid) -> Result<()> {
        let closed =
            sqlx::query("UPDATE luma.batches SET closed_at = luma.clock() WHERE batch = $1 AND closed_at IS NULL");
        closed.bind(batch).execute(&self.pool).await.map_err(database_error)?;
        Ok(())
    }

    /// After a restore to a point in time, before any worker starts: what was written after that point is gone, so each
    /// key of the open batches that has no job is in doubt, with a row or without, until somebody has decided on it.
    /// Returns the number of batches.
    ///
    /// # Errors
    ///
    /// [`Error::Ledger`] if the database cannot be written.
    pub async fn mark_in_doubt(&self) -> Result<u64> {
        let marked = sqlx::query("UPDATE luma.batches SET doubted_at = luma.clock() WHERE closed_at IS NULL");
        Ok(marked.execute(&self.pool).await.map_err(database_error)?.rows_affected())
    }
}
