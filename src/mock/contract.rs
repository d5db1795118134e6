//! The rules that requests have to keep, as tables.
//!
//! What the service does not publish is decided strictly here: see [`Emulator`](super::Emulator).

use base64::Engine as _;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    answer::Reply,
    world::{World, is_image, is_video},
};
use crate::types::{
    FilePurpose, FileState, GenerationState, GenerationType, LayeringResolution, OutputFormat, PoseStrength, Style,
    VideoDuration, VideoEditStrength, VideoResolution,
};

/// The refusal, if a rule is broken.
pub(super) type Checked<T = ()> = Result<T, Reply>;

const MEGABYTE: usize = 1024 * 1024;
const LARGEST_FILE: i64 = 5 * 1024 * 1024 * 1024;

// Structure: which fields there are, and what they may hold.

struct Field {
    name: &'static str,
    holds: Shape,
    required: bool,
    nullable: bool,
}

enum Shape {
    /// At most so many characters.
    Text(usize),
    /// One of the values that the API documents.
    Word(fn(&str) -> bool),
    Flag,
    /// From, to.
    Whole(i64, i64),
    /// From, to.
    Number(f64, f64),
    /// Above zero, to.
    Positive(f64),
    Object(&'static [Field]),
    /// At least and at most so many.
    List(usize, usize, &'static Shape),
}

use Shape::{Flag, List, Number, Object, Positive, Text, Whole, Word};

const fn required(name: &'static str, holds: Shape) -> Field {
    Field { name, holds, required: true, nullable: false }
}

const fn optional(name: &'static str, holds: Shape) -> Field {
    Field { name, holds, required: false, nullable: false }
}

const fn nullable(name: &'static str, holds: Shape) -> Field {
    Field { name, holds, required: false, nullable: true }
}

const ANY: Shape = Text(usize::MAX);

/// Lengths and values with a documented text of their own are judged below.
const CREATE_GENERATION: &[Field] = &[
    required("prompt", ANY),
    optional("type", Word(|it| GenerationType::KNOWN.contains(&it.into()))),
    optional("model", ANY),
    nullable("aspect_ratio", ANY),
    optional("style", Word(|it| Style::KNOWN.contains(&it.into()))),
    nullable("output_format", Word(|it| OutputFormat::KNOWN.contains(&it.into()))),
    optional("web_search", Flag),
    optional("image_ref", List(0, usize::MAX, &MEDIA)),
    nullable("source", MEDIA),
    nullable("user_id", Text(256)),
    nullable("video", Object(VIDEO)),
    nullable("layering", Object(LAYERING)),
];

const MEDIA: Shape = Object(&[
    nullable("url", ANY),
    nullable("data", ANY),
    nullable("media_type", ANY),
    nullable("generation_id", ANY),
    nullable("file_id", ANY),
]);

const VIDEO: &[Field] = &[
    nullable("resolution", Word(|it| VideoResolution::KNOWN.contains(&it.into()))),
    nullable("duration", Word(|it| VideoDuration::KNOWN.contains(&it.into()))),
    nullable("loop", Flag),
    nullable("hdr", Flag),
    nullable("exr_export", Flag),
    nullable("start_frame", MEDIA),
    nullable("end_frame", MEDIA),
    nullable("keyframes", List(1, 64, &MEDIA)),
    nullable("keyframe_indexes", List(1, 64, &Whole(0, 240))),
    nullable("guide_frame", MEDIA),
    nullable(
        "source_position",
        Object(&[
            required("x_norm", Number(-2.0, 2.0)),
            required("y_norm", Number(-2.0, 2.0)),
            required("w_norm", Positive(2.0)),
            required("h_norm", Positive(2.0)),
        ]),
    ),
    nullable("edit", Object(EDIT)),
];

const EDIT: &[Field] = &[
    nullable("auto_controls", Flag),
    nullable("strength", Word(|it| VideoEditStrength::KNOWN.contains(&it.into()))),
    nullable(
        "controls",
        Object(&[
            nullable("depth", Object(&[ENABLED, nullable("blur", Number(0.0, 1.0))])),
            nullable("face", Object(&[ENABLED])),
            nullable("normals", Object(&[ENABLED, nullable("augmentation", Number(0.0, 1.0))])),
            nullable(
                "pose",
                Object(&[ENABLED, nullable("strength", Word(|it| PoseStrength::KNOWN.contains(&it.into())))]),
            ),
            nullable("trajectory", Object(&[ENABLED, nullable("sparsity", Number(0.0, 1.0))])),
        ]),
    ),
    nullable("keyframes", List(0, 64, &MEDIA)),
    nullable("keyframe_indexes", List(0, 64, &Whole(0, i64::MAX))),
];

const ENABLED: Field = nullable("enabled", Flag);

const LAYERING: &[Field] = &[nullable("resolution", Word(|it| LayeringResolution::KNOWN.contains(&it.into())))];

const CREATE_FILE: &[Field] = &[
    required("mime_type", ANY),
    required("size_bytes", Whole(1, LARGEST_FILE)),
    optional("purpose", Word(|it| FilePurpose::KNOWN.contains(&it.into()))),
    nullable("filename", ANY),
    nullable("expires_at", ANY),
    nullable("user_id", ANY),
];

const LIST_FILES: &[Field] = &[
    optional("cursor", ANY),
    optional("limit", Whole(1, 100)),
    optional("purpose", Word(|it| FilePurpose::KNOWN.contains(&it.into()))),
    optional("state", Word(|it| FileState::KNOWN.contains(&it.into()))),
];

impl Shape {
    /// Where `value` does not fit, and why.
    fn misfit(&self, value: &Value, place: &str) -> Option<(String, String)> {
        let complaint = match (self, value) {
            (Text(most), Value::String(text)) if text.chars().count() <= *most => return None,
            (Text(most), Value::String(_)) => format!("String should have at most {most} characters"),
            (Text(_), _) => "Input should be a valid string".to_owned(),
            (Word(known), Value::String(word)) if known(word) => return None,
            (Word(_), _) => "Input should be one of the documented values".to_owned(),
            (Flag, Value::Bool(_)) => return None,
            (Flag, _) => "Input should be a valid boolean".to_owned(),
            (Whole(least, most), _) if value.as_i64().is_some_and(|it| (*least..=*most).contains(&it)) => return None,
            (Whole(least, most), _) => format!("Input should be an integer from {least} to {most}"),
            (Number(least, most), _) if value.as_f64().is_some_and(|it| (*least..=*most).contains(&it)) => return None,
            (Number(least, most), _) => format!("Input should be a number from {least} to {most}"),
            (Positive(most), _) if value.as_f64().is_some_and(|it| it > 0.0 && it <= *most) => return None,
            (Positive(most), _) => format!("Input should be a number above 0 and up to {most}"),
            (Object(fields), Value::Object(object)) => return misfit(fields, object, place),
            (Object(_), _) => "Input should be an object".to_owned(),
            (List(least, most, shape), Value::Array(items)) if (*least..=*most).contains(&items.len()) => {
                return items.iter().enumerate().find_map(|(at, item)| shape.misfit(item, &format!("{place}.{at}")));
            }
            (List(least, most, _), _) => format!("Input should be a list of {least} to {most} items"),
        };
        Some((place.to_owned(), complaint))
    }
}

fn misfit(fields: &[Field], object: &Map<String, Value>, place: &str) -> Option<(String, String)> {
    let at = |name: &str| format!("{place}.{name}");
    let unknown = object.keys().find(|name| fields.iter().all(|field| field.name != name.as_str()));
    if let Some(name) = unknown {
        return Some((at(name), "Extra inputs are not permitted".to_owned()));
    }
    fields.iter().find_map(|field| match object.get(field.name) {
        None if field.required => Some((at(field.name), "Field required".to_owned())),
        None => None,
        Some(Value::Null) if field.nullable => None,
        Some(value) => field.holds.misfit(value, &at(field.name)),
    })
}

/// 422 with a list, as the framework that the service seems to use writes it.
fn structure(shape: &Shape, value: &Value, place: &str) -> Checked {
    match shape.misfit(value, place) {
        None => Ok(()),
        Some((place, complaint)) => Err(malformed(&place, &complaint)),
    }
}

pub(super) fn malformed(place: &str, complaint: &str) -> Reply {
    let place: Vec<_> = place.split('.').collect();
    Reply::detail(422, json!([{ "loc": place, "msg": complaint, "type": "value_error" }]))
}

pub(super) fn check_file(body: &Value) -> Checked {
    structure(&Object(CREATE_FILE), body, "body")?;
    match body["mime_type"].as_str() {
        Some("") => Err(malformed("body.mime_type", "String should have at least 1 character")),
        _ => Ok(()),
    }
}

pub(super) fn check_page(query: &Value) -> Checked {
    structure(&Object(LIST_FILES), query, "query")
}

// Meaning: what goes together.

/// What a type of generation takes.
struct Kind {
    name: &'static str,
    models: &'static [&'static str],
    ratios: Ratios,
    source: Source,
    /// Most entries of `image_ref`.
    references: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Ratios {
    These(&'static [&'static str]),
    /// The output follows the source.
    Ignored,
    Refused,
}

#[derive(Clone, Copy, PartialEq)]
enum Source {
    None,
    Image,
    Video,
}

const UNI: &[&str] = &["uni-1", "uni-1-max"];
const RAY: &[&str] = &["ray-3.2"];
const OF_IMAGES: Ratios = Ratios::These(&["1:1", "1:2", "1:3", "16:9", "2:1", "2:3", "3:1", "3:2", "9:16"]);
const OF_VIDEOS: Ratios = Ratios::These(&["1:1", "16:9", "21:9", "3:4", "4:3", "9:16"]);

#[rustfmt::skip]
const KINDS: [Kind; 6] = [
    Kind { name: "image",         models: UNI,        ratios: OF_IMAGES,       source: Source::None,  references: 9 },
    Kind { name: "image_edit",    models: UNI,        ratios: Ratios::Ignored, source: Source::Image, references: 8 },
    Kind { name: "video",         models: RAY,        ratios: OF_VIDEOS,       source: Source::None,  references: 0 },
    Kind { name: "video_edit",    models: RAY,        ratios: Ratios::Refused, source: Source::Video, references: 0 },
    Kind { name: "video_reframe", models: RAY,        ratios: OF_VIDEOS,       source: Source::Video, references: 0 },
    Kind { name: "layering",      models: &["uni-1"], ratios: Ratios::Ignored, source: Source::Image, references: 0 },
];

/// A request whose structure is sound.
struct Request<'a> {
    body: &'a Value,
    kind: &'static Kind,
}

