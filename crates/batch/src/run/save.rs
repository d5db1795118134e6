//! Puts the outputs of a completed job to their names, with a sidecar.

use std::{
    fs,
    path::{Path, PathBuf},
};

use luma_agents::{Saved, error::RejectionKind, types::Generation};
use uuid::Uuid;

use super::{driver::Context, prepare::blocking};
use crate::{
    digest::Sha256,
    error::{Error, Result},
    input::Line,
    ledger::SavedFile,
    output::{Names, Sidecar},
};

/// Below the folder of outputs. What is in it is not finished.
pub(super) const PARTIAL: &str = ".partial";

/// Downloads the outputs, moves them to their names, then writes the sidecar. Files of the same names are replaced:
/// under a key with a job they are its own.
pub(super) async fn save(context: &Context, line: &Line, generation: &Generation) -> Result<Vec<SavedFile>> {
    let partial = context.batch.names.folder().join(PARTIAL);
    let folder = partial.clone();
    blocking(move || fs::create_dir_all(&folder).map_err(|e| Error::io("create", &folder, e))).await?;
    let download = context.batch.client.download(generation).overwrite();
    // Boxed: the future of a job stays small.
    let files = Box::pin(download.save_all(&partial)).await?;
    let publish = Publish {
        names: context.batch.names.clone(),
        base: context.batch.folder().to_owned(),
        media: context.batch.input.folder().to_owned(),
        line: line.clone(),
        generation: generation.clone(),
        files,
    };
    blocking(move || publish.run()).await
}

struct Publish {
    names: Names,
    /// What paths in the journal are relative to.
    base: PathBuf,
    /// What local media are relative to.
    media: PathBuf,
    line: Line,
    generation: Generation,
    files: Vec<Saved>,
}

impl Publish {
    fn run(self) -> Result<Vec<SavedFile>> {
        let (custom_id, id) = (&self.line.custom_id, self.generation.id);
        let mut saved = Vec::with_capacity(self.files.len());
        for (index, file) in self.files.iter().enumerate() {
            let extension = file.path.extension().unwrap_or_default().to_string_lossy();
            let to = self.names.output(custom_id, id, index, &extension);
            fs::rename(&file.path, &to).map_err(|e| Error::io("write", &to, e))?;
            saved.push(SavedFile::new(relative(&to, &self.base), file.bytes, file.sha256.parse()?));
        }
        write_sidecar(&self.names, &self.media, &self.line, &self.generation, saved.clone())?;
        Ok(saved)
    }
}

/// Writes how the outputs were made. `media` is what local media are relative to.
fn write_sidecar(
    names: &Names,
    media: &Path,
    line: &Line,
    generation: &Generation,
    files: Vec<SavedFile>,
) -> Result<()> {
    let content = |path: &str| {
        // A source that is gone by now is no reason to lose an output.
        let read = fs::File::open(media.join(path)).and_then(Sha256::of_reader);
        Ok(read.map_or(Sha256::of(""), |(sha256, _)| sha256))
    };
    Sidecar::new(line, generation, files, content)?.write(&names.sidecar(&line.custom_id, generation.id))
}

/// Writes the sidecar of a saved job again if it is gone. A job that the service no longer knows stays without.
pub(super) async fn restore_sidecar(context: &Context, line: &Line, id: Uuid, files: Vec<SavedFile>) -> Result<()> {
    let names = context.batch.names.clone();
    if line.body.is_null() || names.sidecar(&line.custom_id, id).exists() {
        return Ok(());
    }
    let generation = match context.batch.client.generations().get(id).await {
        Ok(generation) => generation,
        Err(luma_agents::Error::Rejected(e)) if e.kind() == RejectionKind::NotFound => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    let (media, line) = (context.batch.input.folder().to_owned(), line.clone());
    blocking(move || write_sidecar(&names, &media, &line, &generation, files)).await
}

/// A path as the journal writes it.
fn relative(path: &Path, base: &Path) -> String {
    let path = path.strip_prefix(base).unwrap_or(path);
    path.to_string_lossy().into_owned()
}

/// Whether all files are there, and as large as they were.
pub(super) fn is_there<'a>(base: &Path, files: impl IntoIterator<Item = &'a SavedFile>) -> bool {
    let is_there = |file: &SavedFile| fs::metadata(base.join(&file.path)).is_ok_and(|it| it.len() == file.bytes);
    files.into_iter().all(is_there)
}
