//! `luma batch run` and `retry`: check, estimate, ask, run.

use std::{
    collections::HashSet,
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use luma_agents_batch::{
    Cap, End, Job, JournalView, Ledger as _, Opened, Policy, Quota, Report, Running, Stop, Usd,
    error::{CapReached, NotRecorded},
    output::Names,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    FORMAT, check,
    place::{Place, quoted},
    progress::Shown,
};
use crate::{cli::Context, estimate::prices, exit::Exit, failure::Failure, output::count, text::one_line};

/// Check the input, estimate the cost, ask, then run all jobs
///
/// Run it again after any crash, Ctrl-C or power failure: it goes on where it was, and pays for no job twice. Outputs
/// are in out/, one line a job in NAME.results.jsonl, failures also in NAME.errors.jsonl.
#[derive(Args, Debug)]
#[command(after_long_help = FORMAT)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    options: RunOptions,

    /// Submit only so many jobs of the batch, to see how they come out
    #[arg(long, value_name = "N")]
    first: Option<u64>,
}

/// Send what has failed or was rejected once more, as the next try
///
/// Never what is in doubt, and nothing that `run` has not sent yet. The caps hold for all tries together.
#[derive(Args, Debug)]
pub(crate) struct RetryArgs {
    #[command(flatten)]
    place: Place,

    /// Only what ended with this code, such as generation_failed; may be repeated
    #[arg(long, value_name = "CODE")]
    code: Vec<String>,

    #[command(flatten)]
    options: RunOptions,
}

#[derive(Args, Debug)]
struct RunOptions {
    /// Directory of the outputs [default: out beside the journal]
    #[arg(short, long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,

    /// Most US dollars that the batch may cost, over all runs
    #[arg(long, value_name = "USD", allow_negative_numbers = true, help_heading = "Limits")]
    max_usd: Option<Usd>,

    /// Most jobs that the batch may submit, over all runs
    #[arg(long, value_name = "N", help_heading = "Limits")]
    max_jobs: Option<u64>,

    /// Most units of the account in 60 seconds [default: 30 until the service says otherwise]
    #[arg(long, value_name = "UNITS", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Limits")]
    per_minute: Option<u32>,

    /// Most units of jobs at the same time [default: 10]
    #[arg(long, value_name = "UNITS", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Limits")]
    concurrency: Option<u32>,

    /// Failures in a row with one code after which nothing more is submitted
    #[arg(long, value_name = "N", default_value_t = 20, help_heading = "Limits")]
    max_failures: u32,

