//! The flags of each type of generation, named after the fields of the API.
//!
//! What the API takes from a list is any text here: a value that is newer than this program works.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::{
    media::Media,
    request::{Body, Request, Setting},
};
use crate::{cli::read_text, failure::Failure};

/// What every type has.
#[derive(Args, Debug)]
pub(crate) struct Common {
    /// Text of what to make or to change; - for stdin
    #[arg(required_unless_present_any = ["json_request", "set"])]
    prompt: Option<String>,

    /// Model [default: uni-1, ray-3.2 for videos]
    #[arg(long)]
    model: Option<String>,

    /// Opaque tag of your end user
    #[arg(long, value_name = "TEXT")]
    user_id: Option<String>,

    /// Request in JSON, to which the other flags add; - for stdin
    #[arg(long, value_name = "FILE")]
    json_request: Option<PathBuf>,

    /// Any field of the API, such as video.resolution=1080p; may be repeated
    #[arg(long, value_name = "FIELD=VALUE")]
    set: Vec<Setting>,
}

/// An image or a video to work with.
const MEDIA: &str = "MEDIA";

/// Adds what the type has of its own to the common fields.
fn request(common: &Common, kind: &str, model: Option<&str>, add: impl FnOnce(&mut Body)) -> Result<Request, Failure> {
    let mut body = match &common.json_request {
        Some(path) => Body::read(&read_text(path)?)?,
        None => Body::default(),
    };
    let prompt = match common.prompt.as_deref() {
        Some("-") => Some(read_text("-".as_ref())?.trim_end().to_owned()),
        other => other.map(str::to_owned),
    };
    body.set("type", Some(kind));
    body.set("prompt", prompt);
    if !body.is_set("model") {
        body.set("model", model);
    }
    body.set("model", common.model.clone());
    body.set("user_id", common.user_id.clone());
    add(&mut body);
    Request::new(body, &common.set)
}

/// A flag that is not given leaves the field out.
fn flag(is_set: bool) -> Option<bool> {
    is_set.then_some(true)
}

fn media(media: Option<&Media>) -> Option<Value> {
    media.map(Media::to_json)
}

fn all(media: &[Media]) -> Option<Value> {
    (!media.is_empty()).then(|| media.iter().map(Media::to_json).collect())
}

#[derive(Args, Debug)]
pub(crate) struct ImageArgs {
    #[command(flatten)]
    image: ImageOptions,

    /// Width to height: 3:1, 2:1, 16:9, 3:2, 1:1, 2:3, 9:16, 1:2 or 1:3
    #[arg(long, value_name = "RATIO")]
    aspect_ratio: Option<String>,
}

/// What images and their edits have.
#[derive(Args, Debug)]
struct ImageOptions {
    /// Reference: FILE, URL, generation:UUID or file:UUID; may be repeated
    #[arg(long = "ref", alias = "image-ref", value_name = MEDIA)]
    image_ref: Vec<Media>,

    /// Style: auto or manga
    #[arg(long)]
    style: Option<String>,

    /// File format: png or jpeg
    #[arg(long, value_name = "FORMAT")]
    output_format: Option<String>,

    /// Search the web for references first
    #[arg(long)]
    web_search: bool,
}

impl ImageOptions {
    fn add(&self, body: &mut Body) {
        body.set("image_ref", all(&self.image_ref));
        body.set("style", self.style.clone());
        body.set("output_format", self.output_format.clone());
        body.set("web_search", flag(self.web_search));
    }
}

impl ImageArgs {
    pub(super) fn request(&self, common: &Common) -> Result<Request, Failure> {
        request(common, "image", None, |body| {
            self.image.add(body);
            body.set("aspect_ratio", self.aspect_ratio.clone());
        })
    }
}

#[derive(Args, Debug)]
pub(crate) struct EditArgs {
    /// Image to change: FILE, URL, generation:UUID or file:UUID
    #[arg(long, value_name = MEDIA, required_unless_present_any = ["json_request", "set"])]
    source: Option<Media>,

    #[command(flatten)]
    image: ImageOptions,
}

impl EditArgs {
    pub(super) fn request(&self, common: &Common) -> Result<Request, Failure> {
        request(common, "image_edit", None, |body| {
            body.set("source", media(self.source.as_ref()));
            self.image.add(body);
        })
    }
}

/// What all videos have.
#[derive(Args, Debug)]
struct VideoOptions {
    /// Size: 360p, 540p, 720p or 1080p
    #[arg(long)]
    resolution: Option<String>,
}

/// High dynamic range.
#[derive(Args, Debug)]
struct HdrOptions {
    /// Render in high dynamic range
    #[arg(long)]
    hdr: bool,

    /// Add an EXR beside the MP4; needs --hdr
    #[arg(long)]
    exr_export: bool,
}

impl VideoOptions {
    fn add(&self, body: &mut Body) {
        body.set("video.resolution", self.resolution.clone());
    }
}

impl HdrOptions {
    fn add(&self, body: &mut Body) {
        body.set("video.hdr", flag(self.hdr));
        body.set("video.exr_export", flag(self.exr_export));
    }
}

