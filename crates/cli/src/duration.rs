//! Times on the command line: `90`, `90s`, `10m`, `1h 30m`.

use std::time::Duration;

/// A number alone is in seconds.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map(Duration::from_secs);
    seconds.or_else(|_| humantime::parse_duration(text)).map_err(|_| "write it like 90s, 10m or 1h".to_owned())
}
