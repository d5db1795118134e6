//! Jobs that were submitted: `wait`, `save`, `get`, and how outputs become files.

use std::{
    collections::HashSet, fmt::Display, future::IntoFuture as _, io::BufRead as _, path::PathBuf, time::Duration,
};

use clap::Args;
use futures_util::{StreamExt as _, stream};
use luma_agents::{
    Client, GenerationId, Wait,
    types::{Generation, GenerationState},
    uuid::Uuid,
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{
    cli::Context,
    duration,
    exit::Exit,
    failure::Failure,
    output::{Drawing, Output},
    target::{Target, misnamed},
    text::word,
};

/// How many jobs are saved at the same time.
const CONCURRENT: usize = 8;

/// A job that was submitted.
#[derive(Debug)]
pub(crate) enum Job {
    Id(Uuid),
    Known(Box<Generation>),
}

impl Job {
    pub(crate) fn id(&self) -> Uuid {
        match self {
            Self::Id(id) => *id,
            Self::Known(generation) => generation.id,
        }
    }
}

impl From<Job> for GenerationId {
    fn from(job: Job) -> Self {
        match job {
            Job::Id(id) => id.into(),
            Job::Known(generation) => (*generation).into(),
        }
    }
}

/// Wait until jobs have ended, and save their outputs
#[derive(Args, Debug)]
pub(crate) struct WaitArgs {
    #[command(flatten)]
    ids: Ids,

    #[command(flatten)]
    delivery: Delivery,
}

/// Save the outputs of jobs that have ended
#[derive(Args, Debug)]
pub(crate) struct SaveArgs {
    #[command(flatten)]
    ids: Ids,

    #[command(flatten)]
    target: Target,
}

/// Show jobs as they stand
///
/// With --json, each is shown with its output URLs, which anybody can open for one hour.
#[derive(Args, Debug)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    ids: Ids,
}

#[derive(Args, Debug)]
struct Ids {
    /// Ids of generations; - reads them from stdin, one a line
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

impl Ids {
    /// Each once: two saves of one job would be in each other's way.
    fn read(self) -> Result<Vec<Uuid>, Failure> {
        let mut ids = Vec::new();
        for text in self.ids {
            if text == "-" {
                for line in std::io::stdin().lock().lines() {
                    let line = line.map_err(|e| Failure::io("read", "stdin", &e))?;
                    if !line.trim().is_empty() {
                        ids.push(id(line.trim())?);
                    }
                }
            } else {
                ids.push(id(&text)?);
            }
        }
        let mut seen = HashSet::new();
        ids.retain(|id| seen.insert(*id));
        Ok(ids)
    }
}

fn id(text: &str) -> Result<Uuid, Failure> {
    let shown: String = text.chars().take(60).collect();
    Uuid::try_parse(text).map_err(|_| Failure::usage(format!("{shown:?} is no id: give the UUID of a generation")))
}

/// What becomes of a job: the flags of `wait` and of every type of generation.
#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
pub(crate) struct Delivery {
    /// Longest time to wait [default: 2m for images, 4m for layers, 10m for videos]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    timeout: Option<Duration>,

    /// Wait, but save nothing
    #[arg(long, conflicts_with = "out")]
    no_download: bool,

    #[command(flatten)]
    target: Target,
}

impl Delivery {
    /// Whether the outputs can be written, as far as that can be known before anything is paid.
    pub(crate) fn check(&self, jobs: usize) -> Result<(), Failure> {
        if self.no_download { Ok(()) } else { self.target.check(jobs) }
    }

    /// Waits for the jobs and saves them. The exit code is that of the worst one.
    pub(crate) async fn run(self, context: &mut Context, client: &Client, jobs: Vec<Job>) -> Result<Exit, Failure> {
        let ids: Vec<_> = jobs.iter().map(Job::id).collect();
        let waits = jobs.into_iter().map(|job| self.wait(client, job));
        let result = {
            let output = &context.output;
            let drawing = output.spinner("waiting");
            let drawing = &drawing;
            let saving = Semaphore::new(CONCURRENT);
            let finished = stream::iter(waits).map(async |wait| {
                let done = watch(wait, drawing).await?;
                let files = if self.no_download {
                    None
                } else {
                    let _permit = saving.acquire().await;
                    Some(save_outputs(output, &self.target, client, &done).await?)
                };
                Ok((done, files))
            });
            let mut report = Report::new(ids.len());
            let mut finished = std::pin::pin!(finished.buffer_unordered(usize::MAX));
            let report = async {
                while let Some(result) = finished.next().await {
                    report.add(output, result)?;
                }
                Ok(report.exit())
            };
            context.signals.stop(report).await
        };
        if let Err(failure) = &result
            && matches!(failure.exit, Exit::Interrupted | Exit::Terminated | Exit::HungUp)
        {
            let ids: Vec<_> = ids.iter().map(Uuid::to_string).collect();
            context.output.note(format_args!("the jobs go on; to get them: luma wait {}", ids.join(" ")));
        }
        result
    }

