//! The price table: official pages and two public programs, June 2026. It can be replaced.

use chrono::NaiveDate;
use luma_agents::types::{CreateGeneration, GenerationType, Model, VideoDuration, VideoResolution};
use serde::Deserialize;

use super::Estimate;
use crate::usd::Usd;

/// Prices of the service on a day. The default is the table of June 2026.
///
/// As JSON: `{"as_of": "2026-06-01", "prices": [{"model": "uni-1", "type": "image", "usd": "0.0404",
/// "per_reference": "0.0030"}]}`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Prices {
    /// When they held.
    pub as_of: NaiveDate,
    /// One price for each kind of job.
    pub prices: Vec<Price>,
}

/// The price of a kind of job. What is left out matches only jobs that do not have it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// The model.
    pub model: Model,
    /// The type of generation.
    #[serde(rename = "type")]
    pub kind: GenerationType,
    /// The resolution of a video.
    #[serde(default)]
    pub resolution: Option<VideoResolution>,
    /// Whether the video is HDR.
    #[serde(default)]
    pub hdr: bool,
    /// Whether the video comes with an EXR.
    #[serde(default)]
    pub exr: bool,
    /// The length of a video, or the longest source of an edit. The table's smallest that is long enough counts.
    #[serde(default)]
    pub seconds: Option<u32>,
    /// The price; of one second if `per_second` is set.
    pub usd: Usd,
    /// What each entry of `image_ref` adds.
    #[serde(default)]
    pub per_reference: Usd,
    /// Whether the price is for each second of the source.
    #[serde(default)]
    pub per_second: bool,
}

impl Default for Prices {
    fn default() -> Self {
        Self { as_of: NaiveDate::from_ymd_opt(2026, 6, 1).unwrap_or_default(), prices: june_2026() }
    }
}

impl Prices {
    /// What a job costs. `source_seconds` is the length of the source of a video edit or reframe; without it
    /// their price is unknown.
    #[must_use]
    pub fn estimate(&self, request: &CreateGeneration, source_seconds: Option<f64>) -> Estimate {
        let Some(length) = Length::of(request, source_seconds) else { return Estimate::Unknown };
        let job = Job::of(request);
        let long_enough = |price: &&Price| match (length, price.seconds) {
            (Length::None, None) => true,
            (Length::Exactly(seconds), Some(priced)) => priced == seconds,
            (Length::Source { millis }, Some(priced)) => u64::from(priced) * 1000 >= millis,
            (Length::Source { .. }, None) => price.per_second,
            _ => false,
        };
        let matching = self.prices.iter().filter(|price| job.has(price)).filter(long_enough);
        let Some(price) = matching.min_by_key(|price| price.seconds) else { return Estimate::Unknown };
        let references = price.per_reference.saturating_mul(request.image_ref.len() as u64);
        let (low, high) = match length {
            Length::Source { millis } if price.per_second => {
                // Whether a part of a second is paid in full is not published.
                let part = price.usd.saturating_mul(millis).ten_thousandths().div_ceil(1000);
                (Usd::from_ten_thousandths(part), price.usd.saturating_mul(millis.div_ceil(1000)))
            }
            _ => (price.usd, price.usd),
        };
        Estimate::Usd { low: low.saturating_add(references), high: high.saturating_add(references), as_of: self.as_of }
    }
}

/// What the price depends on.
struct Job<'a> {
    model: &'a Model,
    kind: &'a GenerationType,
    resolution: Option<&'a VideoResolution>,
    hdr: bool,
    exr: bool,
}

impl<'a> Job<'a> {
    /// With the API's defaults for what the request leaves out.
    fn of(request: &'a CreateGeneration) -> Self {
        let kind = request.type_.as_ref().unwrap_or(&GenerationType::Image);
        let video = request.video.as_ref();
        let set = |option: Option<bool>| option.unwrap_or(false);
        let resolution = video.and_then(|it| it.resolution.as_ref()).unwrap_or(&VideoResolution::Resolution720p);
        Self {
            model: request.model.as_ref().unwrap_or(&Model::Uni1),
            kind,
            resolution: is_video(kind).then_some(resolution),
            hdr: video.is_some_and(|it| set(it.hdr)),
            exr: video.is_some_and(|it| set(it.exr_export)),
        }
    }

