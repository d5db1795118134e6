//! Ctrl-C, SIGTERM and SIGHUP.

use std::future::Future;

use crate::{exit::Exit, failure::Failure};

/// The signals that end the program. Until one is waited for, each ends it by itself, as in any program.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    #[cfg(unix)]
    listening: Option<Listening>,
}

#[cfg(unix)]
#[derive(Debug)]
struct Listening {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// None where it is ignored.
    hangup: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Listening {
    fn start() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        let hangup = if may_hang_up() { Some(signal(SignalKind::hangup())?) } else { None };
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())?, hangup })
    }
}

/// Whether SIGHUP ends the program. To listen would undo `nohup`, and only Linux says whether a signal is ignored.
#[cfg(unix)]
fn may_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 0)
}

impl Signals {
    /// The next signal, as the exit code that it asks for.
    #[cfg(unix)]
    pub(crate) async fn next(&mut self) -> Exit {
        if self.listening.is_none() {
            self.listening = Listening::start().ok();
        }
        let Some(Listening { interrupt, terminate, hangup }) = &mut self.listening else {
            return std::future::pending().await;
        };
        let hangup = async {
            match hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => Exit::Interrupted,
            _ = terminate.recv() => Exit::Terminated,
            _ = hangup => Exit::HungUp,
        }
    }

    /// The next signal, as the exit code that it asks for.
    #[cfg(not(unix))]
    pub(crate) async fn next(&mut self) -> Exit {
        if tokio::signal::ctrl_c().await.is_err() {
            // Without a handler the system ends the program by itself.
            std::future::pending::<()>().await;
        }
        Exit::Interrupted
    }

    /// Runs something that may be dropped at any time. A signal drops it.
    pub(crate) async fn stop<T>(&mut self, future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::select! {
            result = future => result,
            exit = self.next() => Err(Failure::silent(exit)),
        }
    }
}
