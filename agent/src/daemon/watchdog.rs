//! Signs of life to systemd's watchdog and to whoever waits at the socket; none any more when a run is stuck.

use std::cell::Cell;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::systemd;

/// However long the first run takes, the machine's boot goes on after this.
const READY_AT_THE_LATEST: Duration = Duration::from_secs(20);
/// A step that does not say how long it may take takes no longer, with all its commands at their deadlines: a run that
/// does is stuck. Also the least that is granted: whoever says less is wrong more easily than stuck.
const USUAL_STEP: Duration = Duration::from_mins(6);
/// The most that is granted to a step that says how long it may take: packages over a slow line, a big release.
const LONGEST_STEP: Duration = Duration::from_hours(2);
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
    /// How long what it is doing may take.
    may_take: Cell<Duration>,
}

impl Watchdog {
    pub(super) fn new(doing: watch::Sender<String>) -> Self {
        let now = Instant::now();
        Self {
            doing,
            started: now,
            ready: Cell::new(false),
            step_began: Cell::new(now),
            may_take: Cell::new(USUAL_STEP),
        }
    }

    /// Tells systemd and whoever waits what is being done: a sign of life. It takes no longer than a step usually may.
    pub(super) fn progress(&self, what: &str) {
        self.progress_for(what, USUAL_STEP);
    }

    /// The same for what may take that long before it is stuck: at least what a step usually may, at most
    /// [`LONGEST_STEP`].
    pub(super) fn progress_for(&self, what: &str, may_take: Duration) {
        self.step_began.set(Instant::now());
        self.may_take.set(may_take.clamp(USUAL_STEP, LONGEST_STEP));
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
        if self.step_began.get().elapsed() < self.may_take.get() {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it gives a sign of life `after` the last progress.
    async fn lives(
        watchdog: &Watchdog,
        seen: &mut watch::Receiver<String>,
        after: Duration,
    ) -> bool {
        tokio::time::sleep(after).await;
        seen.mark_unchanged();
        watchdog.alive_unless_stuck();
        seen.has_changed().unwrap()
    }

    const MINUTE: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn a_step_is_stuck_when_it_takes_longer_than_it_said() {
        let (doing, mut seen) = watch::channel(String::new());
        let watchdog = Watchdog::new(doing);
        watchdog.progress("the usual");
        assert!(lives(&watchdog, &mut seen, 5 * MINUTE).await);
        assert!(!lives(&watchdog, &mut seen, 2 * MINUTE).await);

        watchdog.progress_for("packages", 30 * MINUTE);
        assert!(lives(&watchdog, &mut seen, 29 * MINUTE).await);
        assert!(!lives(&watchdog, &mut seen, 2 * MINUTE).await);

        // What comes after it has no more time than is usual.
        watchdog.progress("the usual");
        assert!(!lives(&watchdog, &mut seen, 7 * MINUTE).await);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_may_take_for_ever_and_nobody_less_than_usual() {
        let (doing, mut seen) = watch::channel(String::new());
        let watchdog = Watchdog::new(doing);
        watchdog.progress_for("for ever", Duration::MAX);
        assert!(lives(&watchdog, &mut seen, 119 * MINUTE).await);
        assert!(!lives(&watchdog, &mut seen, 2 * MINUTE).await);
        watchdog.progress_for("at once", Duration::ZERO);
        assert!(lives(&watchdog, &mut seen, 5 * MINUTE).await);
    }
}
