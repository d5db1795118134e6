//! Bytes as text.

use std::fmt::Write as _;

/// In lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Never fails: it goes into memory.
        write!(text, "{byte:02x}").ok();
    }
    text
}
