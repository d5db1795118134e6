//! HTTP with the API and with storage: which URLs, which key, when to send again, what a failure means.
//!
//! [`transport`] is the one send loop. [`api`] and [`storage`] are what it sends, and hold all that
//! differs between the two.

pub(crate) mod api;
pub(crate) mod failure;
pub(crate) mod fault;
pub(crate) mod key;
pub(crate) mod response;
pub(crate) mod retry;
pub(crate) mod retry_after;
pub(crate) mod shared;
pub(crate) mod storage;
pub(crate) mod throttle;
pub(crate) mod trace;
pub(crate) mod transport;
pub(crate) mod url;
