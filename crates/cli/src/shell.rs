//! `luma completions` and `luma man`: both from the definition of the command line.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

use crate::{cli, exit::Exit, failure::Failure, output::Output};

/// Print the completions of a shell
///
/// For bash: luma completions bash > ~/.local/share/bash-completion/completions/luma
#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    shell: Shell,
}

/// Print the manual page, or write one for each command
#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// Directory for the pages of all commands
    #[arg(short, long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
}

pub(crate) fn completions(output: &Output, args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut cli::command(), "luma", &mut script);
    output.raw(&script)?;
    Ok(Exit::Success)
}

pub(crate) fn man(output: &Output, args: &ManArgs) -> Result<Exit, Failure> {
    if let Some(directory) = &args.out {
        let written =
            std::fs::create_dir_all(directory).and_then(|()| clap_mangen::generate_to(cli::command(), directory));
        written.map_err(|e| Failure::io("write", directory, &e))?;
        return Ok(Exit::Success);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(cli::command()).render(&mut page).map_err(|e| Failure::io("write", "the page", &e))?;
    output.raw(&page)?;
    Ok(Exit::Success)
}
