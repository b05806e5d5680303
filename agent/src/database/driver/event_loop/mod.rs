//! The driver's event loop: one event after the other to the protocol's machine, and the work that each calls for. Work
//! runs beside the loop: a renewal waits for no relay log, and a fence for nothing.

mod actions;
mod operator;
mod results;

use std::mem::{Discriminant, discriminant};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::audit::{self, Audit};
use super::catchup::Fetched;
use super::context::Context;
use super::failover_record::FailoverRecord;
use super::ids::{LeaseVersions, ServerIds};
use super::lease_requests::LeaseReply;
use super::local_server::{LocalServer, now};
use super::peers::Peers;
use super::reach;
use super::report::Report;
use super::{Message, OperatorOrder};
use crate::bucket::Bucket;
use crate::database::event::{Event as Record, EventError};
use crate::database::gtid::Gtids;
use crate::database::hold::{Hold, HoldError};
use crate::database::lease::LeaseState;
use crate::database::protocol::{Event, Machine, Reason, Rules, State, Step, Task};
use crate::database::semantics::{self, Semantics};
use crate::database::server::{Observation, ServerError};
use crate::database::store::LeaseStore;
use crate::fleet::Name;
use crate::report::{ChangeStatus, DatabaseStatus};
use crate::system::clock;

/// The protocol's clock ticks this often. Much less than anything it measures.
const TICK: Duration = Duration::from_millis(50);
/// Between two looks at an operator's hold, and at the other servers.
const PEERS_INTERVAL: Duration = Duration::from_secs(5);
/// Between two tries to reach a master as its clients do.
const REACH_INTERVAL: Duration = Duration::from_secs(30);
/// Between two looks at the server's settings and accounts.
const AUDIT_INTERVAL: Duration = Duration::from_mins(1);
/// How often an event is tried to be written, while the bucket is away: for an hour.
const RECORD_TRIES: u32 = 720;

/// What comes back from work beside the loop.
pub(super) enum WorkResult {
    Event(Event),
    Lease(LeaseReply),
    Observed(u64, Result<Observation, ServerError>),
    Did(u64, Task, Result<(), String>),
    Hold(Result<Option<Hold>, HoldError>),
    /// Another server, and what this one had before that was asked.
    Peer(
        Name,
        Option<PositionBefore>,
        Result<Observation, ServerError>,
    ),
    DeadmanFed(Result<(), String>),
    GateShut(Result<(), String>),
    /// Whether an earlier agent left a gate.
    GateAdopted(bool),
    /// A client's way to the server was tried.
    Reached(Result<(), String>),
    Semantics(Semantics),
    Note(String),
    /// What the master lacks was saved; whether it changes nothing.
    SurplusSaved(bool),
    /// The server's settings and accounts; `None`: it did not answer.
    Audited(Option<Audit>),
    /// Semi-synchronous replication was switched.
    SemiSyncSwitched(Result<(), String>),
    /// What other replicas had more, before this one opens.
    CaughtUp(Fetched),
    /// The servers that an order is about were observed just now.
    Order(OperatorOrder, oneshot::Sender<Result<String, String>>),
}

/// What this server had, and between which tasks that was seen.
#[derive(Debug, Clone)]
pub(super) struct PositionBefore {
    tasks: u64,
    tip: Gtids,
}

/// Writes an event, again and again while the bucket is away.
pub(super) async fn write_record(
    record: Record,
    bucket: Arc<Bucket>,
    tell: mpsc::UnboundedSender<WorkResult>,
) {
    for again in 0..RECORD_TRIES {
        let error = match record.record(&bucket).await {
            Ok(()) => return,
            Err(error) => error,
        };
        if again == 0 {
            let _ = tell.send(WorkResult::Note(format!(
                "the event of epoch {} could not be written: {}",
                record.epoch,
                crate::system::chain(&error)
            )));
        }
        if !matches!(error, EventError::Bucket(_)) {
            return;
        }
        tokio::time::sleep(PEERS_INTERVAL).await;
    }
}

