//! Requests that the hand-written part of the crate makes: it cannot fill in a new required field.

use crate::{Result, node::Node};

/// The schema, what it can be given, and where that is written.
const REQUESTS: [(&str, &[&str], &str); 5] = [
    ("CreateFile", &["mime_type", "size_bytes"], "src/upload"),
    ("DataRef", &["data", "media_type"], "src/media.rs"),
    ("FileRef", &["file_id"], "src/media.rs"),
    ("GenerationRef", &["generation_id"], "src/media.rs"),
    ("UrlRef", &["url"], "src/media.rs"),
];

pub(super) fn check(document: &Node<'_>) -> Result<()> {
    for (name, given, file) in REQUESTS {
        for field in document.components("schemas").get(name).get("required").items() {
            if let Some(field_name) = field.text().filter(|name| !given.contains(name)) {
                return Err(field.refuse(&format!(
                    "`{field_name}` is not given in {file}, which makes this request; make it optional, or write it there"
                )));
            }
        }
    }
    Ok(())
}
