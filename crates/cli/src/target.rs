//! Where outputs are saved: a directory, a file, or a template.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf, is_separator},
};

use clap::Args;
use image::ImageFormat;
use luma_agents::{
    Client,
    types::{Generation, GenerationOutput},
};

use crate::{failure::Failure, text::is_steering};

/// Beside `{ext}`, which a name has once at most.
const PLACEHOLDERS: [&str; 4] = ["{id}", "{index}", "{type}", "{model}"];

#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
pub(crate) struct Target {
    /// Directory, file, or template with {id}, {index} from 0, {type}, {model}, {ext} [default: ID.EXTENSION here]
    #[arg(short, long, value_name = "PATH")]
    out: Option<PathBuf>,

    /// Replace files that exist
    #[arg(long)]
    overwrite: bool,
}

enum Kind<'a> {
    Directory(&'a Path),
    File(&'a Path),
    /// A folder, and the name of a file in it.
    Template(&'a Path, &'a str),
}

impl Target {
    fn kind(&self) -> Kind<'_> {
        let Some(out) = &self.out else { return Kind::Directory(Path::new(".")) };
        match out.to_str() {
            Some(template) if template.contains('{') => {
                let (folder, name) = template.split_at(template.rfind(is_separator).map_or(0, |at| at + 1));
                Kind::Template(Path::new(if folder.is_empty() { "." } else { folder }), name)
            }
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
            Kind::Template(folder, name) => {
                let shown = plain(folder.join(name));
                let wrong = |why: &str| Err(Failure::usage(format!("--out {}: {why}", shown.display())));
                if folder.to_string_lossy().contains('{') {
                    return wrong("placeholders are for the file name only");
                }
                // What the download would refuse too, but only once the job is paid.
                let rest = PLACEHOLDERS.iter().fold(name.replacen("{ext}", "", 1), |rest, it| rest.replace(it, "-"));
                if rest.contains(['{', '}', '\\']) || rest.trim_matches(['.', ' ']).is_empty() {
                    return wrong(
                        "the name takes {id}, {index}, {type}, {model}, {ext} once, and other text without \\",
                    );
                }
                if name.contains(is_steering) || name.starts_with(".luma-") {
                    return wrong("the name has a control character, or begins as those of temporary files");
                }
                if jobs > 1 && !name.contains("{id}") {
                    return wrong("several jobs need {id} in the name");
                }
                folder.to_owned()
            }
        };
        let written = std::fs::create_dir_all(&folder).and_then(|()| tempfile::tempfile_in(&folder).map_err(unnamed));
        written.map(drop).map_err(|e| Failure::io("write to", &folder, &e))
    }

    /// Saves the outputs of a job that is done.
    pub(crate) async fn save(&self, client: &Client, generation: &Generation) -> Result<Vec<PathBuf>, Failure> {
        // What cannot get its name is kept, and not fetched again.
        let download = client.download(generation).resumable();
        let download = if self.overwrite { download.overwrite() } else { download };
        let mut saved = Vec::new();
        match self.kind() {
            Kind::Directory(path) => saved = download.save_all(path).await?,
            Kind::File(path) => {
                for (index, output) in generation.outputs().iter().enumerate() {
                    saved.push(download.clone().output(index).save(further(path, index, output)).await?);
                }
            }
            Kind::Template(folder, name) => {
                let name = filled(name, generation);
                if name.contains("{index}") {
                    saved = download.names(name).save_all(folder).await?;
                } else {
                    for (index, output) in generation.outputs().iter().enumerate() {
                        let name = further(Path::new(&name), index, output);
                        let download = download.clone().output(index).names(name.to_string_lossy());
                        saved.push(download.save(folder).await?);
                    }
                }
            }
        }
        Ok(saved.into_iter().map(|it| plain(it.path)).collect())
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
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{}", index + 1));
    let is_exr = output.type_.as_str() == "exr";
    let extension = if is_exr { "exr".as_ref() } else { path.extension().unwrap_or_default() };
    path.with_file_name(name).with_added_extension(extension)
}

/// With what the download does not fill in. The service may say anything; in a name it is no more than a word.
fn filled(name: &str, generation: &Generation) -> String {
    let word = |text: &str| text.replace(|c: char| !c.is_alphanumeric() && !"-_.".contains(c), "-");
    name.replace("{type}", &word(generation.type_.as_str())).replace("{model}", &word(generation.model.as_str()))
}

/// Without the `./` of the current directory.
fn plain(path: PathBuf) -> PathBuf {
    path.strip_prefix(".").map(Path::to_path_buf).unwrap_or(path)
}
