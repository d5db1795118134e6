//! From a prompt to a saved picture.
//!
//! Without `LUMA_AGENTS_API_KEY` it runs on the emulator that ships with the crate; with it, on the
//! service, which charges for each run.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

mod common;

use std::{io::IsTerminal as _, path::PathBuf, process::ExitCode, time::Duration};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use luma_agents::{
    GenerationId, Result, Wait,
    types::{CreateGeneration, Generation},
};
use uuid::Uuid;

const USAGE: &str = "\
usage: quickstart [--out DIRECTORY] [PROMPT]
       quickstart [--out DIRECTORY] --id GENERATION_ID";

/// The arguments of the command line.
struct Arguments {
    prompt: String,
    id: Option<Uuid>,
    out: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    match arguments() {
        Ok(arguments) => common::end(run(arguments).await),
        Err(error) => common::usage(error, USAGE),
    }
}

async fn run(Arguments { prompt, id, out }: Arguments) -> Result<()> {
    let luma = common::connect().await?;
    let generations = luma.client.generations();
    let job: GenerationId = if let Some(id) = id {
        // The emulator starts empty, so the generation is added to it.
        if let Some(emulator) = &luma.emulator {
            emulator.existing(id);
        }
        id.into()
    } else {
        let job = generations.create(CreateGeneration::builder().prompt(prompt)).await?;
        println!("started {}", job.id);
        job.into()
    };

    let done = watch(generations.wait(job)).await?;

    for saved in luma.client.download(&done).save_all(&out).await? {
        println!("saved {} ({})", saved.path.display(), HumanBytes(saved.bytes));
    }
    Ok(())
}

/// Shows the state on one live line, or each change on its own line if stderr is not a terminal.
async fn watch(wait: Wait<Generation>) -> Result<Generation> {
    let line = ProgressBar::new_spinner().with_message("waiting");
    line.set_style(
        ProgressStyle::with_template("{spinner} {msg} {elapsed}").unwrap_or(ProgressStyle::default_spinner()),
    );
    line.enable_steady_tick(Duration::from_millis(100));
    let show = |state: &str| {
        line.set_message(state.to_owned());
        if !std::io::stderr().is_terminal() {
            println!("{state} after {:.1} s", line.elapsed().as_secs_f64());
        }
    };
    let mut updates = wait.updates();
    loop {
        match updates.next().await {
            Some(Ok(generation)) if generation.state.is_terminal() => {
                show(generation.state.as_str());
                line.finish();
                return Ok(generation);
            }
            Some(Ok(generation)) => show(generation.state.as_str()),
            Some(Err(error)) => {
                line.finish_and_clear();
                return Err(error);
            }
            None => unreachable!("the updates end with a final state or an error"),
        }
    }
}

fn arguments() -> Result<Arguments, lexopt::Error> {
    use lexopt::prelude::*;

    let (mut prompt, mut id, mut out) = (None, None, PathBuf::from("."));
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("id") if prompt.is_none() => id = Some(parser.value()?.parse()?),
            Long("out") => out = parser.value()?.into(),
            Value(text) if prompt.is_none() && id.is_none() => prompt = Some(text.string()?),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Arguments { prompt: prompt.unwrap_or_else(|| "a lighthouse at dusk".to_owned()), id, out })
}
