//! `luma batch check`: everything that is wrong with an input, and what it costs.

use luma_agents_batch::{
    Error, JournalView,
    estimate::{Prices, Total},
    input::{Known, Problem},
    output::check_owner,
};
use serde_json::json;

use super::place::Place;
use crate::{
    cli::Context,
    exit::Exit,
    failure::Failure,
    output::{Output, count},
};

pub(super) async fn run(context: &Context, place: &Place, prices: Prices) -> Result<Exit, Failure> {
    let input = place.input()?;
    let journal = match place.journal_path() {
        Ok(path) if path.exists() => Some(JournalView::read(path).await?),
        _ => None,
    };
    if let Ok(journal) = place.journal_path() {
        check_owner(Place::names(&journal).folder(), &journal)?;
    }
    let as_of = prices.as_of.to_string();
    let known = |id: &_| journal.as_ref().and_then(|it| it.get(id)).map(|last| Known::of(&last)).unwrap_or_default();
    let checked = input.check().prices(prices).run(known).map_err(|e| explain(&context.output, e))?;
    let (lines, total) = (checked.lines, checked.total);
    if context.output.is_json() {
        context.output.object(&json!({
            "lines": lines,
            "usd": { "low": total.low, "high": total.high, "unknown": total.unknown },
            "as_of": as_of,
        }))?;
    } else {
        context.output.line(format_args!(
            "{}, {} by the prices of {as_of}; not a bill",
            count(lines, "job"),
            cost(&total)
        ))?;
    }
    Ok(Exit::Success)
}

/// An error of the batch; of an input, every problem on a line of its own.
pub(super) fn explain(output: &Output, error: Error) -> Failure {
    let Error::Input(problems) = error else { return error.into() };
    if output.is_json() {
        problems.problems.iter().for_each(|problem| output.note(to_json(problem)));
    } else {
        for (problem, more) in problems.grouped() {
            let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
            output.note(format_args!("{problem}{more}"));
        }
    }
    let (total, shown) = (problems.total, problems.problems.len() as u64);
    let more = if total > shown { format!(" (the first {shown} are shown)") } else { String::new() };
    let message = match total {
        1 => "the input has a problem; correct it, nothing was sent".to_owned(),
        total => format!("the input has {total} problems{more}; correct them, nothing was sent"),
    };
    Failure::new(Exit::Usage, "input", message)
}

fn to_json(problem: &Problem) -> serde_json::Value {
    json!({
        "line": problem.line,
        "param": problem.param,
        "code": problem.code.as_str(),
        "message": problem.message,
    })
}

/// What jobs cost, in words.
pub(super) fn cost(total: &Total) -> String {
    let known = if total.low == total.high {
        format!("about ${}", total.high)
    } else {
        format!("about ${} to ${}", total.low, total.high)
    };
    match total.unknown {
        0 => known,
        unknown if unknown == total.jobs => "of unknown price".to_owned(),
        unknown => format!("{known} and {unknown} of unknown price"),
    }
}