/// Runs one product's driver until it is told to stop.
pub(super) async fn run(
    context: Context,
    known_epoch: u64,
    mut inbox: mpsc::UnboundedReceiver<Message>,
    status: watch::Sender<Option<DatabaseStatus>>,
) {
    let (tell, mut results) = mpsc::unbounded_channel();
    let mut driver = DriverLoop::new(context, known_epoch, tell).await;
    driver.begin().await;
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stopping: Option<u64> = None;
    loop {
        tokio::select! {
            biased;
            Some(result) = results.recv() => driver.take_result(result),
            message = inbox.recv() => match message {
                Some(Message::Context(context)) => driver.set_context(*context),
                Some(Message::Order(order, answer)) => driver.take_order(order, answer),
                Some(Message::Stop) | None => stopping = Some(now()),
            },
            _ = tick.tick() => driver.tick(),
        }
        driver.publish_status(&status);
        if stopping.is_some_and(|since| driver.may_end(since)) {
            break;
        }
    }
    driver.end().await;
}

pub(super) struct DriverLoop {
    pub(super) context: Arc<Context>,
    pub(super) ids: ServerIds,
    pub(super) versions: LeaseVersions,
    pub(super) rules: Rules,
    pub(super) machine: Machine,
    pub(super) bucket: Arc<Bucket>,
    store: Arc<LeaseStore>,
    local: Arc<LocalServer>,
    peers: Peers,
    pub(super) tell: mpsc::UnboundedSender<WorkResult>,
    /// The task under way, by its number.
    task: Option<(u64, AbortHandle)>,
    tasks: u64,
    observing: bool,
    observe_again: bool,
    /// Between which tasks the last observation was made.
    observed: u64,
    /// What this server has is compared with the others' after the next look.
    compare: bool,
    next_observation: u64,
    next_peers: u64,
    next_audit: u64,
    next_check: u64,
    next_adoption: u64,
    /// Whether an earlier agent left a gate is not known yet.
    adopt_again: bool,
    next_reach: u64,
    /// A client's way to the server is being tried.
    reaching: bool,
    feeding: Option<u64>,
    feed_next: Option<u64>,
    /// Transactions that the master lacks, by the last comparison with it.
    errant: u64,
    /// Looks in a row that saw transactions written here.
    local_writes: u32,
    /// The document has wanted semi-synchronous replication.
    semi_wanted: bool,
    /// It is being switched.
    switching: bool,
    /// A person lets go of what this server wrote itself, for it changes nothing.
    accept: bool,
    /// A person has given up what this server has and the master lacks.
    discard: bool,
    semantics: Option<Semantics>,
    epoch_at_start: u64,
    failover_record: FailoverRecord,
    /// Why the lease of a silent master was not taken over, when that was last logged.
    logged_blockers: Vec<Discriminant<Reason>>,
    pub(super) report: Report,
    last_published: u64,
    /// The lease as the last status had it.
    published_lease: Option<(u64, LeaseState)>,
}

impl DriverLoop {
    async fn new(
        context: Context,
        known_epoch: u64,
        tell: mpsc::UnboundedSender<WorkResult>,
    ) -> Self {
        let context = Arc::new(context);
        let mut s3 = context.s3.clone();
        s3.timeout = context.settings.times.timeout;
        let bucket = Arc::new(Bucket::open(&context.bucket, &s3).await);
        let mut ids = ServerIds::default();
        Self {
            rules: ids.rules(&context, false),
            ids,
            versions: LeaseVersions::default(),
            machine: Machine::new(now(), known_epoch),
            store: Arc::new(LeaseStore::new(Arc::clone(&bucket), &context.product)),
            bucket,
            local: Arc::new(LocalServer::new(&context)),
            peers: Peers::new(&context),
            tell,
            task: None,
            tasks: 0,
            observing: false,
            observe_again: false,
            observed: 0,
            compare: false,
            next_observation: 0,
            next_peers: 0,
            next_audit: 0,
            next_check: 0,
            next_adoption: 0,
            adopt_again: false,
            next_reach: 0,
            reaching: false,
            feeding: None,
            feed_next: None,
            errant: 0,
            local_writes: 0,
            semi_wanted: false,
            switching: false,
            accept: false,
            discard: false,
            semantics: None,
            epoch_at_start: known_epoch,
            failover_record: FailoverRecord::default(),
            logged_blockers: Vec::new(),
            report: Report::default(),
            last_published: 0,
            published_lease: None,
            context,
        }
    }