    fn wait(&self, client: &Client, job: Job) -> Wait<Generation> {
        let wait = client.generations().wait(job);
        match self.timeout {
            Some(timeout) => wait.timeout(timeout),
            None => wait,
        }
    }
}

/// Waits, and shows each state.
async fn watch(wait: Wait<Generation>, drawing: &Drawing<'_>) -> Result<Generation, Failure> {
    let mut updates = wait.updates();
    let mut last = None;
    while let Some(update) = updates.next().await {
        let generation = update?;
        drawing.message(word(&generation.state));
        last = Some(generation);
    }
    last.ok_or_else(|| Failure::new(Exit::Failure, "unknown", "the wait ended without a state; wait again"))
}

/// Saves what is paid for; an error says how to do it again.
async fn save_outputs(
    output: &Output,
    target: &Target,
    client: &Client,
    generation: &Generation,
) -> Result<Vec<PathBuf>, Failure> {
    let saved = target.save(client, generation).await;
    if let Ok(files) = &saved {
        files.iter().filter_map(|it| misnamed(it)).for_each(|it| output.note(it));
    }
    saved.map_err(|e| {
        // The message of a name that is taken says what to do.
        let advice = (!e.is_exists()).then(|| format!("the job is done; to get it: luma save {}", generation.id));
        let e = e.of_completed(generation.id);
        if let Some(advice) = advice { e.next(advice) } else { e }
    })
}

/// What is printed of each job, and the exit code of all.
struct Report {
    jobs: usize,
    exit: Exit,
}

type Finished = Result<(Generation, Option<Vec<PathBuf>>), Failure>;

impl Report {
    fn new(jobs: usize) -> Self {
        Self { jobs, exit: Exit::Success }
    }

    fn add(&mut self, output: &Output, result: Finished) -> Result<(), Failure> {
        match result {
            Ok((generation, files)) if output.is_json() => output.object(&object(&generation, files.as_deref())),
            Ok((generation, None)) => output.line(generation.id),
            Ok((_, Some(files))) => files.iter().try_for_each(|path| output.path(path)),
            Err(failure) => {
                self.exit = self.exit.or(failure.exit);
                if let Some(job) = failure.to_job().filter(|_| output.is_json()) {
                    return output.object(&job);
                }
                output.failure(&failure);
                Ok(())
            }
        }
    }

    /// A failed job among several is one of several.
    fn exit(&self) -> Exit {
        if self.jobs > 1 && self.exit == Exit::JobFailed { Exit::SomeFailed } else { self.exit }
    }
}

/// A job for a program. Its URLs expire, so they are not in it.
fn object(generation: &Generation, files: Option<&[PathBuf]>) -> Value {
    let files = files.map(|files| files.iter().map(|it| it.to_string_lossy().into_owned()).collect::<Vec<_>>());
    json!({
        "id": generation.id,
        "type": generation.type_,
        "model": generation.model,
        "state": generation.state,
        "created_at": generation.created_at,
        "files": files.unwrap_or_default(),
    })
}

pub(crate) async fn wait(context: &mut Context, args: WaitArgs) -> Result<Exit, Failure> {
    let jobs: Vec<_> = args.ids.read()?.into_iter().map(Job::Id).collect();
    args.delivery.check(jobs.len())?;
    let client = context.connection.client()?;
    args.delivery.run(context, &client, jobs).await
}

pub(crate) async fn save(context: &mut Context, args: SaveArgs) -> Result<Exit, Failure> {
    let ids = args.ids.read()?;
    args.target.check(ids.len())?;
    let client = context.connection.client()?;
    let mut report = Report::new(ids.len());
    let (output, target) = (&context.output, &args.target);
    let saves = stream::iter(ids).map(|id| {
        let client = &client;
        async move {
            let generation = client.generations().get(id).await?;
            let generation = match generation.state {
                GenerationState::Completed => generation,
                // Ends at once, with an error that says why in words that are safe to show.
                GenerationState::Failed => client.generations().wait(id).await?,
                state => {
                    let message = format!("generation {id} is {}; to wait for it: luma wait {id}", word(state));
                    return Err(Failure::new(Exit::Open, "open", message).about(id));
                }
            };
            let files = save_outputs(output, target, client, &generation).await?;
            Ok((generation, Some(files)))
        }
    });
    let all = async {
        let mut saves = std::pin::pin!(saves.buffered(CONCURRENT));
        while let Some(result) = saves.next().await {
            report.add(output, result)?;
        }
        Ok(report.exit())
    };
    context.signals.stop(all).await
}

pub(crate) async fn get(context: &mut Context, args: GetArgs) -> Result<Exit, Failure> {
    let ids = args.ids.read()?;
    let client = context.connection.client()?;
    let output = &context.output;
    let gets = stream::iter(ids).map(|id| client.generations().get(id).into_future());
    let all = async {
        let mut exit = Exit::Success;
        let mut gets = std::pin::pin!(gets.buffered(CONCURRENT));
        while let Some(result) = gets.next().await {
            match result {
                Ok(generation) if output.is_json() => {
                    output.object(&serde_json::to_value(&generation).unwrap_or_default())?;
                }
                Ok(it) => {
                    let mut fields: Vec<&dyn Display> = vec![&it.id, &it.state, &it.type_, &it.model, &it.created_at];
                    fields.extend(it.failure_code.as_ref().map(|code| code as &dyn Display));
                    output.row(&fields)?;
                }
                Err(error) => {
                    let failure = Failure::from(error);
                    exit = exit.or(failure.exit);
                    output.failure(&failure);
                }
            }
        }
        Ok(exit)
    };
    context.signals.stop(all).await
}
