//! The ledger of a batch: the intent and its place are one transaction.

use std::sync::Arc;

use futures_util::{Stream, TryStreamExt as _, stream};
use luma_agents_batch::{
    Begin, Decision, Error, Event, Intent, Key, Last, Ledger, Result, Spent, State, Ticket, error::NotRecorded,
};
use sqlx::PgConnection;
use tokio::time::timeout;
use uuid::Uuid;

use crate::{
    database::Database,
    error::database_error,
    quota::{self, Standing, Turn},
    record::{self, Page},
    rows::Stored,
    view,
    worker::{Debt, Shared, Worker},
};

/// The ledger of a batch, for one [`Worker`]. Clones share it.
///
/// Give it to a [`Submitter`](luma_agents_batch::Submitter) with
/// [`Quota::unlimited`](luma_agents_batch::Quota::unlimited): the limits are kept here, for all processes together.
#[derive(Clone, Debug)]
pub struct PgLedger {
    pub(crate) worker: Worker,
    pub(crate) batch: Uuid,
}

impl PgLedger {
    /// The batch.
    #[must_use]
    pub fn batch(&self) -> Uuid {
        self.batch
    }

    /// The process that it is for.
    #[must_use]
    pub fn worker(&self) -> &Worker {
        &self.worker
    }

    pub(crate) fn database(&self) -> &Database {
        &self.worker.shared.database
    }

    pub(crate) fn me(&self) -> Uuid {
        self.worker.shared.identity.holder
    }

    fn own(&self, key: &Key) -> Result<()> {
        if key.batch == self.batch {
            return Ok(());
        }
        Err(Error::InvalidInput(format!("{key} is of another batch, {}", key.batch)))
    }

    async fn page(&self, key: &Key) -> Result<Page> {
        self.own(key)?;
        let mut retry = self.database().retry();
        loop {
            let page = async {
                let mut connection = self.database().pool.acquire().await.map_err(database_error)?;
                Page::read(self.database(), &mut connection, Some(self.me()), key, false).await
            };
            match page.await {
                Err(e) if retry.again_for(&e).await => {}
                page => return page,
            }
        }
    }

    /// One transaction: the lock alone and first, so that every later statement sees what was committed before it.
    async fn try_begin(&self, key: &Key, intent: &Intent) -> Result<Begin> {
        let shared = &self.worker.shared;
        let mut transaction = self.database().begin().await.map_err(database_error)?;
        let connection = &mut *transaction;
        let locked = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(shared.quota.lock_key);
        locked.execute(&mut *connection).await.map_err(database_error)?;
        let page = Page::read(self.database(), connection, Some(self.me()), key, true).await?;
        let begun = match page.book.decide(key, intent, &page.cap) {
            Ok(Decision::Open(number)) => self.open(connection, page, key, number, intent).await?,
            Ok(decision) => Ok(decision.reply().unwrap_or(Begin::InFlight)),
            Err(e) => Err(e),
        };
        if !matches!(begun, Ok(Begin::NoPlace)) {
            let account = &shared.identity.account;
            let left = sqlx::query("DELETE FROM luma.waiters WHERE request_id = $1").bind(intent.request_id);
            let left = left.execute(&mut *connection).await.map_err(database_error)?;
            if left.rows_affected() > 0 {
                quota::notify(connection, account).await?;
            }
        }
        transaction.commit().await.map_err(database_error)?;
        begun
    }

    /// Writes the intent, if it is its turn and there is room.
    async fn open(
        &self,
        connection: &mut PgConnection,
        mut page: Page,
        key: &Key,
        number: u32,
        intent: &Intent,
    ) -> Result<Result<Begin>> {
        let account = &self.worker.shared.identity.account;
        let standing = Standing::read(&mut *connection, account, intent.request_id).await?;
        let capacity = match standing.fits(intent.weight.max(1).into()) {
            Ok(capacity) if standing.is_first(intent.request_id) => capacity,
            _ => return Ok(Ok(Begin::NoPlace)),
        };
        if capacity > standing.capacity() {
            let grown =
                sqlx::query("UPDATE luma.accounts SET capacity = $2, ends = 0, capacity_at = $3 WHERE account = $1");
            let grown = grown.bind(account).bind(i32::try_from(capacity).unwrap_or(i32::MAX)).bind(standing.now);
            grown.execute(&mut *connection).await.map_err(database_error)?;
        }
        let (before, now) = (page.book.spent(), standing.now);
        page.book.open(&key.custom_id, number, intent, now, State::InFlight);
        let Some(attempt) = page.book.tries(&key.custom_id).iter().find(|it| it.number == number).cloned() else {
            return Ok(Err(Error::Outdated(key.clone())));
        };
        let (place, window) = record::intent_counts(self.database(), &attempt);
        let row = Stored { attempt, place_until: Some(now + place), counts_until: Some(now + window) };
        record::insert(connection, key, account, &row, Some(self.me())).await?;
        record::write_spent(connection, key.batch, before, page.book.spent()).await?;
        Ok(Ok(Begin::Fresh(Ticket::new(key.clone(), number))))
    }
}

