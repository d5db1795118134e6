//! The promises of the crate, one file for each, in one binary.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod architecture;
mod connections;
mod contract;
mod documentation;
mod downloads;
mod emulator;
mod environment;
mod errors;
mod faults;
mod files;
mod generations;
mod generator;
mod limits;
mod moving;
mod one_request;
mod properties;
mod quotas;
mod responses;
mod soak;
mod stand_alone;
mod starting;
mod storage;
mod support;
mod surface;
mod tomorrow;
mod tool_schema;
mod traces;
