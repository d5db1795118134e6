//! Puts the lines of a batch into the database and on the queue. Again with the same file, it adds what is missing.

use std::error::Error;

use luma_agents_batch::{
    Key,
    input::{Input, Known},
};
use uuid::Uuid;

use crate::{
    arguments::Arguments,
    engine::{Engine, Occasion},
    service,
};

pub(crate) async fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let file = arguments.file.as_ref().ok_or("name the file of the batch")?;
    let input = Input::open(file)?;
    let checked = input.check().run(|_| Known::default())?;
    // The batch is known by its content, so that the same file is the same batch.
    let batch = Uuid::from_bytes(first_bytes(&checked.sha256));
    let pool = arguments.pool().await?;
    let engine = Engine::connect(&arguments.database_url()?, &pool, &arguments.steps, &[]).await?;
    // TODO batch row
    for line in input.lines(checked.sha256)? {
        let line = line?;
        if let Some(path) = line.local_paths().first() {
            return Err(format!("{}: {path} is a file of this machine; give a URL", line.custom_id).into());
        }
        let key = Key::new(batch, line.custom_id.clone());
        // TODO put request
        engine.enqueue(&key, Occasion::Added).await?;
    }
    println!("{} jobs, up to ${}: batch {batch}", checked.lines, checked.total.high);
    Ok(())
}
