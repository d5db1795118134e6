//! The promises of the crate, a file each, in one binary.

mod contract;
mod drift;
mod generations;
mod support;
mod tomorrow;
mod tool_schema;
