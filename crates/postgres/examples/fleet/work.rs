//! A worker: its lock first, then DBOS, then the sweep, and all of it backwards at the end.

use std::{
    collections::HashMap,
    error::Error,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use dbos::DBOS;
use luma_agents_postgres::Worker;
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    time::sleep,
};
use uuid::Uuid;

use crate::{
    arguments::Arguments,
    engine::{self, Engine},
    job::{self, Job},
    service,
    steps::Steps,
    sweep::Sweeper,
};

pub(crate) async fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let emulator = if service::has_key() { None } else { Some(service::emulator().await?) };
    let client = match &emulator {
        Some((emulator, _)) => emulator.client(),
        None => service::client(arguments.pace)?,
    };
    std::fs::create_dir_all(&arguments.out)?;
    let me = arguments.id.clone().unwrap_or_else(|| Uuid::new_v4().to_string());
    let database = arguments.database().await?;
    // Before anything is claimed: from here on nobody takes this worker for dead.
    let worker = Worker::start(&database, &me, service::account(), client.base_url()).await?;
    let steps = Arc::new(Steps::new(client, database.clone(), worker.clone(), arguments));
    let url = Arguments::database_url()?;
    let dbos = DBOS::new(engine::config(&url, &me, &arguments.steps));
    let of_workflow = Arc::clone(&steps);
    dbos.register_workflow(engine::WORKFLOW, move |it: Job| job::run(Arc::clone(&of_workflow), it))?;
    dbos.launch().await?;
    let pool = arguments.pool().await?;
    let connect = || Engine::connect(&url, &pool, &arguments.steps, &arguments.compatible);
    let (grace, slots) = (arguments.grace, i64::from(arguments.slots));
    let sweeper = Sweeper { steps: Arc::clone(&steps), engine: connect().await?, grace, slots, idle: HashMap::new() };
    let sweep = tokio::spawn(sweeper.run());

    tokio::select! {
        () = interrupted() => {}
        () = steps.stop.cancelled() => {}
        () = done(connect().await?), if arguments.until_done => {}
    }
    // Nothing more is submitted; what is under way is recorded, while the lock says that this worker lives.
    steps.drain().await;
    dbos.shutdown().await;
    sweep.abort();
    worker.stop().await;
    if steps.has_failed.load(Ordering::Acquire) { Err("this worker has ended before its work".into()) } else { Ok(()) }
}

/// The first SIGINT or SIGTERM.
async fn interrupted() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Nothing is on the queue, and nothing runs.
async fn done(engine: Engine) {
    while !engine.is_empty().await.unwrap_or(false) {
        sleep(Duration::from_secs(1)).await;
    }
}

/// Several workers on this machine, and the emulator that they share if there is no key.
pub(crate) async fn run_processes(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let emulator = if service::has_key() { None } else { Some(service::emulator().await?) };
    let mut workers = Vec::new();
    for number in 1..=arguments.processes {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("work").args(std::env::args_os().skip(2)).args(["--processes", "1"]);
        command.args(["--id", &format!("{}-{number}", arguments.id.as_deref().unwrap_or("worker"))]);
        if let Some((_, variables)) = &emulator {
            command.envs(variables.clone());
        }
        workers.push(command.spawn()?);
    }
    // A signal from the terminal reaches the workers too.
    tokio::select! {
        () = interrupted() => {}
        () = ended(&mut workers) => {}
    }
    ended(&mut workers).await;
    Ok(())
}

async fn ended(workers: &mut [Child]) {
    for worker in workers {
        _ = worker.wait().await;
    }
}
