//! Many workers, one account, one bill: a batch in PostgreSQL, run by workflows of DBOS. The README beside this says
//! how.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

mod add;
mod admin;
mod arguments;
mod engine;
mod job;
mod running;
mod service;
mod status;
mod steps;
mod sweep;
mod work;

use std::process::ExitCode;

use arguments::{Arguments, Command, USAGE};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match Arguments::parse() {
        Ok(arguments) => arguments,
        Err(e) => {
            eprintln!("{e}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let ended = match arguments.command {
        Command::Help => {
            println!("{USAGE}");
            Ok(())
        }
        Command::Migrate => admin::migrate(&arguments).await,
        Command::Grant => admin::grant(&arguments).await,
        Command::Prune => admin::prune(&arguments).await,
        Command::MarkInDoubt => admin::mark_in_doubt(&arguments).await,
        Command::Add => add::run(&arguments).await,
        Command::Work if arguments.processes > 1 => work::run_processes(&arguments).await,
        Command::Work => work::run(&arguments).await,
        Command::Status => status::run(&arguments).await,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}
