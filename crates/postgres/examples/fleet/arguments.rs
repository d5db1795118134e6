//! The arguments of the command line.

use std::{error::Error, path::PathBuf, time::Duration};

use lexopt::{Arg, ValueExt as _};
use luma_agents_postgres::{Database, Settings};
use sqlx::{PgPool, postgres::PgPoolOptions};

use crate::steps::SUBMIT_TIMEOUT;

pub(crate) const USAGE: &str = "\
usage: fleet migrate [--slots N]          create or update the tables
       fleet add FILE                     put the lines of a batch on the queue
                  [--per-minute UNITS] [--concurrency UNITS]
       fleet work [--processes N]         run jobs, in this process or in N
                  [--id ID] [--out FOLDER] [--until-done]
       fleet status                       what became of the jobs
       fleet grant ROLE                   let workers connect as this role, which creates nothing
       fleet prune DAYS                   delete the requests that are older
       fleet mark-in-doubt                after a restore, before any worker starts

The database is DATABASE_URL. Without LUMA_AGENTS_API_KEY, `fleet work` runs an emulator of the service; with
it, it works on the service, which charges for each job.";

/// What is to be done.
#[derive(Clone, Copy, Default)]
pub(crate) enum Command {
    #[default]
    Help,
    Migrate,
    Add,
    Work,
    Status,
    Grant,
    Prune,
    MarkInDoubt,
}

pub(crate) struct Arguments {
    pub(crate) command: Command,
    /// The file of `add`, the role of `grant`, the days of `prune`.
    pub(crate) object: Option<String>,
    pub(crate) processes: u32,
    /// The id of the worker, by default a new one.
    pub(crate) id: Option<String>,
    pub(crate) out: PathBuf,
    pub(crate) until_done: bool,
    /// How many jobs a worker has in hand. More than the account runs at once, since those that wait take a slot too.
    pub(crate) slots: i32,
    /// For how long somebody has to be gone before his work is given to others.
    pub(crate) grace: Duration,
    /// The account's limits.
    pub(crate) per_minute: u32,
    pub(crate) concurrency: u32,
    /// How often a job is asked for.
    pub(crate) pace: Duration,
    /// The version of the steps, and those whose work they can go on with: to rehearse an upgrade.
    pub(crate) steps: String,
    pub(crate) compatible: Vec<String>,
}

impl Arguments {
    pub(crate) fn parse() -> Result<Self, lexopt::Error> {
        let mut arguments = Self {
            command: Command::Help,
            object: None,
            processes: 1,
            id: None,
            out: std::env::var_os("FLEET_OUT").map_or_else(|| PathBuf::from("out"), PathBuf::from),
            until_done: false,
            slots: 16,
            grace: Duration::from_secs(30),
            per_minute: 30,
            concurrency: 10,
            pace: Duration::from_secs(2),
            steps: crate::engine::STEPS.to_owned(),
            compatible: crate::engine::COMPATIBLE.iter().map(|&it| it.to_owned()).collect(),
        };
        let mut parser = lexopt::Parser::from_env();
        match parser.next()? {
            Some(Arg::Value(command)) => {
                arguments.command = match command.string()?.as_str() {
                    "migrate" => Command::Migrate,
                    "add" => Command::Add,
                    "work" => Command::Work,
                    "status" => Command::Status,
                    "grant" => Command::Grant,
                    "prune" => Command::Prune,
                    "mark-in-doubt" => Command::MarkInDoubt,
                    other => return Err(format!("{other} is no command").into()),
                }
            }
            None | Some(Arg::Long("help") | Arg::Short('h')) => return Ok(arguments),
            Some(other) => return Err(other.unexpected()),
        }
        while let Some(argument) = parser.next()? {
            match argument {
                Arg::Value(object) if arguments.object.is_none() => arguments.object = Some(object.string()?),
                Arg::Long("processes") => arguments.processes = parser.value()?.parse()?,
                Arg::Long("id") => arguments.id = Some(parser.value()?.string()?),
                Arg::Long("out") => arguments.out = parser.value()?.into(),
                Arg::Long("until-done") => arguments.until_done = true,
                Arg::Long("slots") => arguments.slots = parser.value()?.parse()?,
                Arg::Long("grace") => arguments.grace = seconds(parser.value()?.parse()?)?,
                Arg::Long("per-minute") => arguments.per_minute = parser.value()?.parse()?,
                Arg::Long("concurrency") => arguments.concurrency = parser.value()?.parse()?,
                Arg::Long("pace") => arguments.pace = seconds(parser.value()?.parse()?)?,
                Arg::Long("steps") => arguments.steps = parser.value()?.string()?,
                Arg::Long("compatible") => arguments.compatible.push(parser.value()?.string()?),
                Arg::Long("help") | Arg::Short('h') => arguments.command = Command::Help,
                other => return Err(other.unexpected()),
            }
        }
        Ok(arguments)
    }

    pub(crate) fn database_url() -> Result<String, Box<dyn Error>> {
        std::env::var("DATABASE_URL")
            .map_err(|_| "set DATABASE_URL, such as postgres://fleet:fleet@localhost/fleet".into())
    }

    /// Ledger and quota.
    pub(crate) async fn database(&self) -> Result<Database, Box<dyn Error>> {
        let settings = Settings::default().grace(self.grace).submit_timeout(SUBMIT_TIMEOUT);
        Ok(Database::connect(&Self::database_url()?, settings).await?)
    }

    /// For the tables of DBOS.
    pub(crate) async fn pool(&self) -> Result<PgPool, Box<dyn Error>> {
        Ok(PgPoolOptions::new().max_connections(2).connect(&Self::database_url()?).await?)
    }
}

fn seconds(seconds: f64) -> Result<Duration, lexopt::Error> {
    Duration::try_from_secs_f64(seconds).map_err(|e| lexopt::Error::from(e.to_string()))
}