    fn has(&self, price: &Price) -> bool {
        (self.model, self.kind, self.hdr, self.exr) == (&price.model, &price.kind, price.hdr, price.exr)
            && self.resolution == price.resolution.as_ref()
    }
}

fn is_video(kind: &GenerationType) -> bool {
    matches!(kind, GenerationType::Video | GenerationType::VideoEdit | GenerationType::VideoReframe)
}

/// The length that the price depends on.
#[derive(Clone, Copy)]
enum Length {
    None,
    Exactly(u32),
    Source { millis: u64 },
}

impl Length {
    /// `None` if the price depends on a length that is not known.
    fn of(request: &CreateGeneration, source_seconds: Option<f64>) -> Option<Self> {
        match request.type_.as_ref().unwrap_or(&GenerationType::Image) {
            GenerationType::Video => {
                let duration = request.video.as_ref().and_then(|it| it.duration.as_ref());
                let duration = duration.unwrap_or(&VideoDuration::Duration5s).as_str();
                duration.strip_suffix('s').and_then(|it| it.parse().ok()).map(Self::Exactly)
            }
            GenerationType::VideoEdit | GenerationType::VideoReframe => {
                let seconds = source_seconds.filter(|it| *it > 0.0 && *it <= 86_400.0)?;
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most a day, above 0")]
                let millis = (seconds * 1000.0).ceil() as u64;
                Some(Self::Source { millis })
            }
            _ => Some(Self::None),
        }
    }
}

#[rustfmt::skip]
fn june_2026() -> Vec<Price> {
    use GenerationType::{Image, ImageEdit, Video, VideoEdit, VideoReframe};
    use Model::{Ray3_2, Uni1, Uni1Max};
    use VideoResolution::{Resolution360p as P360, Resolution540p as P540, Resolution720p as P720, Resolution1080p as P1080};

    let image = |model, kind, ten_thousandths| Price {
        per_reference: Usd::from_ten_thousandths(30),
        ..price(model, kind, ten_thousandths)
    };
    let video = |kind, resolution, seconds, cents: u64| Price {
        resolution: Some(resolution),
        seconds,
        per_second: seconds.is_none(),
        ..price(Ray3_2, kind, cents * 100)
    };
    let hdr = |resolution, exr, cents| Price { hdr: true, exr, ..video(Video, resolution, Some(5), cents) };
    vec![
        image(Uni1, Image, 404),
        image(Uni1Max, Image, 1000),
        image(Uni1, ImageEdit, 434),
        image(Uni1Max, ImageEdit, 1030),

        video(Video, P360, Some(5), 6),     video(Video, P360, Some(10), 18),
        video(Video, P540, Some(5), 15),    video(Video, P540, Some(10), 45),
        video(Video, P720, Some(5), 30),    video(Video, P720, Some(10), 90),
        video(Video, P1080, Some(5), 120),  video(Video, P1080, Some(10), 360),
        hdr(P720, false, 60),               hdr(P720, true, 90),
        hdr(P1080, false, 240),             hdr(P1080, true, 360),

        video(VideoEdit, P360, Some(5), 54),    video(VideoEdit, P360, Some(10), 108),
        video(VideoEdit, P540, Some(5), 72),    video(VideoEdit, P540, Some(10), 144),
        video(VideoEdit, P720, Some(5), 108),   video(VideoEdit, P720, Some(10), 216),
        video(VideoEdit, P1080, Some(5), 216),  video(VideoEdit, P1080, Some(10), 432),

        video(VideoReframe, P360, None, 3),
        video(VideoReframe, P540, None, 6),
        video(VideoReframe, P720, None, 12),
        video(VideoReframe, P1080, None, 36),
    ]
}

