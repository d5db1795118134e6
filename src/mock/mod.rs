//! Tests without the network: an [`Emulator`] of the service (feature `emulator`), and typed mocks of
//! single operations (feature `mock`), which can also respond as the service never would.
//!
//! The emulator is a server on this machine. It checks requests, runs jobs and stores files; what it does
//! next can be scripted with [`Script`], [`Ingest`], [`Transfer`] and [`Reply`].
//!
//! The typed mocks are methods on an [`httpmock`](https://docs.rs/httpmock) server, one for every operation
//! of the API, in the trait `MockServerExt`. They take the types of this crate, so a mock that does not fit
//! the API does not compile. [`generation`], [`file()`], [`failed_generation`] and [`error`](error()) make
//! bodies for them. Examples of both are below.
//!
//! # The emulator
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> luma_agents::Result<()> {
//! use luma_agents::{
//!     Error,
//!     mock::{Emulator, Script},
//!     types::{CreateGeneration, GenerationFailureCode},
//! };
//!
//! let emulator = Emulator::start().await?;
//! emulator.next(Script::fails(GenerationFailureCode::ContentModerated));
//!
//! let request = CreateGeneration::builder().prompt("a duck");
//! let generations = emulator.client().generations();
//! let outcome = generations.create_and_wait(request).await;
//! assert!(matches!(outcome, Err(Error::GenerationFailed(_))));
//! assert_eq!(emulator.jobs().len(), 1); // jobs that would have been paid for
//! # Ok(()) }
//! ```
//!
//! # Scripts in JSON, for the emulator
//!
//! A program in another language scripts an emulator with JSON, read by [`EmulatorBuilder::script_json`].
//! Each list is played in order, each entry once or as often as its `times` says. Every field but those in
//! bold is optional; an unknown one is an error. Times are in seconds.
//!
//! | list | an entry |
//! | --- | --- |
//! | `default` | one object, not a list: how generations run that nothing else is for; fields as below |
//! | `prompts` | **`contains`**, **`then`**: how every generation runs whose prompt contains the text |
//! | `generations` | `takes` or `states`, `fails` (a failure code), `reason`, `model`, `type` |
//! | `files` | `takes`, `fails` (the reason): how an uploaded file is taken in |
//! | `downloads`, `uploads` | `status`, `cut_after` and `stall_after` (bytes), `changed`, `without_length`, `without_ranges` |
//! | `replies` | **`operation`** (its `operationId`); `reply` (the name of a function of [`Reply`], with `retry_after` for `rate_limited`), or `status` with `detail` (an error of the API) or `body` (any text); `headers`, `delay`, `after_effect` |
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> luma_agents::Result<()> {
//! use luma_agents::mock::Emulator;
//!
//! let script = r#"{
//!     "default": { "takes": 30 },
//!     "prompts": [{
//!         "contains": "forbidden",
//!         "then": { "fails": "content_moderated", "takes": 2 }
//!     }],
//!     "replies": [{
//!         "operation": "create_generation",
//!         "reply": "rate_limited", "retry_after": 1,
//!         "times": 2
//!     }],
//!     "downloads": [{ "cut_after": 1000 }]
//! }"#;
//! let emulator = Emulator::builder().script_json(script)?.speed(100.0).start().await?;
//! # Ok(()) }
//! ```
//!
//! # Typed mocks
//!
//! ## A job that succeeds
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> luma_agents::Result<()> {
//! use luma_agents::{
//!     mock::{self, MockServer, MockServerExt},
//!     types::{CreateGeneration, GenerationState},
//! };
//!
//! let server = MockServer::start_async().await;
//! let luma = mock::client(&server)?;
//! let create = server.create_generation(|when, then| {
//!     when.body(&CreateGeneration::builder().prompt("a duck").try_into().unwrap());
//!     then.created(&mock::generation(GenerationState::Queued));
//! });
//! server.get_generation(|_, then| {
//!     then.ok(&mock::generation(GenerationState::Completed));
//! });
//!
//! let request = CreateGeneration::builder().prompt("a duck");
//! let wait = luma.generations().create_and_wait(request);
//! // The default pace is that of the service: 20 seconds until the first poll.
//! let done = wait.first_after(std::time::Duration::ZERO).await?;
//! assert_eq!(done.outputs().len(), 1);
//! create.assert(); // exactly one job was paid for
//! # Ok(()) }
//! ```
//!
//! ## A job that fails
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> luma_agents::Result<()> {
//! use luma_agents::{
//!     Error,
//!     mock::{self, MockServer, MockServerExt},
//!     types::GenerationFailureCode,
//! };
//!
//! let server = MockServer::start_async().await;
//! let failed = mock::failed_generation(GenerationFailureCode::ContentModerated);
//! server.get_generation(|_, then| {
//!     then.ok(&failed);
//! });
//!
//! let outcome = mock::client(&server)?.generations().wait(&failed).await;
//! let Err(Error::GenerationFailed(e)) = outcome else { panic!("it failed") };
//! assert_eq!(e.code(), Some(&GenerationFailureCode::ContentModerated));
//! # Ok(()) }
//! ```
//!
//! ## A limit, then success
//!
//! The first mock that matches is used, in the order in which they were made. So the one with a limited
//! number of uses comes first.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> luma_agents::Result<()> {
//! use luma_agents::{
//!     mock::{self, MockServer, MockServerExt},
//!     types::{CreateGeneration, GenerationState},
//! };
//!
//! let server = MockServer::start_async().await;
//! let limited = server.create_generation(|_, then| {
//!     then.too_many_requests(&mock::error("Rate limit exceeded"))
//!         .into_inner()
//!         .header("X-RateLimit-Limit", "600")
//!         .header("X-RateLimit-Remaining", "0")
//!         .header("Retry-After", "0")
//!         .up_to_n_times(1);
//! });
//! server.create_generation(|_, then| {
//!     then.created(&mock::generation(GenerationState::Queued));
//! });
//!
//! let luma = mock::client(&server)?;
//! let request = CreateGeneration::builder().prompt("a duck");
//! let response = luma.generations().create(request).response().await?;
//! assert_eq!(response.exchange.attempts, 2);
//! limited.assert();
//! # Ok(()) }
//! ```
//!
//! ## A wait that ends before the job
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> luma_agents::Result<()> {
//! use std::time::Duration;
//! use luma_agents::{
//!     Error,
//!     mock::{self, MockServer, MockServerExt},
//!     types::GenerationState,
//! };
//!
//! let server = MockServer::start_async().await;
//! let job = mock::generation(GenerationState::Processing);
//! server.get_generation(|_, then| {
//!     then.ok(&job);
//! });
//!
//! let luma = mock::client(&server)?;
//! let wait = luma.generations().wait(&job).every(Duration::from_millis(5));
//! let outcome = wait.timeout(Duration::from_millis(20)).await;
//! let Err(e @ Error::WaitTimeout(_)) = outcome else { panic!("it never ends") };
//! assert_eq!(e.generation_id(), Some(job.id)); // wait for it again, later
//! # Ok(()) }
//! ```
//!
//! ## A state that this version does not know
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> luma_agents::Result<()> {
//! use std::time::Duration;
//! use luma_agents::{mock::{self, MockServer, MockServerExt}, types::GenerationState};
//!
//! let server = MockServer::start_async().await;
//! server.get_generation(|_, then| {
//!     then.ok(&mock::generation("paused".into())).into_inner().up_to_n_times(1);
//! });
//! server.get_generation(|_, then| {
//!     then.ok(&mock::generation(GenerationState::Completed));
//! });
//!
//! let job = mock::generation(GenerationState::Queued);
//! let pace = Duration::from_millis(1);
//! let wait = mock::client(&server)?.generations().wait(job.id);
//! let mut updates = wait.first_after(pace).every(pace).updates();
//! let mut seen = Vec::new();
//! while let Some(generation) = updates.next().await {
//!     seen.push(generation?.state.to_string());
//! }
//! assert_eq!(seen, ["paused", "completed"]);
//! # Ok(()) }
//! ```

mod api;
mod clock;
mod document;
mod emulator;
mod exr;
mod fixtures;
mod media;
mod mp4;
mod picture;
mod quota;
mod reply;
mod requests;
mod rules;
mod run;
mod schema;
mod script;
mod script_json;
mod server;
mod signer;
mod state;
mod storage;
#[cfg(test)]
mod tests;
mod text;
#[cfg(feature = "mock")]
mod typed;
mod upload;
mod video;

#[cfg(feature = "mock")]
#[doc(no_inline)]
pub use httpmock::{self, MockServer};

pub use emulator::{Emulator, EmulatorBuilder};
pub use fixtures::{error, failed_generation, file, generation};
pub use quota::{Admitted, Exceeded, Limiter, Place, Quota};
pub use reply::{Operation, Reply};
pub use requests::Request;
pub use run::Job;
pub use script::{Ingest, Script, Transfer};
#[cfg(feature = "mock")]
pub use typed::{MockServerExt, client, operations};
