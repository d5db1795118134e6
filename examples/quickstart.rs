//! From a prompt to a saved picture.
//!
//! Without `LUMA_AGENTS_API_KEY` it runs on the emulator that ships with the crate; with it, on the
//! service, where each run is paid for.

use std::{
    io::IsTerminal as _,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use luma_agents::{
    ApiKey, Client, GenerationId, Result, Wait, mock::Emulator, types::CreateGeneration, types::Generation,
};

const USAGE: &str = "\
usage: quickstart [--out DIRECTORY] [PROMPT]
       quickstart [--out DIRECTORY] --id GENERATION_ID";

/// What the command line asks for.
struct Arguments {
    prompt: String,
    id: Option<String>,
    out: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(Arguments { prompt, id, out }: Arguments) -> Result<()> {
    let (luma, emulator) = if std::env::var_os(ApiKey::VARIABLE).is_some() {
        (Client::from_env()?, None)
    } else {
        println!("{} is not set: running on the emulator, nothing is paid for", ApiKey::VARIABLE);
        let emulator = Emulator::start().await;
        (emulator.client(), Some(emulator))
    };

    let job: GenerationId = match id {
        Some(id) => {
            if let (Some(emulator), Ok(id)) = (&emulator, id.parse()) {
                emulator.existing(id);
            }
            id.into()
        }
        None => {
            let job = luma.generations().create(CreateGeneration::builder().prompt(prompt)).await?;
            println!("started {}", job.id);
            job.into()
        }
    };

    let wait = luma.generations().wait(job);
    // The emulator is done in no time.
    let wait = if emulator.is_some() {
        wait.first_after(Duration::from_millis(400)).every(Duration::from_millis(400))
    } else {
        wait
    };
    let done = watch(wait).await?;

    for saved in luma.download(&done).save_all(&out).await? {
        println!("saved {} ({})", saved.path.display(), HumanBytes(saved.bytes));
    }
    Ok(())
}

/// Shows each change of state on one live line, or on lines of their own where nobody looks.
async fn watch(wait: Wait<Generation>) -> Result<Generation> {
    let started = Instant::now();
    let line = ProgressBar::new_spinner().with_message("waiting");
    line.set_style(
        ProgressStyle::with_template("{spinner} {msg} {elapsed}").unwrap_or(ProgressStyle::default_spinner()),
    );
    line.enable_steady_tick(Duration::from_millis(100));
    let tell = |state: &str| {
        line.set_message(state.to_owned());
        if !std::io::stderr().is_terminal() {
            println!("{state} after {:.1} s", started.elapsed().as_secs_f64());
        }
    };
    let mut updates = wait.updates();
    loop {
        match updates.next().await {
            Some(Ok(generation)) if generation.state.is_terminal() => {
                tell(generation.state.as_str());
                line.finish();
                return Ok(generation);
            }
            Some(Ok(generation)) => tell(generation.state.as_str()),
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
            Long("id") if prompt.is_none() => id = Some(parser.value()?.string()?),
            Long("out") => out = parser.value()?.into(),
            Value(text) if prompt.is_none() && id.is_none() => prompt = Some(text.string()?),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Arguments { prompt: prompt.unwrap_or_else(|| "a lighthouse at dusk".to_owned()), id, out })
}
