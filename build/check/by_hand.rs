//! What the hand-written part of the crate needs of the document: the names that it uses are there, and the requests
//! that it makes have no further required field.

use crate::{Result, node::Node, walk};

/// The schema, what it can be given, and where that is written.
const REQUESTS: [(&str, &[&str], &str); 5] = [
    ("CreateFile", &["mime_type", "size_bytes"], "src/upload"),
    ("DataRef", &["data", "media_type"], "src/media.rs"),
    ("FileRef", &["file_id"], "src/media.rs"),
    ("GenerationRef", &["generation_id"], "src/media.rs"),
    ("UrlRef", &["url"], "src/media.rs"),
];

/// The schema, the values or fields that are named, and where.
const NAMED: [(&str, &[&str], &str); 14] = [
    ("CreateFile", &["expires_at", "filename", "mime_type", "purpose", "size_bytes", "user_id"], "src/upload"),
    ("CreateFileResponse", &["file", "upload"], "src/upload"),
    ("CreateGeneration", &["model", "prompt", "type"], "src/generations.rs"),
    ("File", &["failure_reason", "id", "mime_type", "size_bytes", "state"], "src/files.rs"),
    ("FilePage", &["data", "has_more", "next_cursor"], "src/files.rs"),
    ("FileState", &["deleted", "failed", "pending", "ready"], "src/files.rs"),
    (
        "Generation",
        &["created_at", "failure_code", "failure_reason", "id", "model", "output", "state", "type"],
        "src/generations.rs",
    ),
    (
        "GenerationFailureCode",
        &["budget_exhausted", "content_moderated", "generation_failed", "output_not_found"],
        "src/mock",
    ),
    ("GenerationOutput", &["layer", "type", "url"], "src/types/generation.rs"),
    ("GenerationState", &["completed", "failed", "processing", "queued"], "src/generations.rs"),
    (
        "GenerationType",
        &["image", "image_edit", "layering", "video", "video_edit", "video_reframe"],
        "src/generations.rs",
    ),
    ("Layer", &["index", "label"], "src/download/name.rs"),
    ("Model", &["ray-3.2", "uni-1", "uni-1-max"], "src/generations.rs"),
    ("PresignedUpload", &["headers", "method", "url"], "src/upload"),
];

/// The operations that have a method.
const OPERATIONS: [&str; 7] =
    ["complete_file", "create_file", "create_generation", "delete_file", "get_file", "get_generation", "list_files"];

pub(super) fn check(document: &Node<'_>) -> Result<()> {
    for (name, named, file) in NAMED {
        let schema = document.components("schemas").get(name);
        let (place, names): (_, Vec<_>) = match schema.get("enum") {
            values if values.exists() => (values.clone(), values.items().filter_map(|it| it.text()).collect()),
            _ => (schema.get("properties"), schema.get("properties").fields().map(|(field, _)| field).collect()),
        };
        if let Some(missing) = named.iter().find(|it| !names.contains(it)) {
            return Err(place
                .refuse(&format!("`{missing}` is not there, and {file} names it; put it back, or remove it there")));
        }
    }
    for id in OPERATIONS {
        if walk::operation(document, id).is_none() {
            let problem =
                format!("there is no operation `{id}`, which has a method in src; put it back, or remove that");
            return Err(document.get("paths").refuse(&problem));
        }
    }
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
