//! Notifications to systemd (`sd_notify`): ready, the status line, watchdog pings, stopping.

use std::time::Duration;

use sd_notify::NotifyState;

/// Says that the daemon is up.
pub(super) fn ready() {
    notify(&[NotifyState::Ready]);
}

/// Says that the daemon is about to end.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Says in a line what the daemon is doing, for `systemctl status`.
pub(super) fn status(text: &str) {
    notify(&[NotifyState::Status(text)]);
}

/// Says that the loop goes on. Called by the loop and by the steps of a run, never by a timer of its own:
/// a loop that is stuck must be seen to be stuck.
pub(super) fn alive() {
    notify(&[NotifyState::Watchdog]);
}

/// How often the watchdog must be pinged: a third of systemd's limit, at most 20 s.
pub(super) fn watchdog_interval() -> Duration {
    const IDLE: Duration = Duration::from_secs(20);
    sd_notify::watchdog_enabled().map_or(IDLE, |watchdog| (watchdog / 3).min(IDLE))
}

fn notify(states: &[NotifyState<'_>]) {
    // Not fatal: without systemd there is nobody to tell.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(event = "systemd-not-told", %error, "systemd was not told: {error}");
    }
}
