//! A picture, small enough to stand in a page.

use std::{fs::File, io::BufReader, path::Path};

use base64::Engine as _;
use image::{ImageFormat, ImageReader, codecs::jpeg::JpegEncoder};

const SIDE: u32 = 320;
const QUALITY: u8 = 70;

/// More than any output of the service needs; a file that is wrong must not fill the memory.
const MEMORY: u64 = 512 * 1024 * 1024;

/// The picture as a data URL. None if it is no PNG or JPEG.
pub(super) fn thumbnail(path: &Path) -> Option<String> {
    let mut reader = ImageReader::new(BufReader::new(File::open(path).ok()?)).with_guessed_format().ok()?;
    if !matches!(reader.format(), Some(ImageFormat::Png | ImageFormat::Jpeg)) {
        return None;
    }
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(MEMORY);
    reader.limits(limits);
    let small = reader.decode().ok()?.thumbnail(SIDE, SIDE).to_rgb8();
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY).encode_image(&small).ok()?;
    let data = base64::engine::general_purpose::STANDARD.encode(jpeg);
    Some(format!("data:image/jpeg;base64,{data}"))
}
