//! The daemon's event loop: waits for a trigger of a run (poll, drift, signal, lease, a person), and makes the run.
//!
//! | part | what it is responsible for |
//! |---|---|
//! | `lifecycle` | start, signals, stop |
//! | `document_poll` | when the document is asked for, what the bucket's answers mean |
//! | `master_change` | a new master of a database: its names in `/etc/hosts` at once |
//! | `run` | convergence runs, and what is served while one goes on |
//! | `publish_status` | the status file, the socket, `systemctl status`, the report in the bucket |
//! | `watchdog` | systemd's watchdog; when a run is stuck |

use std::rc::Rc;
use std::sync::Arc;

use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::box_state::BoxState;
use super::certificate_watch::CertificateWatch;
use super::database_drivers::DatabaseDrivers;
use super::dns_keeper::DnsKeeper;
use super::document_request::{DocumentRequest, response};
use super::drift::DriftWatch;
use super::eviction_watch::{self, EvictionWatch};
use super::flapping::Flapping;
use super::fleet_summary::FleetSummary;
use super::lease_watch::{self, LeaseWatch};
use super::operator;
use super::readiness::{self, Readiness};
use super::report_upload::ReportUpload;
use super::rollout_watch::RolloutWatch;
use super::service_health::ServiceHealth;
use super::systemd;
use super::watchdog::Watchdog;
use crate::control::messages::Reply;
use crate::control::server::{ApplyRequest, OrderRequest};
use crate::converge::Session;
use crate::report::{Status, Trigger};
use crate::system::file::Files;

/// Everything that the loop works with: the session, what is watched, timers, channels.
pub(super) struct EventLoop {
    pub(super) session: Session,
    pub(super) files: Files,
    pub(super) state: BoxState,
    pub(super) drift: DriftWatch,
    pub(super) flapping: Flapping,
    pub(super) service_health: ServiceHealth,
    pub(super) certificates: CertificateWatch,
    pub(super) readiness: Readiness,
    pub(super) watchdog: Rc<Watchdog>,
    /// Until the first run has ended.
    pub(super) booting: bool,
    /// The names of a new master were written while a run was under way, which still knew the old one.
    pub(super) master_changed: bool,
    /// Servers went or came back while a run was under way, which still knew who was there before.
    pub(super) evictions_changed: bool,
    /// Whether the bucket has answered, or failed to, since the start.
    pub(super) answered_once: bool,
    pub(super) request: Option<DocumentRequest>,
    pub(super) lease_watch: LeaseWatch,
    pub(super) drivers: DatabaseDrivers,
    /// `None`: nothing is put into DNS from here, for this is another root.
    pub(super) dns_keeper: Option<DnsKeeper>,
    /// `None`: this machine puts no reports.
    pub(super) report_upload: Option<ReportUpload>,
    /// `None`: this machine puts no reports, and takes no part in rollouts but by waiting.
    pub(super) rollout_watch: Option<RolloutWatch>,
    /// `None`: this machine looks at no others, and is looked at by none: this is another root.
    pub(super) eviction_watch: Option<EvictionWatch>,
    pub(super) fleet_summary: FleetSummary,
    pub(super) next_poll: Instant,
    pub(super) next_check: Instant,
    pub(super) next_write: Instant,
    pub(super) next_identity_check: Instant,
    pub(super) applies: mpsc::Receiver<ApplyRequest>,
    pub(super) orders: mpsc::Receiver<OrderRequest>,
    pub(super) acknowledgements: mpsc::Receiver<oneshot::Sender<Reply>>,
    pub(super) status: watch::Sender<Option<Arc<Status>>>,
    pub(super) stopped: watch::Receiver<bool>,
}

impl EventLoop {
    /// Handles one event after the other until it is told to stop.
    pub(super) async fn run_until_stopped(
        &mut self,
        mut hup: Signal,
        mut stop: watch::Receiver<bool>,
    ) {
        // Only for those who ask: what a monitor reads in the file is not older than the last run.
        self.status
            .send_replace(Some(Arc::new(self.state.status(&self.session))));
        self.request_document(Trigger::Start);
        let mut waiting = Vec::new();
        // Requests that come while the document is being fetched for others wait for the next fetch: only that answer is
        // surely as new as the request.
        let mut later: Vec<ApplyRequest> = Vec::new();
        let mut again: Option<Trigger> = None;
        loop {
            systemd::alive();
            self.drivers.reconcile(&self.session);
            let watchdog_due = Instant::now() + systemd::watchdog_interval();
            let leases_due = self.lease_watch.due();
            let readiness_due = self.readiness.due();
            tokio::select! {
                biased;
                _ = stop.changed() => return,
                Some(first) = self.applies.recv() => {
                    let queue = if self.request_document(Trigger::Person) { &mut waiting } else {
                        again = Some(Trigger::Person);
                        &mut later
                    };
                    queue.push(first);
                    // Who asked meanwhile is served by the same run.
                    while let Ok(more) = self.applies.try_recv() {
                        queue.push(more);
                    }
                }
                Some(order) = self.orders.recv() => operator::dispatch(&self.session, &self.drivers, order),
                Some(answer) = self.acknowledgements.recv() => self.acknowledge(answer),
                _ = hup.recv() => {
                    if !self.request_document(Trigger::Signal) {
                        again = again.or(Some(Trigger::Signal));
                    }
                }
                response = response(&mut self.request) => {
                    self.take_document_and_run(response, &mut waiting).await;
                    // Not while that answer is still being read: what was asked for meanwhile wants a newer one.
                    if self.request.is_none() && let Some(trigger) = again.take() {
                        waiting.append(&mut later);
                        self.request_document(trigger);
                    }
                }
                touched = self.drift.touched() => {
                    if self.may_repair(&touched) {
                        self.run(Trigger::Drift, false, None).await;
                    }
                }
                event = lease_watch::next_event(&mut self.lease_watch) => {
                    if self.follow_leases(event).await {
                        self.run(Trigger::Lease, false, None).await;
                    } else {
                        self.publish();
                    }
                }
                round = readiness::answers(&mut self.readiness) => {
                    if self.take_readiness(round) {
                        self.publish();
                    }
                }
                () = eviction_watch::news(&mut self.eviction_watch) => {
                    if self.take_evictions() {
                        self.run(Trigger::Eviction, false, None).await;
                    } else {
                        self.publish();
                    }
                }
                () = sleep_until(readiness_due) => self.ask_readiness(),
                () = sleep_until(leases_due) => self.lease_watch.do_due(&self.session).await,
                () = sleep_until(self.next_poll), if self.request.is_none() => {
                    self.request_document(Trigger::Poll);
                }
                () = sleep_until(self.next_check) => {
                    let trigger = if self.booting { Trigger::Start } else { Trigger::Poll };
                    self.run(trigger, false, None).await;
                }
                () = sleep_until(watchdog_due) => self.publish(),
            }
        }
    }
}
