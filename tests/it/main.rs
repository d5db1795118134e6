//! The promises of the crate, a file each, in one binary.

mod answers;
mod faults;
mod generations;
mod limits;
mod properties;
mod support;
mod traces;
