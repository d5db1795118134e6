//! `luma batch repair` and `clean`: what is done to a batch that does not run.

use luma_agents_batch::{Journal, repair as repair_journal, upload};
use serde_json::json;

use super::{place::Place, view::View};
use crate::{cli::Context, exit::Exit, failure::Failure, output::count};

pub(super) async fn repair(context: &Context, place: &Place) -> Result<Exit, Failure> {
    let path = place.journal_path()?;
    let repair = repair_journal(&path).await?;
    let (kept, lost, aside) = (repair.kept, repair.lost, repair.aside.display());
    let output = &context.output;
    if output.is_json() {
        output.object(&json!({ "kept": kept, "lost": lost, "aside": aside.to_string() }))?;
    } else {
        output.path(&path)?;
        output.note(format_args!("{} kept, {lost} lost; the journal as it was is {aside}", count(kept, "line")));
    }
    if lost == 0 {
        return Ok(Exit::Success);
    }
    output.note(format_args!(
        "up to {} can have been paid for without a trace: see `luma batch doubt {}`",
        count(lost, "job"),
        place.shown()
    ));
    Ok(Exit::InDoubt)
}

pub(super) async fn clean(context: &mut Context, place: &Place) -> Result<Exit, Failure> {
    View::journal(place).await?;
    let journal = Journal::existing(place.journal_path()?).await?;
    let client = context.connection.client()?;
    let deleted = context.signals.stop(async { Ok(upload::clean(&client, journal.uploads()).await?) }).await?;
    if context.output.is_json() {
        context.output.object(&json!({ "deleted": deleted }))?;
    } else {
        context.output.line(format_args!("{} deleted", count(deleted, "file")))?;
    }
    Ok(Exit::Success)
}
