//! The program as users run it: the binary, against the emulator that is in it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    clippy::disallowed_methods,
    reason = "tests of another process, without a runtime"
)]

mod batch;
mod doubts;
mod emulator;
mod errors;
mod exit_codes;
mod help;
mod jobs;
mod report;
mod shells;
mod streams;
mod support;
