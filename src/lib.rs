//! Images and videos from the Luma Agents API: submit a job, wait for it, save the result.
//!
//! Where to go:
//!
//! - [`Client`] is where everything starts; [`Generations`] submits and waits, [`Download`] saves, [`Files`] uploads.
//! - [`Error`] says what to do next; [`ClientBuilder`], [`Retry`] and [`Wait`] have the settings.
//! - [`types`] has the requests and responses of the API.
#![cfg_attr(doc, doc = "- [`cookbook`] has a page for each task: images, videos, many jobs, errors, tests and more.")]
#![cfg_attr(feature = "emulator", doc = "- [`mock`] is for tests: the emulator, and typed mocks.")]
//!
//! The rest of this page is the README of the repository.
//!
// The first definition of a link counts: the README's leads to a folder of the repository.
#![cfg_attr(doc, doc = "[cookbook]: cookbook")]
//!
// As a test, the README needs the emulator.
#![cfg_attr(any(feature = "emulator", not(doctest)), doc = include_str!("../README.md"))]

// First, so that the methods that most programs call come first on the pages of `Client` and `Generations`.
mod client;
mod create_and_wait;
mod generations;

// Documentation only. As tests, its programs need the emulator and the schemas.
#[cfg(any(all(doc, not(doctest)), all(doctest, feature = "emulator", feature = "schemars")))]
pub mod cookbook;
pub mod download;
pub mod error;
mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod http;
mod id;
mod media;
#[cfg(feature = "emulator")]
pub mod mock;
mod progress;
mod rate_limit;
pub mod raw;
pub mod types;
mod upload;
mod util;
mod wait;

pub use self::{
    client::{
        Client,
        builder::ClientBuilder,
        call::{Call, Response},
    },
    create_and_wait::CreateAndWait,
    files::{Files, ListFiles},
    generations::{Generations, WaitAll},
    http::{key::ApiKey, retry::Retry},
    id::{FileId, GenerationId, Id},
    progress::Progress,
    rate_limit::RateLimit,
    upload::{Content, Upload},
    wait::{Updates, Wait},
};
#[doc(inline)]
pub use self::{
    download::{Download, Saved},
    error::{Error, Result},
};

#[doc(no_inline)]
pub use {bytes, chrono, reqwest, uuid};
