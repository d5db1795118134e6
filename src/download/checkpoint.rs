//! What is written beside a kept part: which object its bytes are of, and how many are safely on disk.

use std::{
    fs::{self, File},
    io,
    path::PathBuf,
};

use super::object::{Object, ResumePoint};

/// The checkpoint of one kept part.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoint {
    path: PathBuf,
    /// Of the output: the part of another one is not resumed.
    identity: String,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Contents {
    identity: String,
    object: Object,
    bytes: u64,
}

impl Checkpoint {
    pub(crate) fn new(path: PathBuf, identity: String) -> Self {
        Self { path, identity }
    }

    /// Replaces the checkpoint in one step.
    pub(crate) fn save(&self, object: &Object, bytes: u64) -> io::Result<()> {
        let contents = Contents { identity: self.identity.clone(), object: object.clone(), bytes };
        let new = self.path.with_extension("new");
        fs::write(&new, serde_json::to_vec(&contents)?)?;
        fs::rename(new, &self.path)
    }

    /// Where to go on with `part`. From the beginning if the checkpoint is unusable or of another output.
    pub(crate) fn load(&self, part: &File) -> ResumePoint {
        let contents: Option<Contents> = fs::read(&self.path).ok().and_then(|json| serde_json::from_slice(&json).ok());
        let length = part.metadata().map_or(0, |it| it.len());
        match contents {
            Some(Contents { identity, object, bytes }) if identity == self.identity && bytes <= length => {
                // The last byte is requested again: the response shows whether the object is still the same.
                let offset = object.total.map_or(bytes, |total| bytes.min(total.saturating_sub(1)));
                ResumePoint { offset, object }
            }
            _ => ResumePoint::default(),
        }
    }

    pub(crate) fn remove(&self) {
        fs::remove_file(&self.path).ok();
    }
}
