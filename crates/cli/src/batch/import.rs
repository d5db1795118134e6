//! `luma batch import`: a journal becomes rows of the fleet's database.

use clap::Args;
use luma_agents_batch::{Cap, Journal, Usd};
use luma_agents_postgres::Account;
use serde_json::json;

use super::{database::DatabaseArgs, place::Place};
use crate::{cli::Context, exit::Exit, failure::Failure};

/// Move a batch to the database of a fleet
///
/// The journal ends with a line that says where the batch went, and runs no more. May be repeated after a failure. The
/// account is added if the database has none of this label.
#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    database: DatabaseArgs,

    /// Label of the account, the same for all its workers
    #[arg(long, value_name = "NAME", default_value = "default")]
    account: String,

    /// Create the tables first: needs a role that may
    #[arg(long)]
    migrate: bool,

    /// Cap on the batch's total cost
    #[arg(long, value_name = "USD")]
    max_usd: Option<Usd>,

    /// Cap on the batch's number of jobs
    #[arg(long, value_name = "N")]
    max_jobs: Option<u64>,
}

pub(super) async fn run(context: &Context, args: ImportArgs) -> Result<Exit, Failure> {
    let Some(database) = args.database.connect().await? else {
        return Err(Failure::usage("which database? Give --database-url-file, or set LUMA_DATABASE_URL"));
    };
    let path = args.place.journal_path()?;
    let journal = Journal::existing(&path).await?;
    let Some(run) = journal.last_run() else {
        return Err(Failure::usage(format!("{} has no run to import", path.display())));
    };
    if args.migrate {
        database.migrate().await?;
    }
    database.add_account(&Account::new(&args.account, run.base_url)).await?;
    let mut cap = Cap::NONE;
    (cap.usd, cap.jobs) = (args.max_usd, args.max_jobs);
    let imported = database.import(&journal, &args.account, cap).await?;
    let output = &context.output;
    if output.is_json() {
        output.object(&json!({
            "batch": imported.batch,
            "lines": imported.lines,
            "tries": imported.tries,
            "database": database.label(),
        }))?;
    } else {
        output.line(imported.batch)?;
        let (lines, label) = (imported.lines, database.label());
        output.note(format_args!("{lines} jobs are in {label}; {} runs no more", path.display()));
    }
    Ok(Exit::Success)
}
