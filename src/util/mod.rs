//! Helpers that know nothing of the API.

pub(crate) mod clock;
pub(crate) mod hex;
pub(crate) mod media_type;
pub(crate) mod redact;
pub(crate) mod server_clock;
