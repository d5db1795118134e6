//! The account's limits: a query over the tries, and a line of numbered waiters.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use luma_agents_batch::{Attempt, Error, Event, Result};
use sqlx::{PgConnection, PgExecutor, Row as _};
use uuid::Uuid;

use crate::{database::Database, error::database_error, holder::lock_key};

/// Notifies waiters of an account, which is the payload.
pub(crate) const CHANNEL: &str = "luma_turns";
/// After this time the process of a first in line is checked.
const ENTERS: TimeDelta = TimeDelta::seconds(1);
/// At most between two tries when others hold the whole account.
const LONGEST_CLOSED: i32 = 600;

/// The limits of an account, and who waits for them.
///
/// Every waiter has a number, and only the lowest may enter, so that a heavy job is not overtaken for ever. What counts
/// are the rows of the ledger: the place of a job begins in the transaction that writes its intent.
#[derive(Clone, Debug)]
pub struct PgQuota {
    database: Database,
    account: String,
    pub(crate) lock_key: i64,
}

/// Whether a waiter may enter. From [`PgQuota::turn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Turn {
    /// It may: begin, which checks it again.
    Now,
    /// Not yet. Ask again after a notification, and after this time at the latest.
    Wait(Duration),
}

/// What an account does at the moment. From [`PgQuota::status`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuotaStatus {
    /// Units of jobs that run, are being submitted, or may run.
    pub in_flight: u32,
    /// Units to be had at the same time, as far as the service has not refused more.
    pub capacity: u32,
    /// The limit on it.
    pub concurrency: u32,
    /// Units of the last 60 seconds.
    pub in_window: u32,
    /// The limit on it.
    pub per_minute: u32,
    /// How many wait.
    pub waiting: u64,
    /// Nothing begins before, since the service has refused.
    pub closed_until: Option<DateTime<Utc>>,
}

impl Database {
    /// The limits of an account.
    #[must_use]
    pub fn quota(&self, account: &str) -> PgQuota {
        PgQuota { database: self.clone(), account: account.to_owned(), lock_key: lock_key("account", account) }
    }
}

impl PgQuota {
    /// What the account does at the moment.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] if there is no such account.
    pub async fn status(&self) -> Result<QuotaStatus> {
        let standing = Standing::read(&self.database.pool, &self.account, Uuid::nil()).await?;
        let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM luma.waiters WHERE account = $1")
            .bind(&self.account)
            .fetch_one(&self.database.pool)
            .await
            .map_err(database_error)?;
        let units = |it: i64| u32::try_from(it).unwrap_or(u32::MAX);
        Ok(QuotaStatus {
            in_flight: units(standing.held),
            capacity: units(standing.capacity),
            concurrency: units(standing.concurrency),
            in_window: units(standing.used),
            per_minute: units(standing.per_minute),
            waiting: waiting.cast_unsigned(),
            closed_until: standing.closed_until.filter(|it| *it > standing.now),
        })
    }

    /// Asks once whether it is the turn of the job with this request id, and gets it in line if it is not there yet.
    ///
    /// [`PgLedger::admit`](crate::PgLedger) is a loop around this. Who gives up [leaves](Self::leave).
    ///
    /// # Errors
    ///
    /// [`Error::Ledger`] if the database cannot be used.
    pub async fn turn(&self, request_id: Uuid, holder: Uuid, weight: u32) -> Result<Turn> {
        let pool = &self.database.pool;
        let mut standing = Standing::read(pool, &self.account, request_id).await?;
        if !standing.is_in_line {
            let added = sqlx::query(
                "INSERT INTO luma.waiters (request_id, account, holder, weight) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (request_id) DO NOTHING",
            );
            let weight = i32::try_from(weight.max(1)).unwrap_or(i32::MAX);
            let added = added.bind(request_id).bind(&self.account).bind(holder).bind(weight).execute(pool);
            added.await.map_err(database_error)?;
            standing = Standing::read(pool, &self.account, request_id).await?;
        }
        let recheck = self.database.settings.recheck;
        let Some(first) = &standing.first else { return Ok(Turn::Wait(Duration::ZERO)) };
        if first.request_id == request_id {
            return match standing.fits(first.weight) {
                Ok(_) => Ok(Turn::Now),
                Err(wait) => {
                    if first.turn_at.is_some() {
                        self.set_turn(first, None).await?;
                    }
                    Ok(Turn::Wait(wait.map_or(recheck, |it| it.min(recheck))))
                }
            };
        }
        if standing.fits(first.weight).is_err() {
            return Ok(Turn::Wait(recheck));
        }
        match first.turn_at {
            None => {
                self.set_turn(first, Some(standing.now)).await?;
                Ok(Turn::Wait(recheck.min(Duration::from_millis(1100))))
            }
            Some(since) if standing.now - since >= ENTERS => {
                let is_late = (standing.now - since).to_std().is_ok_and(|late| late >= recheck);
                let has_moved = self.remove_dead(first).await? || (is_late && self.move_back(first).await?);
                Ok(Turn::Wait(if has_moved { Duration::ZERO } else { recheck }))
            }
            Some(_) => Ok(Turn::Wait(recheck.min(Duration::from_millis(1100)))),
        }
    }

