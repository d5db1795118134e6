//! The first step: the text of the document becomes a JSON value.

use serde_json::Value;

use crate::{
    Result,
    node::{FILE, one_line},
};

pub(crate) fn parse(text: &str) -> Result<Value> {
    // YAML 1.2: `y` is a letter, not a truth.
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|e| one_line(&format!("{FILE} is not valid YAML: {}", e.without_snippet())))
}
