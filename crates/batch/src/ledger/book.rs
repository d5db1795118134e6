//! What a ledger knows, in memory: the rules of the fence without any I/O.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};

use super::{
    Attempt, Begin, Doubt, Event, Intent, Last, NoJob, Spent, State, Ticket,
    rules::{Next, count, next},
};
use crate::{
    error::{CapReached, Error, Result},
    key::{CustomId, Key},
    usd::Usd,
};

/// The most that a batch may cost, over all its runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cap {
    /// The largest estimated cost.
    pub usd: Option<Usd>,
    /// The largest number of jobs that may exist.
    pub jobs: Option<u64>,
}

impl Cap {
    /// No cap.
    pub const NONE: Self = Self { usd: None, jobs: None };

    /// A cap on the estimated cost.
    #[must_use]
    pub fn usd(self, usd: Usd) -> Self {
        Self { usd: Some(usd), ..self }
    }

    /// A cap on the number of jobs.
    #[must_use]
    pub fn jobs(self, jobs: u64) -> Self {
        Self { jobs: Some(jobs), ..self }
    }

    /// Whether one more job of this price fits.
    ///
    /// # Errors
    ///
    /// [`Error::Cap`] if it does not.
    pub fn check(&self, spent: &Spent, price: Option<Usd>) -> Result<()> {
        if let Some(cap) = self.usd
            && price.is_none_or(|price| spent.high + price > cap)
        {
            return Err(Error::Cap(Box::new(CapReached::Usd { cap, spent: spent.high, price })));
        }
        if let Some(cap) = self.jobs
            && spent.jobs >= cap
        {
            return Err(Error::Cap(Box::new(CapReached::Jobs { cap })));
        }
        Ok(())
    }
}

/// A repair has lost lines, each of which may have been an intent.
#[derive(Debug)]
struct Suspicion {
    since: DateTime<Utc>,
    lost: u64,
    /// The keys that somebody has decided on since.
    lifted: HashSet<CustomId>,
}

/// What is to be done about an intent. From [`Book::decide`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// Reply this, and write nothing.
    Reply(Begin),
    /// Write it as this try.
    Open(u32),
}

impl Decision {
    /// What is replied without writing anything.
    #[must_use]
    pub fn reply(self) -> Option<Begin> {
        match self {
            Self::Reply(reply) => Some(reply),
            Self::Open(_) => None,
        }
    }
}

/// The keys of a batch with their tries, and the rules of the fence over them, without any I/O.
///
/// For those who write a [`Ledger`](super::Ledger): take the tries in by [`load`](Self::load), one key or all of them,
/// ask [`decide`](Self::decide) or [`check`](Self::check), write what is new, and then [`apply`](Self::apply) it.
#[derive(Debug, Default)]
pub struct Book {
    tries: HashMap<CustomId, Vec<Attempt>>,
    spent: Spent,
    /// The highest price of an intent, for those that a repair has lost.
    highest: Usd,
    suspicion: Option<Suspicion>,
}

impl Book {
    /// A book of a batch that has spent this, tries that are [loaded](Self::load) included.
    #[must_use]
    pub fn new(spent: Spent) -> Self {
        Self { spent, ..Self::default() }
    }

    /// Takes in the tries of a key, in the order of their numbers. They change nothing of what is spent.
    pub fn load(&mut self, id: CustomId, tries: Vec<Attempt>) {
        self.tries.insert(id, tries);
    }

    /// Since then each key without a job is in doubt, until somebody has decided on it.
    pub fn doubt_all(&mut self, since: DateTime<Utc>) {
        self.suspect(0, since);
    }

    /// Somebody has decided on this key since.
    pub fn lift(&mut self, id: CustomId) {
        if let Some(suspicion) = &mut self.suspicion {
            suspicion.lifted.insert(id);
        }
    }

    /// Whether a request may go out under `key`.
    ///
    /// # Errors
    ///
    /// As [`Ledger::begin`](super::Ledger::begin).
    pub fn decide(&self, key: &Key, intent: &Intent, cap: &Cap) -> Result<Decision> {
        let tries = self.tries(&key.custom_id);
        let last = tries.last();
        if let Some(attempt) = last
            && attempt.state == State::InFlight
            && attempt.request_id == Some(intent.request_id)
        {
            return Ok(Decision::Reply(Begin::Fresh(Ticket::new(key.clone(), attempt.number))));
        }
        let changed =
            |attempt: &Attempt| attempt.fingerprint.is_some_and(|fingerprint| fingerprint != intent.fingerprint);
        if let Some(live) = live(tries) {
            if changed(live) {
                return Err(Error::ChangedRequest(key.clone()));
            }
            return Ok(Decision::Reply(Begin::Accepted(live.state.id().unwrap_or_default())));
        }
        // Also an earlier one: in a damaged journal its end may be lost.
        if let Some(open) = tries.iter().rev().find(|attempt| is_open(&attempt.state)) {
            if changed(open) {
                return Err(Error::ChangedRequest(key.clone()));
            }
            return Ok(Decision::Reply(match open.state {
                State::InFlight => Begin::InFlight,
                _ => Begin::InDoubt(doubt(key, open)),
            }));
        }
        if let Some(doubt) = self.suspected(key) {
            return Ok(Decision::Reply(Begin::InDoubt(doubt)));
        }
        let number = last.map_or(0, |attempt| attempt.number);
        match (last.map(|attempt| &attempt.state), intent.after) {
            (None, None) => {}
            (Some(_), Some(after)) if after == number => {}
            (_, Some(_)) => return Err(Error::Outdated(key.clone())),
            (Some(State::Failed { id, code }), None) => {
                return Ok(Decision::Reply(Begin::Failed { after: number, id: *id, code: code.clone() }));
            }
            (Some(state), None) => {
                let reason = if let State::NoJob(reason) = state { reason.clone() } else { NoJob::Settled };
                return Ok(Decision::Reply(Begin::Rejected { after: number, reason }));
            }
        }
        let Some(next) = number.checked_add(1) else { return Err(Error::Outdated(key.clone())) };
        cap.check(&self.spent(), intent.usd)?;
        Ok(Decision::Open(next))
    }