    /// Leaves the line.
    ///
    /// # Errors
    ///
    /// [`Error::Ledger`] if the database cannot be used.
    pub async fn leave(&self, request_ids: &[Uuid]) -> Result<()> {
        sqlx::query(
            "WITH gone AS (DELETE FROM luma.waiters WHERE request_id = ANY($1) RETURNING account) \
             SELECT pg_notify($2, account) FROM gone GROUP BY account",
        )
        .bind(request_ids)
        .bind(CHANNEL)
        .execute(&self.database.pool)
        .await
        .map_err(database_error)?;
        Ok(())
    }

    async fn set_turn(&self, first: &First, at: Option<DateTime<Utc>>) -> Result<()> {
        let set = sqlx::query(
            "UPDATE luma.waiters SET turn_at = $3 \
             WHERE request_id = $1 AND number = $2 AND (turn_at IS NULL) = ($3 IS NOT NULL)",
        );
        set.bind(first.request_id)
            .bind(first.number)
            .bind(at)
            .execute(&self.database.pool)
            .await
            .map_err(database_error)?;
        Ok(())
    }

    /// Takes out a waiter whose process has no lock any more.
    async fn remove_dead(&self, first: &First) -> Result<bool> {
        let removed = sqlx::query(
            "WITH gone AS (DELETE FROM luma.waiters w WHERE w.request_id = $1 AND NOT EXISTS \
                 (SELECT FROM luma.holders h WHERE h.holder = w.holder AND luma.is_locked(h.lock_key)) RETURNING account) \
             SELECT pg_notify($2, account) FROM gone",
        );
        let removed = removed.bind(first.request_id).bind(CHANNEL).fetch_all(&self.database.pool).await;
        Ok(!removed.map_err(database_error)?.is_empty())
    }

    /// One that lives and does not enter goes to the end.
    async fn move_back(&self, first: &First) -> Result<bool> {
        let moved = sqlx::query(
            "WITH moved AS (UPDATE luma.waiters SET number = nextval('luma.turns'), turn_at = NULL \
                 WHERE request_id = $1 AND number = $2 AND turn_at = $3 RETURNING account) \
             SELECT pg_notify($4, account) FROM moved",
        );
        let moved = moved.bind(first.request_id).bind(first.number).bind(first.turn_at).bind(CHANNEL);
        Ok(!moved.fetch_all(&self.database.pool).await.map_err(database_error)?.is_empty())
    }
}

/// The first in line.
#[derive(Clone, Debug)]
pub(crate) struct First {
    pub(crate) request_id: Uuid,
    number: i64,
    weight: i64,
    turn_at: Option<DateTime<Utc>>,
}

/// The account at one moment.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) now: DateTime<Utc>,
    per_minute: i64,
    concurrency: i64,
    capacity: i64,
    may_grow: bool,
    closed_until: Option<DateTime<Utc>>,
    held: i64,
    place_next: Option<DateTime<Utc>>,
    used: i64,
    window_next: Option<DateTime<Utc>>,
    pub(crate) first: Option<First>,
    is_in_line: bool,
}

