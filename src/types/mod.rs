//! The requests and responses of the API, generated from `openapi.yaml`, with what a program needs beside their fields.
//!
//! Begin with [`CreateGeneration`]. Structs have a `builder()`. Where the API may add something, a type is
//! `#[non_exhaustive]`, and a minor release may add it; an enum keeps a value that this version does not know in
//! `Unknown`.
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
//! Store these types as JSON, the format of the API. They implement serde's traits for JSON only: fields may be left out,
//! and alternatives are told apart by the names of fields, so a format without names, such as postcard, cannot read back
//! what it has written.
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

// After the generated code, so that the page of a request begins with its builder.
pub(crate) mod rules;

pub use generated::*;
pub use optional::Optional;
pub use scalar::{Base64, InvalidUrl, Secret, Url};
