//! x

#[macro_use]
mod open_enum;

mod call;
mod client;
mod drift;
pub mod error;
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
mod key;
mod media;
#[cfg(feature = "mock")]
pub mod mock;
mod rate_limit;
mod redact;
mod retry;
mod scalar;
mod transport;
mod wait;

pub use call::{Call, Response};
pub use client::{Client, ClientBuilder};
pub use error::{Error, Result};
pub use generations::{GenerationId, Generations};
pub use key::ApiKey;
pub use rate_limit::RateLimit;
pub use retry::Retry;
pub use wait::{Updates, Wait};

/// The wire types of the API.
pub mod types {
    pub use crate::generated::{enums::*, types::*};
    pub use crate::scalar::{Base64, InvalidUrl, Secret, Url};
}

/// The generated client, for [`Client::call`].
pub mod raw {
    pub use crate::{
        generated::{Client, Error, ResponseValue, builder},
        transport::CallState,
    };
}
