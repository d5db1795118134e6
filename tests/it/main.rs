//! The promises of the crate, one file for each, in one binary.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod architecture;
mod connections;
mod contract;
mod downloads;
mod emulator;
mod environment;
mod errors;
mod faults;
mod files;
mod generations;
mod limits;
mod properties;
mod responses;
mod soak;
mod storage;
mod support;
mod surface;
mod tomorrow;
mod tool_schema;
mod traces;
