//! The first step: the text of the document becomes a JSON value.

use serde_json::Value;

use crate::{
    Result,
    node::{FILE, one_line},
};

pub(crate) fn parse(text: &str) -> Result<Value> {
    let refuse = |error: yaml_serde::Error| one_line(&format!("{FILE} is not valid YAML: {error}"));
    // By way of a YAML value, which refuses a key that stands twice; a JSON value would keep the last.
    let mut document: yaml_serde::Value = yaml_serde::from_str(text).map_err(refuse)?;
    document.apply_merge().map_err(refuse)?;
    serde_json::to_value(document).map_err(|error| format!("{FILE} is not JSON written as YAML: {error}"))
}
