//! What a schema cannot say: which model makes which type, counts of references, options that exclude each
//! other, states of generations and files.
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
    types::{FileState, GenerationState},
};

const MEGABYTE: usize = 1024 * 1024;

/// What a type of generation takes.
struct Kind {
    name: &'static str,
    models: &'static [&'static str],
    ratios: Ratios,
    source: Source,
    references: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Ratios {
    Of(&'static [&'static str]),
    /// The output follows the source.
    Ignored,
    Rejected,
}

#[derive(Clone, Copy, PartialEq)]
enum Source {
    None,
    Image,
    Video,
}

const UNI: &[&str] = &["uni-1", "uni-1-max"];
const RAY: &[&str] = &["ray-3.2"];
const OF_IMAGES: Ratios = Ratios::Of(&["1:1", "1:2", "1:3", "16:9", "2:1", "2:3", "3:1", "3:2", "9:16"]);
const OF_VIDEOS: Ratios = Ratios::Of(&["1:1", "16:9", "21:9", "3:4", "4:3", "9:16"]);

#[rustfmt::skip]
const KINDS: [Kind; 6] = [
    Kind { name: "image",         models: UNI,        ratios: OF_IMAGES,        source: Source::None,  references: true },
    Kind { name: "image_edit",    models: UNI,        ratios: Ratios::Ignored,  source: Source::Image, references: true },
    Kind { name: "video",         models: RAY,        ratios: OF_VIDEOS,        source: Source::None,  references: false },
    Kind { name: "video_edit",    models: RAY,        ratios: Ratios::Rejected, source: Source::Video, references: false },
    Kind { name: "video_reframe", models: RAY,        ratios: OF_VIDEOS,        source: Source::Video, references: false },
    Kind { name: "layering",      models: &["uni-1"], ratios: Ratios::Ignored,  source: Source::Image, references: false },
];

/// A request whose fields and types are as the document says.
struct Request<'a> {
    body: &'a Value,
    kind: &'static Kind,
}

impl Request<'_> {
    /// Whether there is something other than null and false.
    fn has(&self, pointer: &str) -> bool {
        has(self.body, pointer)
    }

    fn is(&self, kind: &str) -> bool {
        self.kind.name == kind
    }

    fn text(&self, pointer: &str) -> &str {
        self.body.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    fn is_long(&self) -> bool {
        self.text("/video/duration") == "10s"
    }

    fn is_portrait(&self) -> bool {
        let sides = self.text("/aspect_ratio").split_once(':');
        let sides = sides.and_then(|(width, height)| Some((width.parse::<u32>().ok()?, height.parse::<u32>().ok()?)));
        sides.is_some_and(|(width, height)| width < height)
    }

    fn unpaired(&self, of: &str) -> bool {
        let list = |name| list(self.body, &format!("{of}/{name}"));
        let (frames, indexes) = (list("keyframes"), list("keyframe_indexes"));
        let repeated = indexes.iter().enumerate().any(|(at, index)| indexes[..at].contains(index));
        frames.len() != indexes.len() || repeated
    }

    /// At 24 frames a second.
    fn past_the_end(&self) -> bool {
        let duration = self.text("/video/duration");
        let seconds = if duration.is_empty() { Ok(5) } else { duration.trim_end_matches('s').parse::<i64>() };
        let indexes = list(self.body, "/video/keyframe_indexes");
        seconds.is_ok_and(|seconds| indexes.iter().any(|at| at.as_i64() > Some(seconds.saturating_mul(24))))
    }

    fn extends(&self) -> bool {
        self.has("/video/start_frame/generation_id") || self.has("/video/end_frame/generation_id")
    }
}

fn has(body: &Value, pointer: &str) -> bool {
    !matches!(body.pointer(pointer), None | Some(Value::Null | Value::Bool(false)))
}

fn list<'a>(body: &'a Value, pointer: &str) -> &'a [Value] {
    body.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Whether a request breaks the rule, and the text of the error.
