//! The tests on a real PostgreSQL, a file for each promise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod chaos;
mod cluster;
mod command_line;
mod conformance;
mod example;
mod explain;
mod fence;
mod growth;
mod guide;
mod holder;
mod import;
mod program;
mod proxy;
mod refusals;
mod security;
mod simulation;
mod support;
mod sweeps;
mod traps;
