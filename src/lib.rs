#![doc = include_str!("../README.md")]

#[macro_use]
mod open_enum;

mod call;
mod client;
mod clock;
mod content;
pub mod download;
mod drift;
pub mod error;
mod fetch;
mod files;
#[doc(hidden)]
pub mod fuzz;
#[allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    unused_imports,
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::exhaustive_enums,
    clippy::large_futures,
    clippy::result_large_err,
    clippy::allow_attributes_without_reason,
    rustdoc::broken_intra_doc_links,
    reason = "generated from openapi.yaml"
)]
mod generated;
mod generations;
mod id;
mod key;
mod media;
#[cfg(feature = "mock")]
pub mod mock;
mod one_of;
mod progress;
mod rate_limit;
mod redact;
mod retry;
mod save;
mod scalar;
#[cfg(feature = "schemars")]
mod schema;
mod sniff;
mod storage;
mod transport;
mod upload;
mod wait;

pub use call::{Call, Response};
pub use client::{Client, ClientBuilder};
pub use content::Content;
pub use download::Download;
pub use error::{Error, Result};
pub use files::{Files, ListFiles};
pub use generations::{Generations, WaitAll};
pub use id::{FileId, GenerationId, Id};
pub use key::ApiKey;
pub use progress::Progress;
pub use rate_limit::RateLimit;
pub use retry::Retry;
pub use save::Saved;
pub use upload::Upload;
pub use wait::{Updates, Wait};

#[doc(no_inline)]
pub use {bytes, chrono, http, reqwest, uuid};

/// The wire types of the API, generated from its document.
///
/// Structs have a `builder()`; what the API may add to is `#[non_exhaustive]`. String enums keep
/// values that this version does not know in `Unknown`. They follow the API, so that minor
/// releases may add fields and values.
pub mod types {
    pub use crate::generated::{
        enums::*,
        types::{builder, error, *},
    };
    pub use crate::scalar::{Base64, InvalidUrl, Secret, Url};
}

/// The generated client: every operation of the API, for [`Client::call`].
pub mod raw {
    pub use crate::{
        generated::{Client, Error, ResponseValue, builder},
        transport::CallState,
    };
}
