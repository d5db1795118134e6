//! The media type of bytes, by their beginning.

/// How many of the first bytes are needed.
pub(crate) const HEAD: u64 = 512;

/// The extension of a file whose type is not known.
pub(crate) const UNKNOWN: &str = "bin";

/// Every extension that [`detect`] can return.
pub(crate) const EXTENSIONS: [&str; 7] = ["png", "jpg", "webp", "gif", "mp4", "exr", UNKNOWN];

/// The media type of bytes that begin with `head`, and the extension for it.
pub(crate) fn detect(head: &[u8]) -> Option<(&'static str, &'static str)> {
    // `infer` does not know OpenEXR.
    if head.starts_with(&[0x76, 0x2f, 0x31, 0x01]) {
        return Some(("image/x-exr", "exr"));
    }
    let found = infer::get(head)?;
    let extension = EXTENSIONS.into_iter().find(|it| *it == found.extension()).unwrap_or(UNKNOWN);
    Some((found.mime_type(), extension))
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
            (b"hello", None),
            (b"", None),
        ] {
            assert_eq!(detect(head), expected, "{head:?}");
        }
    }
}
