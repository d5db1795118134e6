//! What a ledger knows, in memory: the rules of the fence without any I/O.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};

use super::{Attempt, Begin, Doubt, Event, Intent, Last, NoJob, Spent, State, Ticket};
use crate::{
    error::{CapReached, Error, Result},
    estimate::is_refunded,
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

/// What is to be done about an intent.
#[derive(Debug, PartialEq)]
pub(crate) enum Decision {
    Reply(Begin),
    /// Write it as this try.
    Open(u32),
}

impl Decision {
    /// What is replied without writing anything.
    pub(crate) fn reply(self) -> Option<Begin> {
        match self {
            Self::Reply(reply) => Some(reply),
            Self::Open(_) => None,
        }
    }
}

/// Every key of a batch with its tries.
#[derive(Debug, Default)]
pub(crate) struct Book {
    tries: HashMap<CustomId, Vec<Attempt>>,
    spent: Spent,
    /// The highest price of an intent, for those that a repair has lost.
    highest: Usd,
    suspicion: Option<Suspicion>,
}

impl Book {
    /// Whether a request may go out under `key`.
    pub(crate) fn decide(&self, key: &Key, intent: &Intent, cap: &Cap) -> Result<Decision> {
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
    pub(crate) fn open(&mut self, id: &CustomId, number: u32, intent: &Intent, at: DateTime<Utc>, state: State) {
        self.highest = self.highest.max(intent.usd.unwrap_or_default());
        self.insert(id, attempt(number, intent, at, state));
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
    pub(crate) fn check(&self, ticket: &Ticket, event: &Event) -> Result<bool> {
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
    pub(crate) fn apply(&mut self, id: &CustomId, number: u32, event: &Event, at: DateTime<Utc>) {
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

    pub(crate) fn last(&self, key: &Key) -> Option<Last> {
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
    pub(crate) fn doubts(&self, batch: uuid::Uuid) -> Vec<Doubt> {
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

    /// How many lines a repair has lost.
    pub(crate) fn lost(&self) -> u64 {
        self.suspicion.as_ref().map_or(0, |suspicion| suspicion.lost)
    }

    /// The key that has this job.
    pub(crate) fn find_job(&self, id: uuid::Uuid) -> Option<&CustomId> {
        let has = |tries: &[Attempt]| tries.iter().any(|attempt| attempt.state.id() == Some(id));
        self.tries.iter().find(|(_, tries)| has(tries)).map(|(custom_id, _)| custom_id)
    }

    pub(crate) fn spent(&self) -> Spent {
        let mut spent = self.spent;
        let lost = self.lost();
        spent.high = spent.high + self.highest.saturating_mul(lost);
        spent.jobs = spent.jobs.saturating_add(lost);
        spent
    }

    /// The doubt about a key that a repair may have lost an intent of.
    pub(crate) fn suspected(&self, key: &Key) -> Option<Doubt> {
        let suspicion = self.suspicion.as_ref().filter(|it| !it.lifted.contains(&key.custom_id))?;
        let attempt = self.tries(&key.custom_id).last().map_or(0, |attempt| attempt.number);
        let (key, since) = (key.clone(), suspicion.since);
        Some(Doubt { key, attempt, request_id: None, fingerprint: None, since, fault: None, job: None })
    }

    fn tries(&self, id: &CustomId) -> &[Attempt] {
        self.tries.get(id).map_or(&[], Vec::as_slice)
    }

    fn attempt(&self, id: &CustomId, number: u32) -> Option<&Attempt> {
        self.tries(id).iter().find(|attempt| attempt.number == number)
    }
}

/// A try as its intent says.
pub(crate) fn attempt(number: u32, intent: &Intent, at: DateTime<Utc>, state: State) -> Attempt {
    Attempt {
        number,
        request_id: Some(intent.request_id),
        fingerprint: Some(intent.fingerprint),
        model: intent.model.clone(),
        kind: intent.kind.clone(),
        usd: intent.usd,
        weight: intent.weight,
        begun: at,
        at,
        state,
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

/// Adds a try to what is spent, or takes it back.
fn count(spent: &mut Spent, attempt: &Attempt, adds: bool) {
    let (certain, possible, exists) = match &attempt.state {
        State::NoJob(_) => (false, false, false),
        State::InFlight | State::InDoubt { .. } | State::Resent => (false, true, true),
        State::Failed { code, .. } => {
            let refunded = code.as_deref().is_some_and(|code| is_refunded(&code.into()));
            (!refunded, !refunded, true)
        }
        State::Accepted { .. } | State::Completed { .. } | State::Saved { .. } => (true, true, true),
    };
    let change = if adds { Usd::saturating_add } else { Usd::saturating_sub };
    let step = |number: u64| if adds { number.saturating_add(1) } else { number.saturating_sub(1) };
    let price = attempt.usd.unwrap_or_default();
    if certain {
        spent.low = change(spent.low, price);
    }
    if possible {
        spent.high = change(spent.high, price);
    }
    if exists {
        spent.jobs = step(spent.jobs);
    }
    if possible && attempt.usd.is_none() {
        spent.unpriced = step(spent.unpriced);
    }
}

/// What an event makes of a state.
enum Next {
    State(State),
    Same,
    Contradiction,
}

/// The state machine of a try: the picture is on the front page of the crate.
fn next(state: &State, event: &Event) -> Next {
    match event {
        Event::NotSent { .. } => without_job(state, NoJob::NotSent),
        Event::Rejected { status, kind } => without_job(state, NoJob::Rejected { status: *status, kind: kind.clone() }),
        Event::Accepted { id } | Event::Found { id } => match state.id() {
            // An id is never given up, however late it comes.
            None => Next::State(State::Accepted { id: *id }),
            Some(known) if known == *id => Next::Same,
            Some(_) => Next::Contradiction,
        },
        Event::Unknown { fault } => match state {
            State::InFlight | State::InDoubt { fault: None } => {
                Next::State(State::InDoubt { fault: Some(fault.clone()) })
            }
            _ => Next::Same,
        },
        Event::Completed { id } => match state {
            State::Accepted { id: known } if known == id => Next::State(State::Completed { id: *id }),
            State::Completed { id: known } | State::Saved { id: known, .. } if known == id => Next::Same,
            _ => Next::Contradiction,
        },
        Event::Failed { id, code } => match state {
            State::Accepted { id: known } | State::Completed { id: known } if known == id => {
                Next::State(State::Failed { id: *id, code: code.clone() })
            }
            State::Failed { id: known, .. } if known == id => Next::Same,
            _ => Next::Contradiction,
        },
        Event::Saved { id, file, more } => {
            let saved = State::Saved { id: *id, file: file.clone(), more: more.clone() };
            match state {
                _ if *state == saved => Next::Same,
                State::Completed { id: known } | State::Saved { id: known, .. } if known == id => Next::State(saved),
                _ => Next::Contradiction,
            }
        }
        Event::None => match state {
            State::InDoubt { .. } => Next::State(State::NoJob(NoJob::Settled)),
            State::NoJob(NoJob::Settled) => Next::Same,
            _ => Next::Contradiction,
        },
        Event::Resend => match state {
            State::InDoubt { .. } => Next::State(State::Resent),
            State::Resent => Next::Same,
            _ => Next::Contradiction,
        },
    }
}

fn without_job(state: &State, reason: NoJob) -> Next {
    match state {
        State::InFlight | State::InDoubt { .. } | State::Resent | State::NoJob(NoJob::Settled) => {
            Next::State(State::NoJob(reason))
        }
        State::NoJob(known) if *known == reason => Next::Same,
        _ => Next::Contradiction,
    }
}
