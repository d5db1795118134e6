//! The promises of the crate, a file each, in one binary.

mod emulator;
mod generations;
