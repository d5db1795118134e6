//! A JSONL of prompts becomes a folder of results: `cargo run --example catalogue catalogue.jsonl`. Kill it, run it
//! again. Without a key it runs on an emulator, which forgets its jobs with the process: a second run says so.
#![allow(clippy::print_stderr, reason = "a program")]

use std::{error::Error, process::ExitCode};

use indicatif::{ProgressBar, ProgressStyle};
use luma_agents::{Client, mock::Emulator};
use luma_agents_batch::{Batch, End};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let input = std::env::args().nth(1).ok_or("usage: catalogue INPUT.jsonl")?;
    let emulator = Emulator::start().await?; // in place of the service where there is no key
    let client = if std::env::var("LUMA_AGENTS_API_KEY").is_ok() { Client::from_env()? } else { emulator.client() };
    let stop = CancellationToken::new();
    let opened = Batch::new(client, input)?.stop(stop.clone()).open().await?;
    eprintln!("{} jobs, up to ${}", opened.checked().lines, opened.checked().total.high);
    let mut running = opened.start().await?;
    tokio::spawn(async move { tokio::signal::ctrl_c().await.map(|()| stop.cancel()) });
    let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}")?);
    let progress = running.progress();
    while let Some(job) = running.next().await {
        if !matches!(job.end, End::Saved(_)) {
            bar.suspend(|| eprintln!("{}: {}", job.custom_id, job.end));
        }
        let now = *progress.borrow();
        bar.set_length(now.total);
        bar.set_position(now.done + now.failed);
        bar.set_message(format!("${} {:.0?} left", now.spent_high, now.eta.unwrap_or_default()));
    }
    bar.finish();
    let report = running.finish().await;
    report.doubts.iter().for_each(|doubt| eprintln!("{doubt}"));
    report.not_recorded.iter().for_each(|line| eprintln!("{line}"));
    report.stop.iter().for_each(|why| eprintln!("{why}"));
    report.error.iter().for_each(|error| eprintln!("{error}"));
    eprintln!("{report}");
    Ok(if report.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
