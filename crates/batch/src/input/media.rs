//! Media of a line that can be checked here: local files by type and size, URLs by their scheme.

use std::{fs::File, io::Read, path::Path};

use luma_agents::types::MediaRef;
use serde_json::Value;

use super::problem::{Code, Problem};
use crate::fingerprint::local_path;

/// What the service documents for an image.
const IMAGE_BYTES: u64 = 50 * 1024 * 1024;
/// What it documents for an uploaded file, which a local video becomes.
const FILE_BYTES: u64 = 5 * 1024 * 1024 * 1024;
const IMAGES: [&str; 4] = ["image/jpeg", "image/png", "image/webp", "image/gif"];
/// As many of the first bytes as a type needs.
const HEAD: u64 = 512;

/// What the API takes in a place.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Media {
    Image,
    Video,
}

/// What is wrong with the media of a body. Paths are relative to `folder`.
pub(super) fn problems(number: u64, body: &Value, folder: &Path) -> Vec<Problem> {
    let mut problems = Vec::new();
    let of_video = matches!(body["type"].as_str(), Some("video_edit" | "video_reframe"));
    visit(body, "body", &mut |value, param| {
        let media = if of_video && param == "body.source" { Media::Video } else { Media::Image };
        let result = if let Some(path) = local_path(value) {
            check_file(&folder.join(path), media)
        } else if let Some(url) = value["url"].as_str() {
            MediaRef::url(url).map(drop).map_err(|e| e.to_string())
        } else {
            Ok(())
        };
        problems.extend(result.err().map(|message| Problem::new(number, param, Code::InvalidMedia, message)));
    });
    problems
}

fn visit(value: &Value, param: &str, see: &mut impl FnMut(&Value, &str)) {
    match value {
        Value::Object(fields) => {
            see(value, param);
            for (name, value) in fields.iter().filter(|(_, it)| it.is_object() || it.is_array()) {
                visit(value, &format!("{param}.{name}"), see);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate().filter(|(_, it)| it.is_object()) {
                visit(item, &format!("{param}[{index}]"), see);
            }
        }
        _ => {}
    }
}

fn check_file(path: &Path, media: Media) -> Result<(), String> {
    let shown = path.display();
    let broken = |e: std::io::Error| format!("{shown} cannot be read: {e}");
    let facts = path.metadata().map_err(broken)?;
    if !facts.is_file() {
        return Err(format!("{shown} is no file"));
    }
    let most = if media == Media::Image { IMAGE_BYTES } else { FILE_BYTES };
    if facts.len() > most {
        return Err(format!("{shown} has {} bytes; at most {most} are allowed: shrink it", facts.len()));
    }
    let mut head = Vec::new();
    File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head)).map_err(broken)?;
    let (fits, expected) = match media {
        Media::Image => (is_image(&head), "JPEG, PNG, WebP or GIF image"),
        Media::Video => (is_video(&head), "video"),
    };
    if fits { Ok(()) } else { Err(format!("{shown} is no {expected}: convert it")) }
}

fn is_image(head: &[u8]) -> bool {
    infer::get(head).is_some_and(|it| IMAGES.contains(&it.mime_type()))
}

fn is_video(head: &[u8]) -> bool {
    let known = infer::get(head);
    // New brands of ISO media appear all the time; those of images and sound are known.
    let is_iso_media = head.get(4..8) == Some(b"ftyp");
    known.map_or(is_iso_media, |it| it.matcher_type() == infer::MatcherType::Video)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n0000000000000000";
    const MP4: &[u8] = b"\0\0\0\x18ftypisom\0\0\0\0isommp42";

    fn messages(folder: &Path, body: &Value) -> Vec<String> {
        problems(1, body, folder).iter().map(|it| format!("{} {}", it.param.as_deref().unwrap(), it.message)).collect()
    }

    #[test]
    fn local_media_are_checked_for_type_and_size() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
        write("a.png", PNG);
        write("a.mp4", MP4);
        write("new.mp4", b"\0\0\0\x18ftypzzzz\0\0\0\0");
        write("a.txt", b"hello");
        write("empty.png", b"");
        write("large.png", PNG);
        File::options().write(true).open(folder.path().join("large.png")).unwrap().set_len(IMAGE_BYTES + 1).unwrap();
        let of = |kind: &str, name: &str| {
            let found = messages(folder.path(), &json!({"type": kind, "source": {"path": name}}));
            found.into_iter().next().unwrap_or_default()
        };
        assert_eq!(of("image_edit", "a.png"), "");
        assert_eq!((of("video_edit", "a.mp4"), of("video_reframe", "new.mp4")), (String::new(), String::new()));
        for (kind, name, expected) in [
            ("image_edit", "a.mp4", "a.mp4 is no JPEG, PNG, WebP or GIF image: convert it"),
            ("image_edit", "a.txt", "a.txt is no JPEG"),
            ("image_edit", "empty.png", "empty.png is no JPEG"),
            ("image_edit", "large.png", "large.png has 52428801 bytes; at most 52428800 are allowed"),
            ("image_edit", "none.png", "none.png cannot be read"),
            ("image_edit", ".", " is no file"),
            ("video_edit", "a.png", "a.png is no video"),
        ] {
            let found = of(kind, name);
            assert!(found.starts_with("body.source ") && found.contains(expected), "{found}");
        }
    }

    #[test]
    fn every_place_of_a_medium_is_seen() {
        let folder = Path::new("/nowhere");
        let missing = json!({"path": "a.png"});
        let body = json!({"image_ref": [{"file_id": "x"}, missing], "video": {
            "start_frame": missing, "keyframes": [missing], "edit": {"keyframes": [missing]}}});
        let mut places: Vec<_> = problems(1, &body, folder).into_iter().map(|it| it.param.unwrap()).collect();
        places.sort_unstable();
        let expected =
            ["body.image_ref[1]", "body.video.edit.keyframes[0]", "body.video.keyframes[0]", "body.video.start_frame"];
        assert_eq!(places, expected);
    }

    #[test]
    fn only_https_urls_are_fetched_by_the_service() {
        let found = messages(Path::new("."), &json!({"source": {"url": "photos/a.png"}}));
        assert!(found[0].starts_with("body.source the service fetches https URLs only"), "{found:?}");
        assert_eq!(messages(Path::new("."), &json!({"source": {"url": "https://example.com/a.png"}})), [""; 0]);
    }
}
