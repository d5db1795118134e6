//! The exit codes, and which one counts when several apply.

use std::process::ExitCode;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Success,
    /// The API, the network, a local file.
    Failure,
    /// The command line, the check of an input, a journal that cannot be used, a question without a terminal.
    Usage,
    /// No key, or 401, 402, 403: about the account.
    Account,
    /// Time ran out, or jobs are left: accepted ones go on, the next run of a batch submits the rest.
    Open,
    /// The generation failed.
    JobFailed,
    /// A job may exist, and nobody knows, or the journal does not have it.
    InDoubt,
    /// The cap stopped the batch.
    Cap,
    /// Some jobs of several failed or were rejected.
    SomeFailed,
    /// SIGINT.
    Interrupted,
    /// SIGTERM.
    Terminated,
    /// SIGHUP: the terminal has gone.
    HungUp,
}

/// The first that applies is the exit code.
const PRECEDENCE: [Exit; 12] = [
    Exit::Interrupted,
    Exit::Terminated,
    Exit::HungUp,
    Exit::InDoubt,
    Exit::Cap,
    Exit::Account,
    Exit::SomeFailed,
    Exit::Open,
    Exit::JobFailed,
    Exit::Usage,
    Exit::Failure,
    Exit::Success,
];

/// The table, for `--help`.
pub(crate) const HELP: &str = "\
Exit codes, the first that applies:
  130  ended by Ctrl-C; 143 by SIGTERM, 129 by SIGHUP
  6    something is in doubt: a job may exist, or the journal could not be written
  7    the cap stopped the batch
  3    no key, or the account cannot submit (401, 402, 403)
  8    some jobs failed or were rejected
  4    time ran out, or jobs are left: they go on, or the next run of the batch submits them
  5    the generation failed
  2    wrong usage or input, a journal that cannot be used, or --yes is missing
  1    the API, the network or a local file failed
  0    all is well, also when the reader of a pipe has gone";

impl Exit {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Account => 3,
            Self::Open => 4,
            Self::JobFailed => 5,
            Self::InDoubt => 6,
            Self::Cap => 7,
            Self::SomeFailed => 8,
            Self::Interrupted => 130,
            Self::Terminated => 143,
            Self::HungUp => 129,
        }
    }

    /// The one of two that counts.
    pub(crate) fn or(self, other: Self) -> Self {
        PRECEDENCE.into_iter().find(|it| *it == self || *it == other).unwrap_or(self)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_applies_counts_and_the_help_has_the_same_order() {
        assert_eq!(Exit::Success.or(Exit::Failure), Exit::Failure);
        assert_eq!(Exit::SomeFailed.or(Exit::InDoubt), Exit::InDoubt);
        assert_eq!(Exit::Open.or(Exit::Interrupted), Exit::Interrupted);
        let mut rest = HELP;
        for exit in PRECEDENCE {
            let code = exit.code().to_string();
            let at = rest.find(&code).unwrap_or_else(|| panic!("{code} is missing or out of order"));
            rest = &rest[at + code.len()..];
        }
    }
}