    /// The intent is written.
    pub fn open(&mut self, id: &CustomId, number: u32, intent: &Intent, at: DateTime<Utc>, state: State) {
        self.highest = self.highest.max(intent.usd.unwrap_or_default());
        self.insert(id, Attempt::new(number, intent, at, state));
    }

    fn insert(&mut self, id: &CustomId, attempt: Attempt) {
        let tries = self.tries.entry(id.clone()).or_default();
        match tries.binary_search_by_key(&attempt.number, |it| it.number) {
            // A line that stands twice, or whose end a repair has put before it.
            Ok(at) => {
                if tries[at].fingerprint.is_none() {
                    count(&mut self.spent, &tries[at], false);
                    let state = std::mem::replace(&mut tries[at].state, State::InFlight);
                    tries[at] = Attempt { state, ..attempt };
                    count(&mut self.spent, &tries[at], true);
                }
            }
            Err(at) => {
                count(&mut self.spent, &attempt, true);
                tries.insert(at, attempt);
            }
        }
    }

    /// Whether the event changes anything.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](Error::InvalidInput) if it contradicts what is known.
    pub fn check(&self, ticket: &Ticket, event: &Event) -> Result<bool> {
        let Some(attempt) = self.attempt(&ticket.key.custom_id, ticket.attempt) else {
            let lifts = is_decision(event) && self.suspected(&ticket.key).is_some();
            return if lifts { Ok(true) } else { Err(contradiction(ticket, event, None)) };
        };
        let lifts = matches!(event, Event::None | Event::Resend)
            && !is_open(&attempt.state)
            && !attempt.state.is_live()
            && self.suspected(&ticket.key).is_some();
        match next(&attempt.state, event) {
            _ if lifts => Ok(true),
            Next::State(_) => Ok(true),
            Next::Same => Ok(false),
            Next::Contradiction => Err(contradiction(ticket, event, Some(&attempt.state))),
        }
    }

    /// Takes in an event that is written. What contradicts the rest changes nothing.
    pub fn apply(&mut self, id: &CustomId, number: u32, event: &Event, at: DateTime<Utc>) {
        if is_decision(event)
            && let Some(suspicion) = &mut self.suspicion
        {
            suspicion.lifted.insert(id.clone());
        }
        if self.attempt(id, number).is_none() {
            if number == 0 {
                return;
            }
            // A repair has lost the intent. What became of it still counts.
            let state = State::InDoubt { fault: None };
            let (model, kind) = (String::new(), String::new());
            let (request_id, fingerprint, usd) = (None, None, None);
            self.insert(
                id,
                Attempt { number, request_id, fingerprint, model, kind, usd, weight: 1, begun: at, at, state },
            );
        }
        let Some(attempt) =
            self.tries.get_mut(id).and_then(|tries| tries.iter_mut().find(|attempt| attempt.number == number))
        else {
            return;
        };
        if let Next::State(state) = next(&attempt.state, event) {
            count(&mut self.spent, attempt, false);
            attempt.state = state;
            attempt.at = at;
            count(&mut self.spent, attempt, true);
        }
    }

    /// A repair has lost lines: no key that could be sent is, until somebody has decided.
    pub(crate) fn suspect(&mut self, lost: u64, since: DateTime<Utc>) {
        let before = self.suspicion.take().map_or(0, |suspicion| suspicion.lost);
        self.suspicion = Some(Suspicion { since, lost: before.saturating_add(lost), lifted: HashSet::new() });
    }

    /// What is known of a key.
    #[must_use]
    pub fn last(&self, key: &Key) -> Option<Last> {
        let tries = self.tries(&key.custom_id);
        let last = tries.last()?;
        let attempt = live(tries).unwrap_or(last);
        let may_exist = |it: &&Attempt| it.number != attempt.number && !matches!(it.state, State::NoJob(_));
        let others = tries.iter().filter(may_exist).cloned().collect();
        Some(Last { last: last.number, attempt: attempt.clone(), others })
    }

