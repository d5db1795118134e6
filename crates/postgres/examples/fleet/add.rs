//! Puts the lines of a batch into the database and on the queue. Again with the same file, it adds what is missing.

use std::error::Error;

use luma_agents_batch::{
    Cap, Key, Run, Sha256,
    input::{Input, Known},
};
use luma_agents_postgres::Account;
use uuid::Uuid;

use crate::{arguments::Arguments, engine::Engine, service};

pub(crate) async fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let file = arguments.object.as_ref().ok_or("name the file of the batch")?;
    let input = Input::open(file)?;
    let checked = input.check().run(|_| Known::default())?;
    // The batch is known by its content, so that the same file is the same batch.
    let batch = batch_of(checked.sha256)?;
    let database = arguments.database().await?;
    let (account, base_url) = (service::account(), service::base_url()?);
    let limits = Account::new(account, &base_url).per_minute(arguments.per_minute).concurrency(arguments.concurrency);
    database.set_account(&limits).await?;
    let mut run = Run::new(base_url);
    run.input = Some(file.clone());
    run.input_sha256 = Some(checked.sha256);
    run.lines = Some(checked.lines);
    database.create_batch_as(batch, account, &run, Cap::NONE).await?;

    let mut requests = Vec::new();
    for line in input.lines(checked.sha256)? {
        let line = line?;
        if let Some(path) = line.local_paths().first() {
            return Err(format!("{}: {path} is a file of this machine; give a URL", line.custom_id).into());
        }
        requests.push((line.custom_id, line.body));
    }
    database.add_requests(batch, &requests).await?;
    let pool = arguments.pool().await?;
    let engine = Engine::connect(&Arguments::database_url()?, &pool, &arguments.steps, &[]).await?;
    for (custom_id, _) in requests {
        engine.enqueue(&Key::new(batch, custom_id), 0).await?;
    }
    println!("{} jobs, up to ${}: batch {batch}", checked.lines, checked.total.high);
    Ok(())
}

fn batch_of(sha256: Sha256) -> Result<Uuid, Box<dyn Error>> {
    let digits = sha256.to_string();
    Ok(Uuid::try_parse(digits.get(..32).unwrap_or_default())?)
}
