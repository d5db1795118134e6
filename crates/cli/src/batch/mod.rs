//! `luma batch`: many jobs from a file, by the batch crate.

mod check;
mod clean;
mod database;
mod doubt;
#[cfg(feature = "postgres")]
mod import;
mod place;
mod progress;
mod report;
mod run;
mod status;
mod thumbnail;
mod view;

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[cfg(feature = "postgres")]
use self::import::ImportArgs;
use self::{
    database::DatabaseArgs,
    doubt::DoubtArgs,
    place::Place,
    report::ReportArgs,
    run::{RetryArgs, RunArgs},
};
use crate::{cli::Context, estimate::prices, exit::Exit, failure::Failure};

#[derive(Debug, Subcommand)]
pub(crate) enum BatchCommand {
    Check(CheckArgs),
    Run(RunArgs),
    Status(StatusArgs),
    Doubt(DoubtArgs),
    Retry(RetryArgs),
    Repair(RepairArgs),
    Clean(CleanArgs),
    Report(ReportArgs),
    #[cfg(feature = "postgres")]
    Import(ImportArgs),
}

/// The format of an input, for `--help`.
const FORMAT: &str = r#"Input: one JSON object a line. custom_id names the job and its outputs; body is a request of the API.
  {"custom_id": "sku-001", "body": {"prompt": "a red chair", "aspect_ratio": "1:1"}}
  {"custom_id": "sku-002", "body": {"type": "image_edit", "prompt": "in oak", "source": {"path": "chair.jpg"}}}
  {"custom_id": "sku-003", "body": {"type": "video", "model": "ray-3.2", "prompt": "the chair turns"}}
{"path": ..} is a local file, from the folder of the input; it is uploaded once. A line may also be a body
alone, such as {"prompt": "a red chair"}: its custom_id is line-000001 and so on."#;

/// Check every line of an input and estimate the cost; free, needs no key
#[derive(Args, Debug)]
#[command(after_long_help = FORMAT)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    place: Place,

    /// Price table in JSON [default: that of June 2026]
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
}

/// Show how a batch stands, also while it runs
#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    database: DatabaseArgs,
}

/// Repair a damaged journal: keeps every good line
///
/// The journal as it was is set aside. If lines are lost, every job that may have been in them is in doubt afterwards.
#[derive(Args, Debug)]
pub(crate) struct RepairArgs {
    #[command(flatten)]
    place: Place,
}

/// Delete the files that a finished batch has uploaded
#[derive(Args, Debug)]
pub(crate) struct CleanArgs {
    #[command(flatten)]
    place: Place,
}

impl BatchCommand {
    pub(crate) async fn run(self, context: &mut Context) -> Result<Exit, Failure> {
        match self {
            Self::Check(args) => check::run(context, &args.place, prices(args.prices.as_ref())?).await,
            Self::Run(args) => Box::pin(run::run(context, args)).await,
            Self::Status(args) => status::run(context, &args.place, &args.database).await,
            Self::Doubt(args) => doubt::run(context, args).await,
            Self::Retry(args) => Box::pin(run::retry(context, args)).await,
            Self::Repair(args) => clean::repair(context, &args.place).await,
            Self::Clean(args) => clean::clean(context, &args.place).await,
            Self::Report(args) => report::run(context, args).await,
            #[cfg(feature = "postgres")]
            Self::Import(args) => import::run(context, args).await,
        }
    }
}
