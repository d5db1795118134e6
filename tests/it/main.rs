//! The promises of the crate, a file each, in one binary.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what a test helper meets is the test's failure"
)]

mod contract;
mod drift;
mod generations;
mod support;
mod tomorrow;
mod tool_schema;
