//! `luma batch`: many jobs from a file.

use clap::Subcommand;

use crate::{cli::Context, exit::Exit, failure::Failure};

#[derive(Debug, Subcommand)]
pub(crate) enum BatchCommand {}

impl BatchCommand {
    pub(crate) async fn run(self, _: &mut Context) -> Result<Exit, Failure> {
        match self {}
    }
}
