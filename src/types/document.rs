//! The component schemas of `openapi.yaml`, for limits that types cannot hold.

use std::sync::LazyLock;

use serde_json::Value;

static SCHEMAS: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!(concat!(env!("OUT_DIR"), "/schemas.json"))).unwrap_or_default());

/// The schema of this name.
pub(crate) fn schema(name: &str) -> &'static Value {
    &SCHEMAS[name]
}

/// All schemas.
#[cfg(feature = "schemars")]
pub(crate) fn schemas() -> &'static Value {
    &SCHEMAS
}
