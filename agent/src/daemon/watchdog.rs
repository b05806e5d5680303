//! Signs of life to systemd's watchdog and to whoever waits at the socket; none any more when a run is stuck.

use std::cell::Cell;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::systemd;

/// However long the first run takes, the machine's boot goes on after this.
const READY_AT_THE_LATEST: Duration = Duration::from_secs(20);
/// No step takes longer, with all its commands at their deadlines: a run that does is stuck.
const LONGEST_STEP: Duration = Duration::from_mins(6);
/// Whoever waits for a run at the socket gets a sign of life this often.
const SIGN_INTERVAL: Duration = Duration::from_secs(5);

/// Says what the daemon is doing, and that it lives.
#[derive(Debug)]
pub(super) struct Watchdog {
    doing: watch::Sender<String>,
    started: Instant,
    /// Whether systemd was told that the daemon is up.
    ready: Cell<bool>,
    /// When the run last said what it is doing.
    step_began: Cell<Instant>,
}

impl Watchdog {
    pub(super) fn new(doing: watch::Sender<String>) -> Self {
        let now = Instant::now();
        Self {
            doing,
            started: now,
            ready: Cell::new(false),
            step_began: Cell::new(now),
        }
    }

    /// Tells systemd and whoever waits what is being done: a sign of life.
    pub(super) fn progress(&self, what: &str) {
        self.step_began.set(Instant::now());
        if *self.doing.borrow() != what {
            self.doing.send_replace(what.to_owned());
            systemd::status(what);
        }
        self.alive();
    }

    /// When the next sign is due, while a run goes on.
    pub(super) fn next() -> Instant {
        Instant::now() + systemd::watchdog_interval().min(SIGN_INTERVAL)
    }

    /// A run that waits for a command, which may rightly take its time, is not stuck: that is seen only when one
    /// step takes longer than all its commands may.
    pub(super) fn alive_unless_stuck(&self) {
        if self.step_began.get().elapsed() < LONGEST_STEP {
            self.alive();
        }
    }

    fn alive(&self) {
        systemd::alive();
        // Who waits at the socket hears it too.
        self.doing.send_modify(|_| ());
        if self.started.elapsed() > READY_AT_THE_LATEST {
            self.ready();
        }
    }

    /// The machine's boot goes on, if it was waiting for this.
    pub(super) fn ready(&self) {
        if !self.ready.replace(true) {
            systemd::ready();
        }
    }

    /// No run goes on: `headline` is for `systemctl status`, `doing` for whoever asks at the socket.
    pub(super) fn idle(&self, headline: &str, doing: &str) {
        systemd::status(headline);
        self.doing.send_replace(doing.to_owned());
    }
}
