#![doc = include_str!("../README.md")]

pub mod error;
pub mod estimate;
mod key;
pub mod quota;
mod usd;

pub use self::{
    error::{Error, Result},
    key::{CustomId, Key},
    quota::Quota,
    usd::Usd,
};
