//! `luma batch doubt`: jobs that may exist, and what is decided about them.

use clap::Args;
use luma_agents::uuid::Uuid;
use luma_agents_batch::{CustomId, Doubt, DoubtLedger, Doubts, Journal, Key, input::Known};
use serde_json::json;

use super::{database::DatabaseArgs, place::Place, view::View};
use crate::{cli::Context, exit::Exit, failure::Failure};

/// List jobs that may exist, with the text for support, or decide about them
///
/// The next run acts on what is decided: it waits for what was found, and sends what does not exist.
#[derive(Args, Debug)]
pub(crate) struct DoubtArgs {
    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    database: DatabaseArgs,

    /// Support has found the job of KEY; may be repeated
    #[arg(long, value_name = "KEY=ID", value_parser = found)]
    found: Vec<(CustomId, Uuid)>,

    /// There is no job of KEY: it may be sent; may be repeated
    #[arg(long, value_name = "KEY", value_parser = custom_id)]
    none: Vec<CustomId>,

    /// Send all that are in doubt again, at the risk of paying twice; N is how many there are
    #[arg(long, value_name = "N", conflicts_with_all = ["found", "none"])]
    resend: Option<usize>,
}

pub(super) async fn run(context: &mut Context, args: DoubtArgs) -> Result<Exit, Failure> {
    let names = args.place.journal_path().ok().map(|journal| Place::names(&journal));
    let doubts = listed(context, &args).await?;
    for mut doubt in doubts.iter().cloned() {
        doubt.job = names.as_ref().and_then(|names| names.job(&doubt.key.custom_id));
        show(context, &doubt)?;
    }
    if doubts.is_empty() {
        context.output.note("nothing is in doubt");
        return Ok(Exit::Success);
    }
    if !context.output.is_json() {
        context.output.note(SUPPORT);
    }
    Ok(Exit::InDoubt)
}

/// The list, after what is decided.
async fn listed(context: &mut Context, args: &DoubtArgs) -> Result<Vec<Doubt>, Failure> {
    #[cfg(feature = "postgres")]
    if let Some((database, batch)) = args.database.batch(&args.place).await? {
        let ledger = database.doubts(batch);
        let doubts = Doubts::of(&ledger);
        return decide(context, args, &doubts, |id| Ok(ledger.key(id))).await;
    }
    let decides = !args.found.is_empty() || !args.none.is_empty() || args.resend.is_some();
    let before = View::read(&args.place, &args.database).await?;
    if before.is_in_use && !decides {
        context.output.note("the batch is running: what is listed may only be in flight");
        return Ok(before.doubts);
    }
    let journal = Journal::existing(args.place.journal_path()?).await?;
    let doubts = Doubts::of(&journal).lines(names(&args.place, journal.lost())?);
    decide(context, args, &doubts, |id| journal.key(id)).await
}

async fn decide<L: DoubtLedger>(
    context: &mut Context,
    args: &DoubtArgs,
    doubts: &Doubts<L>,
    key: impl Fn(&CustomId) -> luma_agents_batch::Result<Key>,
) -> Result<Vec<Doubt>, Failure> {
    for (id, job) in &args.found {
        let client = context.connection.client()?;
        let found = async { Ok(doubts.found(&client, &key(id)?, *job).await?) };
        context.signals.stop(found).await?;
        context.output.note(format_args!("{id}: found; the next run saves it"));
    }
    for id in &args.none {
        doubts.none(&key(id)?).await?;
        context.output.note(format_args!("{id}: the next run sends it"));
    }
    if let Some(number) = args.resend {
        doubts.resend(number).await?;
        context.output.note(format_args!("the next run sends {number} again"));
    }
    Ok(doubts.list().await?)
}

/// What to do with the list.
const SUPPORT: &str = "\
Send the lines above to support+luma-agents-api@lumalabs.ai:
  \"Which generation ids belong to these request ids (X-Request-Id), or was no generation created?\"
Then: luma batch doubt FILE --found KEY=ID, or --none KEY";

fn show(context: &Context, doubt: &Doubt) -> Result<(), Failure> {
    let (id, since) = (&doubt.key.custom_id, doubt.since.format("%Y-%m-%dT%H:%M:%SZ").to_string());
    if context.output.is_json() {
        return context.output.object(&json!({
            "custom_id": id,
            "try": doubt.attempt,
            "x_request_id": doubt.request_id,
            "since": since,
            "fault": doubt.fault,
            "generation_id": doubt.job,
        }));
    }
    let request = doubt.request_id.map_or_else(|| "unknown".to_owned(), |it| it.to_string());
    context.output.line(format_args!("{id}\t{request}\t{since}"))?;
    if let Some(job) = doubt.job {
        context.output.note(format_args!("{id}: out/ has the outputs of the job {job}: --found {id}={job}"));
    }
    Ok(())
}

/// After a repair that lost lines, also what the journal does not name is in doubt.
fn names(place: &Place, lost: u64) -> Result<Vec<CustomId>, Failure> {
    if lost == 0 {
        return Ok(Vec::new());
    }
    let input = place.input()?;
    let checked = input.check().run(|_| Known::default())?;
    let lines = input.lines(checked.sha256)?;
    Ok(lines.map(|line| Ok(line?.custom_id)).collect::<Result<_, luma_agents_batch::Error>>()?)
}

fn custom_id(text: &str) -> Result<CustomId, String> {
    text.parse().map_err(|e: luma_agents_batch::Error| e.to_string())
}

fn found(text: &str) -> Result<(CustomId, Uuid), String> {
    let (key, id) = text.split_once('=').ok_or("write it like sku-001=7c9e6679-7425-40de-944b-e07fc1f90ae7")?;
    Ok((custom_id(key)?, Uuid::try_parse(id).map_err(|_| format!("{id} is no UUID"))?))
}
