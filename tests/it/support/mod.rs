//! What several files of tests share.

pub(crate) mod contract_check;
pub(crate) mod document;
pub(crate) mod recorder;
pub(crate) mod snapshot;
