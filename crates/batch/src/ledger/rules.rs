//! What an event makes of a try, and what a try adds to what is spent.

use super::{Attempt, Event, NoJob, Spent, State};
use crate::{estimate::is_refunded, usd::Usd};

/// Adds a try to what is spent, or takes it back.
pub(super) fn count(spent: &mut Spent, attempt: &Attempt, adds: bool) {
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
pub(super) enum Next {
    State(State),
    Same,
    Contradiction,
}

/// The state machine of a try: the picture is on the front page of the crate.
pub(super) fn next(state: &State, event: &Event) -> Next {
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
