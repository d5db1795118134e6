//! The service, or an emulator of it where there is no key.

use std::{env, error::Error, time::Duration};

use luma_agents::{
    ApiKey, Client,
    mock::{Emulator, Quota, Script},
};

const KEY: &str = "LUMA_AGENTS_API_KEY";
const BASE_URL: &str = "LUMA_BASE_URL";

/// Where the emulator is, so that a batch is added before it runs.
const PORT: u16 = 4010;

pub(crate) fn has_key() -> bool {
    env::var(KEY).is_ok_and(|key| !key.trim().is_empty())
}

/// What the account is called in the database. Its key is not stored.
pub(crate) fn account() -> &'static str {
    if env::var(BASE_URL).is_ok_and(|url| url.contains("//127.0.0.1")) || !has_key() { "emulator" } else { "main" }
}

/// The base URL of the jobs of a batch.
pub(crate) fn base_url() -> Result<String, Box<dyn Error>> {
    if has_key() { Ok(Client::from_env()?.base_url().to_owned()) } else { Ok(format!("http://127.0.0.1:{PORT}/v1")) }
}

/// A client whose waits ask every `pace`.
pub(crate) fn client(pace: Duration) -> Result<Client, Box<dyn Error>> {
    let mut builder = Client::builder(ApiKey::new(env::var(KEY)?)?).pace(pace, pace);
    if let Ok(url) = env::var(BASE_URL) {
        builder = builder.base_url(url);
    }
    Ok(builder.build()?)
}

/// An emulator with the limits of the smallest plan, and the variables by which children find it. It forgets its jobs
/// when it ends.
pub(crate) async fn emulator() -> Result<(Emulator, [(&'static str, String); 2]), Box<dyn Error>> {
    let emulator = Emulator::builder()
        .port(PORT)
        .quota(Quota::new().per_minute(30).concurrency(10))
        .default_script(Script::new().takes(Duration::from_secs(3)))
        .start()
        .await?;
    let variables = [(KEY, emulator.api_key().to_owned()), (BASE_URL, emulator.base_url())];
    Ok((emulator, variables))
}
