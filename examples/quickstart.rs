//! From a prompt to a saved picture.
//!
//! Without `LUMA_AGENTS_API_KEY` it runs on the emulator that ships with the crate; with it, on the
//! service, which charges for each run.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

mod common;

use std::{error::Error, path::PathBuf, process::ExitCode, time::Duration};

use indicatif::{HumanBytes, ProgressBar};
use luma_agents::types::CreateGeneration;
use uuid::Uuid;

const USAGE: &str = "\
usage: quickstart [--out DIRECTORY] [PROMPT]
       quickstart [--out DIRECTORY] --id GENERATION_ID

Makes a picture from PROMPT (\"a lighthouse at dusk\") and saves it into DIRECTORY (here). With --id it
waits for a generation that exists, such as one whose program was stopped, and saves that.

Without the variable LUMA_AGENTS_API_KEY it runs on the emulator, free of charge; with it, on the
service, which charges for each picture.";

/// Of mid 2026. The API tells no price.
const COST: &str = "a picture by uni-1 costs about $0.04; docs.lumalabs.ai has the prices";

/// The arguments of the command line.
#[derive(Default)]
struct Arguments {
    help: bool,
    prompt: Option<String>,
    id: Option<Uuid>,
    out: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match arguments() {
        Ok(Arguments { help: true, .. }) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Ok(arguments) => common::end(run(arguments).await),
        Err(error) => common::usage(error, USAGE),
    }
}

async fn run(Arguments { prompt, id, out, .. }: Arguments) -> Result<(), Box<dyn Error>> {
    // Before anything is paid for.
    let out = out.unwrap_or_else(|| PathBuf::from("."));
    if !out.is_dir() {
        return Err(format!("{} is no directory to save into", out.display()).into());
    }
    let luma = common::connect().await?;
    let generations = luma.client.generations();
    let line = ProgressBar::new_spinner();
    line.enable_steady_tick(Duration::from_millis(100));
    let saved = if let Some(id) = id {
        // The emulator starts empty, so the generation is added to it.
        if let Some(emulator) = &luma.emulator {
            emulator.existing(id);
        }
        let done = generations.wait(id).await?;
        luma.client.download(&done).save(&out).await?
    } else {
        if luma.emulator.is_none() {
            println!("{COST}");
        }
        let request = CreateGeneration::builder().prompt(prompt.as_deref().unwrap_or("a lighthouse at dusk"));
        let shown = line.clone();
        let started = move |id: Uuid| {
            shown.suspend(|| println!("started {id}"));
            shown.set_message("waiting: if this stops, go on with --id");
        };
        generations.create_and_wait(request).on_created(move |generation| started(generation.id)).save(&out).await?
    };
    line.finish_and_clear();
    println!("saved {} ({})", saved.path.display(), HumanBytes(saved.bytes));
    Ok(())
}

fn arguments() -> Result<Arguments, lexopt::Error> {
    use lexopt::prelude::*;

    let mut found = Arguments::default();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => found.help = true,
            Long("id") if found.prompt.is_none() => found.id = Some(parser.value()?.parse()?),
            Long("out") => found.out = Some(parser.value()?.into()),
            Value(text) if found.prompt.is_none() && found.id.is_none() => found.prompt = Some(text.string()?),
            other => return Err(other.unexpected()),
        }
    }
    Ok(found)
}