    async fn begin(&mut self) {
        let found = self.local.adopt_gate().await;
        self.adopt_again = found.is_none();
        self.step(Event::Armed(found.unwrap_or(false)));
        self.probe();
        self.observe();
        tracing::info!(
            event = "database-driver-started",
            product = %self.context.product,
            "{}: the database of this product is looked after",
            self.context.product
        );
    }

    /// Tries the bucket's conditional writes.
    fn probe(&self) {
        let (bucket, me, tell) = (
            Arc::clone(&self.bucket),
            self.context.me.clone(),
            self.tell.clone(),
        );
        tokio::spawn(async move {
            let semantics = semantics::probe(&bucket, &me).await;
            let _ = tell.send(WorkResult::Semantics(semantics));
        });
    }

    /// The document has other servers now. A master stays a master.
    fn set_context(&mut self, context: Context) {
        if *self.context == context {
            return;
        }
        let same_servers = Context {
            products: self.context.products.clone(),
            other_lease: self.context.other_lease,
            ..context.clone()
        };
        if *self.context == same_servers {
            // A product came or went: nothing that the servers have to do with.
            self.rules.other_lease = context.other_lease;
            self.context = Arc::new(context);
            return;
        }
        self.peers.drop_locks();
        let rearm = self.machine.armed();
        self.context = Arc::new(context);
        self.rules = self.ids.rules(&self.context, self.trusted());
        self.peers = Peers::new(&self.context);
        // Work that is under way goes on with what it has.
        self.local = Arc::new(self.local.with_context(&self.context));
        if rearm && self.machine.state().owns() {
            // The new one lets other peers through: it is armed anew.
            self.step(Event::Armed(false));
        } else if rearm {
            (self.adopt_again, self.next_adoption) = (true, 0);
        }
        self.observe();
    }

    /// Looks again whether an earlier agent left a gate: it could not be seen, or is another's now.
    fn adopt_gate(&self) {
        let (local, tell) = (Arc::clone(&self.local), self.tell.clone());
        tokio::spawn(async move {
            if let Some(found) = local.adopt_gate().await {
                let _ = tell.send(WorkResult::GateAdopted(found));
            }
        });
    }

    /// Whether the bucket's conditional writes are as they must be. Whoever has gone by leases before may trust them
    /// while the bucket is away.
    fn trusted(&self) -> bool {
        match &self.semantics {
            Some(Semantics::Right) => true,
            Some(Semantics::Wrong(_)) => false,
            Some(Semantics::Unknown(_)) | None => self.epoch_at_start > 0,
        }
    }

    fn tick(&mut self) {
        let at = now();
        if at >= self.next_observation {
            self.next_observation = at + self.rules.timing.renew;
            self.observe();
        }
        if at >= self.next_peers {
            self.next_peers = at + u64::try_from(PEERS_INTERVAL.as_millis()).unwrap_or(5_000);
            self.observe_peers();
        }
        if at >= self.next_audit {
            self.next_audit = at + u64::try_from(AUDIT_INTERVAL.as_millis()).unwrap_or(60_000);
            let (local, context, tell) = (
                Arc::clone(&self.local),
                Arc::clone(&self.context),
                self.tell.clone(),
            );
            tokio::spawn(async move {
                let _ = tell.send(WorkResult::Audited(audit::look(&local, &context).await));
            });
        }
        if at >= self.next_adoption && self.adopt_again {
            self.next_adoption = at + 2 * self.rules.timing.renew;
            self.adopt_gate();
        }
        if at >= self.next_check && self.machine.armed() {
            self.next_check = at + 2 * self.rules.timing.renew;
            let (local, tell) = (Arc::clone(&self.local), self.tell.clone());
            tokio::spawn(async move {
                if local.is_armed().await == Some(false) {
                    let _ = tell.send(WorkResult::Event(Event::Armed(false)));
                }
            });
        }
        let apart = matches!(self.machine.state(), State::Serving)
            && !self.machine.unlocked(&self.rules, at).is_empty();
        self.report.unlocked_since = self.report.unlocked_since.or(Some(at)).filter(|_| apart);
        if at >= self.next_reach && !self.reaching && matches!(self.machine.state(), State::Serving)
        {
            self.next_reach = at + u64::try_from(REACH_INTERVAL.as_millis()).unwrap_or(30_000);
            self.reaching = true;
            let (context, tell) = (Arc::clone(&self.context), self.tell.clone());
            tokio::spawn(async move {
                let _ = tell.send(WorkResult::Reached(reach::as_client(&context).await));
            });
        }
        self.step(Event::Tick);
        self.log_blockers(at);
    }

