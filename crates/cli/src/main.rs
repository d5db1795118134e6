//! `luma`: the command line of the Luma Agents API.

#![allow(clippy::doc_markdown, reason = "the texts of arguments are printed as they are")]

mod batch;
mod check;
mod cli;
mod connection;
mod duration;
mod emulator;
mod estimate;
mod exit;
mod failure;
mod files;
mod generate;
mod jobs;
mod key;
mod output;
mod shell;
mod signal;
mod target;
mod text;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main().into()
}
