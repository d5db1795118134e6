//! Ctrl-C and SIGTERM.

use std::future::Future;

use crate::{exit::Exit, failure::Failure};

/// The signals that end the program. Until one is waited for, each ends it by itself, as in any program.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    #[cfg(unix)]
    listening: Option<[tokio::signal::unix::Signal; 2]>,
}

impl Signals {
    /// The next signal, as the exit code that it asks for.
    #[cfg(unix)]
    pub(crate) async fn next(&mut self) -> Exit {
        use tokio::signal::unix::{SignalKind, signal};

        if self.listening.is_none() {
            let both = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
            self.listening =
                if let (Ok(interrupt), Ok(terminate)) = both { Some([interrupt, terminate]) } else { None };
        }
        let Some([interrupt, terminate]) = &mut self.listening else { return std::future::pending().await };
        tokio::select! {
            _ = interrupt.recv() => Exit::Interrupted,
            _ = terminate.recv() => Exit::Terminated,
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
