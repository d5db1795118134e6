//! Valid responses of the API.

use serde_json::{Value, json};
use uuid::{Uuid, uuid};

use super::{
    SIGNATURE,
    fault_server::{Action, Request},
};

/// The id of the generation or file in every response.
pub(crate) const ID: Uuid = uuid!("d290f1ee-6c54-4b01-90e6-d701748f0851");

pub(crate) fn signed_url() -> String {
    format!("https://storage.example.com/o.png?X-Amz-Signature={SIGNATURE}")
}

pub(crate) fn generation(id: Uuid, state: &str) -> Value {
    let output = match state {
        "completed" => json!([{ "type": "image", "url": signed_url() }]),
        _ => json!([]),
    };
    json!({
        "id": id, "type": "image", "state": state, "model": "uni-1",
        "created_at": "2026-04-08T12:00:00Z", "output": output,
    })
}

pub(crate) fn file() -> Value {
    json!({
        "id": ID, "created_at": "2026-06-23T11:00:00Z", "mime_type": "image/png",
        "purpose": "input", "size_bytes": 3, "state": "ready",
    })
}

pub(crate) fn created_file() -> Value {
    json!({
        "id": ID, "state": "pending", "file": file(),
        "upload": {
            "url": signed_url(), "method": "PUT", "expires_at": "2026-06-23T12:00:00Z",
            "headers": { "x-amz-security-token": SIGNATURE },
        },
    })
}

pub(crate) fn file_page() -> Value {
    json!({ "data": [file()], "has_more": false, "next_cursor": null })
}

/// The body of the correct response to this request.
pub(crate) fn body(request: &Request) -> Value {
    match (request.method.as_str(), request.path.trim_start_matches("/v1")) {
        ("POST", "/generations") => generation(request.id, "queued"),
        ("POST", "/files") => created_file(),
        ("GET", "/files") => file_page(),
        ("GET", path) if path.starts_with("/generations/") => generation(ID, "completed"),
        _ => file(),
    }
}

/// The correct response to this request.
pub(crate) fn response(request: &Request) -> Action {
    match request.method.as_str() {
        "DELETE" => Action::respond(204, &[("x-api-version", "2026-04-01")], ""),
        "POST" => Action::api(201, &body(request).to_string()),
        _ => Action::api(200, &body(request).to_string()),
    }
}
