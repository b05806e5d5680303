//! Following a change of master: the names of `/etc/hosts` first and at once, old connections cut, the rest by a run.

use std::time::Duration;

use tokio::time::sleep;

use super::agent::Agent;
use crate::converge::Led;
use crate::converge::follow::Answers;
use crate::system::chain;

/// Another process of the agent writes one file: so often is that waited for, so long each time.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(10);

impl Agent {
    /// Takes leases in; where the box goes by another one now, its names lead there. Returns whether a whole run is due.
    pub(super) async fn follow(&mut self, answers: Answers) -> bool {
        let who = self.who();
        let changed = self.leases.hear(&mut self.session, answers, &who);
        if changed {
            self.lead().await;
        }
        changed
    }

    /// What cannot be done here is done by the run that follows, and told by it.
    async fn lead(&mut self) {
        let Ok((intent, _)) = self.session.intent() else {
            return;
        };
        for _ in 0..TRIES {
            match self.session.converger.lead(&intent).await {
                Ok(Led::There(record)) => {
                    self.picture.led(&record);
                    break;
                }
                Ok(Led::Already) => break,
                Ok(Led::Busy) => sleep(PAUSE).await,
                Ok(Led::NotSo(why)) => {
                    tracing::debug!(event = "names-by-a-run", why, "left to a whole run");
                    return;
                }
                Err(error) => {
                    let why = chain(&error);
                    tracing::debug!(event = "names-by-a-run", why, "left to a whole run");
                    return;
                }
            }
        }
        self.leases.after_run(&self.session).await;
        self.show();
    }
}
