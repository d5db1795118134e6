//! The promises of the crate, a file each, in one binary.

mod contract;
mod generations;
mod support;