impl Ledger for PgLedger {
    /// Repeated while the database cannot be reached, with the same request id: an intent that was written by a commit
    /// without a reply is found again. Where that takes longer than the [patience](crate::Settings::patience), the
    /// worker records later that nothing was sent.
    async fn begin(&self, key: &Key, intent: &Intent) -> Result<Begin> {
        self.own(key)?;
        let mut unsent = Unsent { shared: &self.worker.shared, debt: Some((key.clone(), intent.request_id)) };
        let mut retry = self.database().retry();
        loop {
            self.worker.shared.held().await?;
            match self.try_begin(key, intent).await {
                Err(e) if retry.again_for(&e).await => {}
                Err(e @ Error::Ledger(_)) => return Err(e),
                begun => {
                    unsent.debt = None;
                    return begun;
                }
            }
        }
    }

    async fn peek(&self, key: &Key, intent: &Intent) -> Result<Option<Begin>> {
        let page = self.page(key).await?;
        Ok(page.book.decide(key, intent, &page.cap)?.reply())
    }

    async fn admit(&self, key: &Key, intent: &Intent) -> Result<()> {
        self.own(key)?;
        let shared = &self.worker.shared;
        let mut waiter = Waiter { shared, request_id: Some(intent.request_id) };
        let mut retry = self.database().retry();
        loop {
            let notified = shared.turns.notified();
            shared.held().await?;
            match shared.quota.turn(intent.request_id, shared.identity.holder, intent.weight).await {
                Ok(Turn::Now) => {
                    waiter.request_id = None;
                    return Ok(());
                }
                Ok(Turn::Wait(delay)) => _ = timeout(delay, notified).await,
                Err(e) if retry.again_for(&e).await => continue,
                Err(e) => return Err(e),
            }
            retry = self.database().retry();
        }
    }

    /// Repeated while the database cannot be reached. An event that cannot be written within the
    /// [patience](crate::Settings::patience) is an error, and is written later if this process lives to do it.
    async fn record(&self, ticket: &Ticket, event: &Event) -> Result<()> {
        self.own(&ticket.key)?;
        let mut retry = self.database().retry();
        let error = loop {
            match record::record(self.database(), Some(self.me()), ticket, event).await {
                Err(e) if retry.again_for(&e).await => {}
                Err(e @ Error::Ledger(_)) => break e,
                recorded => return recorded,
            }
        };
        let id = match event {
            Event::Accepted { id } => Some(*id),
            Event::NotSent { .. } | Event::Rejected { .. } | Event::Unknown { .. } => None,
            // The caller can find out again.
            _ => return Err(error),
        };
        self.worker.shared.owe(Debt::Event(ticket.clone(), event.clone()));
        let line = match id {
            Some(id) => format!("--found {}={id}", ticket.key),
            None => format!("--none {}", ticket.key),
        };
        let (ledger, key) = (self.database().label(), ticket.key.clone());
        Err(Error::NotRecorded(Box::new(NotRecorded::new(ledger, key, id, line, error))))
    }

    async fn get(&self, key: &Key) -> Result<Option<Last>> {
        Ok(self.page(key).await?.book.last(key))
    }

    fn last(&self) -> impl Stream<Item = Result<(Key, Last)>> + Send {
        let first = Some(String::new());
        let pages = stream::try_unfold(first, async move |after| {
            let Some(after) = after else { return Ok::<_, Error>(None) };
            let page = view::keys_after(self.database(), Some(self.me()), self.batch, &after).await?;
            let next = page.last().map(|(key, _)| key.custom_id.to_string());
            Ok(next.map(|next| (stream::iter(page.into_iter().map(Ok)), Some(next))))
        });
        pages.try_flatten()
    }

    async fn spent(&self) -> Result<Spent> {
        Ok(self.database().batch(self.batch).await?.spent)
    }
}

/// Nobody sends what this has begun, unless the debt is taken out.
struct Unsent<'a> {
    shared: &'a Arc<Shared>,
    debt: Option<(Key, Uuid)>,
}

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        if let Some((key, request_id)) = self.debt.take() {
            self.shared.owe(Debt::NotSent(key, request_id));
        }
    }
}

/// Leaves the line when dropped.
struct Waiter<'a> {
    shared: &'a Arc<Shared>,
    request_id: Option<Uuid>,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if let Some(request_id) = self.request_id.take() {
            self.shared.owe(Debt::Left(request_id));
        }
    }
}
