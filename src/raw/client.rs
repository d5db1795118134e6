//! The low-level client, generated from `openapi.yaml`: a method for each operation.

include!(concat!(env!("OUT_DIR"), "/client.rs"));
