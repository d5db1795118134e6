//! What the owner of the database does, and a worker has no right to.

use std::{error::Error, time::Duration};

use crate::{arguments::Arguments, engine};

/// The only command that creates anything.
pub(crate) async fn migrate(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    arguments.database().await?.migrate().await?;
    engine::migrate(&Arguments::database_url()?, arguments.slots, Duration::from_secs(1).min(arguments.grace)).await
}

/// Gives a role what workers need: rows of both schemas.
pub(crate) async fn grant(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let role = arguments.object.as_ref().ok_or("name the role of the workers")?;
    arguments.database().await?.grant(role).await?;
    engine::grant(&arguments.pool().await?, role).await?;
    Ok(())
}

pub(crate) async fn prune(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let days: u64 = arguments.object.as_ref().ok_or("name the number of days")?.parse()?;
    let age = Duration::from_secs(days.saturating_mul(24 * 3600));
    let pruned = arguments.database().await?.prune_requests(age).await?;
    println!("{pruned} requests are deleted");
    Ok(())
}

pub(crate) async fn mark_in_doubt(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let batches = arguments.database().await?.mark_in_doubt().await?;
    println!("{batches} batches are in doubt: each of their lines without a job waits for a decision");
    Ok(())
}
