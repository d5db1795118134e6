//! Reads the tries of a key, and writes what became of one.

use chrono::{DateTime, TimeDelta, Utc};
use luma_agents_batch::{Attempt, Book, Cap, Event, Key, Result, Spent, State, Ticket, quota::Class};
use sqlx::{FromRow as _, PgConnection, Row as _};
use uuid::Uuid;

use crate::{
    batches::{BatchRow, column},
    database::Database,
    error::database_error,
    quota,
    rows::{Columns, Stored},
};

/// The service forgets a job after this time.
const LONGEST_JOB: TimeDelta = TimeDelta::hours(1);
/// A unit leaves the window this long after its response.
const WINDOW: TimeDelta = TimeDelta::seconds(60);

/// One key of a batch, as the database has it.
pub(crate) struct Page {
    pub(crate) book: Book,
    pub(crate) stored: Vec<Stored>,
    pub(crate) cap: Cap,
    pub(crate) account: String,
    pub(crate) now: DateTime<Utc>,
}

impl Page {
    /// Reads a key. With `lock` nobody else changes the batch before the transaction ends.
    pub(crate) async fn read(
        database: &Database,
        connection: &mut PgConnection,
        me: Option<Uuid>,
        key: &Key,
        lock: bool,
    ) -> Result<Self> {
        const BATCH: &str = "SELECT b.*, b.doubted_at IS NOT NULL AND EXISTS (SELECT FROM luma.lifted l \
             WHERE l.batch = b.batch AND l.custom_id = $2 AND l.at >= b.doubted_at) AS lifted \
             FROM luma.batches b WHERE b.batch = $1";
        const LOCKED: &str = "SELECT b.*, b.doubted_at IS NOT NULL AND EXISTS (SELECT FROM luma.lifted l \
             WHERE l.batch = b.batch AND l.custom_id = $2 AND l.at >= b.doubted_at) AS lifted \
             FROM luma.batches b WHERE b.batch = $1 FOR UPDATE";
        let batch = sqlx::query(if lock { LOCKED } else { BATCH })
            .bind(key.batch)
            .bind(key.custom_id.as_str())
            .fetch_optional(&mut *connection)
            .await
            .map_err(database_error)?
            .ok_or_else(|| {
                luma_agents_batch::Error::InvalidInput(format!("the database has no batch {}; check the id", key.batch))
            })?;
        let is_lifted: bool = batch.try_get("lifted").map_err(database_error)?;
        let batch = BatchRow::from_row(&batch).map_err(database_error)?;
        // After the lock: a clock read with it would be older.
        let rows = sqlx::query(
            "SELECT clock.now, t.*, \
                 CASE WHEN t.state = 'intent' THEN t.holder = $3 OR luma.lives(t.holder, $4) END AS lives \
             FROM (SELECT luma.clock() AS now) AS clock \
             LEFT JOIN luma.tries t ON t.batch = $1 AND t.custom_id = $2 ORDER BY t.try",
        )
        .bind(key.batch)
        .bind(key.custom_id.as_str())
        .bind(me)
        .bind(database.grace())
        .fetch_all(&mut *connection)
        .await
        .map_err(database_error)?;
        let mut now = DateTime::UNIX_EPOCH;
        let mut stored = Vec::with_capacity(rows.len());
        for row in &rows {
            now = row.try_get("now").map_err(database_error)?;
            stored.extend(Stored::from_row(row).map_err(database_error)?.map(|(_, stored)| stored));
        }
        let mut book = Book::new(batch.spent);
        book.load(key.custom_id.clone(), stored.iter().map(|it| it.attempt.clone()).collect());
        if let Some(since) = batch.doubted {
            book.doubt_all(since);
            if is_lifted {
                book.lift(key.custom_id.clone());
            }
        }
        Ok(Self { book, stored, cap: batch.cap, account: batch.account, now })
    }
}

/// Writes an event, in one transaction. What is written already changes nothing.
pub(crate) async fn record(database: &Database, me: Option<Uuid>, ticket: &Ticket, event: &Event) -> Result<()> {
    let mut transaction = database.begin().await.map_err(database_error)?;
    let page = Page::read(database, &mut transaction, me, &ticket.key, true).await?;
    if !page.book.check(ticket, event)? {
        return Ok(());
    }
    write(&mut transaction, page, ticket, event).await?;
    transaction.commit().await.map_err(database_error)
}

/// Writes that a request was not sent, if the database has its intent. For a `begin` of which nobody knows whether it
/// is written.
pub(crate) async fn record_not_sent(database: &Database, me: Uuid, key: &Key, request_id: Uuid) -> Result<()> {
    let mut transaction = database.begin().await.map_err(database_error)?;
    let page = Page::read(database, &mut transaction, Some(me), key, true).await?;
    let open = page.stored.iter().find(|it| it.attempt.request_id == Some(request_id));
    let Some(number) = open.filter(|it| it.attempt.state == State::InFlight).map(|it| it.attempt.number) else {
        return Ok(());
    };
    let event = Event::NotSent { fault: "the process did not learn that its intent was written".to_owned() };
    write(&mut transaction, page, &Ticket::new(key.clone(), number), &event).await?;
    transaction.commit().await.map_err(database_error)
}