    /// Price table in JSON [default: that of June 2026]
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl RunOptions {
    fn cap(&self) -> Cap {
        let cap = self.max_usd.map_or(Cap::NONE, |usd| Cap::NONE.usd(usd));
        self.max_jobs.map_or(cap, |jobs| cap.jobs(jobs))
    }

    /// What the next run must not be without: where the outputs are, and the caps, which no run remembers.
    fn shown(&self) -> String {
        let out = self.out.as_ref().map(|out| format!(" --out {}", quoted(out)));
        let usd = self.max_usd.map(|usd| format!(" --max-usd {usd}"));
        let jobs = self.max_jobs.map(|jobs| format!(" --max-jobs {jobs}"));
        [out, usd, jobs].into_iter().flatten().collect()
    }

    fn quota(&self) -> Quota {
        let mut quota = Quota::builder();
        if let Some(units) = self.per_minute {
            quota = quota.per_minute(units);
        }
        if let Some(units) = self.concurrency {
            quota = quota.concurrency(units);
        }
        quota.build()
    }
}

pub(super) async fn run(context: &mut Context, args: RunArgs) -> Result<Exit, Failure> {
    let mut cap = args.options.cap();
    let is_sample = args.first.is_some_and(|first| cap.jobs.is_none_or(|jobs| first <= jobs));
    if let (true, Some(first)) = (is_sample, args.first) {
        cap = cap.jobs(first);
    }
    let policy = Policy::default().max_failures(args.options.max_failures);
    let exit = start(context, &args.place, &args.options, cap, policy, is_sample).await?;
    Ok(exit)
}

pub(super) async fn retry(context: &mut Context, args: RetryArgs) -> Result<Exit, Failure> {
    let codes = (!args.code.is_empty()).then(|| args.code.iter().cloned().collect::<HashSet<_>>());
    let policy = Policy::default().max_failures(args.options.max_failures).once_more(codes);
    start(context, &args.place, &args.options, args.options.cap(), policy, false).await
}

async fn start(
    context: &mut Context,
    place: &Place,
    options: &RunOptions,
    cap: Cap,
    policy: Policy,
    is_sample: bool,
) -> Result<Exit, Failure> {
    let prices = prices(options.prices.as_ref())?;
    let as_of = prices.as_of;
    let client = context.connection.client()?;
    let journal = place.journal_path()?;
    let stop = CancellationToken::new();
    let mut batch =
        place.batch(client)?.cap(cap).quota(options.quota()).prices(prices).policy(policy).stop(stop.clone());
    if let Some(out) = &options.out {
        batch = batch.names(Names::new(out));
    }
    let opened = match context.signals.stop(async { Ok(batch.open().await) }).await? {
        Ok(opened) => opened,
        Err(error) => return Err(check::explain(&context.output, error)),
    };
    confirm(context, &opened, options, &as_of.to_string()).await?;
    let running = context.signals.stop(async { Ok(opened.start().await?) }).await?;
    let (report, ended) = drive(context, running, &stop, &journal).await?;
    Ok(end(context, place, options, &report, &ended, is_sample))
}

/// Says what it costs, and asks.
async fn confirm(context: &mut Context, opened: &Opened, options: &RunOptions, as_of: &str) -> Result<(), Failure> {
    let checked = opened.checked();
    let output = &context.output;
    let cost = check::cost(&checked.total);
    output.note(format_args!("{}, {cost} by the prices of {as_of}; not a bill", count(checked.lines, "job")));
    let spent = opened.journal().spent().await?;
    if spent.jobs > 0 {
        output.note(format_args!("the batch has spent up to ${}, on {}", spent.high, count(spent.jobs, "job")));
    }
    if let Some(cap) = options.max_usd {
        output.note(format_args!("nothing is submitted above ${cap}"));
    }
    if options.yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::new(
            Exit::Usage,
            "not_confirmed",
            "nobody can be asked without a terminal; say --yes to go on",
        ));
    }
    let asked = tokio::task::spawn_blocking(|| {
        let _ = write!(io::stderr(), "Go on? [y/N] ");
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|_| line)
    });
    let line = context.signals.stop(async { Ok(asked.await) }).await?;
    match line {
        Ok(Ok(line)) if matches!(line.trim(), "y" | "Y" | "yes") => Ok(()),
        _ => Err(Failure::new(Exit::Usage, "not_confirmed", "not started; nothing was sent")),
    }
}

/// A wait for the rate limit is counted down.
const TICK: Duration = Duration::from_secs(1);

/// What stopped a run from outside.
enum Ended {
    Itself,
    Signal(Exit),
    /// A result could not be printed: the reader of a pipe has gone, or stdout is full.
    Unread(Failure),
}

/// Prints each job as it ends. The first signal stops submitting, the second everything.
async fn drive(
    context: &mut Context,
    mut running: Running,
    stop: &CancellationToken,
    journal: &std::path::Path,
) -> Result<(Report, Ended), Failure> {
    let mut progress = running.progress();
    let mut shown = Shown::new(&context.output, progress.borrow().total);
    let mut tick = tokio::time::interval(TICK);
    let (mut signal, mut unread) = (None, None);
    loop {
        let job = tokio::select! {
            job = running.next() => job,
            changed = progress.changed() => {
                if changed.is_ok() {
                    shown.update(&progress.borrow());
                }
                continue;
            }
            _ = tick.tick() => {
                shown.update(&progress.borrow());
                continue;
            }
            exit = context.signals.next() => {
                if signal.is_some() {
                    return Err(leave(journal, exit).await);
                }
                signal = Some(exit);
                stop.cancel();
                context.output.note("stopping: requests in flight are awaited; again to leave them in doubt");
                continue;
            }
        };
        let Some(job) = job else { break };
        if unread.is_none()
            && let Err(failure) = show(context, &job)
        {
            // Nobody reads on: as a signal, but what is in flight is awaited before the end.
            unread = Some(failure);
            stop.cancel();
        }
    }
    let finish = tokio::select! {
        report = running.finish() => report,
        exit = context.signals.next() => return Err(leave(journal, exit).await),
    };
    let ended = unread.map(Ended::Unread).or(signal.map(Ended::Signal)).unwrap_or(Ended::Itself);
    Ok((finish, ended))
}

/// After the second signal: how many jobs nobody knows of now.
async fn leave(journal: &std::path::Path, exit: Exit) -> Failure {
    let doubts = JournalView::read(journal).await.map_or(0, |view| view.doubts().len());
    let message = match doubts {
        0 => "stopped; nothing is in doubt".to_owned(),
        doubts => format!("stopped; {doubts} may be in doubt: see `luma batch doubt {}`", quoted(journal)),
    };
    Failure::new(exit, "stopped", message)
}