    /// Logs why this candidate does not take over from a master that is silent, each time that it is for another reason.
    fn log_blockers(&mut self, at: u64) {
        let timing = &self.rules.timing;
        let patience = 2 * timing.renew + timing.timeout;
        let silent = self.machine.lease().is_some_and(|(view, since)| {
            view.owner != self.rules.me
                && (view.state == LeaseState::Released || at.saturating_sub(since) >= patience)
        });
        let reasons = match self.machine.state() {
            State::Following if silent && self.machine.bucket_answers() => self.blockers(),
            _ => Vec::new(),
        };
        let kinds: Vec<_> = reasons.iter().map(discriminant).collect();
        if kinds == self.logged_blockers {
            return;
        }
        self.logged_blockers = kinds;
        if !reasons.is_empty() {
            let why: Vec<_> = reasons.iter().map(Reason::to_string).collect();
            tracing::info!(
                event = "database-candidate-waits",
                product = %self.context.product,
                why = why.join("; "),
                "{}: the master is silent, and this server does not take over yet: {}",
                self.context.product,
                why.join("; ")
            );
        }
    }

    /// Observes the local server.
    fn observe(&mut self) {
        if self.observing {
            self.observe_again = true;
            return;
        }
        self.observing = true;
        self.observe_again = false;
        let (local, tell, tasks) = (Arc::clone(&self.local), self.tell.clone(), self.tasks);
        tokio::spawn(async move {
            let seen = local.observe().await;
            let _ = tell.send(WorkResult::Observed(tasks, seen));
        });
    }

    /// Reads the operator's hold, and observes the other servers.
    fn observe_peers(&self) {
        let (bucket, product, tell) = (
            Arc::clone(&self.bucket),
            self.context.product.clone(),
            self.tell.clone(),
        );
        tokio::spawn(async move {
            let hold = Hold::read(&bucket, &product).await;
            let _ = tell.send(WorkResult::Hold(hold));
        });
        if matches!(self.semantics, Some(Semantics::Unknown(_))) {
            self.probe();
        }
        if matches!(self.machine.state(), State::Serving) {
            let local = Arc::clone(&self.local);
            tokio::spawn(async move { local.reconcile_events().await });
        }
        let patience = self.patience();
        for (name, peer) in self.peers.iter() {
            let (name, peer, tell) = (name.clone(), Arc::clone(peer), self.tell.clone());
            let had = self.position_before();
            tokio::spawn(async move {
                let seen = peer.server.observe(patience).await;
                let _ = tell.send(WorkResult::Peer(name, had, seen));
            });
        }
    }

    /// What the local server had when it was last observed, if no task has ended since.
    fn position_before(&self) -> Option<PositionBefore> {
        let seen = self.report.observation.as_ref()?.as_ref().ok()?;
        (self.observed == self.tasks).then(|| PositionBefore {
            tasks: self.tasks,
            tip: seen.executed.tip(),
        })
    }