fn price(model: Model, kind: GenerationType, ten_thousandths: u64) -> Price {
    Price {
        model,
        kind,
        resolution: None,
        hdr: false,
        exr: false,
        seconds: None,
        usd: Usd::from_ten_thousandths(ten_thousandths),
        per_reference: Usd::ZERO,
        per_second: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(json: &serde_json::Value, source_seconds: Option<f64>) -> String {
        let request: CreateGeneration = serde_json::from_value(json.clone()).unwrap();
        match Prices::default().estimate(&request, source_seconds) {
            Estimate::Usd { low, high, .. } if low == high => high.to_string(),
            Estimate::Usd { low, high, .. } => format!("{low}-{high}"),
            Estimate::Unknown => "unknown".to_owned(),
        }
    }

    #[test]
    fn images_cost_by_model_and_references() {
        let reference = serde_json::json!({"url": "https://example.com/a.png"});
        for (model, kind, references, expected) in [
            ("uni-1", "image", 0, "0.0404"),
            ("uni-1", "image", 9, "0.0674"),
            ("uni-1-max", "image", 0, "0.1000"),
            ("uni-1-max", "image", 9, "0.1270"),
            ("uni-1", "image_edit", 0, "0.0434"),
            ("uni-1-max", "image_edit", 0, "0.1030"),
            ("uni-1-max", "image_edit", 8, "0.1270"),
            ("uni-1", "layering", 0, "unknown"),
            ("uni-9", "image", 0, "unknown"),
        ] {
            let refs = vec![&reference; references];
            let json = serde_json::json!({"prompt": "a", "model": model, "type": kind, "image_ref": refs});
            assert_eq!(estimate(&json, None), expected, "{json}");
        }
        assert_eq!(estimate(&serde_json::json!({"prompt": "a"}), None), "0.0404", "the API's defaults");
    }

    #[test]
    fn videos_cost_by_resolution_length_and_range() {
        for (video, expected) in [
            (serde_json::json!(null), "0.3000"),
            (serde_json::json!({"duration": "10s"}), "0.9000"),
            (serde_json::json!({"resolution": "360p"}), "0.0600"),
            (serde_json::json!({"resolution": "1080p", "duration": "10s"}), "3.6000"),
            (serde_json::json!({"hdr": true}), "0.6000"),
            (serde_json::json!({"hdr": true, "exr_export": true, "resolution": "1080p"}), "3.6000"),
            (serde_json::json!({"hdr": true, "resolution": "540p"}), "unknown"),
            (serde_json::json!({"hdr": true, "duration": "10s"}), "unknown"),
            (serde_json::json!({"duration": "7s"}), "unknown"),
            (serde_json::json!({"resolution": "4k"}), "unknown"),
        ] {
            let json = serde_json::json!({"prompt": "a", "model": "ray-3.2", "type": "video", "video": video});
            assert_eq!(estimate(&json, None), expected, "{video}");
        }
    }

    #[test]
    fn edits_and_reframes_cost_by_the_length_of_the_source() {
        for (kind, seconds, expected) in [
            ("video_edit", None, "unknown"),
            ("video_edit", Some(3.2), "1.0800"),
            ("video_edit", Some(5.0), "1.0800"),
            ("video_edit", Some(5.01), "2.1600"),
            ("video_edit", Some(10.5), "unknown"),
            ("video_reframe", None, "unknown"),
            ("video_reframe", Some(2.0), "0.2400"),
            ("video_reframe", Some(2.5), "0.3000-0.3600"),
            ("video_reframe", Some(f64::NAN), "unknown"),
            ("video_reframe", Some(-1.0), "unknown"),
        ] {
            let json = serde_json::json!({"prompt": "a", "model": "ray-3.2", "type": kind});
            assert_eq!(estimate(&json, seconds), expected, "{kind} {seconds:?}");
        }
    }

    #[test]
    fn a_table_of_one_s_own_replaces_the_prices() {
        let json = r#"{"as_of": "2027-01-31", "prices": [{"model": "uni-1", "type": "image", "usd": "1.5"}]}"#;
        let prices: Prices = serde_json::from_str(json).unwrap();
        let request: CreateGeneration = serde_json::from_str(r#"{"prompt":"a"}"#).unwrap();
        let usd = Usd::from_ten_thousandths(15_000);
        let as_of = NaiveDate::from_ymd_opt(2027, 1, 31).unwrap();
        assert_eq!(prices.estimate(&request, None), Estimate::Usd { low: usd, high: usd, as_of });
    }

    #[test]
    fn five_thousand_edits_cost_515_dollars() {
        let json = r#"{"prompt":"a","model":"uni-1-max","type":"image_edit"}"#;
        let request: CreateGeneration = serde_json::from_str(json).unwrap();
        let high = Prices::default().estimate(&request, None).high().unwrap();
        assert_eq!(high.saturating_mul(5000).to_string(), "515.0000");
    }
}
