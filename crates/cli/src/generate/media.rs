//! Media on the command line: a local file, a URL, an earlier generation, an uploaded file.

use std::str::FromStr;

use luma_agents::uuid::Uuid;
use serde_json::{Value, json};

/// A medium, as JSON. A local file is `{"path": ".."}`, which stands for its upload.
#[derive(Clone, Debug)]
pub(crate) struct Media(Value);

impl Media {
    pub(crate) fn to_json(&self) -> Value {
        self.0.clone()
    }

    /// With the media type that the API requires of a URL of a video.
    pub(crate) fn to_video_json(&self) -> Value {
        let mut value = self.to_json();
        if let Some(url) = value["url"].as_str() {
            let path = url.split(['?', '#']).next().unwrap_or(url).to_ascii_lowercase();
            let kind = match path.rsplit('.').next() {
                Some("mov") => "video/quicktime",
                Some("webm") => "video/webm",
                _ => "video/mp4",
            };
            value["media_type"] = kind.into();
        }
        value
    }
}

impl FromStr for Media {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uuid = |id: &str| Uuid::try_parse(id).map_err(|_| format!("{id} is no UUID"));
        if let Some(id) = text.strip_prefix("generation:") {
            return Ok(Self(json!({ "generation_id": uuid(id)? })));
        }
        if let Some(id) = text.strip_prefix("file:") {
            return Ok(Self(json!({ "file_id": uuid(id)? })));
        }
        if text.starts_with("https://") || text.starts_with("http://") {
            return Ok(Self(json!({ "url": text })));
        }
        Ok(Self(json!({ "path": text })))
    }
}