impl Request<'_> {
    /// Whether there is something other than null and false.
    fn has(&self, pointer: &str) -> bool {
        !matches!(self.body.pointer(pointer), None | Some(Value::Null | Value::Bool(false)))
    }

    fn is(&self, kind: &str) -> bool {
        self.kind.name == kind
    }

    fn says(&self, pointer: &str, word: &str) -> bool {
        self.body.pointer(pointer).and_then(Value::as_str) == Some(word)
    }

    fn list(&self, pointer: &str) -> &[Value] {
        self.body.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    fn unpaired(&self, of: &str) -> bool {
        let (frames, indexes) = (self.list(&format!("{of}/keyframes")), self.list(&format!("{of}/keyframe_indexes")));
        let repeated = indexes.iter().enumerate().any(|(at, index)| indexes[..at].contains(index));
        frames.len() != indexes.len() || repeated
    }

    fn last_frame(&self) -> i64 {
        if self.says("/video/duration", "10s") { 240 } else { 120 }
    }

    fn extends(&self) -> bool {
        self.has("/video/start_frame/generation_id") || self.has("/video/end_frame/generation_id")
    }
}

/// When it is broken, and what is said then.
type Rule = (fn(&Request<'_>) -> bool, &'static str);

#[rustfmt::skip]
const RULES: &[Rule] = &[
    (|it| it.has("/video") && it.kind.models != RAY, "video is only valid for video types"),
    (|it| it.has("/layering") && !it.is("layering"), "layering is only valid for type 'layering'"),
    (|it| it.is("video_reframe") && !it.has("/aspect_ratio"), "aspect_ratio is required for type 'video_reframe'"),
    (|it| it.is("video_edit") && it.has("/aspect_ratio"), "aspect_ratio is not valid for type 'video_edit'"),
    (|it| it.is("image") && it.says("/style", "manga") && it.has("/aspect_ratio")
        && !["2:3", "9:16", "1:2", "1:3"].iter().any(|ratio| it.says("/aspect_ratio", ratio)), "style 'manga' needs a portrait aspect_ratio"),

    (|it| it.has("/video/loop") && !it.is("video"), "loop is only valid for type 'video'"),
    (|it| it.has("/video/loop") && it.says("/video/duration", "10s"), "loop is not available for 10s"),
    (|it| it.has("/video/loop") && it.has("/video/hdr"), "loop is not available with hdr"),
    (|it| it.has("/video/loop") && it.has("/video/end_frame"), "loop is not available with end_frame"),
    (|it| it.has("/video/loop") && it.has("/video/keyframes"), "loop is not available with keyframes"),

    (|it| it.has("/video/hdr") && it.is("video_reframe"), "hdr is not available for type 'video_reframe'"),
    (|it| it.has("/video/hdr") && ["360p", "540p"].iter().any(|size| it.says("/video/resolution", size)), "hdr needs 720p or 1080p"),
    (|it| it.has("/video/hdr") && it.is("video") && it.says("/video/duration", "10s"), "hdr is not available for 10s"),
    (|it| it.has("/video/exr_export") && !it.has("/video/hdr"), "exr_export needs hdr"),

    (|it| it.has("/video/start_frame") && it.is("video_reframe"), "start_frame is not available for type 'video_reframe'"),
    (|it| it.has("/video/end_frame") && it.kind.source == Source::Video, "end_frame is only valid for type 'video'"),
    (|it| it.has("/video/start_frame") && it.is("video") && it.says("/video/duration", "10s"), "start_frame is not available for 10s"),
    (|it| it.has("/video/end_frame") && it.says("/video/duration", "10s"), "end_frame is not available for 10s"),
    (|it| it.extends() && it.has("/video/start_frame") && it.has("/video/end_frame"), "an extension takes exactly one frame"),
    (|it| it.extends() && it.has("/video/hdr"), "an extension is SDR only"),

    (|it| it.has("/video/keyframes") && !it.is("video"), "keyframes are only valid for type 'video'"),
    (|it| it.has("/video/keyframes") && it.has("/video/start_frame"), "keyframes are not available with start_frame"),
    (|it| it.has("/video/keyframes") && it.has("/video/end_frame"), "keyframes are not available with end_frame"),
    (|it| it.unpaired("/video"), "keyframe_indexes must be unique and as many as keyframes"),
    (|it| it.list("/video/keyframe_indexes").iter().any(|at| at.as_i64() > Some(it.last_frame())), "keyframe_indexes must lie within the duration"),

    (|it| it.has("/video/source_position") && !it.is("video_reframe"), "source_position is only valid for type 'video_reframe'"),
    (|it| it.is("video_reframe") && it.says("/video/resolution", "1080p")
        && ["9:16", "3:4"].iter().any(|ratio| it.says("/aspect_ratio", ratio)), "1080p is not available for this aspect_ratio"),

    (|it| it.has("/video/edit") && !it.is("video_edit"), "edit is only valid for type 'video_edit'"),
    (|it| it.has("/video/edit/auto_controls") && it.has("/video/edit/controls"), "auto_controls is not available with controls"),
    (|it| it.has("/video/edit/keyframes") && it.has("/video/start_frame"), "edit.keyframes are not available with start_frame"),
    (|it| it.unpaired("/video/edit"), "edit.keyframe_indexes must be unique and as many as edit.keyframes"),
];

/// Judges a request to create a generation.
pub(super) fn check_generation(body: &Value, world: &World) -> Checked {
    structure(&Object(CREATE_GENERATION), body, "body")?;
    let refuse = |detail: String| Err(Reply::detail(400, detail));
    let name = body["type"].as_str().unwrap_or("image");
    let model = body["model"].as_str().unwrap_or("uni-1");
    if !KINDS.iter().any(|kind| kind.models.contains(&model)) {
        return refuse(format!("Unknown model: {model}"));
    }
    let Some(kind) = KINDS.iter().find(|kind| kind.name == name && kind.models.contains(&model)) else {
        return refuse(format!("Type '{name}' is not supported for model '{model}'"));
    };

    let (least, most) = if name == "layering" { (0, 500) } else { (1, 6000) };
    let length = body["prompt"].as_str().unwrap_or_default().chars().count();
    if !(least..=most).contains(&length) {
        return refuse(format!("Prompt must be between {least} and {most} characters"));
    }
    if let (Some(ratio), Ratios::These(valid)) = (body["aspect_ratio"].as_str(), kind.ratios)
        && !valid.contains(&ratio)
    {
        return refuse(format!("Invalid aspect_ratio '{ratio}'. Valid: {}", valid.join(", ")));
    }

    let request = Request { body, kind };
    let references = request.list("/image_ref");
    match (request.has("/source"), kind.source) {
        (false, Source::Image | Source::Video) => return refuse(format!("source is required for type '{name}'")),
        (true, Source::None) => return refuse("source is only valid for type 'image_edit'".to_owned()),
        _ => {}
    }
    if references.len() > kind.references {
        return refuse(match kind.references {
            0 => format!("image_ref is not valid for type '{name}'"),
            most if request.has("/source") => {
                format!("{name} supports up to {most} reference images (source occupies one slot)")
            }
            most => format!("{name} supports up to {most} reference images"),
        });
    }
    // The service answers conflicts of options with 422 since it makes videos.
    if let Some((_, detail)) = RULES.iter().find(|(broken, _)| broken(&request)) {
        return Err(Reply::detail(422, *detail));
    }

    media(
        &request,
        "/source",
        "source",
        if kind.source == Source::Video { Wanted::Video } else { Wanted::Image },
        world,
    )?;
    for frame in ["start_frame", "end_frame"] {
        media(&request, &format!("/video/{frame}"), &format!("video.{frame}"), Wanted::Frame, world)?;
    }
    media(&request, "/video/guide_frame", "video.guide_frame", Wanted::Image, world)?;
    for (list, place) in [
        ("/image_ref", "image_ref"),
        ("/video/keyframes", "video.keyframes"),
        ("/video/edit/keyframes", "video.edit.keyframes"),
    ] {
        for at in 0..request.list(list).len() {
            media(&request, &format!("{list}/{at}"), &format!("{place}[{at}]"), Wanted::Image, world)?;
        }
    }
    Ok(())
}

/// What has to be behind a reference.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wanted {
    Image,
    Video,
    /// An image, or an earlier video to extend.
    Frame,
}

