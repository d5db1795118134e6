//! What every [`Ledger`] must do, as a test for those who write one.
//!
//! ```
//! use std::sync::Arc;
//! use luma_agents_batch::{Cap, MemoryLedger, conformance::{self, Bench}};
//! use uuid::Uuid;
//!
//! struct Memory;
//!
//! impl Bench for Memory {
//!     type Ledger = MemoryLedger;
//!
//!     async fn create(&self, batch: Uuid, cap: Cap) -> MemoryLedger {
//!         MemoryLedger::new(batch, cap)
//!     }
//!
//!     async fn holder_dies(&self, _: MemoryLedger) -> Option<MemoryLedger> {
//!         None // it ends with its holder
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! conformance::check(&Memory).await.unwrap();
//! # }
//! ```

use std::{fmt::Debug, pin::pin};

use futures_util::TryStreamExt as _;
use uuid::Uuid;

use crate::{
    digest::Sha256,
    error::Error,
    key::{CustomId, Key},
    ledger::{Begin, Cap, Event, Intent, Last, Ledger, NoJob, SavedFile, State, Ticket},
    usd::Usd,
};

/// Makes the ledgers that are tested.
pub trait Bench {
    /// What is tested.
    type Ledger: Ledger;

    /// An empty ledger for this batch.
    fn create(&self, batch: Uuid, cap: Cap) -> impl Future<Output = Self::Ledger>;

    /// The process that holds the ledger dies, and another one opens it. `None` if it ends with its holder.
    fn holder_dies(&self, ledger: Self::Ledger) -> impl Future<Output = Option<Self::Ledger>>;
}

/// Which promise is broken, and how.
type Check = Result<(), String>;

/// The price of every intent here.
const PRICE: Usd = Usd::from_ten_thousandths(404);

/// Tests a ledger.
///
/// # Errors
///
/// The first promise that it breaks.
pub async fn check(bench: &impl Bench) -> Result<(), String> {
    let batch = Uuid::new_v4();
    let ledger = bench.create(batch, Cap::NONE).await;
    one_intent_one_ticket(&ledger, batch).await?;
    an_end_is_kept_and_may_be_repeated(&ledger, batch).await?;
    the_next_try_follows_the_last_one_only(&ledger, batch).await?;
    a_changed_request_waits_until_there_is_no_job(&ledger, batch).await?;
    doubts_end_by_decision_only(&ledger, batch).await?;
    an_id_is_never_given_up(&ledger, batch).await?;
    of_many_at_once_one_is_fresh(&ledger, batch).await?;
    what_is_spent_is_counted(bench).await?;
    a_cap_is_never_passed(bench).await?;
    only_a_dead_holder_leaves_a_doubt(bench, ledger, batch).await
}

fn key(batch: Uuid, id: &str) -> Result<Key, String> {
    Ok(Key::new(batch, CustomId::new(id).map_err(text)?))
}

