//! The command line as a whole: its commands, and what all of them share.

use std::path::Path;

use clap::{Args as _, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, error::ErrorKind};
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::{
    batch::BatchCommand,
    check,
    connection::Connection,
    emulator::{self, EmulatorArgs},
    estimate::{self, EstimateArgs},
    exit::{self, Exit},
    failure::Failure,
    files::{self, FilesCommand},
    generate::{self, Generate},
    jobs::{self, GetArgs, SaveArgs, WaitArgs},
    output::Output,
    shell::{self, CompletionsArgs, ManArgs},
    signal::Signals,
};

/// Images and videos from the Luma Agents API
///
/// Paths of results go to stdout, one a line; ids, progress and errors to stderr.
#[derive(Debug, Parser)]
#[command(name = "luma", version, after_long_help = exit::HELP, disable_help_subcommand = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Write results as JSON, one object a job
    #[arg(long, global = true)]
    json: bool,

    /// Log what the client does; twice for more. Never shows the key
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Generate(Generate),
    Wait(WaitArgs),
    Save(SaveArgs),
    Get(GetArgs),
    /// Upload, list and delete files
    #[command(subcommand)]
    Files(FilesCommand),
    Estimate(EstimateArgs),
    /// Run many jobs from a file: never pays twice, goes on after any crash
    #[command(subcommand)]
    Batch(BatchCommand),
    /// Check key, URL and TLS; free
    Check,
    Emulator(EmulatorArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
}

/// Commands that reach no service; their help hides how to.
const LOCAL: [&str; 4] = ["estimate", "emulator", "completions", "man"];

/// The definition of the command line.
pub(crate) fn command() -> clap::Command {
    let connection = Connection::augment_args(clap::Command::new(""));
    let hidden: Vec<_> = connection.get_arguments().map(|it| it.clone().hide(true)).collect();
    LOCAL.into_iter().fold(Cli::command(), |command, name| command.mut_subcommand(name, |it| it.args(&hidden)))
}

/// What every command gets.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) connection: Connection,
    pub(crate) output: Output,
    pub(crate) signals: Signals,
}

/// The program.
pub(crate) fn main() -> Exit {
    let parsed = command().try_get_matches().and_then(|it| Cli::from_arg_matches(&it));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    log(cli.verbose);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return end(&Output::new(cli.json), Err(Failure::io("start", "the runtime", &e))),
    };
    let exit = runtime.block_on(run(cli));
    // A thread that reads a terminal would not end.
    runtime.shutdown_background();
    exit
}

async fn run(Cli { command, connection, json, .. }: Cli) -> Exit {
    let output = Output::new(json);
    let mut context = Context { connection, output, signals: Signals::default() };
    let result = match command {
        Command::Generate(request) => generate::run(&mut context, request).await,
        Command::Wait(args) => jobs::wait(&mut context, args).await,
        Command::Save(args) => jobs::save(&mut context, args).await,
        Command::Get(args) => jobs::get(&mut context, args).await,
        Command::Files(command) => files::run(&mut context, command).await,
        Command::Estimate(args) => estimate::run(&context, &args),
        Command::Batch(command) => command.run(&mut context).await,
        Command::Check => check::run(&mut context).await,
        Command::Emulator(args) => emulator::run(&mut context, args).await,
        Command::Completions(args) => shell::completions(&context.output, &args),
        Command::Man(args) => shell::man(&context.output, &args),
    };
    end(&context.output, result)
}

fn end(output: &Output, result: Result<Exit, Failure>) -> Exit {
    result.unwrap_or_else(|failure| {
        output.failure(&failure);
        failure.exit
    })
}

/// Help goes out as clap writes it; an error becomes one line.
fn usage(error: &clap::Error) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            Exit::Success
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            Exit::Usage
        }
        _ => {
            let text = error.to_string();
            let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
            let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("For more information"));
            let message = lines.collect::<Vec<_>>().join("; ").replace(":;", ":");
            let message = message.strip_prefix("error: ").unwrap_or(&message);
            let json = std::env::args_os().any(|it| it == "--json");
            let failure = Failure::usage(message).next(format!("see `{} --help`", asked()));
            end(&Output::new(json), Err(failure))
        }
    }
}

/// The command that the user meant, as far as it exists.
fn asked() -> String {
    let mut command = command();
    let mut name = "luma".to_owned();
    for word in std::env::args().skip(1) {
        let Some(found) = command.find_subcommand(&word).cloned() else { break };
        name = format!("{name} {word}");
        command = found;
    }
    name
}

fn log(verbose: u8) {
    let level = match verbose {
        0 => return,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    // Of this program's own crates only: what is below them may print what they hide.
    let targets = Targets::new().with_target("luma_agents", level).with_target("luma_agents_batch", level);
    let to_stderr = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(to_stderr).with(targets).init();
}

/// A file of the command line, of which `-` is stdin.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    let is_stdin = path == Path::new("-");
    let text = if is_stdin { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(path) };
    text.map_err(|e| Failure::io("read", path, &e))
}
