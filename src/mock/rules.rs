//! What a schema cannot say: the rules of [`crate::types::rules`], media, states of generations and files.
//!
//! What the service does not publish is decided strictly here: see [`Emulator`](super::Emulator). A model,
//! type, ratio or origin of media that no rule names is left to the document.

use base64::Engine as _;
use reqwest::Url;
use serde_json::Value;
use uuid::Uuid;

use super::{
    document::{Input, Violation},
    reply::{Checked, HttpReply},
    schema,
    state::State,
    upload::{is_image, is_video},
};
use crate::{
    http::url::is_loopback,
    types::{
        FileState, GenerationState,
        rules::{self, Documented, Source, list},
    },
};

const MEGABYTE: usize = 1024 * 1024;

/// Checks a request to create a generation: its fields and types by the document, then the rules, then the
/// limits of the document for which a rule has a text that the service documents.
pub(super) fn check_generation(input: &Input, body: &Value, state: &State) -> Checked {
    let (with_text, mut violations): (Vec<_>, Vec<_>) = input.violations(body).into_iter().partition(has_text);
    if violations.is_empty() {
        check_rules(input, body, &with_text, state)?;
        let is_hint = |it: &Violation| it.pointer == "/prompt" && body["type"] == "layering";
        violations = with_text.into_iter().filter(|it| !is_hint(it)).collect();
    }
    if violations.is_empty() { Ok(()) } else { Err(violations.into()) }
}

/// Whether a rule may have a text for the violation that the service documents.
fn has_text(violation: &Violation) -> bool {
    matches!(
        (violation.pointer.as_str(), violation.keyword.as_str()),
        ("/prompt", "minLength" | "maxLength")
            | ("/model" | "/aspect_ratio", "enum")
            | ("/image_ref", "maxItems")
            | (_, "oneOf" | "format")
    )
}

fn check_rules(input: &Input, body: &Value, violations: &[Violation], state: &State) -> Checked {
    let reject = |detail: String| Err(HttpReply::detail(400, detail));
    if violations.iter().any(|it| it.pointer == "/model") {
        return reject(format!("Unknown model: {}", body["model"].as_str().unwrap_or_default()));
    }
    let limit = |field: &str, keyword: &str| input.field(field)[keyword].as_u64();
    let documented = Documented {
        prompt: (limit("prompt", "minLength"), limit("prompt", "maxLength")),
        references: limit("image_ref", "maxItems"),
        ratios: schema::items(&input.field("aspect_ratio")["enum"]).filter_map(Value::as_str).collect(),
    };
    if let Some(conflict) = rules::conflicts(body, &documented).into_iter().next() {
        return Err(HttpReply::detail(conflict.status, conflict.detail));
    }
    let media = match rules::kind(body).map(|kind| kind.source) {
        Some(Source::Video) => Media::Video,
        Some(_) => Media::Image,
        None => Media::Any,
    };
    check_media(body, media, violations, state)
}

/// What has to be behind a reference.
#[derive(Clone, Copy, PartialEq)]
enum Media {
    Image,
    Video,
    /// An image, or an earlier video to extend.
    Frame,
    /// An image or a video.
    Any,
}

impl Media {
    fn takes(self, media_type: &str) -> bool {
        match self {
            Self::Image | Self::Frame => is_image(media_type),
            Self::Video => is_video(media_type),
            Self::Any => is_image(media_type) || is_video(media_type),
        }
    }

    fn takes_generation(self, is_video: bool) -> bool {
        self == Self::Any || is_video == (self != Self::Image)
    }

    /// Whether a file is an image was checked by its ingest.
    fn takes_file(self, is_video: bool) -> bool {
        self == Self::Any || is_video == (self == Self::Video)
    }
}

