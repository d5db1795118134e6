//! The HDR output of a video: an `OpenEXR` file of half floats, without compression.

use bytes::Bytes;

use super::{picture, text::Caption};

/// The light of the brightest colour, where 1 is white: more than SDR can show.
const BRIGHTEST: f32 = 4.0;

/// The first frame of the video, in linear light.
pub(super) fn file(caption: &Caption) -> Bytes {
    let (width, height) = picture::size(Some(caption.ratio.as_deref().unwrap_or("16:9")));
    let pixels = picture::pixels(caption, width, height);
    let mut file = header(width, height);
    // Each line has its number and its length before its content.
    let length = width * 3 * 2;
    let first = file.len() as u64 + u64::from(height) * 8;
    file.extend((0..height).flat_map(|y| (first + u64::from(y) * u64::from(8 + length)).to_le_bytes()));
    for (y, line) in (0..height).zip(pixels.chunks(width as usize)) {
        file.extend([y, length].map(u32::to_le_bytes).as_flattened());
        // Blue, green, red: channels are in the order of their names.
        let channels = (0..3).rev().flat_map(|channel| line.iter().filter_map(move |pixel| pixel.get(channel)));
        file.extend(channels.flat_map(|it| half(light(*it)).to_le_bytes()));
    }
    file.into()
}

fn header(width: u32, height: u32) -> Vec<u8> {
    let numbers = |numbers: &[u32]| numbers.iter().flat_map(|it| it.to_le_bytes()).collect::<Vec<_>>();
    // Half floats, one for each pixel.
    let channel = |name: u8| [vec![name, 0], numbers(&[1, 0, 1, 1])].concat();
    let channels = [channel(b'B'), channel(b'G'), channel(b'R'), vec![0]].concat();
    let window = numbers(&[0, 0, width - 1, height - 1]);
    let one = 1_f32.to_le_bytes();
    let mut file = numbers(&[20_000_630, 2]);
    for (name, kind, value) in [
        ("channels", "chlist", channels.as_slice()),
        ("compression", "compression", &[0]),
        ("dataWindow", "box2i", &window),
        ("displayWindow", "box2i", &window),
        ("lineOrder", "lineOrder", &[0]),
        ("pixelAspectRatio", "float", &one),
        ("screenWindowCenter", "v2f", &[0; 8]),
        ("screenWindowWidth", "float", &one),
    ] {
        let length = u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes();
        file.extend([name.as_bytes(), &[0], kind.as_bytes(), &[0], &length, value].concat());
    }
    file.push(0);
    file
}

/// The light of a colour on a screen.
fn light(colour: u8) -> f32 {
    BRIGHTEST * (f32::from(colour) / 255.0).powf(2.2)
}

/// A number as a half float: five bits of exponent, ten of mantissa. What is too small is zero.
fn half(number: f32) -> u16 {
    let [low, high] = [number.to_bits() >> 13 & 0x3ff, number.to_bits() >> 23 & 0xff];
    let exponent = high.saturating_sub(127 - 15).min(30);
    if exponent == 0 { 0 } else { u16::try_from(exponent << 10 | low).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_half_floats() {
        for (number, expected) in [(0.0, 0), (1.0, 0x3c00), (0.5, 0x3800), (4.0, 0x4400), (1.5, 0x3e00), (1e-9, 0)] {
            assert_eq!(half(number), expected, "{number}");
        }
    }

    #[test]
    fn the_last_line_ends_the_file() {
        let caption = Caption { prompt: "a duck".to_owned(), ratio: Some("16:9".to_owned()), line: String::new() };
        let file = file(&caption);
        let table = header(256, 144).len();
        let last = u64::from_le_bytes(file[table + 143 * 8..table + 144 * 8].try_into().expect("eight bytes"));
        let last = usize::try_from(last).expect("an offset");
        assert_eq!(file[last..last + 8], [143, 0, 0, 0, 0, 6, 0, 0], "line 143 of 1,536 bytes");
        assert_eq!(file.len(), last + 8 + 1536);
    }
}
