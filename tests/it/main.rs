//! The promises of the crate, a file each, in one binary.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod downloads;
mod emulator;
mod files;
mod generations;
mod surface;