    /// The only try of a key, if its job is saved.
    pub(crate) fn only_saved(&self, id: &CustomId) -> Option<&Attempt> {
        match self.tries(id) {
            [attempt] if matches!(attempt.state, State::Saved { .. }) => Some(attempt),
            _ => None,
        }
    }

    /// Takes a key out, whose tries stay counted in what is spent.
    pub(crate) fn forget(&mut self, id: &CustomId) {
        self.tries.remove(id);
    }

    /// Puts a key back that was taken out with one saved job.
    pub(crate) fn restore(&mut self, id: &CustomId, attempt: Attempt) {
        self.tries.insert(id.clone(), vec![attempt]);
    }

    pub(crate) fn has(&self, id: &CustomId) -> bool {
        self.tries.contains_key(id)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = &CustomId> {
        self.tries.keys()
    }

    /// Every try in doubt, in the order of the ids.
    #[must_use]
    pub fn doubts(&self, batch: uuid::Uuid) -> Vec<Doubt> {
        let in_doubt = |it: &&Attempt| matches!(it.state, State::InDoubt { .. });
        let mut doubts = Vec::new();
        for (id, tries) in &self.tries {
            let key = Key::new(batch, id.clone());
            doubts.extend(tries.iter().filter(in_doubt).map(|attempt| doubt(&key, attempt)));
            if live(tries).is_none() && !tries.iter().any(|attempt| is_open(&attempt.state)) {
                doubts.extend(self.suspected(&key));
            }
        }
        doubts.sort_by(|a, b| (&a.key, a.attempt).cmp(&(&b.key, b.attempt)));
        doubts
    }

    pub(crate) fn suspected_since(&self) -> Option<DateTime<Utc>> {
        self.suspicion.as_ref().map(|suspicion| suspicion.since)
    }

    /// How many lines a repair has lost.
    pub(crate) fn lost(&self) -> u64 {
        self.suspicion.as_ref().map_or(0, |suspicion| suspicion.lost)
    }

    /// The key that has this job.
    pub(crate) fn find_job(&self, id: uuid::Uuid) -> Option<&CustomId> {
        let has = |tries: &[Attempt]| tries.iter().any(|attempt| attempt.state.id() == Some(id));
        self.tries.iter().find(|(_, tries)| has(tries)).map(|(custom_id, _)| custom_id)
    }

    /// What the batch has spent.
    #[must_use]
    pub fn spent(&self) -> Spent {
        let mut spent = self.spent;
        let lost = self.lost();
        spent.high = spent.high + self.highest.saturating_mul(lost);
        spent.jobs = spent.jobs.saturating_add(lost);
        spent
    }

    /// The doubt about a key without regard to its tries: an intent of it may be lost.
    #[must_use]
    pub fn suspected(&self, key: &Key) -> Option<Doubt> {
        let suspicion = self.suspicion.as_ref().filter(|it| !it.lifted.contains(&key.custom_id))?;
        let attempt = self.tries(&key.custom_id).last().map_or(0, |attempt| attempt.number);
        let (key, since) = (key.clone(), suspicion.since);
        Some(Doubt { key, attempt, request_id: None, fingerprint: None, since, fault: None, job: None })
    }

    /// The tries of a key, in the order of their numbers.
    #[must_use]
    pub fn tries(&self, id: &CustomId) -> &[Attempt] {
        self.tries.get(id).map_or(&[], Vec::as_slice)
    }

    fn attempt(&self, id: &CustomId, number: u32) -> Option<&Attempt> {
        self.tries(id).iter().find(|attempt| attempt.number == number)
    }
}

/// The try with a job that has not failed: the one that got furthest, of these the first.
fn live(tries: &[Attempt]) -> Option<&Attempt> {
    let rank = |attempt: &&Attempt| match attempt.state {
        State::Saved { .. } => 3,
        State::Completed { .. } => 2,
        _ => 1,
    };
    tries.iter().rev().filter(|attempt| attempt.state.is_live()).max_by_key(rank)
}

fn is_open(state: &State) -> bool {
    matches!(state, State::InFlight | State::InDoubt { .. })
}

/// Whether somebody has decided on a doubt.
fn is_decision(event: &Event) -> bool {
    matches!(event, Event::Found { .. } | Event::None | Event::Resend)
}

fn doubt(key: &Key, attempt: &Attempt) -> Doubt {
    let fault = if let State::InDoubt { fault } = &attempt.state { fault.clone() } else { None };
    Doubt {
        key: key.clone(),
        attempt: attempt.number,
        request_id: attempt.request_id,
        fingerprint: attempt.fingerprint,
        since: attempt.begun,
        fault,
        job: None,
    }
}

fn contradiction(ticket: &Ticket, event: &Event, state: Option<&State>) -> Error {
    let (key, number) = (&ticket.key, ticket.attempt);
    Error::invalid_input(match state {
        Some(state) => format!("{key}, try {number}, cannot become {event:?}: it is {state:?}"),
        None => format!("{key} has no try {number}, so that it cannot become {event:?}"),
    })
}
