//! The signals that the daemon minds.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT: the daemon is to stop.
pub(super) struct StopSignals {
    term: Signal,
    int: Signal,
}

impl StopSignals {
    /// From now on they no longer kill the daemon. Needs a tokio runtime.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one. None is lost between two calls.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}

/// SIGHUP: ask the bucket and make a run now. As for [`StopSignals::new`].
pub(super) fn hup() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}
