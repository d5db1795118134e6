//! `luma image` and its like: submit one job, wait for it, save it.

mod args;
mod media;
mod request;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use clap::{Args, Subcommand};
use luma_agents::{
    Client, Error,
    chrono::Utc,
    error::Outcome,
    types::{CreateGeneration, FilePurpose, Generation},
    uuid::Uuid,
};

use self::args::{EditArgs, ImageArgs, LayersArgs, ReframeArgs, VideoArgs, VideoEditArgs};
pub(crate) use self::request::Request;
use crate::{
    cli::Context,
    exit::Exit,
    failure::Failure,
    jobs::{Delivery, Job},
};

/// Local media are deleted by the service after a day: they were uploaded for one job.
const MEDIA_LIFETIME: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// A command for each type of generation.
#[derive(Debug, Subcommand)]
pub(crate) enum Generate {
    /// Make an image from a prompt
    Image(Order<ImageArgs>),
    /// Change an image by a prompt
    Edit(Order<EditArgs>),
    /// Make a video from a prompt
    Video(Order<VideoArgs>),
    /// Change a video by a prompt
    VideoEdit(Order<VideoEditArgs>),
    /// Extend a video to another aspect ratio
    Reframe(Order<ReframeArgs>),
    /// Split an image into layers
    Layers(Order<LayersArgs>),
}

/// The request, and what becomes of its output.
#[derive(Args, Debug)]
pub(crate) struct Order<R: Args> {
    #[command(flatten)]
    request: R,

    #[command(flatten)]
    common: args::Common,

    #[command(flatten)]
    delivery: Delivery,

    /// End when the job is accepted, and print its id
    #[arg(long = "async", conflicts_with_all = ["no_download", "out", "timeout"], help_heading = "Output")]
    is_async: bool,
}

impl Generate {
    /// The request, checked as far as it can be without the service.
    pub(crate) fn request(&self) -> Result<Request, Failure> {
        match self {
            Self::Image(job) => job.request.request(&job.common),
            Self::Edit(job) => job.request.request(&job.common),
            Self::Video(job) => job.request.request(&job.common),
            Self::VideoEdit(job) => job.request.request(&job.common),
            Self::Reframe(job) => job.request.request(&job.common),
            Self::Layers(job) => job.request.request(&job.common),
        }
    }

    fn delivery(self) -> (Delivery, bool) {
        match self {
            Self::Image(job) => (job.delivery, job.is_async),
            Self::Edit(job) => (job.delivery, job.is_async),
            Self::Video(job) => (job.delivery, job.is_async),
            Self::VideoEdit(job) => (job.delivery, job.is_async),
            Self::Reframe(job) => (job.delivery, job.is_async),
            Self::Layers(job) => (job.delivery, job.is_async),
        }
    }
}

pub(crate) async fn run(context: &mut Context, command: Generate) -> Result<Exit, Failure> {
    let request = command.request()?;
    if let Some(note) = request.note() {
        context.output.note(note);
    }
    let (delivery, is_async) = command.delivery();
    delivery.check(1)?;
    let client = context.connection.client()?;
    let upload = upload(context.output.spinner("uploading"), &client, &request);
    let request = context.signals.stop(upload).await?;
    let job = submit(context, &client, request).await?;
    if is_async {
        return context.output.line(job.id()).map(|()| Exit::Success);
    }
    delivery.run(context, &client, vec![job]).await
}

/// The request with ids in place of the local media.
async fn upload(
    drawing: crate::output::Drawing<'_>,
    client: &Client,
    request: &Request,
) -> Result<CreateGeneration, Failure> {
    let mut files = HashMap::new();
    for path in request.local_paths() {
        drawing.message(format!("uploading {path}"));
        let expires_at = luma_agents::chrono::DateTime::<luma_agents::chrono::Utc>::from(
            std::time::SystemTime::now() + MEDIA_LIFETIME,
        );
        let file = client.files().upload(path).purpose(FilePurpose::Input).expires_at(expires_at).await?;
        files.insert(path.to_owned(), file.id);
    }
    request.with_files(&files)
}

/// Submits. The id is printed as soon as it is known; a signal waits for the response first.
async fn submit(context: &mut Context, client: &Client, request: CreateGeneration) -> Result<Job, Failure> {
    let under_way = Arc::new(Mutex::new(None));
    let watched = Arc::clone(&under_way);
    let create = client.generations().create(request).on_request(move |request_id| {
        *watched.lock().unwrap_or_else(PoisonError::into_inner) = request_id.map(str::to_owned);
    });
    let mut submission = Box::pin(create.response());
    let drawing = context.output.spinner("submitting");
    let (result, exit) = tokio::select! {
        result = &mut submission => (Some(result), None),
        exit = context.signals.next() => {
            context.output.note("the request is on its way: waiting for its id; again to leave it in doubt");
            tokio::select! {
                result = &mut submission => (Some(result), Some(exit)),
                exit = context.signals.next() => (None, Some(exit)),
            }
        }
    };
    drop(drawing);
    let Some(result) = result else {
        drop(submission);
        let request_id = under_way.lock().unwrap_or_else(PoisonError::into_inner).take();
        return Err(left(request_id, exit.unwrap_or(Exit::Interrupted)));
    };
    let job = match result {
        Ok(response) => Job::from(response.value),
        Err(error) => Job::Id(accepted(error)?),
    };
    context.output.note(format_args!("submitted {}", job.id()));
    match exit {
        None => Ok(job),
        Some(exit) => {
            context.output.note(format_args!("to get it: luma wait {}", job.id()));
            Err(Failure::silent(exit))
        }
    }
}

/// After the second signal: what support needs to find the job, if there may be one.
fn left(request_id: Option<String>, exit: Exit) -> Failure {
    let Some(request_id) = request_id else {
        return Failure::new(exit, "not_sent", "stopped; no job was created");
    };
    let at = Utc::now().format("%Y-%m-%dT%H:%M:%SZ");
    let message =
        format!("a job may exist: before you submit it again, ask support about request id {request_id}, left at {at}");
    Failure::new(exit, "in_doubt", message).detail("request_id", request_id).detail("at", at.to_string())
}

/// The job, where the response was broken and yet had an id.
fn accepted(error: Error) -> Result<Uuid, Failure> {
    match error.outcome() {
        Outcome::Accepted(id) => Ok(id),
        _ => Err(error.into()),
    }
}

impl From<Generation> for Job {
    fn from(generation: Generation) -> Self {
        Self::Known(Box::new(generation))
    }
}
