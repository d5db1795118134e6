//! Where outputs are saved: a directory, a file, or a template.

use std::{
    fs::File,
    io::{self, ErrorKind, Read as _},
    path::{Path, PathBuf},
};

use clap::Args;
use image::ImageFormat;
use luma_agents::{
    Client,
    types::{Generation, GenerationOutput},
};
use tempfile::TempPath;

use crate::failure::Failure;

const PLACEHOLDERS: [&str; 5] = ["{id}", "{index}", "{type}", "{model}", "{ext}"];

#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
pub(crate) struct Target {
    /// Directory, file, or template with {id}, {index}, {type}, {model}, {ext} [default: ID.EXTENSION here]
    #[arg(short, long, value_name = "PATH")]
    out: Option<PathBuf>,

    /// Replace files that exist
    #[arg(long)]
    overwrite: bool,
}

enum Kind<'a> {
    Directory(&'a Path),
    File(&'a Path),
    Template(&'a str),
}

impl Target {
    fn kind(&self) -> Kind<'_> {
        let Some(out) = &self.out else { return Kind::Directory(Path::new(".")) };
        match out.to_str() {
            Some(template) if template.contains('{') => Kind::Template(template),
            _ if out.is_dir() || out.as_os_str().as_encoded_bytes().ends_with(b"/") => Kind::Directory(out),
            _ => Kind::File(out),
        }
    }

    /// Whether the outputs of so many jobs can be written, as far as that can be known before anything is paid.
    pub(crate) fn check(&self, jobs: usize) -> Result<(), Failure> {
        let folder = match self.kind() {
            Kind::Directory(path) => path.to_owned(),
            Kind::File(path) => {
                if jobs > 1 {
                    return Err(Failure::usage("several jobs need a directory, or a template with {id}, as --out"));
                }
                if !self.overwrite && path.exists() {
                    return Err(Failure::exists(path));
                }
                folder(path)
            }
            Kind::Template(template) => {
                let rest = PLACEHOLDERS.iter().fold(template.to_owned(), |rest, it| rest.replace(it, ""));
                if rest.contains(['{', '}']) {
                    let names = PLACEHOLDERS.join(", ");
                    return Err(Failure::usage(format!("--out {template}: the placeholders are {names}")));
                }
                let folder = folder(Path::new(template));
                if folder.to_string_lossy().contains('{') {
                    return Err(Failure::usage(format!("--out {template}: placeholders are for the file name only")));
                }
                folder
            }
        };
        let written = std::fs::create_dir_all(&folder).and_then(|()| tempfile::tempfile_in(&folder).map_err(unnamed));
        written.map(drop).map_err(|e| Failure::io("write to", &folder, &e))
    }

    /// Saves the outputs of a job that is done.
    pub(crate) async fn save(&self, client: &Client, generation: &Generation) -> Result<Vec<PathBuf>, Failure> {
        let download = client.download(generation);
        let download = if self.overwrite { download.overwrite() } else { download };
        let mut saved = Vec::new();
        match self.kind() {
            Kind::Directory(path) => {
                let all = download.save_all(path).await?;
                saved.extend(all.into_iter().map(|it| it.path));
            }
            Kind::File(path) => {
                for (index, output) in generation.outputs().iter().enumerate() {
                    let path = further(path, index, output);
                    saved.push(download.clone().output(index).save(path).await?.path);
                }
            }
            Kind::Template(template) => {
                let to = folder(Path::new(template));
                // Under a name of its own first: only the content has the extension.
                let apart = tempfile::tempdir_in(&to).map_err(|e| Failure::io("write to", &to, &unnamed(e)))?;
                for index in 0..generation.outputs().len() {
                    let file = download.clone().output(index).save(apart.path()).await?.path;
                    let path = PathBuf::from(name(template, generation, index, &file));
                    self.rename(file, &path)?;
                    saved.push(path);
                }
            }
        }
        Ok(saved.into_iter().map(plain).collect())
    }

    fn rename(&self, file: PathBuf, to: &Path) -> Result<(), Failure> {
        let file = TempPath::try_from_path(file).map_err(|e| Failure::io("write", to, &e))?;
        let renamed = if self.overwrite { file.persist(to) } else { file.persist_noclobber(to) };
        renamed.map_err(|e| match e.error.kind() {
            ErrorKind::AlreadyExists => Failure::exists(to),
            _ => Failure::io("write", to, &e.error),
        })
    }
}

/// What to know of an image that is in another format than its name says: the service chooses the format.
pub(crate) fn misnamed(path: &Path) -> Option<String> {
    let named = ImageFormat::from_path(path).ok()?;
    let mut head = Vec::new();
    File::open(path).ok()?.take(16).read_to_end(&mut head).ok()?;
    let content = image::guess_format(&head).ok()?;
    let (path, content_type) = (path.display(), content.to_mime_type());
    (content != named).then(|| format!("note: {path} is {content_type}; --output-format sets the format"))
}

/// The error without the name of a temporary file, which its text may have.
pub(crate) fn unnamed(error: io::Error) -> io::Error {
    if error.raw_os_error().is_some() { error } else { error.kind().into() }
}

fn folder(path: &Path) -> PathBuf {
    let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
    parent.map_or_else(|| ".".into(), Path::to_path_buf)
}

/// The name of a further output beside the first: `sky.png`, `sky-2.png`.
fn further(path: &Path, index: usize, output: &GenerationOutput) -> PathBuf {
    if index == 0 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    let extension = if output.type_.as_str() == "exr" { "exr" } else { &*extension };
    path.with_file_name(format!("{stem}-{}.{extension}", index + 1))
}

fn name(template: &str, generation: &Generation, index: usize, file: &Path) -> String {
    let extension = file.extension().unwrap_or_default().to_string_lossy();
    template
        .replace("{id}", &generation.id.to_string())
        .replace("{index}", &(index + 1).to_string())
        .replace("{type}", generation.type_.as_str())
        .replace("{model}", &generation.model.as_str().replace(['/', '\\'], "-"))
        .replace("{ext}", &extension)
}

/// Without the `./` of the current directory.
fn plain(path: PathBuf) -> PathBuf {
    path.strip_prefix(".").map(Path::to_path_buf).unwrap_or(path)
}