async fn write(connection: &mut PgConnection, mut page: Page, ticket: &Ticket, event: &Event) -> Result<()> {
    let (key, number, now) = (&ticket.key, ticket.attempt, page.now);
    let spent = page.book.spent();
    page.book.apply(&key.custom_id, number, event, now);
    if matches!(event, Event::Found { .. } | Event::None | Event::Resend) {
        let lifted = sqlx::query(
            "INSERT INTO luma.lifted (batch, custom_id, at) VALUES ($1, $2, $3) \
             ON CONFLICT (batch, custom_id) DO UPDATE SET at = excluded.at",
        );
        let lifted = lifted.bind(key.batch).bind(key.custom_id.as_str()).bind(now).execute(&mut *connection);
        lifted.await.map_err(database_error)?;
    }
    // A decision on a key without a row only lifts the doubt.
    let Some(attempt) = page.book.tries(&key.custom_id).iter().find(|it| it.number == number) else { return Ok(()) };
    let before = page.stored.iter().find(|it| it.attempt.number == number);
    let (place_until, counts_until) = counts(before, attempt, event, now);
    let was_open = before.and_then(|it| it.place_until).is_some();
    let row = Stored { attempt: attempt.clone(), place_until, counts_until };
    insert(connection, key, &page.account, &row, None).await?;
    write_spent(connection, key.batch, spent, page.book.spent()).await?;
    quota::recorded(connection, &page.account, event, attempt, now, was_open && place_until.is_none()).await
}

/// Until when a try counts after this event.
fn counts(
    before: Option<&Stored>,
    attempt: &Attempt,
    event: &Event,
    now: DateTime<Utc>,
) -> (Option<DateTime<Utc>>, Option<DateTime<Utc>>) {
    let (place, window) = before.map_or((None, None), |it| (it.place_until, it.counts_until));
    match event {
        Event::Accepted { .. } => (Some(now + LONGEST_JOB), Some(now + WINDOW)),
        Event::Unknown { .. } => (Some(now + longest(attempt)), Some(now + WINDOW)),
        Event::NotSent { .. } | Event::Rejected { status: 429, .. } => (None, None),
        Event::Rejected { .. } => (None, Some(now + WINDOW)),
        Event::Completed { .. } | Event::Failed { .. } | Event::Saved { .. } | Event::None => (None, window),
        _ => (place, window),
    }
}

pub(crate) fn longest(attempt: &Attempt) -> TimeDelta {
    let class = Class::new(attempt.model.as_str(), attempt.kind.as_str());
    TimeDelta::from_std(class.longest()).unwrap_or(TimeDelta::minutes(10))
}

/// How long an intent counts whose end is never written: until its request is over, and its job too.
pub(crate) fn intent_counts(database: &Database, attempt: &Attempt) -> (TimeDelta, TimeDelta) {
    let request = TimeDelta::from_std(database.settings.submit_timeout).unwrap_or(TimeDelta::minutes(3));
    (request + longest(attempt), request + WINDOW)
}

/// Writes a try, or its new state. The holder stays that of the intent.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    key: &Key,
    account: &str,
    row: &Stored,
    holder: Option<Uuid>,
) -> Result<()> {
    let Stored { attempt, place_until, counts_until } = row;
    let Columns { state, job, status, detail, saved } = Columns::of(&attempt.state);
    sqlx::query(
        "INSERT INTO luma.tries (batch, custom_id, try, account, request_id, fingerprint, model, kind, usd, weight, \
             begun_at, at, state, job, status, detail, saved, holder, place_until, counts_until) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20) \
         ON CONFLICT (batch, custom_id, try) DO UPDATE SET at = excluded.at, state = excluded.state, \
             job = excluded.job, status = excluded.status, detail = excluded.detail, saved = excluded.saved, \
             place_until = excluded.place_until, counts_until = excluded.counts_until",
    )
    .bind(key.batch)
    .bind(key.custom_id.as_str())
    .bind(i32::try_from(attempt.number).unwrap_or(i32::MAX))
    .bind(account)
    .bind(attempt.request_id)
    .bind(attempt.fingerprint.map(|it| it.to_string()))
    .bind(&attempt.model)
    .bind(&attempt.kind)
    .bind(attempt.usd.map(|it| column(it.ten_thousandths())))
    .bind(i32::try_from(attempt.weight.max(1)).unwrap_or(i32::MAX))
    .bind(attempt.begun)
    .bind(attempt.at)
    .bind(state)
    .bind(job)
    .bind(status)
    .bind(detail)
    .bind(saved)
    .bind(holder)
    .bind(place_until)
    .bind(counts_until)
    .execute(connection)
    .await
    .map_err(database_error)?;
    Ok(())
}

/// The batch's row is locked: what was read with it still holds.
pub(crate) async fn write_spent(connection: &mut PgConnection, batch: Uuid, before: Spent, after: Spent) -> Result<()> {
    if before == after {
        return Ok(());
    }
    sqlx::query("UPDATE luma.batches SET low = $2, high = $3, jobs = $4, unpriced = $5 WHERE batch = $1")
        .bind(batch)
        .bind(column(after.low.ten_thousandths()))
        .bind(column(after.high.ten_thousandths()))
        .bind(column(after.jobs))
        .bind(column(after.unpriced))
        .execute(connection)
        .await
        .map_err(database_error)?;
    Ok(())
}