type Rule = (fn(&Request<'_>) -> bool, &'static str);

#[rustfmt::skip]
const RULES: &[Rule] = &[
    (|it| it.has("/video") && it.kind.models != RAY, "video is only valid for video types"),
    (|it| it.has("/layering") && !it.is("layering"), "layering is only valid for type 'layering'"),
    (|it| it.is("video_reframe") && !it.has("/aspect_ratio"), "aspect_ratio is required for type 'video_reframe'"),
    (|it| it.is("video_edit") && it.has("/aspect_ratio"), "aspect_ratio is not valid for type 'video_edit'"),
    (|it| it.is("image") && it.text("/style") == "manga" && it.has("/aspect_ratio") && !it.is_portrait(),
        "style 'manga' needs a portrait aspect_ratio"),

    (|it| it.has("/video/loop") && !it.is("video"), "loop is only valid for type 'video'"),
    (|it| it.has("/video/loop") && it.is_long(), "loop is not available for 10s"),
    (|it| it.has("/video/loop") && it.has("/video/hdr"), "loop is not available with hdr"),
    (|it| it.has("/video/loop") && it.has("/video/end_frame"), "loop is not available with end_frame"),
    (|it| it.has("/video/loop") && it.has("/video/keyframes"), "loop is not available with keyframes"),

    (|it| it.has("/video/hdr") && it.is("video_reframe"), "hdr is not available for type 'video_reframe'"),
    (|it| it.has("/video/hdr") && ["360p", "540p"].contains(&it.text("/video/resolution")), "hdr needs 720p or 1080p"),
    (|it| it.has("/video/hdr") && it.is("video") && it.is_long(), "hdr is not available for 10s"),
    (|it| it.has("/video/exr_export") && !it.has("/video/hdr"), "exr_export needs hdr"),

    (|it| it.has("/video/start_frame") && it.is("video_reframe"), "start_frame is not available for type 'video_reframe'"),
    (|it| it.has("/video/end_frame") && it.kind.source == Source::Video, "end_frame is only valid for type 'video'"),
    (|it| it.has("/video/start_frame") && it.is("video") && it.is_long(), "start_frame is not available for 10s"),
    (|it| it.has("/video/end_frame") && it.is_long(), "end_frame is not available for 10s"),
    (|it| it.extends() && it.has("/video/start_frame") && it.has("/video/end_frame"), "an extension takes exactly one frame"),
    (|it| it.extends() && it.has("/video/hdr"), "an extension is SDR only"),

    (|it| it.has("/video/keyframes") && !it.is("video"), "keyframes are only valid for type 'video'"),
    (|it| it.has("/video/keyframes") && it.has("/video/start_frame"), "keyframes are not available with start_frame"),
    (|it| it.has("/video/keyframes") && it.has("/video/end_frame"), "keyframes are not available with end_frame"),
    (|it| it.unpaired("/video"), "keyframe_indexes must be unique and as many as keyframes"),
    (|it| it.past_the_end(), "keyframe_indexes must lie within the duration"),

    (|it| it.has("/video/source_position") && !it.is("video_reframe"), "source_position is only valid for type 'video_reframe'"),
    (|it| it.is("video_reframe") && it.text("/video/resolution") == "1080p" && it.is_portrait(),
        "1080p is not available for this aspect_ratio"),

    (|it| it.has("/video/edit") && !it.is("video_edit"), "edit is only valid for type 'video_edit'"),
    (|it| it.has("/video/edit/auto_controls") && it.has("/video/edit/controls"), "auto_controls is not available with controls"),
    (|it| it.has("/video/edit/keyframes") && it.has("/video/start_frame"), "edit.keyframes are not available with start_frame"),
    (|it| it.unpaired("/video/edit"), "edit.keyframe_indexes must be unique and as many as edit.keyframes"),
];

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
    let name = body["type"].as_str().unwrap_or("image");
    let model = body["model"].as_str().unwrap_or("uni-1");
    let kind = KINDS.iter().find(|kind| kind.name == name);
    if violations.iter().any(|it| it.pointer == "/model") {
        return reject(format!("Unknown model: {model}"));
    }
    let is_named = KINDS.iter().any(|kind| kind.models.contains(&model));
    if kind.is_some_and(|kind| is_named && !kind.models.contains(&model)) {
        return reject(format!("Type '{name}' is not supported for model '{model}'"));
    }

    let limit = |field: &str, keyword: &str| input.field(field)[keyword].as_u64();
    let lengths = match (limit("prompt", "minLength"), limit("prompt", "maxLength")) {
        // Only a hint.
        (_, most) if name == "layering" => (Some(0), Some(most.map_or(500, |most| most.min(500)))),
        lengths => lengths,
    };
    let length = body["prompt"].as_str().unwrap_or_default().chars().count() as u64;
    if let (Some(least), Some(most)) = lengths
        && !(least..=most).contains(&length)
    {
        return reject(format!("Prompt must be between {least} and {most} characters"));
    }
    let Some(kind) = kind else { return check_media(body, Media::Any, violations, state) };
    if let (Some(ratio), Ratios::Of(named)) = (body["aspect_ratio"].as_str(), kind.ratios) {
        let valid = valid_ratios(input, named);
        if !valid.contains(&ratio) {
            return reject(format!("Invalid aspect_ratio '{ratio}'. Valid: {}", valid.join(", ")));
        }
    }

    let request = Request { body, kind };
    match (request.has("/source"), kind.source) {
        (false, Source::Image | Source::Video) => return reject(format!("source is required for type '{name}'")),
        (true, Source::None) => return reject("source is only valid for type 'image_edit'".to_owned()),
        _ => {}
    }
    let references = list(body, "/image_ref").len() as u64;
    if !kind.references && references > 0 {
        return reject(format!("image_ref is not valid for type '{name}'"));
    }
    let (slots, note) = if request.has("/source") { (1, " (source occupies one slot)") } else { (0, "") };
    if let Some(most) = limit("image_ref", "maxItems").map(|most| most.saturating_sub(slots))
        && references > most
    {
        return reject(format!("{name} supports up to {most} reference images{note}"));
    }
    // For conflicts of options the service has used 422 since it makes videos.
    if let Some((_, detail)) = RULES.iter().find(|(broken, _)| broken(&request)) {
        return Err(HttpReply::detail(422, *detail));
    }
    check_media(body, if kind.source == Source::Video { Media::Video } else { Media::Image }, violations, state)
}

/// The ratios of a type, in the order of the service's own text: of those that the document has, the named
/// ones and those that are named for no type.
fn valid_ratios<'a>(input: &'a Input, named: &[&str]) -> Vec<&'a str> {
    let named_for_any =
        |ratio: &&str| KINDS.iter().any(|kind| matches!(kind.ratios, Ratios::Of(ratios) if ratios.contains(ratio)));
    let documented = schema::items(&input.field("aspect_ratio")["enum"]).filter_map(Value::as_str);
    let mut valid: Vec<_> = documented.filter(|it| named.contains(it) || !named_for_any(it)).collect();
    valid.sort_unstable_by_key(|ratio| ratio.split_once(':'));
    valid
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