impl Standing {
    pub(crate) async fn read(executor: impl PgExecutor<'_>, account: &str, request_id: Uuid) -> Result<Self> {
        let row = sqlx::query(STANDING).bind(account).bind(request_id).fetch_optional(executor).await;
        let row = row.map_err(database_error)?;
        let row = row.ok_or_else(|| Error::InvalidInput(format!("there is no account {account}; add it first")))?;
        let read = || -> sqlx::Result<Self> {
            let number = |name: &str| row.try_get::<i32, _>(name).map(i64::from);
            let first = match row.try_get::<Option<Uuid>, _>("first_request_id")? {
                Some(request_id) => Some(First {
                    request_id,
                    number: row.try_get("first_number")?,
                    weight: number("first_weight")?,
                    turn_at: row.try_get("first_turn_at")?,
                }),
                None => None,
            };
            Ok(Self {
                now: row.try_get("now")?,
                per_minute: number("per_minute")?,
                concurrency: number("concurrency")?,
                capacity: number("capacity")?,
                may_grow: row.try_get("may_grow")?,
                closed_until: row.try_get("closed_until")?,
                held: row.try_get("held")?,
                place_next: row.try_get("place_next")?,
                used: row.try_get("used")?,
                window_next: row.try_get("window_next")?,
                first,
                is_in_line: row.try_get("is_in_line")?,
            })
        };
        read().map_err(database_error)
    }

    /// Whether a job of this weight may begin: the capacity that it needs. Else when time alone may change that.
    pub(crate) fn fits(&self, weight: i64) -> Result<i64, Option<Duration>> {
        let until = |at: Option<DateTime<Utc>>| at.map(|at| (at - self.now).to_std().unwrap_or_default());
        if let Some(closed) = self.closed_until.filter(|it| *it > self.now) {
            return Err(until(Some(closed)));
        }
        // One that is heavier than a limit goes alone.
        if self.used > 0 && self.used + weight > self.per_minute {
            return Err(until(self.window_next));
        }
        // Nothing runs: also one goes that is heavier than what others leave, else it would never go.
        if self.held == 0 || self.held + weight <= self.capacity {
            return Ok(self.capacity);
        }
        let grown = if self.may_grow { self.concurrency.min(self.capacity.max(self.held) + weight) } else { 0 };
        if self.held + weight > grown {
            return Err(until(self.place_next));
        }
        Ok(grown)
    }

    /// Whether the first in line is this one. Where nobody waits, anybody is.
    pub(crate) fn is_first(&self, request_id: Uuid) -> bool {
        self.first.as_ref().is_none_or(|first| first.request_id == request_id)
    }

    pub(crate) fn capacity(&self) -> i64 {
        self.capacity
    }
}

/// Sums over the rows that still count, by index: the clock is read once, and both ends of the range are named, without
/// which the planner expects a third of the table.
pub(crate) const STANDING: &str = "WITH clock AS MATERIALIZED (SELECT luma.clock() AS now) \
    SELECT clock.now, a.per_minute, a.concurrency, a.capacity, \
        a.capacity < a.concurrency AND (a.ends >= a.ends_needed OR a.capacity_at <= clock.now - interval '10 minutes') \
            AS may_grow, \
        NULLIF(a.closed_until, '-infinity') AS closed_until, \
        places.held, places.place_next, rate.used, rate.window_next, \
        first.request_id AS first_request_id, first.number AS first_number, first.weight AS first_weight, \
        first.turn_at AS first_turn_at, \
        EXISTS (SELECT FROM luma.waiters WHERE request_id = $2) AS is_in_line \
    FROM clock CROSS JOIN luma.accounts a \
    CROSS JOIN LATERAL (SELECT COALESCE(sum(weight), 0) AS held, min(place_until) AS place_next \
        FROM luma.tries WHERE account = a.account AND place_until > clock.now \
            AND place_until < clock.now + interval '1 day') AS places \
    CROSS JOIN LATERAL (SELECT COALESCE(sum(weight), 0) AS used, min(counts_until) AS window_next \
        FROM luma.tries WHERE account = a.account AND counts_until > clock.now \
            AND counts_until < clock.now + interval '1 day') AS rate \
    LEFT JOIN LATERAL (SELECT request_id, number, weight, turn_at FROM luma.waiters \
        WHERE account = a.account ORDER BY number LIMIT 1) AS first ON true \
    WHERE a.account = $1";

