//! The loop: one event after the other to the machine, and the work that each calls for. Work runs beside the loop: a
//! renewal waits for no relay log, and a fence for nothing.

mod deeds;
mod heard;
mod wishes;

use std::mem::{Discriminant, discriminant};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::audit::{self, Audit};
use super::body::{Body, now};
use super::catchup::Fetched;
use super::friends::Friends;
use super::letter::Reply;
use super::names::{Names, Versions};
use super::seat::Seat;
use super::story::Story;
use super::told::Picture;
use super::{Told, Wish};
use crate::bucket::Bucket;
use crate::database::event::{Event as Record, EventError};
use crate::database::gtid::Gtids;
use crate::database::hold::{Hold, HoldError};
use crate::database::lease::LeaseState;
use crate::database::protocol::{Event, Machine, Reason, Rules, State, Step, Task};
use crate::database::semantics::{self, Verdict};
use crate::database::server::{Observation, ServerError};
use crate::database::store::LeaseStore;
use crate::fleet::Name;
use crate::report::{ChangeStatus, DatabaseStatus};
use crate::system::clock;

/// The protocol's clock ticks this often. Much less than anything it measures.
const TICK: Duration = Duration::from_millis(50);
/// Between two looks at a person's hold, and at the other servers.
const ASIDE: Duration = Duration::from_secs(5);
/// Between two looks at the server's settings and accounts.
const AUDIT: Duration = Duration::from_mins(1);
/// How often an event is tried to be written, while the bucket is away: for an hour.
const RECORDS: u32 = 720;

/// What comes back from work.
pub(super) enum Heard {
    Event(Event),
    Reply(Reply),
    Observed(u64, Result<Observation, ServerError>),
    Did(u64, Task, Result<(), String>),
    Hold(Result<Option<Hold>, HoldError>),
    /// Another server, and what this one had before that was asked.
    Other(Name, Option<Had>, Result<Observation, ServerError>),
    Fed(Result<(), String>),
    Verdict(Verdict),
    Told(String),
    /// The server's settings and accounts; `None`: it did not answer.
    Audited(Option<Audit>),
    /// Semi-synchronous replication was switched.
    Switched(Result<(), String>),
    /// What other replicas had more, before this one opens.
    Fetched(Fetched),
    /// The servers that a wish is about were looked at just now.
    Wish(Wish, oneshot::Sender<Result<String, String>>),
}

/// What this server had, and between which tasks that was seen.
#[derive(Debug, Clone)]
pub(super) struct Had {
    tasks: u64,
    tip: Gtids,
}

/// Writes an event, again and again while the bucket is away.
async fn write_down(record: Record, bucket: Arc<Bucket>, tell: mpsc::UnboundedSender<Heard>) {
    for again in 0..RECORDS {
        let error = match record.record(&bucket).await {
            Ok(()) => return,
            Err(error) => error,
        };
        if again == 0 {
            let _ = tell.send(Heard::Told(format!(
                "the event of epoch {} could not be written: {}",
                record.epoch,
                crate::system::chain(&error)
            )));
        }
        if !matches!(error, EventError::Bucket(_)) {
            return;
        }
        tokio::time::sleep(ASIDE).await;
    }
}

/// Runs one product's driver until it is told to stop.
pub(super) async fn run(
    seat: Seat,
    known_epoch: u64,
    mut told: mpsc::UnboundedReceiver<Told>,
    status: watch::Sender<Option<DatabaseStatus>>,
) {
    let (tell, mut heard) = mpsc::unbounded_channel();
    let mut run = Run::new(seat, known_epoch, tell).await;
    run.begin().await;
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stopping: Option<u64> = None;
    loop {
        tokio::select! {
            biased;
            Some(heard) = heard.recv() => run.hear(heard),
            word = told.recv() => match word {
                Some(Told::Seat(seat)) => run.sit(*seat),
                Some(Told::Wish(wish, answer)) => run.wish(wish, answer),
                Some(Told::Stop) | None => stopping = Some(now()),
            },
            _ = tick.tick() => run.tick(),
        }
        run.tell_status(&status);
        if stopping.is_some_and(|since| run.may_end(since)) {
            break;
        }
    }
    run.end().await;
}