fn show(context: &Context, job: &Job) -> Result<(), Failure> {
    let output = &context.output;
    let error = |code: &str| Some(json!({ "code": code, "message": job.end.to_string() }));
    let (state, files, error) = match &job.end {
        End::Saved(files) => ("saved", files.iter().map(|it| it.path.clone()).collect(), None),
        End::Failed { code, .. } => ("failed", Vec::new(), error(code.as_deref().unwrap_or("unknown"))),
        End::Rejected { kind, .. } => ("rejected", Vec::new(), error(kind)),
        End::InDoubt(_) => ("in_doubt", Vec::new(), error("in_doubt")),
        End::Open(cause) => ("accepted", Vec::new(), cause.as_ref().and_then(|_| error("open"))),
        End::Unsent(cause) => ("unsent", Vec::new(), cause.as_ref().and_then(|_| error("unsent"))),
        _ => ("unknown", Vec::new(), None),
    };
    if output.is_json() {
        // What was not reached in this run is no result.
        if state == "unsent" && error.is_none() {
            return Ok(());
        }
        let (id, custom_id) = (job.id, &job.custom_id);
        return output
            .object(&json!({ "custom_id": custom_id, "id": id, "state": state, "files": files, "error": error }));
    }
    if error.is_some() {
        output.note(format_args!("{}: {}", job.custom_id, one_line(&job.end.to_string())));
    }
    files.iter().try_for_each(|path| output.path(path.as_ref()))
}

/// The last words, and the exit code.
fn end(
    context: &Context,
    place: &Place,
    options: &RunOptions,
    report: &Report,
    ended: &Ended,
    is_sample: bool,
) -> Exit {
    let (output, name, again) = (&context.output, place.shown(), options.shown());
    let is_sample =
        is_sample && matches!(&report.stop, Some(Stop::Cap(cap)) if matches!(**cap, CapReached::Jobs { .. }));
    let of_stop = match &report.stop {
        None | Some(Stop::Token) => Exit::Success,
        Some(Stop::Cap(_)) if is_sample => Exit::Success,
        Some(Stop::Cap(_)) => Exit::Cap,
        Some(Stop::Account(_)) => Exit::Account,
        Some(Stop::Failures { .. }) => Exit::SomeFailed,
        Some(_) => Exit::Failure,
    };
    let of_ended = match ended {
        Ended::Itself => Exit::Success,
        Ended::Signal(exit) => *exit,
        Ended::Unread(failure) => failure.exit,
    };
    // Every error names the exit code of the program.
    let of_error = if report.error.is_some() { Exit::Failure } else { Exit::Success };
    let exit = of_ended.or(of_stop).or(of_error).or(of_jobs(report, is_sample));

    for line in &report.not_recorded {
        // To the letter, since it is to be appended.
        if output.is_json() { output.failure(&not_recorded(line, exit)) } else { output.note(line) }
    }
    output.note(report);
    match &report.stop {
        None => {}
        Some(Stop::Cap(_)) if is_sample => {
            output.note(format_args!("these are the first; for the rest: luma batch run {name}{again}"));
        }
        Some(Stop::Token) => {
            if let Ended::Unread(failure) = ended {
                if failure.is_silent() {
                    output.note("stopped, since nobody reads the results");
                } else {
                    output.failure(failure);
                }
            }
            output.note(format_args!("to go on: luma batch run {name}{again}"));
        }
        Some(stop) => output.failure(&Failure::new(exit, "stopped", stop.to_string())),
    }
    if let Some(error) = &report.error {
        output.failure(&Failure::new(exit, "batch", error.to_string()));
    }
    if report.failed > 0 {
        output.note(format_args!("to see what failed, and why: luma batch report {name}"));
    }
    if report.in_doubt > 0 {
        output.note(format_args!("to see what is in doubt: luma batch doubt {name}"));
    }
    exit
}

/// A line that is to be appended to the journal.
fn not_recorded(it: &NotRecorded, exit: Exit) -> Failure {
    let failure = Failure::new(exit, "not_recorded", it.to_string());
    let failure =
        failure.detail("journal", &*it.ledger).detail("custom_id", it.key.custom_id.as_str()).detail("line", &*it.line);
    match it.id {
        Some(id) => failure.about(id),
        None => failure,
    }
}

fn of_jobs(report: &Report, is_sample: bool) -> Exit {
    let mut exit = Exit::Success;
    // A job that the journal does not have is lost unless its line is appended.
    if report.in_doubt > 0 || !report.not_recorded.is_empty() {
        exit = exit.or(Exit::InDoubt);
    }
    if report.failed > 0 {
        exit = exit.or(Exit::SomeFailed);
    }
    if report.left > 0 && !is_sample {
        exit = exit.or(Exit::Open);
    }
    exit
}
