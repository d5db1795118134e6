//! The wire types of the API, generated from `openapi.yaml`, and what a document cannot say of them.
//!
//! Structs have a `builder()`; what the API may add to is `#[non_exhaustive]`. String enums keep
//! values that this version does not know in `Unknown`. They follow the API, so that minor
//! releases may add fields and values.

#[macro_use]
mod open_enum;

mod document;
mod drift;
mod file;
mod generation;
pub(crate) mod lenient;
mod one_of;
pub(crate) mod rules;
mod scalar;
#[cfg(feature = "schemars")]
mod schema;

#[allow(
    dead_code,
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::exhaustive_enums,
    clippy::allow_attributes_without_reason,
    rustdoc::broken_intra_doc_links,
    reason = "generated from openapi.yaml"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/enums.rs"));
    include!(concat!(env!("OUT_DIR"), "/types.rs"));
}

pub use generated::*;
pub use scalar::{Base64, InvalidUrl, Secret, Url};