fn check_media(body: &Value, source: Media, violations: &[Violation], state: &State) -> Checked {
    let check = |pointer: &str, place: &str, media: Media| {
        let reference = body.pointer(pointer).filter(|it| !it.is_null());
        // What a rule does not know as an origin may be one by the document.
        let is_valid = !violations.iter().any(|it| it.pointer == pointer);
        reference.map_or(Ok(()), |it| check_reference(it, place, media, is_valid, state))
    };
    check("/source", "source", source)?;
    for (name, media) in [("start_frame", Media::Frame), ("end_frame", Media::Frame), ("guide_frame", Media::Image)] {
        check(&format!("/video/{name}"), &format!("video.{name}"), media)?;
    }
    for (pointer, place) in [
        ("/image_ref", "image_ref"),
        ("/video/keyframes", "video.keyframes"),
        ("/video/edit/keyframes", "video.edit.keyframes"),
    ] {
        for at in 0..list(body, pointer).len() {
            check(&format!("{pointer}/{at}"), &format!("{place}[{at}]"), Media::Image)?;
        }
    }
    Ok(())
}

fn check_reference(reference: &Value, place: &str, media: Media, is_valid: bool, state: &State) -> Checked {
    let text = |name: &str| reference[name].as_str();
    let reject = |status: u16, why: &str| Err(HttpReply::detail(status, format!("{place}: {why}")));
    let media_type = text("media_type");
    match (text("url"), text("data"), text("generation_id"), text("file_id")) {
        (Some(url), None, None, None) => {
            if media == Media::Video && !media_type.is_some_and(is_video) {
                return reject(400, "'media_type' is required with 'url' and must be video/*");
            }
            if !is_public(url) {
                return reject(422, "failed to fetch URL");
            }
            Ok(())
        }
        (None, Some(data), None, None) => {
            let Some(media_type) = media_type else {
                return reject(400, "'media_type' is required with 'data'");
            };
            check_data(data, media_type, media).or_else(|(status, why)| reject(status, why))
        }
        (None, None, Some(id), None) => match id.parse().ok().and_then(|id: Uuid| state.run(id)) {
            None => reject(422, "generation not found"),
            Some(run) if run.state(state.now()) != GenerationState::Completed => {
                reject(422, "generation is not completed")
            }
            Some(run) if !media.takes_generation(run.is_video()) => {
                reject(422, "generation has another kind of output")
            }
            Some(_) => Ok(()),
        },
        (None, None, None, Some(id)) => match id.parse().ok().and_then(|id: Uuid| state.file(id)) {
            None => reject(422, "file not found"),
            Some(file) if file.state != FileState::Ready => reject(422, "file is not ready"),
            Some(file) if !media.takes_file(is_video(file.mime_type())) => {
                reject(422, "file has another kind of content")
            }
            Some(_) => Ok(()),
        },
        (Some(_), Some(_), ..) => reject(400, "provide either 'url' or 'data', not both"),
        (None, None, None, None) if is_valid => Ok(()),
        (None, None, None, None) => reject(400, "provide either 'url' or 'data', not neither"),
        _ => reject(400, "provide exactly one of 'url', 'data', 'generation_id', 'file_id'"),
    }
}

/// Whether the service would fetch it: `https`, and not on this machine.
fn is_public(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| url.scheme() == "https" && !is_loopback(&url))
}

fn check_data(data: &str, media_type: &str, media: Media) -> Result<(), (u16, &'static str)> {
    let (limit, too_large, mismatch) = match media {
        Media::Image | Media::Frame => (50 * MEGABYTE, "image exceeds 50 MB limit", "content-type is not an image"),
        Media::Video => (200 * MEGABYTE, "video exceeds 200 MB limit", "content-type is not a video"),
        Media::Any => (200 * MEGABYTE, "media exceeds 200 MB limit", "content-type is neither an image nor a video"),
    };
    if data.len() / 4 * 3 > limit + 3 {
        return Err((413, too_large));
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(data).map_err(|_| (422, "invalid base64 data"))?;
    if bytes.len() > limit {
        return Err((413, too_large));
    }
    // Bytes that nobody recognises pass, so that a test need not carry pictures.
    if !media.takes(media_type) || infer::get(&bytes).is_some_and(|sniffed| !media.takes(sniffed.mime_type())) {
        return Err((422, mismatch));
    }
    Ok(())
}

/// What the document leaves open as not confirmed.
pub(super) fn check_file(request: &Value) -> Checked {
    let invalid = |field, message| Err(Violation::new(&["body", field], message).into());
    if request["mime_type"] == "" {
        return invalid("mime_type", "String should have at least 1 character");
    }
    if request["size_bytes"] == 0 {
        return invalid("size_bytes", "Input should be greater than 0");
    }
    Ok(())
}