pub(super) struct Run {
    pub(super) seat: Arc<Seat>,
    pub(super) names: Names,
    pub(super) versions: Versions,
    pub(super) rules: Rules,
    pub(super) machine: Machine,
    bucket: Arc<Bucket>,
    store: Arc<LeaseStore>,
    body: Arc<Body>,
    friends: Friends,
    tell: mpsc::UnboundedSender<Heard>,
    /// The task under way, by its number.
    task: Option<(u64, AbortHandle)>,
    tasks: u64,
    observing: bool,
    observe_again: bool,
    /// Between which tasks the last observation was made.
    observed: u64,
    /// What this server has is compared with the others' after the next look.
    compare: bool,
    next_look: u64,
    next_aside: u64,
    next_audit: u64,
    next_check: u64,
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
    /// A person has given up what this server has and the master lacks.
    discard: bool,
    verdict: Option<Verdict>,
    epoch_at_start: u64,
    story: Story,
    /// Why the lease of a silent master was not taken over, when that was last told.
    waits: Vec<Discriminant<Reason>>,
    pub(super) picture: Picture,
    last_told: u64,
}

impl Run {
    async fn new(seat: Seat, known_epoch: u64, tell: mpsc::UnboundedSender<Heard>) -> Self {
        let seat = Arc::new(seat);
        let mut s3 = seat.s3.clone();
        s3.timeout = seat.settings.times.timeout;
        let bucket = Arc::new(Bucket::open(&seat.bucket, &s3).await);
        let mut names = Names::default();
        Self {
            rules: names.rules(&seat, false),
            names,
            versions: Versions::default(),
            machine: Machine::new(now(), known_epoch),
            store: Arc::new(LeaseStore::new(Arc::clone(&bucket), &seat.product)),
            bucket,
            body: Arc::new(Body::new(&seat)),
            friends: Friends::new(&seat),
            tell,
            task: None,
            tasks: 0,
            observing: false,
            observe_again: false,
            observed: 0,
            compare: false,
            next_look: 0,
            next_aside: 0,
            next_audit: 0,
            next_check: 0,
            feeding: None,
            feed_next: None,
            errant: 0,
            local_writes: 0,
            semi_wanted: false,
            switching: false,
            discard: false,
            verdict: None,
            epoch_at_start: known_epoch,
            story: Story::default(),
            waits: Vec::new(),
            picture: Picture::default(),
            last_told: 0,
            seat,
        }
    }

    async fn begin(&mut self) {
        if let Some(armed) = self.body.is_armed().await {
            self.step(Event::Armed(armed));
        }
        self.probe();
        self.look();
        tracing::info!(
            event = "database-driver-started",
            product = %self.seat.product,
            "the database of this product is looked after"
        );
    }

    /// Tries the bucket's conditional writes.
    fn probe(&self) {
        let (bucket, me, tell) = (
            Arc::clone(&self.bucket),
            self.seat.me.clone(),
            self.tell.clone(),
        );
        tokio::spawn(async move {
            let verdict = semantics::probe(&bucket, &me).await;
            let _ = tell.send(Heard::Verdict(verdict));
        });
    }

    /// The document has other servers now. A master stays a master.
    fn sit(&mut self, seat: Seat) {
        if *self.seat == seat {
            return;
        }
        self.friends.drop_locks();
        let rearm = self.machine.armed();
        self.seat = Arc::new(seat);
        self.rules = self.names.rules(&self.seat, self.trusted());
        self.friends = Friends::new(&self.seat);
        // Work that is under way goes on with what it has.
        self.body = Arc::new(Body::new(&self.seat));
        if rearm {
            // The new one lets other peers through: it is armed anew.
            self.step(Event::Armed(false));
        }
        self.look();
    }

    /// Whether the bucket's conditional writes are as they must be. Whoever has gone by leases before may trust them
    /// while the bucket is away.
    fn trusted(&self) -> bool {
        match &self.verdict {
            Some(Verdict::Right) => true,
            Some(Verdict::Wrong(_)) => false,
            Some(Verdict::Unknown(_)) | None => self.epoch_at_start > 0,
        }
    }

    fn tick(&mut self) {
        let at = now();
        if at >= self.next_look {
            self.next_look = at + self.rules.timing.renew;
            self.look();
        }
        if at >= self.next_aside {
            self.next_aside = at + u64::try_from(ASIDE.as_millis()).unwrap_or(5_000);
            self.look_aside();
        }
        if at >= self.next_audit {
            self.next_audit = at + u64::try_from(AUDIT.as_millis()).unwrap_or(60_000);
            let (body, seat, tell) = (
                Arc::clone(&self.body),
                Arc::clone(&self.seat),
                self.tell.clone(),
            );
            tokio::spawn(async move {
                let _ = tell.send(Heard::Audited(audit::look(&body, &seat).await));
            });
        }
        if at >= self.next_check && self.machine.armed() {
            self.next_check = at + 2 * self.rules.timing.renew;
            let (body, tell) = (Arc::clone(&self.body), self.tell.clone());
            tokio::spawn(async move {
                if body.is_armed().await == Some(false) {
                    let _ = tell.send(Heard::Event(Event::Armed(false)));
                }
            });
        }
        self.step(Event::Tick);
        self.tell_waiting(at);
    }

