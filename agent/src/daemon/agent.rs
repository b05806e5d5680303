//! The loop of the daemon: waits for a reason, and does what it calls for.
//!
//! | part | what it is responsible for |
//! |---|---|
//! | `stay` | from the start to the end |
//! | `hearing` | documents: asking for them, what the answers mean |
//! | `following` | changes of master |
//! | `running` | runs, and what goes on meanwhile |
//! | `showing` | the status, for all who look |
//! | `signs` | signs of life |

use std::rc::Rc;
use std::sync::Arc;

use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::drift::Drift;
use super::fights::Fights;
use super::keepers::Keepers;
use super::leases::{self, Leases};
use super::orders;
use super::picture::Picture;
use super::poll::{Asking, heard};
use super::services::Services;
use super::signs::Signs;
use super::systemd;
use crate::control::server::{ApplyRequest, OrderRequest};
use crate::converge::Session;
use crate::report::{Status, Trigger};
use crate::system::file::Files;

/// Everything that the loop works with.
pub(super) struct Agent {
    pub(super) session: Session,
    pub(super) files: Files,
    pub(super) picture: Picture,
    pub(super) drift: Drift,
    pub(super) fights: Fights,
    pub(super) services: Services,
    pub(super) signs: Rc<Signs>,
    /// Until the first run has ended.
    pub(super) booting: bool,
    /// A change of master was followed in the middle of the run that goes on.
    pub(super) overtaken: bool,
    /// Whether the bucket has answered, or failed to, since the start.
    pub(super) heard_once: bool,
    pub(super) asking: Option<Asking>,
    pub(super) leases: Leases,
    pub(super) keepers: Keepers,
    pub(super) next_poll: Instant,
    pub(super) next_look: Instant,
    pub(super) next_write: Instant,
    pub(super) next_clues: Instant,
    pub(super) applies: mpsc::Receiver<ApplyRequest>,
    pub(super) orders: mpsc::Receiver<OrderRequest>,
    pub(super) status: watch::Sender<Option<Arc<Status>>>,
    pub(super) stopped: watch::Receiver<bool>,
}

impl Agent {
    /// Turns until it is told to stop.
    pub(super) async fn turn(&mut self, mut hup: Signal, mut stop: watch::Receiver<bool>) {
        // Only for those who ask: what a monitor reads in the file is not older than the last run.
        self.status
            .send_replace(Some(Arc::new(self.picture.status(&self.session))));
        self.ask(Trigger::Start);
        let mut waiting = Vec::new();
        // Who asks while the bucket is being asked for others is served by the next answer: only that is surely
        // as new as the question.
        let mut later: Vec<ApplyRequest> = Vec::new();
        let mut again: Option<Trigger> = None;
        loop {
            systemd::alive();
            self.keepers.settle(&self.session);
            let pulse = Instant::now() + systemd::pulse();
            let leases_due = self.leases.due();
            tokio::select! {
                biased;
                _ = stop.changed() => return,
                Some(first) = self.applies.recv() => {
                    let queue = if self.ask(Trigger::Person) { &mut waiting } else {
                        again = Some(Trigger::Person);
                        &mut later
                    };
                    queue.push(first);
                    // Who asked meanwhile is served by the same run.
                    while let Ok(more) = self.applies.try_recv() {
                        queue.push(more);
                    }
                }
                Some(order) = self.orders.recv() => orders::take(&self.session, &self.keepers, order),
                _ = hup.recv() => {
                    if !self.ask(Trigger::Signal) {
                        again = again.or(Some(Trigger::Signal));
                    }
                }
                heard = heard(&mut self.asking) => {
                    self.hear_and_run(heard, &mut waiting).await;
                    if let Some(trigger) = again.take() {
                        waiting.append(&mut later);
                        self.ask(trigger);
                    }
                }
                touched = self.drift.touched() => {
                    if self.may_repair(&touched) {
                        self.run(Trigger::Drift, false, None).await;
                    }
                }
                answers = leases::heard(&mut self.leases) => {
                    if self.follow(answers).await {
                        self.run(Trigger::Lease, false, None).await;
                    } else {
                        self.publish();
                    }
                }
                () = sleep_until(leases_due) => self.leases.turn(&self.session).await,
                () = sleep_until(self.next_poll), if self.asking.is_none() => {
                    self.ask(Trigger::Poll);
                }
                () = sleep_until(self.next_look) => {
                    let trigger = if self.booting { Trigger::Start } else { Trigger::Poll };
                    self.run(trigger, false, None).await;
                }
                () = sleep_until(pulse) => self.publish(),
            }
        }
    }
}
