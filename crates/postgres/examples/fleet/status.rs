//! What became of the jobs, by the rows of the ledger.

use std::error::Error;

use crate::arguments::Arguments;

pub(crate) async fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let database = arguments.database().await?;
    for batch in database.batches().await? {
        let (spent, lines) = (batch.spent, batch.run.lines.unwrap_or_default());
        println!("batch {}: {lines} lines, {} jobs, ${} to ${}", batch.batch, spent.jobs, spent.low, spent.high);
        for (state, number) in database.states(batch.batch).await? {
            println!("  {state}: {number}");
        }
        for doubt in database.view(batch.batch).await?.doubts() {
            println!("  {doubt}");
        }
    }
    Ok(())
}
