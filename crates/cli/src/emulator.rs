//! `luma emulator`: the service on this machine, for programs in any language.

use std::{path::PathBuf, str::FromStr, sync::mpsc, thread, time::Duration};

use clap::{Args, ValueEnum};
use luma_agents::mock::{Emulator, Quota, Request};
use serde_json::json;

use crate::{
    cli::{Context, read_text},
    exit::Exit,
    failure::Failure,
};

/// The format of a script, for `--help`.
const SCRIPT: &str = r#"Script: the first job fails, jobs whose prompt has "slow" take 60 seconds, one request is rejected:
  {
    "generations": [{"fails": "content_moderated"}],
    "prompts": [{"contains": "slow", "then": {"takes": 60}}],
    "replies": [{"operation": "create_generation", "reply": "rate_limited", "retry_after": 5}]
  }
The documentation of luma_agents::mock lists all fields."#;

/// Run an emulator of the service on this machine
///
/// It checks every request against the API's document, runs jobs and stores files; nothing is paid for. When it is
/// ready, it prints two lines for a shell, which point this program and the official SDKs to it. GET /_emulator/jobs
/// lists what the service would have charged for. It ends at Ctrl-C or SIGTERM, with exit code 0.
#[derive(Args, Debug)]
#[command(after_long_help = SCRIPT)]
pub(crate) struct EmulatorArgs {
    /// Port of the API; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    port: u16,

    /// Port of the storage; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    storage_port: u16,

    /// Limits on submissions, such as per-minute=30,concurrency=10 [default: none]
    #[arg(long, value_name = "LIMITS", default_value = "", hide_default_value = true)]
    quota: Limits,

    /// Seconds of the service that pass in one second
    #[arg(long, default_value_t = 1.0)]
    speed: f64,

    /// Script in JSON of what happens, such as failures and delays; - for stdin
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,

    /// Log each request to stderr
    #[arg(long, value_name = "FORMAT")]
    log: Option<Log>,

    /// Accept fields that the document does not have
    #[arg(long)]
    allow_unknown_fields: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Log {
    Text,
    Json,
}

/// The limits of a plan.
#[derive(Clone, Debug)]
struct Limits(Quota);

impl FromStr for Limits {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut quota = Quota::new();
        for limit in text.split(',').filter(|it| !it.is_empty()) {
            let units = |value: &str| value.parse::<u32>().ok().filter(|it| *it > 0);
            quota = match limit.split_once('=').map(|(name, value)| (name, units(value))) {
                Some(("per-minute", Some(value))) => quota.per_minute(value),
                Some(("concurrency", Some(value))) => quota.concurrency(value),
                _ => return Err("write it like per-minute=30,concurrency=10".to_owned()),
            };
        }
        Ok(Self(quota))
    }
}

pub(crate) async fn run(context: &mut Context, args: EmulatorArgs) -> Result<Exit, Failure> {
    let mut builder =
        Emulator::builder().port(args.port).storage_port(args.storage_port).quota(args.quota.0).speed(args.speed);
    if args.allow_unknown_fields {
        builder = builder.allow_unknown_fields();
    }
    if let Some(path) = &args.script {
        builder = builder.script_json(&read_text(path)?)?;
    }
    if let Some(log) = args.log {
        let lines = writer();
        builder = builder.on_request(move |request, time| {
            // Nobody reads the log any more: the emulator goes on.
            let _ = lines.send(line(log, request, time));
        });
    }
    let emulator = builder.start().await?;
    let variables = [("LUMA_BASE_URL", emulator.base_url()), ("LUMA_AGENTS_API_KEY", emulator.api_key().to_owned())];
    let lines = variables.map(|(name, value)| format!("export {name}={value}\n"));
    context.output.raw(lines.concat().as_bytes())?;
    context.signals.next().await;
    emulator.shutdown().await;
    Ok(Exit::Success)
}

/// The log is written on a thread of its own: a slow terminal does not hold up a response.
fn writer() -> mpsc::Sender<String> {
    let (sender, lines) = mpsc::channel::<String>();
    thread::spawn(move || {
        use std::io::Write as _;

        lines.into_iter().try_for_each(|line| writeln!(std::io::stderr(), "{line}"))
    });
    sender
}

/// Without the query, which may hold a signature.
fn line(log: Log, request: &Request, time: Duration) -> String {
    let status = request.status.map(|it| it.as_u16());
    let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    match log {
        Log::Text => {
            let status = status.map_or("-".to_owned(), |it| it.to_string());
            format!("{} {} {status} {milliseconds} ms", request.method, request.path)
        }
        Log::Json => json!({
            "method": request.method.as_str(),
            "path": request.path,
            "status": status,
            "milliseconds": milliseconds,
        })
        .to_string(),
    }
}
