//! What the emulator delivers: small media that follow from the prompt.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    document::Document,
    text::{Ink, Text},
};

/// Longest side of a picture, in pixels.
const SIDE: u32 = 256;

pub(super) type Rgb = [u8; 3];

/// What the picture says about its request.
#[derive(Clone)]
pub(super) struct Caption {
    pub(super) prompt: String,
    pub(super) ratio: Option<String>,
    /// Model, type and the like.
    pub(super) line: String,
}

/// A PNG in the ratio of the request.
pub(super) fn png(caption: &Caption) -> Bytes {
    let (width, height) = size(caption.ratio.as_deref());
    encode(width, height, png::ColorType::Rgb, pixels(caption, width, height).as_flattened())
}

/// The rows of a picture. Another prompt gives other colours and another place of the disc; the prompt is at
/// the top, the rest of the request at the bottom.
pub(super) fn pixels(caption: &Caption, width: u32, height: u32) -> Vec<Rgb> {
    let scene = Scene::of(&caption.prompt);
    let text = Text::new(caption, width, height);
    let pixel = |(x, y): (u32, u32)| {
        let colour = if scene.in_disc(x, y, width, height) { scene.disc } else { scene.sky(x + y, width + height) };
        match text.at(x, y) {
            Ink::None => colour,
            Ink::Shade => colour.map(|channel| channel / 3),
            Ink::Letter => [u8::MAX; 3],
        }
    };
    places(width, height).map(pixel).collect()
}

fn places(width: u32, height: u32) -> impl Iterator<Item = (u32, u32)> {
    (0..height).flat_map(move |y| (0..width).map(move |x| (x, y)))
}

/// A layer of a picture.
pub(super) struct Layer {
    /// From the front.
    pub(super) index: u32,
    label: &'static str,
    alpha_hint: &'static str,
    /// Left edge, top edge and side.
    bounds: (u32, u32, u32),
}

/// The layers of every picture, front to back.
pub(super) const LAYERS: [Layer; 3] = [
    Layer { index: 0, label: "subject", alpha_hint: "hard", bounds: (96, 96, 64) },
    Layer { index: 1, label: "glow", alpha_hint: "soft", bounds: (64, 64, 128) },
    Layer { index: 2, label: "background", alpha_hint: "none", bounds: (0, 0, SIDE) },
];

impl Layer {
    pub(super) fn to_json(&self, document: &Document) -> Value {
        let (x, y, side) = self.bounds;
        let bounds =
            json!({ "x": x, "y": y, "width": side, "height": side, "canvas_width": SIDE, "canvas_height": SIDE });
        let fields = json!({
            "index": self.index,
            "label": self.label,
            "description": format!("The {} of the picture.", self.label),
            "alpha_hint": self.alpha_hint,
            "bounds": document.value("LayerBounds", bounds),
        });
        document.value("Layer", fields)
    }

    /// Transparent around what it shows.
    pub(super) fn png(&self, caption: &Caption) -> Bytes {
        let scene = Scene::of(&caption.prompt);
        let side = self.bounds.2;
        let from_centre = |at: u32| (2 * at).abs_diff(side);
        let pixel = |(x, y): (u32, u32)| {
            let inside = (side * side).saturating_sub(from_centre(x).pow(2) + from_centre(y).pow(2));
            let ([r, g, b], alpha) = match self.index {
                0 => (scene.disc, u8::MAX * u8::from(inside > 0)),
                1 => (scene.top, mix(0, u8::MAX, inside, side * side)),
                _ => (scene.sky(x + y, 2 * side), u8::MAX),
            };
            [r, g, b, alpha]
        };
        encode(side, side, png::ColorType::Rgba, places(side, side).map(pixel).collect::<Vec<_>>().as_flattened())
    }
}

/// Bytes that begin as an `OpenEXR` file does. No viewer can show them.
pub(super) fn exr(caption: &Caption) -> Bytes {
    let mut bytes = b"\x76\x2f\x31\x01\x02\0\0\0".to_vec();
    bytes.extend(hash(&caption.prompt).to_be_bytes());
    bytes.into()
}

/// A sky from one colour to another, and a disc in it.
struct Scene {
    top: Rgb,
    bottom: Rgb,
    disc: Rgb,
    /// Place of the disc, in 256ths of the picture.
    at: (u32, u32),
}

impl Scene {
    fn of(prompt: &str) -> Self {
        let [red, green, blue, other_red, other_green, other_blue, left, top] = hash(prompt).to_be_bytes();
        Self {
            top: [red, green, blue],
            bottom: [other_red, other_green, other_blue],
            disc: [!red, !other_green, left],
            at: (64 + u32::from(left) / 2, 64 + u32::from(top) / 2),
        }
    }

    /// The colour of the sky, `way` of `whole` from its top.
    fn sky(&self, way: u32, whole: u32) -> Rgb {
        let [r, g, b] = [0, 1, 2].map(|channel: usize| {
            let of = |colour: &Rgb| colour.get(channel).copied().unwrap_or_default();
            mix(of(&self.top), of(&self.bottom), way, whole)
        });
        [r, g, b]
    }

    fn in_disc(&self, x: u32, y: u32, width: u32, height: u32) -> bool {
        let radius = width.min(height) / 5;
        let (dx, dy) = (x.abs_diff(self.at.0 * width / 256), y.abs_diff(self.at.1 * height / 256));
        dx * dx + dy * dy < radius * radius
    }
}

/// The colour `way` of `whole` from one to the other.
fn mix(from: u8, to: u8, way: u32, whole: u32) -> u8 {
    let way = way.min(whole);
    let mixed = (u32::from(from) * (whole - way) + u32::from(to) * way) / whole.max(1);
    mixed.to_le_bytes()[0]
}

pub(super) fn size(ratio: Option<&str>) -> (u32, u32) {
    let sides = ratio.and_then(|ratio| ratio.split_once(':'));
    let sides = sides.and_then(|(width, height)| Some((width.parse::<u32>().ok()?, height.parse::<u32>().ok()?)));
    match sides {
        Some((width @ 1..=99, height @ 1..=99)) if width >= height => (SIDE, SIDE * height / width),
        Some((width @ 1..=99, height @ 1..=99)) => (SIDE * width / height, SIDE),
        _ => (SIDE, SIDE),
    }
}

fn encode(width: u32, height: u32, colours: png::ColorType, pixels: &[u8]) -> Bytes {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(colours);
    encoder.set_compression(png::Compression::Fast);
    // Writing to memory does not fail; a caller would see an empty picture.
    if let Ok(mut writer) = encoder.write_header() {
        writer.write_image_data(pixels).ok();
    }
    file.into()
}

/// FNV-1a: the same on every machine and in every release.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
