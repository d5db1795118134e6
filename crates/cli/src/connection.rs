//! The client of the service, from flags and environment.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use luma_agents::{Client, ClientBuilder};

use crate::{duration, failure::Failure, key};

const BASE_URL_VARIABLE: &str = "LUMA_BASE_URL";

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// File with the API key, or - for stdin [default: LUMA_AGENTS_API_KEY, else luma/key in the config directory]
    #[arg(long, value_name = "FILE", global = true)]
    key_file: Option<PathBuf>,

    /// URL of the API [default: LUMA_BASE_URL, else the service]
    #[arg(long, value_name = "URL", global = true)]
    base_url: Option<String>,

    /// Time between two reads of a job [default: what the service advises; 10ms on the emulator]
    #[arg(long, value_name = "TIME", value_parser = duration::parse, global = true)]
    poll_interval: Option<Duration>,
}

impl Connection {
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let mut builder = ClientBuilder::new(key::find(self.key_file.as_deref())?)
            .user_agent(concat!("luma-cli/", env!("CARGO_PKG_VERSION")));
        if let Some(pace) = self.poll_interval {
            builder = builder.pace(pace, pace);
        }
        if let Some(url) = self.base_url()? {
            builder = builder.base_url(url);
        }
        Ok(builder.build()?)
    }

    fn base_url(&self) -> Result<Option<String>, Failure> {
        if self.base_url.is_some() {
            return Ok(self.base_url.clone());
        }
        match std::env::var(BASE_URL_VARIABLE) {
            Ok(url) => Ok(Some(url).filter(|it| !it.trim().is_empty())),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => {
                Err(Failure::usage(format!("{BASE_URL_VARIABLE} is not valid Unicode: set it to an https URL")))
            }
        }
    }
}
