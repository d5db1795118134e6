//! The media type of bytes, by their beginning.

/// How many of the first bytes are needed.
pub(crate) const HEAD: u64 = 512;

/// The extension of a file whose type is not known.
pub(crate) const UNKNOWN: &str = "bin";

/// Every extension that [`detect`] can return, and [`UNKNOWN`].
pub(crate) const EXTENSIONS: [&str; 10] = ["png", "jpg", "webp", "gif", "avif", "heif", "mp4", "mov", "exr", UNKNOWN];

/// The media type of bytes that begin with `head`, and the extension for it.
pub(crate) fn detect(head: &[u8]) -> Option<(&'static str, &'static str)> {
    // `infer` does not know OpenEXR.
    if head.starts_with(&[0x76, 0x2f, 0x31, 0x01]) {
        return Some(("image/x-exr", "exr"));
    }
    if let Some(brand) = major_brand(head) {
        return Some(iso_media(brand));
    }
    let found = infer::get(head)?;
    let extension = EXTENSIONS.into_iter().find(|it| *it == found.extension()).unwrap_or(UNKNOWN);
    Some((found.mime_type(), extension))
}

/// The major brand of an ISO base media file (ISO/IEC 14496-12, 4.3), which begins with an `ftyp` box.
fn major_brand(head: &[u8]) -> Option<&[u8]> {
    if head.get(4..8)? == b"ftyp" { head.get(8..12) } else { None }
}

/// New brands of video appear all the time (<https://mp4ra.org/registered-types/brands>), and `infer`
/// knows a fixed list of them. So what is no image or sound is a video.
fn iso_media(brand: &[u8]) -> (&'static str, &'static str) {
    match brand {
        b"avif" | b"avis" => ("image/avif", "avif"),
        b"heic" | b"heix" | b"hevc" | b"hevx" | b"heim" | b"heis" | b"hevm" | b"hevs" | b"mif1" | b"mif2" | b"msf1" => {
            ("image/heif", "heif")
        }
        b"M4A " | b"M4B " | b"M4P " | b"F4A " | b"F4B " => ("audio/mp4", UNKNOWN),
        b"qt  " => ("video/quicktime", "mov"),
        _ => ("video/mp4", "mp4"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_show_the_media_type() {
        for (head, expected) in [
            (&b"\x89PNG\r\n\x1a\n0000"[..], Some(("image/png", "png"))),
            (b"\xff\xd8\xff\xe0", Some(("image/jpeg", "jpg"))),
            (b"RIFF0000WEBPVP8 ", Some(("image/webp", "webp"))),
            (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", Some(("video/mp4", "mp4"))),
            (b"\x76\x2f\x31\x01", Some(("image/x-exr", "exr"))),
            (b"%PDF-1.7", Some(("application/pdf", UNKNOWN))),
            (b"\0\0\0\x14ftyp", None),
            (b"hello", None),
            (b"", None),
        ] {
            assert_eq!(detect(head), expected, "{head:?}");
        }
    }

    #[test]
    fn every_brand_is_a_video_unless_it_is_an_image_or_sound() {
        for (brands, expected) in [
            ("XAVC iso8 3gp5 hvc1 av01 cmfc dby1 M4V  isom mp42 crx2 zzzz", ("video/mp4", "mp4")),
            ("qt  ", ("video/quicktime", "mov")),
            ("heic heix hevc heim heis mif1 msf1", ("image/heif", "heif")),
            ("avif avis", ("image/avif", "avif")),
            ("M4A ", ("audio/mp4", UNKNOWN)),
        ] {
            for brand in brands.as_bytes().chunks(5) {
                let head = [b"\0\0\0\x14ftyp", &brand[..4], b"\0\0\0\0isom"].concat();
                assert_eq!(detect(&head), Some(expected), "{}", brand.escape_ascii());
            }
        }
    }

    #[test]
    fn every_extension_can_be_a_name() {
        for brand in ["avif", "heic", "M4A ", "qt  ", "isom"] {
            assert!(EXTENSIONS.contains(&iso_media(brand.as_bytes()).1));
        }
    }
}
