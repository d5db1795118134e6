//! `luma estimate`: what a request costs, without sending it.

use std::{collections::HashMap, path::PathBuf};

use clap::Args;
use luma_agents_batch::estimate::{Estimate, Prices};
use serde_json::json;

use crate::{
    cli::{Context, read_text},
    exit::Exit,
    failure::Failure,
    generate::Generate,
};

/// Estimate what a request costs; free, needs no key
///
/// The API returns no charge, so an estimate is never a bill: it is as good as the price table and its date.
#[derive(Args, Debug)]
pub(crate) struct EstimateArgs {
    /// Length of the source of a video edit or reframe
    #[arg(long, value_name = "SECONDS")]
    source_seconds: Option<f64>,

    /// Price table in JSON; - for stdin [default: that of June 2026]
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,

    #[command(subcommand)]
    request: Generate,
}

pub(crate) fn run(context: &Context, args: &EstimateArgs) -> Result<Exit, Failure> {
    let request = args.request.request()?.with_files(&HashMap::new())?;
    let prices = prices(args.prices.as_ref())?;
    let estimate = prices.estimate(&request, args.source_seconds);
    let output = &context.output;
    match estimate {
        Estimate::Usd { low, high, as_of } if output.is_json() => {
            output.object(&json!({ "usd": { "low": low, "high": high }, "as_of": as_of.to_string() }))?;
        }
        Estimate::Usd { low, high, as_of } => {
            let range = if low == high { low.to_string() } else { format!("{low}-{high}") };
            output.line(range)?;
            output.note(format_args!("US dollars by the prices of {as_of}; not a bill"));
        }
        _ if output.is_json() => output.object(&json!({ "usd": null }))?,
        _ => {
            output.line("unknown")?;
            output.note("the price is not published; an edit or reframe of a video needs --source-seconds");
        }
    }
    Ok(Exit::Success)
}

/// A price table of the user's.
pub(crate) fn prices(path: Option<&PathBuf>) -> Result<Prices, Failure> {
    let Some(path) = path else { return Ok(Prices::default()) };
    let shown = path.display();
    serde_json::from_str(&read_text(path)?).map_err(|e| Failure::usage(format!("the price table {shown}: {e}")))
}
