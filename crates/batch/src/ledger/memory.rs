//! A ledger in memory: for tests, and for programs that need no resume.

use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::Utc;
use futures_util::{Stream, stream};

use super::{
    Begin, Event, Intent, Last, Ledger, Spent, State, Ticket,
    book::{Book, Cap, Decision},
};
use crate::{
    error::{Error, Result},
    key::Key,
};

/// A ledger that ends with the process: nothing is paid for twice by this process, and what was in flight is lost with
/// it. For a batch that can be resumed take a [`Journal`](crate::Journal).
#[derive(Debug)]
pub struct MemoryLedger {
    batch: uuid::Uuid,
    cap: Cap,
    book: Mutex<Book>,
}

impl MemoryLedger {
    /// An empty one.
    #[must_use]
    pub fn new(batch: uuid::Uuid, cap: Cap) -> Self {
        Self { batch, cap, book: Mutex::default() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own(&self, key: &Key) -> Result<()> {
        if key.batch == self.batch {
            return Ok(());
        }
        Err(Error::invalid_input(format!("{key} is of another batch, {}", key.batch)))
    }
}

impl Ledger for MemoryLedger {
    async fn begin(&self, key: &Key, intent: &Intent) -> Result<Begin> {
        self.own(key)?;
        let mut book = self.book();
        match book.decide(key, intent, &self.cap)? {
            Decision::Reply(reply) => Ok(reply),
            Decision::Open(number) => {
                book.open(&key.custom_id, number, intent, Utc::now(), State::InFlight);
                Ok(Begin::Fresh(Ticket::new(key.clone(), number)))
            }
        }
    }

    async fn peek(&self, key: &Key, intent: &Intent) -> Result<Option<Begin>> {
        self.own(key)?;
        Ok(self.book().decide(key, intent, &self.cap)?.reply())
    }

    async fn record(&self, ticket: &Ticket, event: &Event) -> Result<()> {
        self.own(&ticket.key)?;
        let mut book = self.book();
        if book.check(ticket, event)? {
            book.apply(&ticket.key.custom_id, ticket.attempt, event, Utc::now());
        }
        Ok(())
    }

    async fn get(&self, key: &Key) -> Result<Option<Last>> {
        self.own(key)?;
        Ok(self.book().last(key))
    }

    fn last(&self) -> impl Stream<Item = Result<(Key, Last)>> + Send {
        let ids: Vec<_> = self.book().ids().cloned().collect();
        let last = |id| {
            let key = Key::new(self.batch, id);
            let last = self.book().last(&key)?;
            Some(Ok((key, last)))
        };
        stream::iter(ids.into_iter().filter_map(last))
    }

    async fn spent(&self) -> Result<Spent> {
        Ok(self.book().spent())
    }
}
