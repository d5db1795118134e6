//! What is written beside a kept part: which object its bytes are of, and how many are safely on disk.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::PathBuf,
};

use super::{
    disk,
    object::{Object, ResumePoint},
};

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
        // What an interrupted process has left, or a link.
        fs::remove_file(&new).ok();
        let mut file = OpenOptions::new().write(true).create_new(true).open(&new)?;
        file.write_all(&serde_json::to_vec(&contents)?)?;
        disk::if_supported(file.sync_data())?;
        fs::rename(new, &self.path)
    }

    /// Where to go on with a part of `length` bytes: at the beginning if the checkpoint is unusable or
    /// of another output.
    pub(crate) fn load(&self, length: u64) -> ResumePoint {
        match self.read() {
            Some(Contents { identity, object, bytes }) if identity == self.identity => {
                // The last byte is requested again: the response shows whether the object is still the same.
                let last = object.total.map_or(u64::MAX, |total| total.saturating_sub(1));
                ResumePoint { offset: bytes.min(length).min(last), object }
            }
            _ => ResumePoint::default(),
        }
    }

    fn read(&self) -> Option<Contents> {
        disk::entry(&self.path).ok()?.filter(fs::Metadata::is_file)?;
        serde_json::from_slice(&fs::read(&self.path).ok()?).ok()
    }

    /// It no longer describes the part.
    pub(crate) fn remove(&self) {
        fs::remove_file(&self.path).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_counts_for_its_own_output_and_for_bytes_that_are_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let checkpoint = |identity: &str| Checkpoint::new(directory.path().join("c.json"), identity.to_owned());
        let mut object = Object::default();
        object.total = Some(100);
        assert_eq!(checkpoint("a").load(50), ResumePoint::default(), "there is none");
        checkpoint("a").save(&object, 80).expect("saved");
        for (length, offset) in [(80, 80), (90, 80), (70, 70), (0, 0)] {
            assert_eq!(checkpoint("a").load(length), ResumePoint { offset, object: object.clone() });
        }
        assert_eq!(checkpoint("b").load(80), ResumePoint::default());
        checkpoint("a").save(&object, 100).expect("saved");
        assert_eq!(checkpoint("a").load(100).offset, 99, "the last byte is requested again");
        checkpoint("a").remove();
        assert_eq!(checkpoint("a").load(100), ResumePoint::default());
    }

    #[cfg(unix)]
    #[test]
    fn a_checkpoint_is_not_written_through_a_link() {
        let directory = tempfile::tempdir().expect("a directory");
        let mine = directory.path().join("mine");
        fs::write(&mine, "mine").expect("a file");
        let checkpoint = Checkpoint::new(directory.path().join("c.json"), "a".to_owned());
        for link in ["c.json", "c.new"] {
            std::os::unix::fs::symlink(&mine, directory.path().join(link)).expect("a link");
        }
        checkpoint.save(&Object::default(), 1).expect("saved");
        assert_eq!(checkpoint.load(1).offset, 1);
        assert_eq!(fs::read(&mine).expect("a file"), b"mine");
    }
}
