//! `luma files`: upload, list, get and delete files of the account.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use futures_util::StreamExt as _;
use luma_agents::{chrono, types::File};

use crate::{cli::Context, duration, exit::Exit, failure::Failure, output::Output};

#[derive(Debug, Subcommand)]
pub(crate) enum FilesCommand {
    Upload(UploadArgs),
    List(ListArgs),
    Get(FileIds),
    Delete(DeleteArgs),
}

/// Upload files, and print their ids
#[derive(Args, Debug)]
pub(crate) struct UploadArgs {
    /// Images and videos, at most 5 GiB each
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// What they are for, such as input or reference
    #[arg(long)]
    purpose: Option<String>,

    /// Media type, such as video/mp4 [default: what the first bytes show]
    #[arg(long, value_name = "TYPE")]
    mime_type: Option<String>,

    /// Time until the service deletes them, such as 24h [default: never]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    expires_in: Option<Duration>,

    /// Opaque tag of your end user
    #[arg(long, value_name = "TEXT")]
    user_id: Option<String>,
}

/// List files, newest first
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Only files with this purpose
    #[arg(long)]
    purpose: Option<String>,

    /// Only files in this state, such as ready
    #[arg(long)]
    state: Option<String>,

    /// At most so many
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
}

/// Show files as they stand
#[derive(Args, Debug)]
pub(crate) struct FileIds {
    /// Ids of files
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

/// Delete files
#[derive(Args, Debug)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    ids: FileIds,
}

pub(crate) async fn run(context: &mut Context, command: FilesCommand) -> Result<Exit, Failure> {
    let files = context.connection.client()?.files();
    let output = &context.output;
    let work = async {
        match command {
            FilesCommand::Upload(args) => {
                for path in &args.files {
                    let drawing = output.spinner(format!("uploading {}", path.display()));
                    let mut upload = files.upload(path);
                    if let Some(purpose) = &args.purpose {
                        upload = upload.purpose(purpose.as_str().into());
                    }
                    if let Some(mime_type) = &args.mime_type {
                        upload = upload.mime_type(mime_type);
                    }
                    if let Some(time) = args.expires_in {
                        upload = upload
                            .expires_at(chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now() + time));
                    }
                    if let Some(user_id) = &args.user_id {
                        upload = upload.user_id(user_id);
                    }
                    let file = upload.await?;
                    drop(drawing);
                    if output.is_json() { show(output, &file)? } else { output.line(file.id)? }
                }
            }
            FilesCommand::List(args) => {
                let mut list = files.list();
                if let Some(purpose) = &args.purpose {
                    list = list.purpose(purpose.as_str().into());
                }
                if let Some(state) = &args.state {
                    list = list.state(state.as_str().into());
                }
                let mut list = std::pin::pin!(list.stream().take(args.limit.unwrap_or(usize::MAX)));
                while let Some(file) = list.next().await {
                    show(output, &file?)?;
                }
            }
            FilesCommand::Get(args) => {
                for id in &args.ids {
                    show(output, &files.get(id).await?)?;
                }
            }
            FilesCommand::Delete(args) => {
                for id in &args.ids.ids {
                    files.delete(id).await?;
                    output.note(format_args!("deleted {id}"));
                }
            }
        }
        Ok(Exit::Success)
    };
    context.signals.stop(work).await
}

fn show(output: &Output, file: &File) -> Result<(), Failure> {
    if output.is_json() {
        return output.object(&serde_json::to_value(file).unwrap_or_default());
    }
    let name = file.filename.as_deref().unwrap_or_default();
    output.row(&[&file.id, &file.state, &file.mime_type, &file.size_bytes, &name])
}
