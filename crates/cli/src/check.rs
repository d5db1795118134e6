//! `luma check`: key, URL and TLS, free of charge.

use serde_json::json;
use tokio::time::Instant;

use crate::{cli::Context, exit::Exit, failure::Failure};

pub(crate) async fn run(context: &mut Context) -> Result<Exit, Failure> {
    let client = context.connection.client()?;
    let start = Instant::now();
    context.signals.stop(async { Ok(client.check().await?) }).await?;
    let (url, time) = (client.base_url(), start.elapsed().as_millis());
    if context.output.is_json() {
        context.output.object(&json!({ "base_url": url, "milliseconds": time }))?;
    } else {
        context.output.line(format_args!("{url} accepts the key ({time} ms)"))?;
    }
    Ok(Exit::Success)
}
