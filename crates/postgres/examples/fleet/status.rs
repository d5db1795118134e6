//! What became of the jobs, by the rows of the ledger.

use std::error::Error;

use crate::arguments::Arguments;

pub(crate) async fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    for batch in arguments.database().await?.batches().await? {
        let (spent, lines) = (batch.spent, batch.run.lines.unwrap_or_default());
        println!("batch {}: {lines} lines, {} jobs, ${} to ${}", batch.batch, spent.jobs, spent.low, spent.high);
        let counts = "SELECT state, count(*) FROM luma.tries WHERE batch = $1 GROUP BY state ORDER BY state";
        let counts = sqlx::query_as::<_, (String, i64)>(counts).bind(batch.batch);
        for (state, number) in counts.fetch_all(&arguments.pool().await?).await? {
            println!("  {state}: {number}");
        }
    }
    Ok(())
}
