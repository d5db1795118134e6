//! Shared by the examples: a client of the emulator or of the service, and exit codes.

#![allow(clippy::print_stdout, clippy::print_stderr, dead_code, reason = "programs for the terminal")]

use std::{fmt::Display, process::ExitCode, time::Duration};

use luma_agents::{
    ApiKey, Client, Result,
    mock::{Emulator, Script},
};

/// A client of the service if there is a key, else of an emulator, which stops when this is dropped.
pub(crate) struct Luma {
    pub(crate) client: Client,
    pub(crate) emulator: Option<Emulator>,
}

pub(crate) async fn connect() -> Result<Luma> {
    if std::env::var_os(ApiKey::VARIABLE).is_some() {
        return Ok(Luma { client: Client::from_env()?, emulator: None });
    }
    println!("{} is not set: running on the emulator, free of charge", ApiKey::VARIABLE);
    let emulator = Emulator::start().await?;
    // Slow enough for a person to see the states.
    emulator.next(Script::new().takes(Duration::from_secs(1)));
    Ok(Luma { client: emulator.client(), emulator: Some(emulator) })
}

/// Exit code 2 with the usage for bad arguments, 1 with one line for a failure.
pub(crate) fn end(outcome: Result<(), impl Display>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

pub(crate) fn usage(error: impl Display, usage: &str) -> ExitCode {
    eprintln!("{error}\n{usage}");
    ExitCode::from(2)
}
