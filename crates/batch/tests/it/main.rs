//! What this crate promises, against the emulator.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on should say where"
)]

mod chaos;
mod doubts;
mod files;
mod quota;
mod run;
mod shared_limits;
mod submit;
mod support;
