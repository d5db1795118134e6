//! `openapi.yaml` and the code generated from it agree, down to the last example.

mod emulator;
mod examples;
mod exchanges;
mod inventory;
mod payloads;
mod properties;
mod public_api;
mod schemas;
mod wire;