    /// Tells the machine, and does what it wants.
    pub(super) fn step(&mut self, event: Event) {
        let before = self.machine.state();
        let actions = self.machine.step(&self.rules, now(), event);
        let after = self.machine.state();
        if before != after {
            self.entered(before, after);
        }
        for action in actions {
            self.act(action);
        }
    }

    fn entered(&mut self, before: State, after: State) {
        tracing::info!(
            event = "database-state",
            product = %self.context.product,
            before = ?before,
            after = ?after,
            "{}: the database's state here has changed from {before:?} to {after:?}",
            self.context.product
        );
        if let State::Fencing { why, .. } = after {
            tracing::error!(
                event = "database-fenced",
                product = %self.context.product,
                why = %why,
                "{}: the database server is being closed: {why}",
                self.context.product
            );
            self.report.fenced = Some((clock::now(), why));
        }
        if matches!(after, State::Bidding) {
            self.failover_record = FailoverRecord::begin(&self.report, self.versions.last());
        }
        if matches!(after, State::Claiming { .. })
            && let Some(lease) = self.versions.last()
            && lease.owner == self.context.me
            && lease.state == LeaseState::Promoting
        {
            self.failover_record.resume(lease);
        }
        if matches!(after, State::Serving) && matches!(before, State::Promoting { .. }) {
            self.next_reach = now() + self.rules.timing.renew;
            if let Some(Ok(seen)) = &self.report.observation {
                let position = seen.executed.tip().to_string();
                self.failover_record.position(seen.flavour, position);
            }
            self.failover_record.opened();
        }
    }

    fn publish_status(&mut self, status: &watch::Sender<Option<DatabaseStatus>>) {
        let at = now();
        let record =
            self.failover_record
                .take_finished(&self.machine, self.versions.last(), &self.context);
        if let Some(record) = record {
            self.report.change = Some(ChangeStatus {
                epoch: record.epoch,
                at: record.at,
                from: record.from.clone(),
                to: record.owner.clone(),
                cause: record.cause.as_str().to_owned(),
                lost_at_least: record.loss.as_ref().map(|loss| loss.at_least),
                lost_none: record.loss.as_ref().is_some_and(|loss| loss.none),
            });
            let (bucket, tell) = (Arc::clone(&self.bucket), self.tell.clone());
            tokio::spawn(write_record(record, bucket, tell));
        }
        let lease = (self.versions.last()).map(|lease| (lease.epoch, lease.state));
        let changed =
            self.report.state != Some(self.machine.state()) || self.published_lease != lease;
        if !changed && at < self.last_published + 500 {
            return;
        }
        self.last_published = at;
        self.published_lease = lease;
        self.report.state = Some(self.machine.state());
        self.report.copying = self.local.copy_progress();
        let blockers = self.blockers();
        status.send_replace(Some(self.report.status(
            &self.context,
            &self.ids,
            &self.rules,
            &self.machine,
            self.versions.last(),
            &blockers,
        )));
    }

    pub(super) fn blockers(&self) -> Vec<Reason> {
        if self.machine.state().owns() {
            return Vec::new();
        }
        if self.machine.lease().is_none() && self.machine.known_epoch() == 0 {
            return self.machine.founding_blockers(&self.rules, now());
        }
        self.machine.blockers(&self.rules, now())
    }

    /// Whether nothing is under way that should end first: a master renews once more.
    fn may_end(&self, since: u64) -> bool {
        let limit = self.rules.timing.renew + self.rules.timing.timeout;
        if now().saturating_sub(since) >= limit {
            return true;
        }
        match self.machine.state() {
            State::Serving => self.machine.lease().is_some_and(|(_, at)| at >= since),
            State::Promoting {
                step: Step::Open, ..
            }
            | State::Closing { .. }
            | State::Fencing { .. } => false,
            _ => true,
        }
    }

    async fn end(&mut self) {
        tracing::info!(
            event = "database-driver-stopped",
            product = %self.context.product,
            state = ?self.machine.state(),
            "{}: the driver ends; a master stays open until its dead-man closes it, or the agent is back",
            self.context.product
        );
        self.peers.drop_locks();
        let (own, _) = self.peers.own_lock();
        own.release().await;
    }
}
