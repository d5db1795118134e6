//! Media of a line that can be checked here: local and inline ones by type and size, URLs by their scheme.

use std::{fs::File, io::Read, path::Path};

use base64::Engine as _;
use luma_agents::types::MediaRef;
use serde_json::Value;

use super::problem::{Code, Problem};
use crate::fingerprint::local_path;

/// What the service documents for an image.
const IMAGE_BYTES: u64 = 50 * 1024 * 1024;
/// What it documents for a video that is sent inline.
const VIDEO_BYTES: u64 = 200 * 1024 * 1024;
/// What it documents for an uploaded file, which a local video becomes.
const FILE_BYTES: u64 = 5 * 1024 * 1024 * 1024;
const IMAGES: [&str; 4] = ["image/jpeg", "image/png", "image/webp", "image/gif"];
/// As many of the first bytes as a type needs.
const HEAD: u64 = 512;
/// The same in base64.
const HEAD_CHARACTERS: usize = 684;

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
            check_url(url, value["media_type"].as_str(), media)
        } else if let Some(data) = value["data"].as_str() {
            check_data(data, media)
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

fn check_url(url: &str, media_type: Option<&str>, media: Media) -> Result<(), String> {
    if media == Media::Video && !media_type.is_some_and(|it| it.starts_with("video/")) {
        return Err("a video by URL needs its media_type, such as video/mp4".to_owned());
    }
    MediaRef::url(url).map(drop).map_err(|e| e.to_string())
}

fn check_data(data: &str, media: Media) -> Result<(), String> {
    let most = if media == Media::Image { IMAGE_BYTES } else { VIDEO_BYTES };
    if data.len() as u64 / 4 * 3 > most {
        return Err(format!("it has more than {most} bytes: name a smaller file by its path"));
    }
    // Whole groups of four characters, as many as the first bytes need.
    let head = data.get(..data.len().min(HEAD_CHARACTERS)).unwrap_or_default();
    let head = base64::engine::general_purpose::STANDARD.decode(head).map_err(|_| "it is no base64".to_owned())?;
    check_head(&head, media).map_err(|expected| format!("it is no {expected}: convert it"))
}

/// Whether these first bytes are what the API takes, or else what that is.
fn check_head(head: &[u8], media: Media) -> Result<(), &'static str> {
    match media {
        Media::Image if !is_image(head) => Err("JPEG, PNG, WebP or GIF image"),
        Media::Video if !is_video(head) => Err("video"),
        _ => Ok(()),
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
    check_head(&head, media).map_err(|expected| format!("{shown} is no {expected}: convert it"))
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
    fn media_inside_a_request_are_checked_as_files_are() {
        let folder = Path::new(".");
        let of = |kind: &str, bytes: &[u8]| {
            let data = base64::engine::general_purpose::STANDARD.encode(bytes);
            messages(folder, &json!({"type": kind, "source": {"data": data, "media_type": "image/png"}}))
        };
        assert_eq!(of("image_edit", PNG), [""; 0]);
        assert_eq!(of("image_edit", &[PNG, &[0; 5000]].concat()), [""; 0]);
        assert_eq!(of("video_edit", MP4), [""; 0]);
        assert_eq!(of("image_edit", MP4), ["body.source it is no JPEG, PNG, WebP or GIF image: convert it"]);
        assert_eq!(of("video_edit", PNG), ["body.source it is no video: convert it"]);
        let broken = json!({"image_ref": [{"data": "§", "media_type": "image/png"}]});
        assert_eq!(messages(folder, &broken), ["body.image_ref[0] it is no base64"]);
        let large = "A".repeat(usize::try_from(IMAGE_BYTES).unwrap() / 3 * 4 + 8);
        let large = json!({"image_ref": [{"data": large, "media_type": "image/png"}]});
        assert!(messages(folder, &large)[0].contains("more than 52428800 bytes"));
    }

    #[test]
    fn a_video_by_url_needs_its_media_type() {
        let of = |source: Value| messages(Path::new("."), &json!({"type": "video_edit", "source": source}));
        assert_eq!(of(json!({"url": "https://example.com/a.mp4", "media_type": "video/mp4"})), [""; 0]);
        assert_eq!(of(json!({"url": "https://example.com/a.mp4"})).len(), 1);
    }

    #[test]
    fn only_https_urls_are_fetched_by_the_service() {
        let found = messages(Path::new("."), &json!({"source": {"url": "photos/a.png"}}));
        assert!(found[0].starts_with("body.source the service fetches https URLs only"), "{found:?}");
        assert_eq!(messages(Path::new("."), &json!({"source": {"url": "https://example.com/a.png"}})), [""; 0]);
    }
}