const VIDEO_MODEL: Option<&str> = Some("ray-3.2");

#[derive(Args, Debug)]
pub(crate) struct VideoArgs {
    /// Width to height: 9:16, 3:4, 1:1, 4:3, 16:9 or 21:9
    #[arg(long, value_name = "RATIO")]
    aspect_ratio: Option<String>,

    #[command(flatten)]
    video: VideoOptions,

    /// Length: 5s or 10s
    #[arg(long)]
    duration: Option<String>,

    /// Make the end meet the start
    #[arg(long = "loop")]
    is_loop: bool,

    #[command(flatten)]
    hdr: HdrOptions,

    /// Image to start from, or generation:UUID of a video to continue
    #[arg(long, value_name = MEDIA)]
    start_frame: Option<Media>,

    /// Image to end on, or generation:UUID of a video to prepend to
    #[arg(long, value_name = MEDIA)]
    end_frame: Option<Media>,

    /// Image to pass through; may be repeated
    #[arg(long, value_name = MEDIA, requires = "keyframe_indexes")]
    keyframes: Vec<Media>,

    /// Frame of each keyframe, at 24 frames a second, such as 0,120
    #[arg(long, value_name = "FRAMES", value_delimiter = ',', requires = "keyframes")]
    keyframe_indexes: Vec<u64>,
}

impl VideoArgs {
    pub(super) fn request(&self, common: &Common) -> Result<Request, Failure> {
        request(common, "video", VIDEO_MODEL, |body| {
            body.set("aspect_ratio", self.aspect_ratio.clone());
            self.video.add(body);
            body.set("video.duration", self.duration.clone());
            body.set("video.loop", flag(self.is_loop));
            self.hdr.add(body);
            body.set("video.start_frame", media(self.start_frame.as_ref()));
            body.set("video.end_frame", media(self.end_frame.as_ref()));
            body.set("video.keyframes", all(&self.keyframes));
            let indexes = &self.keyframe_indexes;
            body.set("video.keyframe_indexes", (!indexes.is_empty()).then(|| indexes.clone()));
        })
    }
}

/// The video to work on.
#[derive(Args, Debug)]
struct VideoSource {
    /// Video to work on: FILE, URL, generation:UUID or file:UUID
    #[arg(long, value_name = MEDIA, required_unless_present_any = ["json_request", "set"])]
    source: Option<Media>,
}

impl VideoSource {
    fn add(&self, body: &mut Body) {
        body.set("source", self.source.as_ref().map(Media::to_video_json));
    }
}

#[derive(Args, Debug)]
pub(crate) struct VideoEditArgs {
    #[command(flatten)]
    source: VideoSource,

    #[command(flatten)]
    video: VideoOptions,

    #[command(flatten)]
    hdr: HdrOptions,

    /// Let the model choose what of the source to keep
    #[arg(long)]
    auto_controls: bool,

    /// How far to go from the source: adhere_1 to adhere_3, flex_1 to flex_3, reimagine_1 to reimagine_3
    #[arg(long)]
    strength: Option<String>,

    /// Guide image
    #[arg(long, value_name = MEDIA)]
    guide_frame: Option<Media>,
}

impl VideoEditArgs {
    pub(super) fn request(&self, common: &Common) -> Result<Request, Failure> {
        request(common, "video_edit", VIDEO_MODEL, |body| {
            self.source.add(body);
            self.video.add(body);
            self.hdr.add(body);
            body.set("video.edit.auto_controls", flag(self.auto_controls));
            body.set("video.edit.strength", self.strength.clone());
            body.set("video.guide_frame", media(self.guide_frame.as_ref()));
        })
    }
}

#[derive(Args, Debug)]
pub(crate) struct ReframeArgs {
    #[command(flatten)]
    source: VideoSource,

    /// Width to height: 9:16, 3:4, 1:1, 4:3, 16:9 or 21:9
    #[arg(long, value_name = "RATIO", required_unless_present_any = ["json_request", "set"])]
    aspect_ratio: Option<String>,

    #[command(flatten)]
    video: VideoOptions,
}

impl ReframeArgs {
    pub(super) fn request(&self, common: &Common) -> Result<Request, Failure> {
        request(common, "video_reframe", VIDEO_MODEL, |body| {
            self.source.add(body);
            body.set("aspect_ratio", self.aspect_ratio.clone());
            self.video.add(body);
        })
    }
}

#[derive(Args, Debug)]
pub(crate) struct LayersArgs {
    /// Image to split: FILE, URL, generation:UUID or file:UUID
    #[arg(long, value_name = MEDIA, required_unless_present_any = ["json_request", "set"])]
    source: Option<Media>,

    /// Size of the layers: 1k or 2k
    #[arg(long)]
    resolution: Option<String>,
}

impl LayersArgs {
    pub(super) fn request(&self, common: &Common) -> Result<Request, Failure> {
        request(common, "layering", None, |body| {
            body.set("source", media(self.source.as_ref()));
            body.set("layering.resolution", self.resolution.clone());
        })
    }
}
