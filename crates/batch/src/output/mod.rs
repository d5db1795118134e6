//! The files of a batch: outputs and their names, sidecars, results, the claim of a folder.

mod claim;
mod names;
mod replace;
mod results;
mod sidecar;

pub(crate) use self::results::check_replaceable;
pub use self::{
    claim::{check_owner, claim},
    names::{Existing, Names},
    results::{ResultError, ResultLine, Results},
    sidecar::Sidecar,
};
