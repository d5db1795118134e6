//! The promises of the crate, a file each, in one binary.

mod faults;
mod generations;
mod support;
