#![doc = include_str!("../README.md")]

pub mod error;
mod key;
mod usd;

pub use self::{
    error::{Error, Result},
    key::{CustomId, Key},
    usd::Usd,
};