    /// Tells why this candidate does not take over from a master that is silent, each time that it is for another reason.
    fn tell_waiting(&mut self, at: u64) {
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
        if kinds == self.waits {
            return;
        }
        self.waits = kinds;
        if !reasons.is_empty() {
            let why: Vec<_> = reasons.iter().map(Reason::to_string).collect();
            tracing::info!(
                event = "database-candidate-waits",
                product = %self.seat.product,
                why = why.join("; "),
                "the master is silent, and this server does not take over yet"
            );
        }
    }

    /// Looks at the local server.
    fn look(&mut self) {
        if self.observing {
            self.observe_again = true;
            return;
        }
        self.observing = true;
        self.observe_again = false;
        let (body, tell, tasks) = (Arc::clone(&self.body), self.tell.clone(), self.tasks);
        tokio::spawn(async move {
            let seen = body.observe().await;
            let _ = tell.send(Heard::Observed(tasks, seen));
        });
    }

    /// A person's hold, and how the others are.
    fn look_aside(&self) {
        let (bucket, product, tell) = (
            Arc::clone(&self.bucket),
            self.seat.product.clone(),
            self.tell.clone(),
        );
        tokio::spawn(async move {
            let hold = Hold::read(&bucket, &product).await;
            let _ = tell.send(Heard::Hold(hold));
        });
        if matches!(self.verdict, Some(Verdict::Unknown(_))) {
            self.probe();
        }
        if matches!(self.machine.state(), State::Serving) {
            let body = Arc::clone(&self.body);
            tokio::spawn(async move { body.mind_events().await });
        }
        let patience = self.patience();
        for (name, friend) in self.friends.all() {
            let (name, friend, tell) = (name.clone(), Arc::clone(friend), self.tell.clone());
            let had = self.has();
            tokio::spawn(async move {
                let seen = friend.server.observe(patience).await;
                let _ = tell.send(Heard::Other(name, had, seen));
            });
        }
    }

    /// What the own server had when it was last looked at, if no task has ended since.
    fn has(&self) -> Option<Had> {
        let seen = self.picture.observation.as_ref()?.as_ref().ok()?;
        (self.observed == self.tasks).then(|| Had {
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
            product = %self.seat.product,
            before = ?before,
            after = ?after,
            "the database's state here has changed"
        );
        if let State::Fencing { why, .. } = after {
            tracing::error!(
                event = "database-fenced",
                product = %self.seat.product,
                why = %why,
                "the database server is being closed"
            );
            self.picture.fenced = Some((clock::now(), why));
        }
        if matches!(after, State::Bidding) {
            self.story = Story::begin(&self.picture, self.versions.last());
        }
        if matches!(after, State::Claiming { .. })
            && let Some(lease) = self.versions.last()
            && lease.owner == self.seat.me
            && lease.state == LeaseState::Promoting
        {
            self.story.resume(lease);
        }
        if matches!(after, State::Serving) && matches!(before, State::Promoting { .. }) {
            if let Some(Ok(seen)) = &self.picture.observation {
                let position = seen.executed.tip().to_string();
                self.story.position(seen.flavour, position);
            }
            self.story.opened();
        }
    }

    fn tell_status(&mut self, status: &watch::Sender<Option<DatabaseStatus>>) {
        let at = now();
        let record = self
            .story
            .due(&self.machine, self.versions.last(), &self.seat);
        if let Some(record) = record {
            self.picture.change = Some(ChangeStatus {
                epoch: record.epoch,
                at: record.at,
                from: record.from.clone(),
                to: record.owner.clone(),
                cause: record.cause.as_str().to_owned(),
                lost_at_least: record.loss.as_ref().map(|loss| loss.at_least),
                lost_none: record.loss.as_ref().is_some_and(|loss| loss.none),
            });
            let (bucket, tell) = (Arc::clone(&self.bucket), self.tell.clone());
            tokio::spawn(write_down(record, bucket, tell));
        }
        let changed = self.picture.state != Some(self.machine.state());
        if !changed && at < self.last_told + 500 {
            return;
        }
        self.last_told = at;
        self.picture.state = Some(self.machine.state());
        self.picture.copying = self.body.progress();
        let blockers = self.blockers();
        status.send_replace(Some(self.picture.draw(
            &self.seat,
            &self.names,
            &self.rules,
            &self.machine,
            self.versions.last(),
            &blockers,
        )));
    }

    fn blockers(&self) -> Vec<Reason> {
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
            product = %self.seat.product,
            state = ?self.machine.state(),
            "the driver ends; a master stays open until its dead-man closes it, or the agent is back"
        );
        self.friends.drop_locks();
        let (own, _) = self.friends.own_lock();
        own.release().await;
    }
}
