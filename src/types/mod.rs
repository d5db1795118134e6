//! The wire types of the API, generated from `openapi.yaml`, and what a document cannot say of them.
//!
//! Structs have a `builder()`; what the API may add to is `#[non_exhaustive]`. String enums keep
//! values that this version does not know in `Unknown`. They follow the API, so that minor
//! releases may add fields and values.
//!
//! A field or value that is newer than this crate can be used: an enum takes any text, and the builder of
//! each object of a request has `extra` for a field without a setter. `from_json` reads a request that somebody
//! else wrote.
//!
//! ```
//! use luma_agents::types::{CreateGeneration, VideoOptions};
//!
//! let request = CreateGeneration::builder()
//!     .prompt("a lighthouse at dusk")
//!     .type_("video")
//!     .model("ray-4")
//!     .video(VideoOptions::builder().hdr(true).extra("fps", 24))
//!     .build()?;
//!
//! let typo = r#"{"prompt": "a duck", "aspect_ration": "1:1"}"#;
//! assert_eq!(
//!     CreateGeneration::from_json(typo).unwrap_err().to_string(),
//!     "there is no field `aspect_ration`; did you mean `aspect_ratio`?",
//! );
//! # Ok::<(), luma_agents::Error>(())
//! ```
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

mod document;
mod drift;
mod extra;
mod file;
mod from_json;
mod generation;
pub(crate) mod lenient;
mod one_of;
mod optional;
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
pub use optional::Optional;
pub use scalar::{Base64, InvalidUrl, Secret, Url};
