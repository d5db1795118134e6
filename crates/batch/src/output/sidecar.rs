//! The file beside an output that says how it was made.

use std::path::Path;

use base64::Engine as _;
use luma_agents::{reqwest::Url, types::Generation};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::replace::Replacement;
use crate::{
    digest::Sha256,
    error::{Error, Result},
    fingerprint::local_path,
    input::Line,
    key::CustomId,
    ledger::SavedFile,
};

/// How an output was made: the request and the job, without media, signatures and credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Sidecar {
    /// The id of the line in the input.
    pub custom_id: String,
    /// The job.
    pub id: String,
    /// The model that did the work.
    pub model: String,
    /// The type of the generation.
    #[serde(rename = "type")]
    pub kind: String,
    /// When the service made the job.
    pub created_at: String,
    /// The request: media by the SHA-256 of their content, URLs without their query.
    pub request: Value,
    /// The outputs.
    pub files: Vec<SavedFile>,
    /// The program that saved them.
    pub by: &'static str,
}

impl Sidecar {
    /// Of the job of a line. `content` gives the SHA-256 of the file at a path.
    ///
    /// # Errors
    ///
    /// As `content`.
    pub fn new(
        line: &Line,
        generation: &Generation,
        files: Vec<SavedFile>,
        mut content: impl FnMut(&str) -> Result<Sha256>,
    ) -> Result<Self> {
        let mut request = line.body.clone();
        hide(&mut request, &mut content)?;
        Ok(Self {
            custom_id: line.custom_id.to_string(),
            id: generation.id.to_string(),
            model: generation.model.to_string(),
            kind: generation.type_.to_string(),
            created_at: generation.created_at.clone(),
            request,
            files,
            by: concat!("luma-agents-batch ", env!("CARGO_PKG_VERSION")),
        })
    }

    /// The job that the sidecar of a line names.
    pub(crate) fn job(path: &Path, custom_id: &CustomId) -> Option<Uuid> {
        let sidecar: Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        let is_of_line = sidecar["custom_id"] == custom_id.as_str();
        sidecar["id"].as_str().filter(|_| is_of_line)?.parse().ok()
    }

    /// Writes it by rename, readable by the owner only. It blocks.
    ///
    /// # Errors
    ///
    /// [`Io`](Error::Io) if it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(self).map_err(|e| Error::InvalidInput(e.to_string()))?;
        text.push(b'\n');
        let mut file = Replacement::new(path)?;
        file.write(&text)?;
        file.persist()
    }
}

/// Replaces media by their SHA-256, and cuts URLs before their query.
fn hide(value: &mut Value, content: &mut impl FnMut(&str) -> Result<Sha256>) -> Result<()> {
    if let Some(path) = local_path(value) {
        *value = json!({ "sha256": content(path)?.to_string() });
        return Ok(());
    }
    match value {
        Value::Object(fields) => {
            if let Some(data) = fields.get("data").and_then(Value::as_str) {
                let bytes = base64::engine::general_purpose::STANDARD.decode(data);
                // What is no base64 was rejected, and is hidden all the same.
                let digest = bytes.map_or_else(|_| Sha256::of(data), Sha256::of);
                fields.remove("data");
                fields.insert("sha256".to_owned(), digest.to_string().into());
            }
            if let Some(Value::String(url)) = fields.get_mut("url") {
                *url = without_query(url);
            }
            fields.values_mut().try_for_each(|it| hide(it, content))
        }
        Value::Array(items) => items.iter_mut().try_for_each(|it| hide(it, content)),
        _ => Ok(()),
    }
}

fn without_query(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else { return String::new() };
    url.set_query(None);
    url.set_fragment(None);
    // Only URLs without a host cannot have credentials.
    _ = url.set_username("");
    _ = url.set_password(None);
    url.into()
}

#[cfg(test)]
mod tests {
    use luma_agents::mock;

    use super::*;

    #[test]
    fn a_sidecar_has_the_request_without_media_signatures_and_credentials() {
        let folder = tempfile::tempdir().unwrap();
        let body = json!({
            "prompt": "a duck",
            "source": {"path": "photos/a.png"},
            "image_ref": [
                {"url": "https://me:secret@example.com/a.png?X-Amz-Signature=secret#secret"},
                {"data": "c2VjcmV0", "media_type": "image/png"},
            ],
        });
        let text = json!({"custom_id": "sku-1", "body": body}).to_string();
        let line = Line::parse(1, text.as_bytes()).unwrap();
        let generation = mock::generation(luma_agents::types::GenerationState::Completed);
        let files = vec![SavedFile::new("out/sku-1.png", 3, Sha256::of("png"))];
        let sidecar = Sidecar::new(&line, &generation, files, |path| Ok(Sha256::of(path))).unwrap();
        let path = folder.path().join("sku-1.json");
        sidecar.write(&path).unwrap();
        sidecar.write(&path).unwrap();

        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("c2VjcmV0") && !text.contains("Signature") && !text.contains("me:"), "{text}");
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["request"]["source"], json!({"sha256": Sha256::of("photos/a.png").to_string()}));
        assert_eq!(read["request"]["image_ref"][0]["url"], "https://example.com/a.png");
        assert_eq!(read["request"]["image_ref"][1]["sha256"], Sha256::of("secret").to_string());
        assert_eq!((&read["custom_id"], &read["id"]), (&json!("sku-1"), &json!(generation.id)));
        assert_eq!(read["files"][0]["path"], "out/sku-1.png");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}
