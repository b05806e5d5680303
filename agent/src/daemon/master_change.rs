//! A change of a database's master: its names in `/etc/hosts` first and at once, old connections cut, the rest by a run.

use std::time::Duration;

use tokio::time::sleep;

use super::event_loop::EventLoop;
use super::lease_watch::LeaseEvent;
use crate::converge::Followed;
use crate::system::chain;

/// Another process of the agent may be writing `/etc/hosts`: how often, and how far apart, that is waited for.
const BUSY_TRIES: u32 = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(10);

impl EventLoop {
    /// Takes answers for leases in, or has them asked for; where the box goes by another lease now, its names lead there. Returns whether a whole
    /// run is due.
    pub(super) async fn follow_leases(&mut self, event: LeaseEvent) -> bool {
        let LeaseEvent::Answers(answers) = event else {
            self.lease_watch.noticed();
            return false;
        };
        let phase_name = self.phase_name();
        let changed = self
            .lease_watch
            .take_answers(&mut self.session, answers, &phase_name);
        if changed {
            self.lead_names().await;
        }
        changed
    }

    /// Leads the names of `/etc/hosts` to the present masters. What cannot be done here is done, and told, by the run that
    /// follows.
    async fn lead_names(&mut self) {
        let Ok((intent, _)) = self.session.intent_of_runs() else {
            return;
        };
        for _ in 0..BUSY_TRIES {
            match self.session.converger.lead(&intent).await {
                Ok(Followed::Now(record)) => {
                    self.state.names_led(&record);
                    self.cut_former_masters().await;
                    return;
                }
                Ok(Followed::Already) => {
                    self.cut_former_masters().await;
                    return;
                }
                Ok(Followed::Busy) => sleep(BUSY_PAUSE).await,
                Ok(Followed::ByARun(why)) => {
                    tracing::debug!(event = "names-by-a-run", why, "left to a whole run: {why}");
                    return;
                }
                Err(error) => {
                    let why = chain(&error);
                    tracing::debug!(event = "names-by-a-run", why, "left to a whole run: {why}");
                    return;
                }
            }
        }
        // Whoever was cut off now would ask for the name and get the old address again.
        let why = "they are busy";
        tracing::debug!(event = "names-by-a-run", why, "left to a whole run: {why}");
    }

    async fn cut_former_masters(&mut self) {
        self.lease_watch.names_lead(&self.session).await;
        self.publish_while_running();
    }
}