fn intent(after: Option<u32>) -> Intent {
    let mut intent = Intent::new(Sha256::of("the request"), "uni-1", "image");
    intent.after = after;
    intent.usd = Some(PRICE);
    intent
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn text(error: Error) -> String {
    error.to_string()
}

#[expect(clippy::needless_pass_by_value, reason = "short calls")]
fn same<T: PartialEq + Debug>(promise: &str, is: T, should: T) -> Check {
    if is == should { Ok(()) } else { Err(format!("{promise}: it is {is:?} and should be {should:?}")) }
}

fn holds(promise: &str, holds: bool, is: impl Debug) -> Check {
    if holds { Ok(()) } else { Err(format!("{promise}: it is {is:?}")) }
}

async fn fresh(ledger: &impl Ledger, key: &Key, after: Option<u32>) -> Result<Ticket, String> {
    match ledger.begin(key, &intent(after)).await {
        Ok(Begin::Fresh(ticket)) => Ok(ticket),
        other => Err(format!("{key} after {after:?} should be fresh: it is {other:?}")),
    }
}

async fn last(ledger: &impl Ledger, key: &Key) -> Result<Last, String> {
    ledger.get(key).await.map_err(text)?.ok_or_else(|| format!("{key} is forgotten"))
}

async fn record(ledger: &impl Ledger, ticket: &Ticket, event: Event) -> Check {
    ledger.record(ticket, &event).await.map_err(|e| format!("{event:?} of {} is not recorded: {e}", ticket.key))
}

async fn one_intent_one_ticket(ledger: &impl Ledger, batch: Uuid) -> Check {
    let key = key(batch, "one")?;
    same("a new key is unknown", ledger.get(&key).await.map_err(text)?, None)?;
    let intent = intent(None);
    same("a new key could be begun", ledger.peek(&key, &intent).await.map_err(text)?, None)?;
    let ticket = match ledger.begin(&key, &intent).await.map_err(text)? {
        Begin::Fresh(ticket) => ticket,
        other => return Err(format!("a new key is fresh: it is {other:?}")),
    };
    same("the first try has the number 1", ticket.attempt, 1)?;
    let again = ledger.begin(&key, &intent).await.map_err(text)?;
    same("the same request id gets the same ticket", again, Begin::Fresh(ticket.clone()))?;
    let other = ledger.begin(&key, &self::intent(None)).await.map_err(text)?;
    same("another intent waits while the holder lives", other, Begin::InFlight)?;
    let last = last(ledger, &key).await?;
    same("the request id is kept", last.attempt.request_id, Some(intent.request_id))?;
    same("the fingerprint is kept", last.attempt.fingerprint, Some(intent.fingerprint))?;
    same("an open intent is in flight", last.attempt.state, State::InFlight)?;
    let foreign = Key::new(Uuid::new_v4(), key.custom_id);
    let begun = ledger.begin(&foreign, &self::intent(None)).await;
    holds("a key of another batch is an error", begun.is_err(), begun)
}

async fn an_end_is_kept_and_may_be_repeated(ledger: &impl Ledger, batch: Uuid) -> Check {
    let (id, other) = (Uuid::new_v4(), Uuid::new_v4());
    let key = key(batch, "two")?;
    let ticket = fresh(ledger, &key, None).await?;
    let file = SavedFile::new("out/two.png", 3, Sha256::of("png"));
    let ends = [
        (Event::Accepted { id }, State::Accepted { id }),
        (Event::Completed { id }, State::Completed { id }),
        (Event::Saved { id, file: file.clone(), more: vec![] }, State::Saved { id, file, more: vec![] }),
    ];
    for (event, state) in ends {
        for _ in 0..2 {
            record(ledger, &ticket, event.clone()).await?;
            same("an end is kept", &last(ledger, &key).await?.attempt.state, &state)?;
        }
        let begun = ledger.begin(&key, &intent(Some(1))).await.map_err(text)?;
        same("a key with a job is never begun again", begun, Begin::Accepted(id))?;
    }
    let second = ledger.record(&ticket, &Event::Accepted { id: other }).await;
    holds("one try has one job", second.is_err(), second)?;
    let unknown = ledger.record(&Ticket::new(key.clone(), 7), &Event::Accepted { id: other }).await;
    holds("a try that never was has no end", unknown.is_err(), unknown)?;
    record(ledger, &ticket, Event::Unknown { fault: "late".to_owned() }).await?;
    same("an id outlives a late doubt", last(ledger, &key).await?.attempt.state.id(), Some(id))
}

async fn the_next_try_follows_the_last_one_only(ledger: &impl Ledger, batch: Uuid) -> Check {
    let key = key(batch, "three")?;
    let rejected = Event::Rejected { status: 503, kind: "unavailable".to_owned() };
    let reason = NoJob::Rejected { status: 503, kind: "unavailable".to_owned() };
    for number in 1..4 {
        let after = (number > 1).then(|| number - 1);
        let ticket = fresh(ledger, &key, after).await?;
        same("tries are counted", ticket.attempt, number)?;
        record(ledger, &ticket, rejected.clone()).await?;
        let begun = ledger.begin(&key, &intent(None)).await.map_err(text)?;
        same("a rejected key is known", begun, Begin::Rejected { after: number, reason: reason.clone() })?;
        for wrong in [after.unwrap_or(9), number + 1] {
            let begun = ledger.begin(&key, &intent(Some(wrong))).await;
            holds("only the last try is followed", matches!(begun, Err(Error::Outdated(_))), begun)?;
        }
    }
    let id = Uuid::new_v4();
    let ticket = fresh(ledger, &key, Some(3)).await?;
    record(ledger, &ticket, Event::Accepted { id }).await?;
    record(ledger, &ticket, Event::Failed { id, code: Some("generation_failed".to_owned()) }).await?;
    let code = Some("generation_failed".to_owned());
    let begun = ledger.begin(&key, &intent(None)).await.map_err(text)?;
    same("a failed job is known", begun, Begin::Failed { after: 4, id, code })?;
    let ticket = fresh(ledger, &key, Some(4)).await?;
    record(ledger, &ticket, Event::NotSent { fault: "no connection".to_owned() }).await?;
    let begun = ledger.begin(&key, &intent(None)).await.map_err(text)?;
    same("what was not sent is known", begun, Begin::Rejected { after: 5, reason: NoJob::NotSent })
}

async fn a_changed_request_waits_until_there_is_no_job(ledger: &impl Ledger, batch: Uuid) -> Check {
    let key = key(batch, "four")?;
    let changed = |after| Intent { fingerprint: Sha256::of("another request"), ..intent(after) };
    let ticket = fresh(ledger, &key, None).await?;
    let begun = ledger.begin(&key, &changed(None)).await;
    holds("a changed request is an error in flight", matches!(begun, Err(Error::ChangedRequest(_))), begun)?;
    record(ledger, &ticket, Event::Rejected { status: 400, kind: "invalid_request".to_owned() }).await?;
    let begun = ledger.begin(&key, &changed(Some(1))).await;
    holds("a changed request repairs a rejected one", matches!(begun, Ok(Begin::Fresh(_))), begun)?;
    let ticket = Ticket::new(key.clone(), 2);
    record(ledger, &ticket, Event::Unknown { fault: "timeout".to_owned() }).await?;
    let begun = ledger.begin(&key, &intent(Some(2))).await;
    holds("a changed request is an error in doubt", matches!(begun, Err(Error::ChangedRequest(_))), begun)?;
    record(ledger, &ticket, Event::Accepted { id: Uuid::new_v4() }).await?;
    let begun = ledger.begin(&key, &intent(Some(2))).await;
    holds("a changed request is an error with a job", matches!(begun, Err(Error::ChangedRequest(_))), begun)
}

async fn doubts_end_by_decision_only(ledger: &impl Ledger, batch: Uuid) -> Check {
    let found = Uuid::new_v4();
    for (name, event) in [("five", Event::None), ("six", Event::Resend), ("seven", Event::Found { id: found })] {
        let key = key(batch, name)?;
        let ticket = fresh(ledger, &key, None).await?;
        record(ledger, &ticket, Event::Unknown { fault: "timeout".to_owned() }).await?;
        for after in [None, Some(1)] {
            let begun = ledger.begin(&key, &intent(after)).await;
            holds("what is in doubt is not begun again", matches!(begun, Ok(Begin::InDoubt(_))), begun)?;
        }
        for _ in 0..2 {
            record(ledger, &ticket, event.clone()).await?;
        }
        if event == (Event::Found { id: found }) {
            let begun = ledger.begin(&key, &intent(Some(1))).await.map_err(text)?;
            same("a job that was found is one", begun, Begin::Accepted(found))?;
        } else {
            let begun = ledger.begin(&key, &intent(None)).await;
            holds(
                "a decision is for the caller to read",
                matches!(begun, Ok(Begin::Rejected { after: 1, .. })),
                begun,
            )?;
            fresh(ledger, &key, Some(1)).await?;
        }
    }
    Ok(())
}

async fn an_id_is_never_given_up(ledger: &impl Ledger, batch: Uuid) -> Check {
    let key = key(batch, "eight")?;
    let (late, id) = (Uuid::new_v4(), Uuid::new_v4());
    let first = fresh(ledger, &key, None).await?;
    record(ledger, &first, Event::Unknown { fault: "timeout".to_owned() }).await?;
    record(ledger, &first, Event::Resend).await?;
    let second = fresh(ledger, &key, Some(1)).await?;
    record(ledger, &second, Event::Accepted { id }).await?;
    record(ledger, &first, Event::Accepted { id: late }).await?;
    let last = last(ledger, &key).await?;
    let mut ids: Vec<_> = last.others.iter().filter_map(|attempt| attempt.state.id()).collect();
    ids.extend(last.attempt.state.id());
    ids.sort();
    let mut both = vec![late, id];
    both.sort();
    same("both jobs of a key are kept", ids, both)?;
    record(ledger, &second, Event::Completed { id }).await?;
    let last = self::last(ledger, &key).await?;
    same("the one that completes first is the key's", last.attempt.state, State::Completed { id })
}

async fn of_many_at_once_one_is_fresh(ledger: &impl Ledger, batch: Uuid) -> Check {
    let key = key(batch, "nine")?;
    let intents: Vec<_> = (0..16).map(|_| intent(None)).collect();
    let begun = futures_util::future::join_all(intents.iter().map(|intent| ledger.begin(&key, intent))).await;
    let is_fresh = |it: &Result<Begin, Error>| matches!(it, Ok(Begin::Fresh(_)));
    let waits = |it: &Result<Begin, Error>| matches!(it, Ok(Begin::InFlight));
    same("of many intents one is fresh", begun.iter().filter(|it| is_fresh(it)).count(), 1)?;
    same("the others wait", begun.iter().filter(|it| waits(it)).count(), 15)
}

async fn what_is_spent_is_counted(bench: &impl Bench) -> Check {
    let batch = Uuid::new_v4();
    let ledger = bench.create(batch, Cap::NONE).await;
    let id = Uuid::new_v4();
    let code = |code: &str| Event::Failed { id, code: Some(code.to_owned()) };
    let accepted = || Event::Accepted { id };
    let unknown = || Event::Unknown { fault: "timeout".to_owned() };
    // Events, and by how many prices the low and the high sum and the number of jobs grow.
    let histories = [
        (vec![], 0, 1, 1),
        (vec![accepted()], 1, 1, 1),
        (vec![accepted(), Event::Completed { id }], 1, 1, 1),
        (vec![accepted(), code("content_moderated")], 0, 0, 1),
        (vec![accepted(), code("generation_failed")], 0, 0, 1),
        (vec![accepted(), code("output_not_found")], 0, 0, 1),
        (vec![accepted(), code("invalid_request")], 1, 1, 1),
        (vec![accepted(), Event::Failed { id, code: None }], 1, 1, 1),
        (vec![Event::Rejected { status: 400, kind: "invalid_request".to_owned() }], 0, 0, 0),
        (vec![Event::NotSent { fault: "no connection".to_owned() }], 0, 0, 0),
        (vec![unknown()], 0, 1, 1),
        (vec![unknown(), Event::None], 0, 0, 0),
        (vec![unknown(), Event::Resend], 0, 1, 1),
        (vec![unknown(), Event::Found { id }], 1, 1, 1),
    ];
    let (mut low, mut high, mut jobs) = (0, 0, 0);
    for (number, (events, more_low, more_high, more_jobs)) in histories.into_iter().enumerate() {
        let ticket = fresh(&ledger, &key(batch, &format!("k{number}"))?, None).await?;
        let context = format!("{events:?} is counted");
        for event in events {
            record(&ledger, &ticket, event).await?;
        }
        (low, high, jobs) = (low + more_low, high + more_high, jobs + more_jobs);
        let spent = ledger.spent().await.map_err(text)?;
        let should = (PRICE.saturating_mul(low), PRICE.saturating_mul(high), jobs);
        same(&context, (spent.low, spent.high, spent.jobs), should)?;
    }
    Ok(())
}

async fn a_cap_is_never_passed(bench: &impl Bench) -> Check {
    for cap in [Cap::NONE.usd(PRICE.saturating_mul(2)), Cap::NONE.jobs(2)] {
        let batch = Uuid::new_v4();
        let ledger = bench.create(batch, cap).await;
        let ticket = fresh(&ledger, &key(batch, "a")?, None).await?;
        fresh(&ledger, &key(batch, "b")?, None).await?;
        let third = key(batch, "c")?;
        let begun = ledger.begin(&third, &intent(None)).await;
        holds("a cap is not passed", matches!(begun, Err(Error::Cap(_))), begun)?;
        let known = ledger.begin(&ticket.key, &intent(None)).await;
        holds("a cap hides no known key", matches!(known, Ok(Begin::InFlight)), known)?;
        record(&ledger, &ticket, Event::NotSent { fault: "no connection".to_owned() }).await?;
        fresh(&ledger, &third, None).await?;
    }
    Ok(())
}

async fn only_a_dead_holder_leaves_a_doubt<B: Bench>(bench: &B, ledger: B::Ledger, batch: Uuid) -> Check {
    let keys: Vec<_> = {
        let all: Vec<(Key, Last)> = pin!(ledger.last()).try_collect().await.map_err(text)?;
        let mut keys: Vec<_> = all.into_iter().map(|(key, last)| (key, last.attempt.state)).collect();
        keys.sort_by(|a, b| a.0.cmp(&b.0));
        keys
    };
    same("every key is listed", keys.len(), 9)?;
    let Some(ledger) = bench.holder_dies(ledger).await else { return Ok(()) };
    for (key, state) in keys {
        let is = last(&ledger, &key).await?.attempt.state;
        let should = if state == State::InFlight { State::InDoubt { fault: None } } else { state };
        same("what was recorded outlives its holder", &is, &should)?;
    }
    let open = key(batch, "one")?;
    let begun = ledger.begin(&open, &intent(None)).await;
    holds("an intent without an end is in doubt", matches!(begun, Ok(Begin::InDoubt(_))), begun)
}