fn media(request: &Request<'_>, pointer: &str, place: &str, wanted: Wanted, world: &World) -> Checked {
    if !request.has(pointer) {
        return Ok(());
    }
    let reference = &request.body.pointer(pointer).unwrap_or(&Value::Null);
    let text = |name: &str| reference[name].as_str();
    let refuse = |status: u16, complaint: &str| Err(Reply::detail(status, format!("{place}: {complaint}")));
    let media_type = text("media_type");
    match (text("url"), text("data"), text("generation_id"), text("file_id")) {
        (Some(url), None, None, None) => {
            if wanted == Wanted::Video && !media_type.is_some_and(is_video) {
                return refuse(400, "'media_type' is required with 'url' and must be video/*");
            }
            if !crate::http::url::is_public(url) {
                return refuse(422, "failed to fetch URL");
            }
            Ok(())
        }
        (None, Some(data), None, None) => {
            let Some(media_type) = media_type else {
                return refuse(400, "'media_type' is required with 'data'");
            };
            inline(data, media_type, wanted).or_else(|(status, complaint)| refuse(status, complaint))
        }
        (None, None, Some(id), None) => match id.parse().ok().and_then(|id: Uuid| world.job(id)) {
            None => refuse(422, "generation not found"),
            Some(job) if job.state() != GenerationState::Completed => refuse(422, "generation is not completed"),
            Some(job) if job.is_video() != (wanted != Wanted::Image) => {
                refuse(422, "generation has another kind of output")
            }
            Some(_) => Ok(()),
        },
        (None, None, None, Some(id)) => match id.parse().ok().and_then(|id: Uuid| world.file(id)) {
            None => refuse(422, "file not found"),
            Some(upload) if upload.file.state != FileState::Ready => refuse(422, "file is not ready"),
            Some(upload) if is_video(&upload.file.mime_type) != (wanted == Wanted::Video) => {
                refuse(422, "file has another kind of content")
            }
            Some(_) => Ok(()),
        },
        (Some(_), Some(_), ..) => refuse(400, "provide either 'url' or 'data', not both"),
        (None, None, None, None) => refuse(400, "provide either 'url' or 'data', not neither"),
        _ => refuse(400, "provide exactly one of 'url', 'data', 'generation_id', 'file_id'"),
    }
}

fn inline(data: &str, media_type: &str, wanted: Wanted) -> Result<(), (u16, &'static str)> {
    let (limit, too_large, fits, misfit): (_, _, fn(&str) -> bool, _) = match wanted {
        Wanted::Video => (200 * MEGABYTE, "video exceeds 200 MB limit", is_video, "content-type is not a video"),
        _ => (50 * MEGABYTE, "image exceeds 50 MB limit", is_image, "content-type is not an image"),
    };
    if data.len() / 4 * 3 > limit + 3 {
        return Err((413, too_large));
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(data).map_err(|_| (422, "invalid base64 data"))?;
    if bytes.len() > limit {
        return Err((413, too_large));
    }
    // Bytes that nobody recognises pass, so that a test need not carry pictures.
    if !fits(media_type) || infer::get(&bytes).is_some_and(|sniffed| !fits(sniffed.mime_type())) {
        return Err((422, misfit));
    }
    Ok(())
}
