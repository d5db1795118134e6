//! What a schema cannot say of a request: which model makes which type, counts of references, options that exclude
//! each other.
//!
//! A model, type or ratio that no rule names is left to the document.

use serde_json::Value;

use super::{AspectRatio, CreateGeneration, document};

impl CreateGeneration {
    /// What the service rejects although each field is valid by itself: a model that does not make the type, a ratio
    /// that the type does not have, a source that is missing, options that exclude each other. Each is a sentence
    /// without any content of the request; there is none if nothing is known to be wrong.
    ///
    /// Free: it needs neither a key nor the network. What the service does not publish is decided strictly.
    #[must_use]
    pub fn conflicts(&self) -> Vec<String> {
        let field = |name: &str| document::schema("CreateGeneration")["properties"][name].clone();
        let documented = Documented {
            // Checked by the type, but for `layering`.
            prompt: (None, None),
            references: field("image_ref")["maxItems"].as_u64(),
            ratios: AspectRatio::KNOWN.iter().map(AspectRatio::as_str).collect(),
        };
        let body = serde_json::to_value(self).unwrap_or_default();
        conflicts(&body, &documented).into_iter().map(|it| it.detail).collect()
    }
}

/// A rule that a request breaks.
pub(crate) struct Conflict {
    /// What the emulator sends.
    #[cfg_attr(not(feature = "emulator"), allow(dead_code, reason = "read by the emulator"))]
    pub(crate) status: u16,
    /// As the service says it, where that is known.
    pub(crate) detail: String,
}

/// The limits and values that the document has.
pub(crate) struct Documented<'a> {
    /// The least and the most characters.
    pub(crate) prompt: (Option<u64>, Option<u64>),
    pub(crate) references: Option<u64>,
    pub(crate) ratios: Vec<&'a str>,
}

/// What a type of generation takes.
pub(crate) struct Kind {
    name: &'static str,
    models: &'static [&'static str],
    ratios: Ratios,
    pub(crate) source: Source,
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
pub(crate) enum Source {
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

pub(crate) fn list<'a>(body: &'a Value, pointer: &str) -> &'a [Value] {
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

/// What the type of a request takes, if a rule names the type.
pub(crate) fn kind(body: &Value) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == body["type"].as_str().unwrap_or("image"))
}

/// Every rule that a request breaks, whose fields and types are as the document says.
pub(crate) fn conflicts(body: &Value, documented: &Documented<'_>) -> Vec<Conflict> {
    let mut found = Vec::new();
    let mut reject = |detail: String| found.push(Conflict { status: 400, detail });
    let name = body["type"].as_str().unwrap_or("image");
    let model = body["model"].as_str().unwrap_or("uni-1");
    let is_named = KINDS.iter().any(|kind| kind.models.contains(&model));
    if kind(body).is_some_and(|kind| is_named && !kind.models.contains(&model)) {
        reject(format!("Type '{name}' is not supported for model '{model}'"));
    }
    let lengths = match documented.prompt {
        // Only a hint.
        (_, most) if name == "layering" => (Some(0), Some(most.map_or(500, |most| most.min(500)))),
        lengths => lengths,
    };
    let length = body["prompt"].as_str().unwrap_or_default().chars().count() as u64;
    if let (Some(least), Some(most)) = lengths
        && !(least..=most).contains(&length)
    {
        reject(format!("Prompt must be between {least} and {most} characters"));
    }
    let Some(kind) = kind(body) else { return found };
    if let (Some(ratio), Ratios::Of(named)) = (body["aspect_ratio"].as_str(), kind.ratios) {
        let valid = valid_ratios(&documented.ratios, named);
        if !valid.contains(&ratio) {
            reject(format!("Invalid aspect_ratio '{ratio}'. Valid: {}", valid.join(", ")));
        }
    }

    let request = Request { body, kind };
    match (request.has("/source"), kind.source) {
        (false, Source::Image | Source::Video) => reject(format!("source is required for type '{name}'")),
        (true, Source::None) => reject("source is only valid for type 'image_edit'".to_owned()),
        _ => {}
    }
    let references = list(body, "/image_ref").len() as u64;
    let (slots, note) = if request.has("/source") { (1, " (source occupies one slot)") } else { (0, "") };
    if !kind.references && references > 0 {
        reject(format!("image_ref is not valid for type '{name}'"));
    } else if let Some(most) = documented.references.map(|most| most.saturating_sub(slots))
        && references > most
    {
        reject(format!("{name} supports up to {most} reference images{note}"));
    }
    // For conflicts of options the service has used 422 since it makes videos.
    let broken = RULES.iter().filter(|(broken, _)| broken(&request));
    found.extend(broken.map(|(_, detail)| Conflict { status: 422, detail: (*detail).to_owned() }));
    found
}

/// The ratios of a type, in the order of the service's own text: of those that the document has, the named
/// ones and those that are named for no type.
fn valid_ratios<'a>(documented: &[&'a str], named: &[&str]) -> Vec<&'a str> {
    let named_for_any =
        |ratio: &&str| KINDS.iter().any(|kind| matches!(kind.ratios, Ratios::Of(ratios) if ratios.contains(ratio)));
    let mut valid: Vec<_> = documented.iter().copied().filter(|it| named.contains(it) || !named_for_any(it)).collect();
    valid.sort_unstable_by_key(|ratio| ratio.split_once(':'));
    valid
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conflicts(json: &str) -> Vec<String> {
        serde_json::from_str::<CreateGeneration>(json).expect("a request").conflicts()
    }

    #[test]
    fn every_conflict_of_a_request_is_found_at_once() {
        for good in [
            r#"{"prompt":"a"}"#,
            r#"{"prompt":"a","model":"uni-9","type":"new"}"#,
            r#"{"prompt":"a","model":"ray-3.2","type":"video","video":{"resolution":"1080p","loop":true}}"#,
        ] {
            assert_eq!(conflicts(good), [""; 0], "{good}");
        }
        let expected = [
            "Type 'video' is not supported for model 'uni-1'",
            "Invalid aspect_ratio '3:1'. Valid: 16:9, 1:1, 21:9, 3:4, 4:3, 9:16",
            "loop is not available for 10s",
            "loop is not available with hdr",
            "hdr is not available for 10s",
        ];
        let mut found = conflicts(
            r#"{"prompt":"a","type":"video","aspect_ratio":"3:1","video":{"loop":true,"hdr":true,"duration":"10s"}}"#,
        );
        assert_eq!(found.remove(1).split(". ").next(), expected[1].split(". ").next());
        assert_eq!(found, [expected[0], expected[2], expected[3], expected[4]]);
    }

    #[test]
    fn a_source_takes_one_slot_of_the_references() {
        let reference = r#"{"url":"https://example.com/a.png"}"#;
        let references = [reference; 9].join(",");
        assert_eq!(conflicts(&format!(r#"{{"prompt":"a","image_ref":[{references}]}}"#)), [""; 0]);
        let edit = format!(r#"{{"prompt":"a","type":"image_edit","source":{reference},"image_ref":[{references}]}}"#);
        assert_eq!(conflicts(&edit), ["image_edit supports up to 8 reference images (source occupies one slot)"]);
    }
}
