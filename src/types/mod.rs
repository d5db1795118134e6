//! The wire types of the API, generated from `openapi.yaml`, and what a document cannot say of them.
//!
//! Structs have a `builder()`; what the API may add to is `#[non_exhaustive]`. String enums keep
//! values that this version does not know in `Unknown`. They follow the API, so that minor
//! releases may add fields and values.
//!
//! The types implement serde's traits for JSON only, in which the API speaks: they leave out fields and
//! tell alternatives apart by name. Store them as JSON; formats without names, such as postcard, write
//! them and cannot read them back.
//!
//! With the feature `schemars` each has a JSON Schema (draft 2020-12), with the limits of the API's document.
//! It is not the subset that language models call strict: optional fields are not required, and an open enum
//! takes any text.

#[macro_use]
mod open_enum;

mod drift;
mod file;
mod generation;
pub(crate) mod lenient;
mod one_of;
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
