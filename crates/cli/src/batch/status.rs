//! `luma batch status`: how a batch stands, by its journal, also while it runs.

use std::collections::BTreeMap;

use luma_agents_batch::{Attempt, NoJob, State};
use serde_json::json;

use super::{database::DatabaseArgs, place::Place, view::View};
use crate::{cli::Context, exit::Exit, failure::Failure};

pub(super) async fn run(context: &Context, place: &Place, database: &DatabaseArgs) -> Result<Exit, Failure> {
    let view = View::read(place, database).await?;
    let mut states = BTreeMap::<&str, u64>::new();
    for (_, last) in &view.lines {
        *states.entry(state(&last.attempt)).or_default() += 1;
    }
    let spent = view.spent;
    let run = view.run.as_ref();
    let lines = run.and_then(|run| run.lines);
    let named: u64 = states.values().sum();
    let waiting = lines.map(|lines| lines.saturating_sub(named)).filter(|it| *it > 0);
    let output = &context.output;
    if output.is_json() {
        output.object(&json!({
            "batch": view.batch,
            "running": view.is_in_use,
            "lines": lines,
            "not_submitted": waiting.unwrap_or_default(),
            "states": states,
            "usd": { "low": spent.low, "high": spent.high, "unknown": spent.unpriced },
            "base_url": run.map(|run| &run.base_url),
        }))?;
        return Ok(Exit::Success);
    }
    output.line(if view.is_in_use { "running" } else { "not running" })?;
    for (state, count) in
        states.iter().map(|(state, count)| (*state, *count)).chain(waiting.map(|it| ("not submitted", it)))
    {
        output.line(format_args!("{count:>8} {}", state.replace('_', " ")))?;
    }
    let unknown = if spent.unpriced > 0 { format!(", and {} of unknown price", spent.unpriced) } else { String::new() };
    output.line(format_args!("estimated ${} to ${}{unknown}", spent.low, spent.high))?;
    if !view.is_in_use && !view.doubts.is_empty() {
        output.note(format_args!("{} in doubt: see `luma batch doubt`", view.doubts.len()));
    }
    if view.lost > 0 && waiting.is_some() {
        output.note("the journal has lost lines: what is not submitted may be in doubt, see `luma batch doubt`");
    }
    Ok(Exit::Success)
}

/// How a try stands, in a word.
pub(super) fn state(attempt: &Attempt) -> &'static str {
    match &attempt.state {
        State::InFlight => "in_flight",
        State::InDoubt { .. } => "in_doubt",
        State::NoJob(NoJob::Rejected { .. }) => "rejected",
        State::NoJob(_) | State::Resent => "to_be_sent",
        State::Accepted { .. } => "accepted",
        State::Completed { .. } => "completed",
        State::Failed { .. } => "failed",
        State::Saved { .. } => "saved",
        _ => "unknown",
    }
}
