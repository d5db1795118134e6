//! A ledger that shares out the account's limits itself.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use futures_util::Stream;
use luma_agents_batch::{
    Begin, Event, Intent, Journal, Key, Last, Ledger, Quota, Result, Spent, Submitted, Submitter, Ticket,
};

use crate::support::{Bench, key, submission};

/// A journal in which the first two places are lost to somebody else.
struct Shared {
    journal: Journal,
    admitted: AtomicU32,
}

impl Ledger for Shared {
    async fn begin(&self, key: &Key, intent: &Intent) -> Result<Begin> {
        if self.admitted.load(Ordering::Relaxed) < 3 {
            return Ok(Begin::NoPlace);
        }
        self.journal.begin(key, intent).await
    }

    async fn peek(&self, key: &Key, intent: &Intent) -> Result<Option<Begin>> {
        self.journal.peek(key, intent).await
    }

    async fn admit(&self, _: &Key, _: &Intent) -> Result<()> {
        self.admitted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn record(&self, ticket: &Ticket, event: &Event) -> Result<()> {
        self.journal.record(ticket, event).await
    }

    async fn get(&self, key: &Key) -> Result<Option<Last>> {
        self.journal.get(key).await
    }

    fn last(&self) -> impl Stream<Item = Result<(Key, Last)>> + Send {
        self.journal.last()
    }

    async fn spent(&self) -> Result<Spent> {
        self.journal.spent().await
    }
}

#[tokio::test]
async fn a_place_that_is_lost_is_waited_for_again_and_nothing_is_sent_without_one() {
    let bench = Bench::new().await;
    let ledger = Arc::new(Shared { journal: bench.journal().await, admitted: AtomicU32::new(0) });
    let sender = Submitter::new(bench.emulator.client(), Arc::clone(&ledger), Quota::unlimited());
    let submitted = sender.submit_once(&key(&ledger.journal, "a"), &submission()).await.unwrap();
    assert!(matches!(submitted, Submitted::Accepted(_)), "{submitted:?}");
    assert_eq!(ledger.admitted.load(Ordering::Relaxed), 3);
    assert_eq!(bench.emulator.jobs().len(), 1);
    assert_eq!(bench.request_ids().len(), 1);
}
