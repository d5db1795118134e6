//! Whatever a body holds, decoding it never panics, and what was decoded can be printed and encoded.
#![no_main]

use luma_agents::types::Generation;

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    if let Ok(value) = serde_json::from_slice::<Generation>(body) {
        let _ = (format!("{value:?}"), serde_json::to_value(value));
    }
});
