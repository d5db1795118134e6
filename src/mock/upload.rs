//! A file on the emulator: its upload and its ingest.

use std::time::{Duration, SystemTime};

use chrono::SecondsFormat;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{document::Document, script::Ingest, state::timestamp};
use crate::types::FileState;

/// A file, and how far its upload is.
pub(super) struct Upload {
    pub(super) id: Uuid,
    /// As it was announced, or its form as JSON.
    pub(super) request: Value,
    pub(super) created: SystemTime,
    pub(super) deleted: Option<SystemTime>,
    pub(super) state: FileState,
    pub(super) failure: Option<String>,
    pub(super) ingest: Ingest,
    /// Once its bytes are there: whether they are an image or a video.
    pub(super) is_media: Option<bool>,
    /// When its upload was completed, by the emulator's clock.
    pub(super) completed: Option<Duration>,
    pub(super) polls: usize,
}

impl Upload {
    pub(super) fn new(id: Uuid, request: Value, ingest: Ingest) -> Self {
        Self {
            id,
            request,
            created: SystemTime::now(),
            deleted: None,
            state: FileState::Pending,
            failure: None,
            ingest,
            is_media: None,
            completed: None,
            polls: 0,
        }
    }

    /// Takes note of its first bytes; the others have no use.
    pub(super) fn receive(&mut self, start: &[u8]) {
        let content = infer::get(start).map(|it| it.mime_type());
        self.is_media = Some(content.is_some_and(|it| is_image(it) || is_video(it)));
    }

    /// Ends the ingest, if it is due.
    pub(super) fn advance(&mut self, now: Duration) {
        let (Some(since), FileState::Pending) = (self.completed, &self.state) else { return };
        let due = match self.ingest.takes {
            Some(duration) => now.saturating_sub(since) >= duration,
            None => self.polls > 1,
        };
        if !due {
            return;
        }
        let unusable = (self.is_media != Some(true)).then(|| "Unsupported file type".to_owned());
        self.failure = self.ingest.failure.clone().or(unusable);
        self.state = if self.failure.is_some() { FileState::Failed } else { FileState::Ready };
    }

    pub(super) fn mime_type(&self) -> &str {
        self.request["mime_type"].as_str().unwrap_or_default()
    }

    pub(super) fn size(&self) -> u64 {
        self.request["size_bytes"].as_u64().unwrap_or_default()
    }

    /// A file announced without a purpose is an input.
    pub(super) fn purpose(&self) -> &str {
        self.request["purpose"].as_str().unwrap_or("input")
    }

    pub(super) fn to_json(&self, document: &Document) -> Value {
        let fields = json!({
            "id": self.id,
            "created_at": timestamp(self.created, SecondsFormat::Millis),
            "mime_type": self.mime_type(),
            "purpose": self.purpose(),
            "size_bytes": self.size(),
            "state": self.state,
            "filename": self.request["filename"],
            "expires_at": self.request["expires_at"],
            "deleted_at": self.deleted.map(|it| timestamp(it, SecondsFormat::Millis)),
            "failure_reason": self.failure,
            "user_id": self.request["user_id"],
        });
        document.value("File", fields)
    }
}

/// The formats that the service documents.
pub(super) fn is_image(media_type: &str) -> bool {
    ["image/jpeg", "image/png", "image/webp", "image/gif"].contains(&media_type)
}

pub(super) fn is_video(media_type: &str) -> bool {
    media_type.starts_with("video/")
}
