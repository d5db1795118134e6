//! The tests on a real PostgreSQL, a file for each promise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod chaos;
mod cluster;
mod conformance;
mod example;
mod fence;
mod proxy;
mod support;
mod traps;
