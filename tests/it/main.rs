//! The promises of the crate, a file each, in one binary.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what a test helper meets is the test's failure"
)]

mod answers;
mod faults;
mod generations;
mod limits;
mod properties;
mod support;
mod traces;