/// What the quota learns from an event of this try, in its transaction.
pub(crate) async fn recorded(
    connection: &mut PgConnection,
    account: &str,
    event: &Event,
    attempt: &Attempt,
    now: DateTime<Utc>,
    has_ended: bool,
) -> Result<()> {
    match event {
        Event::Rejected { status: 429, kind } => {
            refused(connection, account, kind == "concurrency", attempt, now).await?;
        }
        Event::Accepted { .. } => granted(connection, account, now).await?,
        _ if has_ended => {
            let ended =
                sqlx::query("UPDATE luma.accounts SET ends = ends + 1 WHERE account = $1 AND capacity < concurrency");
            ended.bind(account).execute(&mut *connection).await.map_err(database_error)?;
        }
        _ => {}
    }
    if has_ended {
        notify(connection, account).await?;
    }
    Ok(())
}

/// More than ever since the last refusal: a probe that succeeded, after which the next one comes as soon as at first.
async fn granted(connection: &mut PgConnection, account: &str, now: DateTime<Utc>) -> Result<()> {
    let granted = sqlx::query(
        "UPDATE luma.accounts a SET closings = 0, granted = greatest(a.granted, held.granted), \
             capacity = greatest(a.capacity, least(held.granted, a.concurrency)), \
             ends = CASE WHEN held.granted > a.granted THEN 0 ELSE a.ends END, \
             ends_needed = CASE WHEN held.granted > a.granted THEN 5 ELSE a.ends_needed END, \
             capacity_at = CASE WHEN held.granted > a.granted THEN $2 ELSE a.capacity_at END \
         FROM luma.held($1, $2) AS held \
         WHERE a.account = $1 AND (a.closings > 0 OR a.capacity < a.concurrency)",
    );
    granted.bind(account).bind(now).execute(connection).await.map_err(database_error)?;
    Ok(())
}

/// Lowers the capacity to what runs, and closes the account for a while where nothing does, or the minute is full. Of
/// requests that were under way together only the first refusal is news.
async fn refused(
    connection: &mut PgConnection,
    account: &str,
    is_concurrency: bool,
    attempt: &Attempt,
    now: DateTime<Utc>,
) -> Result<()> {
    let refused = sqlx::query(
        "UPDATE luma.accounts a SET refused_at = CASE WHEN it.is_news THEN $2 ELSE a.refused_at END, \
             capacity = CASE WHEN $3 THEN least(a.concurrency, greatest(held.units, 1)) ELSE a.capacity END, \
             granted = CASE WHEN $3 THEN held.units ELSE a.granted END, \
             ends = CASE WHEN $3 THEN 0 ELSE a.ends END, \
             ends_needed = CASE WHEN $3 AND it.is_news AND held.units + $4 > a.granted \
                 THEN least(a.ends_needed * 2, 160) ELSE a.ends_needed END, \
             capacity_at = CASE WHEN $3 THEN $2 ELSE a.capacity_at END, \
             closings = a.closings + it.closes::integer, \
             closed_until = CASE WHEN it.closes \
                 THEN $2 + make_interval(secs => least(60 * power(2, least(a.closings, 10)), $5)) \
                 ELSE a.closed_until END \
         FROM luma.held($1, $2) AS held, LATERAL (SELECT $6 > refused_at AS is_news, \
             CASE WHEN $3 THEN held.units = 0 ELSE $6 > refused_at END AS closes \
             FROM luma.accounts WHERE account = $1) AS it \
         WHERE a.account = $1",
    );
    let weight = i32::try_from(attempt.weight).unwrap_or(i32::MAX);
    let refused = refused.bind(account).bind(now).bind(is_concurrency).bind(weight).bind(LONGEST_CLOSED);
    refused.bind(attempt.begun).execute(connection).await.map_err(database_error)?;
    Ok(())
}

/// Notifies the waiters of an account that there may be a place, when the transaction commits.
pub(crate) async fn notify(connection: &mut PgConnection, account: &str) -> Result<()> {
    let notify = sqlx::query("SELECT pg_notify($2, $1) WHERE EXISTS (SELECT FROM luma.waiters WHERE account = $1)");
    notify.bind(account).bind(CHANNEL).execute(connection).await.map_err(database_error)?;
    Ok(())
}
