//! The names of outputs.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::sidecar::Sidecar;
use crate::{
    error::{Error, Result},
    key::CustomId,
};

/// Between an id and the number of a further output: no id has it.
const FURTHER: char = '~';

/// How outputs are named: `ID.EXT`, further ones `ID~2.EXT`, and the sidecar `ID.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    folder: PathBuf,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    CustomId,
    Id,
}

impl Names {
    /// Outputs in `folder`, each named by its `custom_id`.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), parts: vec![Part::CustomId] }
    }

    /// Names by a template without the extension: text of `[A-Za-z0-9._-]`, `{custom_id}`, and `{id}` for the id of
    /// the job. Default: `{custom_id}`.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](Error::InvalidInput) if it has other characters or placeholders, or lets two jobs share a
    /// name because it has no placeholder.
    pub fn template(self, template: &str) -> Result<Self> {
        let invalid = |why: &str| {
            let shown: String = template.chars().take(80).collect();
            Error::InvalidInput(format!("the template {shown:?} cannot be used: {why}"))
        };
        let mut parts = Vec::new();
        let mut rest = template;
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('{') {
                let (name, after) = inner.split_once('}').ok_or_else(|| invalid("a brace is not closed"))?;
                parts.push(match name {
                    "custom_id" => Part::CustomId,
                    "id" => Part::Id,
                    _ => return Err(invalid("the placeholders are {custom_id} and {id}")),
                });
                rest = after;
            } else {
                let (text, after) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
                if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
                    return Err(invalid("text takes A-Z a-z 0-9 . _ - only"));
                }
                parts.push(Part::Text(text.to_owned()));
                rest = after;
            }
        }
        if !parts.iter().any(|part| matches!(part, Part::CustomId | Part::Id)) {
            return Err(invalid("two jobs would share a name; put {custom_id} into it"));
        }
        if template.starts_with('.') {
            return Err(invalid("the files would be hidden"));
        }
        Ok(Self { parts, ..self })
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of an output, counted from 0.
    #[must_use]
    pub fn output(&self, custom_id: &CustomId, id: Uuid, index: usize, extension: &str) -> PathBuf {
        let stem = self.stem(custom_id, Some(id));
        self.folder.join(match index {
            0 => format!("{stem}.{extension}"),
            _ => format!("{stem}{FURTHER}{}.{extension}", index + 1),
        })
    }

    /// The path of the sidecar.
    #[must_use]
    pub fn sidecar(&self, custom_id: &CustomId, id: Uuid) -> PathBuf {
        self.folder.join(format!("{}.json", self.stem(custom_id, Some(id))))
    }

    /// The job whose outputs are there, as the sidecar of a line names it. It blocks.
    #[must_use]
    pub fn job(&self, custom_id: &CustomId) -> Option<Uuid> {
        Sidecar::job(&self.sidecar(custom_id, Uuid::nil()), custom_id)
    }

    fn stem(&self, custom_id: &CustomId, id: Option<Uuid>) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::CustomId => custom_id.to_string(),
            Part::Id => id.map(|id| id.to_string()).unwrap_or_default(),
        };
        self.parts.iter().map(part).collect()
    }

    /// The files that are in the folder already. None if there is no folder.
    ///
    /// # Errors
    ///
    /// [`Io`](Error::Io) if it cannot be read.
    pub fn existing(&self) -> Result<Existing> {
        let mut stems = HashSet::new();
        let broken = |e| Error::io("read", &self.folder, e);
        match self.folder.read_dir() {
            Ok(entries) => {
                for entry in entries {
                    if let Some(stem) = entry.map_err(broken)?.file_name().to_str().and_then(stem) {
                        stems.insert(hash(stem));
                    }
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(broken(e)),
        }
        Ok(Existing { stems, names: Some(self.clone()) })
    }
}

/// What a name has before its extension and the number of a further output.
fn stem(name: &str) -> Option<&str> {
    let (stem, _) = name.rsplit_once('.')?;
    Some(stem.split(FURTHER).next().unwrap_or(stem))
}

/// Without case, as some file systems compare names.
fn hash(stem: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    stem.to_ascii_lowercase().hash(&mut hasher);
    hasher.finish()
}

/// The files in a folder of outputs. From [`Names::existing`].
#[derive(Clone, Debug, Default)]
pub struct Existing {
    /// As hashes: there may be as many as jobs.
    stems: HashSet<u64>,
    names: Option<Names>,
}

impl Existing {
    /// Whether there is a file at the name of an output or sidecar of this job. Names with the id of a job are not
    /// known before there is one, and never taken.
    #[must_use]
    pub fn has(&self, custom_id: &CustomId) -> bool {
        let Some(names) = self.names.as_ref().filter(|_| !self.stems.is_empty()) else { return false };
        !names.parts.contains(&Part::Id) && self.stems.contains(&hash(&names.stem(custom_id, None)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn id(text: &str) -> CustomId {
        CustomId::new(text).unwrap()
    }

    #[test]
    fn outputs_are_named_by_their_id_and_further_ones_by_a_number_too() {
        let names = Names::new("out");
        let path = |index, extension: &str| names.output(&id("sku-1.a"), Uuid::nil(), index, extension);
        assert_eq!(path(0, "png"), Path::new("out/sku-1.a.png"));
        assert_eq!(path(1, "exr"), Path::new("out/sku-1.a~2.exr"));
        assert_eq!(names.sidecar(&id("sku-1.a"), Uuid::nil()), Path::new("out/sku-1.a.json"));
    }

    #[test]
    fn a_template_cannot_let_two_jobs_share_a_name() {
        let names = Names::new("out").template("duck-{custom_id}_{id}").unwrap();
        let expected = format!("out/duck-a_{}.png", Uuid::nil());
        assert_eq!(names.output(&id("a"), Uuid::nil(), 0, "png"), Path::new(&expected));
        for bad in
            ["", "duck", "{name}", "{custom_id", "a/{custom_id}", "{custom_id}~2", ".{custom_id}", "{custom_id} 1"]
        {
            assert!(Names::new("out").template(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn files_that_are_there_are_found_in_any_case_and_with_any_extension() {
        let folder = tempfile::tempdir().unwrap();
        let names = Names::new(folder.path().join("none"));
        assert!(!names.existing().unwrap().has(&id("a")));
        for name in ["A.png", "b~2.exr", "c.json", "d", ".batch"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let existing = Names::new(folder.path()).existing().unwrap();
        let found = ["a", "b", "c", "d", "e"].map(|it| existing.has(&id(it)));
        assert_eq!(found, [true, true, true, false, false]);
        let by_id = Names::new(folder.path()).template("{custom_id}-{id}").unwrap();
        assert!(!by_id.existing().unwrap().has(&id("a")));
    }
}
