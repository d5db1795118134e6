//! What `build.rs` generates from `openapi.yaml`: wire types, open enums, the low-level client.

pub(crate) mod enums {
    include!(concat!(env!("OUT_DIR"), "/enums.rs"));
}

include!(concat!(env!("OUT_DIR"), "/client.rs"));
