//! The loop: one event after the other to the machine, and the work that each calls for. Work runs beside the loop: a
//! renewal waits for no relay log, and a fence for nothing.

use std::mem::{Discriminant, discriminant};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::audit::{self, Audit};
use super::body::{self, Body, now};
use super::catchup::{Fetched, catch_up};
use super::friends::{self, Friends};
use super::letter::{self, Reply};
use super::names::{Names, Versions};
use super::seat::Seat;
use super::story::Story;
use super::surplus;
use super::told::{Picture, Seen};
use super::{Told, Wish};
use crate::bucket::Bucket;
use crate::database::gtid::Containment;
use crate::database::hold::{Hold, HoldError};
use crate::database::lease::LeaseState;
use crate::database::protocol::{
    Action, Answer, Beat, Event, Health, History, Machine, Order, Proposal, Reason, Rules,
    ServerId, State, Step, Task,
};
use crate::database::semantics::{self, Verdict};
use crate::database::server::{Observation, ServerError, ThreadState};
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
/// What comes back from work.
pub(super) enum Heard {
    Event(Event),
    Reply(Reply),
    Observed(u64, Result<Observation, ServerError>),
    Did(u64, Task, Result<(), String>),
    Hold(Result<Option<Hold>, HoldError>),
    Other(Name, Result<Observation, ServerError>),
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
            tokio::spawn(async move {
                let seen = friend.server.observe(patience).await;
                let _ = tell.send(Heard::Other(name, seen));
            });
        }
    }

    pub(super) fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Event(event) => self.step(event),
            Heard::Reply(reply) => self.hear_reply(reply),
            Heard::Observed(tasks, seen) => self.hear_observed(tasks, seen),
            Heard::Did(number, task, result) => self.hear_did(number, task, &result),
            Heard::Hold(hold) => self.hear_hold(hold),
            Heard::Other(name, seen) => self.hear_other(name, &seen),
            Heard::Fed(result) => self.hear_fed(result),
            Heard::Verdict(verdict) => self.hear_verdict(verdict),
            Heard::Told(trouble) => self.picture.note(trouble),
            Heard::Audited(audit) => self.hear_audited(audit),
            Heard::Switched(done) => self.hear_switched(done),
            Heard::Fetched(fetched) => self.hear_fetched(&fetched),
            Heard::Wish(wish, answer) => {
                let _ = answer.send(self.grant(&wish));
            }
        }
    }

    fn hear_reply(&mut self, reply: Reply) {
        if matches!(reply, Reply::Held) {
            self.step(Event::Hold(true));
        }
        let (answer, trouble) = letter::answer(reply, &mut self.names, &mut self.versions);
        self.picture.bucket(trouble);
        if matches!(
            answer,
            Answer::Unchanged | Answer::Lease(_) | Answer::Done(_)
        ) {
            self.picture.confirmed = Some(clock::now());
        }
        self.step(Event::Bucket(answer));
    }

    fn hear_observed(&mut self, tasks: u64, seen: Result<Observation, ServerError>) {
        self.observing = false;
        // What was seen before a task ended says nothing of after it.
        if tasks != self.tasks {
            self.look();
            return;
        }
        let writes = seen.as_ref().is_ok_and(|seen| {
            seen.replication.is_some() && seen.read_only && !seen.local_writes.is_empty()
        });
        // Two variables of a server that applies are not of one moment.
        self.local_writes = if writes { self.local_writes + 1 } else { 0 };
        let health = self.health(&seen);
        self.picture.own = Some(Seen::of(&seen));
        if let Ok(seen) = &seen {
            self.picture.position = seen.executed.tip().to_string();
        }
        self.picture.observation = Some(seen);
        self.step(Event::Health(health));
        self.keep_semi_sync();
        if self.observe_again {
            self.look();
        }
    }

    /// The document may say something else of semi-synchronous replication than when the server was opened or led to
    /// its source. Where it never wanted it, what a person has set up is left alone.
    fn keep_semi_sync(&mut self) {
        self.semi_wanted |= self.seat.semi_sync;
        let master = match self.machine.state() {
            State::Serving => true,
            State::Following => false,
            _ => return,
        };
        let Some(Ok(seen)) = &self.picture.observation else {
            return;
        };
        if !self.semi_wanted || self.task.is_some() || self.switching {
            return;
        }
        let want = self.body.wanted_semi_sync(master);
        let has = (
            seen.semi_sync.source_enabled,
            seen.semi_sync.replica_enabled,
        );
        if want == has || (!master && seen.replication.is_none()) {
            return;
        }
        self.switching = true;
        let receives = seen
            .replication
            .as_ref()
            .is_some_and(|it| it.io.state == ThreadState::Running);
        let (body, tell) = (Arc::clone(&self.body), self.tell.clone());
        tokio::spawn(async move {
            let done = body.switch_semi_sync(want, receives).await;
            let _ = tell.send(Heard::Switched(done));
        });
    }

    fn hear_audited(&mut self, audit: Option<Audit>) {
        let Some(audit) = audit else {
            // It is asked again soon: nothing is staked on a server that was not looked at.
            self.next_audit = self.next_audit.min(now() + 2 * self.rules.timing.renew);
            return;
        };
        if self.picture.audit.as_ref() == Some(&audit) {
            return;
        }
        let (alarms, notes) = audit.words();
        for what in alarms.iter().chain(&notes) {
            tracing::warn!(
                event = "database-settings",
                product = %self.seat.product,
                what,
                "a setting or an account of the database server is not as it must be"
            );
        }
        self.picture.audit = Some(audit);
    }

    fn hear_switched(&mut self, done: Result<(), String>) {
        self.switching = false;
        match done {
            Ok(()) => tracing::info!(
                event = "database-semi-sync",
                product = %self.seat.product,
                wanted = self.seat.semi_sync,
                "semi-synchronous replication was switched as the document says"
            ),
            Err(why) => self.picture.note(why),
        }
    }

    fn health(&mut self, seen: &Result<Observation, ServerError>) -> Health {
        let mut errant = self.errant;
        if self.local_writes >= 2 {
            errant = errant.max(1);
        }
        let (seat, names) = (Arc::clone(&self.seat), &mut self.names);
        let known: Vec<(IpAddr, ServerId)> = seat
            .members()
            .map(|member| (member.address, names.id(&member.name)))
            .collect();
        let source = |host: &str| {
            let address: IpAddr = host.parse().ok()?;
            known
                .iter()
                .find(|(of, _)| *of == address)
                .map(|(_, id)| *id)
        };
        let mut health = body::health(seen, self.versions.last(), source, errant);
        // Nothing is staked on a server that was not looked at.
        health.sane &= self
            .picture
            .audit
            .as_ref()
            .is_some_and(|audit| !audit.is_grave());
        // With semi-synchronous replication a third server may alone have what the new owner acknowledged.
        if seat.semi_sync && known.len() > 2 && health.history == History::Contained {
            health.history = History::Unknown;
        }
        health
    }

    fn hear_did(&mut self, number: u64, task: Task, result: &Result<(), String>) {
        if self
            .task
            .as_ref()
            .is_none_or(|(under_way, _)| *under_way != number)
        {
            return;
        }
        self.task = None;
        self.tasks += 1;
        if let Err(why) = result {
            tracing::warn!(
                event = "database-task-failed",
                product = %self.seat.product,
                task = ?task,
                error = %why,
                "work on the database server was not done"
            );
        } else {
            tracing::info!(event = "database-task", product = %self.seat.product, task = ?task, "done");
        }
        self.picture.did(task, result);
        self.story.did(task, result.is_ok());
        if matches!(task, Task::Rejoin(_)) {
            self.discard = false;
        }
        if matches!(task, Task::Follow(_) | Task::Rejoin(_)) {
            // Why it was refused is counted against the master itself.
            self.look_aside();
        }
        self.step(Event::Did(task, result.is_ok()));
        self.look();
    }

    fn hear_fetched(&mut self, fetched: &Fetched) {
        if let Some((from, count)) = &fetched.from {
            tracing::warn!(
                event = "database-caught-up",
                product = %self.seat.product,
                server = %from,
                transactions = count,
                "another replica had received more of the dead master: it was fetched"
            );
        }
        for (name, why) in &fetched.missed {
            tracing::warn!(
                event = "database-not-caught-up",
                product = %self.seat.product,
                server = %name,
                error = %why,
                "whether this replica had received more of the dead master is not known, or it could not be fetched"
            );
        }
        self.story.fetched(fetched);
    }

    fn hear_hold(&mut self, hold: Result<Option<Hold>, HoldError>) {
        match hold {
            Ok(hold) => {
                let held = hold.as_ref().is_some_and(|hold| hold.held);
                self.picture.hold = hold.filter(|hold| hold.held);
                self.step(Event::Hold(held));
            }
            // A person meant something by it.
            Err(HoldError::Wrong { .. }) => self.step(Event::Hold(true)),
            Err(_) => {}
        }
    }

    fn hear_other(&mut self, name: Name, seen: &Result<Observation, ServerError>) {
        let owner = self
            .versions
            .last()
            .map(|lease| (&lease.owner, lease.state));
        if let (Ok(other), Some(Ok(own)), Some((owner, LeaseState::Serving))) =
            (seen, &self.picture.observation, owner)
            && *owner == name
            && *owner != self.seat.me
        {
            let tip = own.executed.tip();
            let replicates = own.replication.as_ref().is_some_and(|replication| {
                replication.io.error.is_none() && replication.sql.error.is_none()
            });
            self.errant = match other.executed.contains(&tip) {
                Containment::Yes => 0,
                // It was asked a moment before; what came since is on its way.
                _ if replicates => 0,
                Containment::No | Containment::Unknown => tip.beyond(&other.executed).max(1),
            };
        }
        self.picture.others.insert(name, Seen::of(seen));
    }

    fn hear_fed(&mut self, result: Result<(), String>) {
        self.feeding = None;
        if let Err(why) = result {
            tracing::warn!(
                event = "database-deadman-lost",
                product = %self.seat.product,
                error = %why,
                "the dead-man is not fed: it is armed anew"
            );
            self.picture.deadman = Some(why);
            self.step(Event::Armed(false));
        }
        if let Some(until) = self.feed_next.take() {
            self.feed(until);
        }
    }

    fn hear_verdict(&mut self, verdict: Verdict) {
        if let Verdict::Wrong(findings) = &verdict {
            tracing::error!(
                event = "database-bucket-unfit",
                product = %self.seat.product,
                findings = findings.join("; "),
                "this bucket's conditional writes are wrong: no master changes by itself"
            );
        }
        if self.verdict.as_ref() != Some(&verdict) {
            tracing::info!(
                event = "database-bucket-tried",
                product = %self.seat.product,
                verdict = ?verdict,
                "the bucket's conditional writes were tried"
            );
        }
        self.verdict = Some(verdict.clone());
        self.picture.verdict = Some(verdict);
        self.rules = self.names.rules(&self.seat, self.trusted());
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
        if matches!(after, State::Serving) && matches!(before, State::Promoting { .. }) {
            if let Some(Ok(seen)) = &self.picture.observation {
                let position = seen.executed.tip().to_string();
                self.story.position(seen.flavour, position);
            }
            self.story.opened();
        }
    }

    fn act(&mut self, action: Action) {
        let tell = self.tell.clone();
        let timeout = self.seat.settings.times.timeout;
        match action {
            Action::Read => {
                let (store, known) = (Arc::clone(&self.store), self.versions.tag().cloned());
                tokio::spawn(async move {
                    let _ = tell.send(Heard::Reply(letter::read(store, known).await));
                });
            }
            Action::Write(proposal) => self.write(proposal),
            Action::Observe => self.look(),
            Action::Beat => {
                let body = Arc::clone(&self.body);
                let lease = self.versions.last();
                let (epoch, seq) = lease.map_or((0, 0), |lease| (lease.epoch, lease.seq));
                tokio::spawn(async move {
                    let beat = tokio::time::timeout(timeout, body.beat(epoch, seq)).await;
                    let _ = tell.send(Heard::Event(Event::Beat(beat.unwrap_or(Beat::Failed))));
                });
            }
            Action::Do(task) => self.work(task),
            Action::Ping(id) => {
                let friend = self.names.name(id).and_then(|name| self.friends.get(name));
                tokio::spawn(async move {
                    let held = match friend {
                        Some(friend) => friend.ping(timeout).await,
                        None => false,
                    };
                    let _ = tell.send(Heard::Event(Event::Peer(id, held)));
                });
            }
            Action::DropPeers => self.friends.drop_locks(),
            Action::TakeLock => {
                let (lock, timeout) = self.friends.own_lock();
                tokio::spawn(async move {
                    let lock = friends::take(&lock, timeout).await;
                    let _ = tell.send(Heard::Event(Event::OwnLock(lock)));
                });
            }
            Action::DropLock => {
                let (lock, _) = self.friends.own_lock();
                tokio::spawn(async move { lock.release().await });
            }
            Action::LookAtOld(id) | Action::FenceOld(id) => {
                let friend = self.names.name(id).and_then(|name| self.friends.get(name));
                let budget = self.seat.settings.times.fence_budget;
                let fence = matches!(action, Action::FenceOld(_));
                tokio::spawn(async move {
                    let old = match friend {
                        Some(friend) if fence => friend.fence(budget, timeout).await,
                        Some(friend) => friend.look(timeout).await,
                        None => crate::database::protocol::OldMaster::Unreachable,
                    };
                    let _ = tell.send(Heard::Event(Event::Old(old)));
                });
            }
            Action::Feed { until } => self.feed(until),
            Action::Disarm => {
                let body = Arc::clone(&self.body);
                tokio::spawn(async move { body.disarm().await });
            }
            Action::Refuse(order) => self.refused(order),
        }
    }

    /// A person's order that was not carried out, and is not waited for any longer.
    fn refused(&mut self, order: Order) {
        let (what, why) = match order {
            Order::Switchover(to) => (
                format!(
                    "switchover to {}",
                    self.names.name(to).map_or("another server", Name::as_str)
                ),
                "it did not take over in time, or this server could not be closed, or it is not the master any more"
                    .to_owned(),
            ),
            Order::TakeOver { .. } => ("takeover".to_owned(), {
                let reasons: Vec<_> = self.blockers().iter().map(ToString::to_string).collect();
                reasons.join("; ")
            }),
            Order::Rejoin => (
                "rejoin".to_owned(),
                "its master could not be followed in time".to_owned(),
            ),
        };
        tracing::warn!(
            event = "database-order-refused",
            product = %self.seat.product,
            order = what,
            why,
            "a person's order was not carried out and is not waited for any longer"
        );
        self.picture.note(format!(
            "{}: the {what} that was ordered was not carried out, and will not be unless it is ordered again: {why}",
            clock::now()
        ));
    }

    fn feed(&mut self, until: u64) {
        if self.feeding.is_some() {
            self.feed_next = Some(until);
            return;
        }
        self.feeding = Some(until);
        let (body, tell) = (Arc::clone(&self.body), self.tell.clone());
        tokio::spawn(async move {
            let _ = tell.send(Heard::Fed(body.feed(until).await));
        });
    }

    fn write(&mut self, proposal: Proposal) {
        crate::system::crash::point("database: write the lease");
        let base = match proposal.over {
            Some(tag) => {
                let Some(stored) = self.versions.get(tag) else {
                    self.reply_later(Reply::NotSent);
                    return;
                };
                Some(stored.clone())
            }
            None => None,
        };
        let takes_over = base
            .as_ref()
            .is_some_and(|base| base.lease.owner != self.seat.me)
            // A person's word counts for more than a person's hold.
            && !proposal.planned;
        let made = letter::lease(
            &proposal,
            &self.seat,
            &self.names,
            base.as_ref(),
            &self.picture.position,
        );
        let Some(mut lease) = made else {
            self.reply_later(Reply::NotSent);
            return;
        };
        let over = base.map(|base| base.tag);
        let (store, bucket, seat, tell) = (
            Arc::clone(&self.store),
            Arc::clone(&self.bucket),
            Arc::clone(&self.seat),
            self.tell.clone(),
        );
        let body = Arc::clone(&self.body);
        let last = proposal.state == LeaseState::Switching;
        let patience = self.seat.settings.times.timeout;
        tokio::spawn(async move {
            if last {
                // Closed by now: this is all there will be, and the other one must have it.
                let Ok(position) = body.server().position(patience).await else {
                    let _ = tell.send(Heard::Reply(Reply::NotSent));
                    return;
                };
                lease.gtid = position.to_string();
            }
            let reply = letter::write(store, bucket, seat, lease, over, takes_over).await;
            let _ = tell.send(Heard::Reply(reply));
        });
    }

    /// Not at once: the machine is in the middle of a step.
    fn reply_later(&self, reply: Reply) {
        let _ = self.tell.send(Heard::Reply(reply));
    }

    fn work(&mut self, task: Task) {
        if let Some((_, under_way)) = self.task.take() {
            under_way.abort();
        }
        self.tasks += 1;
        let number = self.tasks;
        let (body, tell, seat) = (
            Arc::clone(&self.body),
            self.tell.clone(),
            Arc::clone(&self.seat),
        );
        let drain = self.rules.timing.drain;
        let limit = match task {
            Task::Close => seat.settings.times.fence_budget,
            Task::Drain => Duration::from_millis(drain),
            // Each of their steps has a deadline of its own.
            Task::SaveSurplus => Duration::from_hours(1),
            Task::Follow(_) | Task::Rejoin(_) => Duration::from_hours(24 * 7),
            _ => Duration::from_secs(15),
        };
        let upstream = match task {
            Task::Follow(id) | Task::Rejoin(id) => self.names.name(id).cloned(),
            Task::Start => self.source_name(),
            Task::SaveSurplus => self.versions.last().map(|lease| lease.owner.clone()),
            _ => None,
        };
        let friend = upstream.as_ref().and_then(|name| self.friends.get(name));
        let source = upstream
            .as_ref()
            .and_then(|name| friends::source(&seat, name));
        let epoch = self.machine.known_epoch();
        let discard = self.discard && matches!(task, Task::Rejoin(_));
        // The old master has its own way of telling: it is closed, or dead.
        let old = self
            .versions
            .last()
            .and_then(|lease| lease.previous.as_ref());
        let others = self
            .friends
            .all()
            .filter(|(name, _)| old.is_none_or(|old| old.owner != **name))
            .map(|(name, friend)| (name.clone(), Arc::clone(friend)))
            .collect();
        let tell_too = tell.clone();
        let doing = async move {
            let nobody = || "its source is not known here".to_owned();
            match task {
                Task::Close => body.close().await,
                Task::Kill => Arc::clone(&body).kill().await,
                Task::StopReceiving => body.stop_receiving().await,
                Task::Drain => {
                    body.drain(drain).await?;
                    let fetched = catch_up(&body, &seat, others, drain).await?;
                    let _ = tell_too.send(Heard::Fetched(fetched));
                    Ok(())
                }
                Task::Arm { until } => body.arm(until).await,
                Task::Forget => body.forget().await,
                Task::Open { until } => body.open(until).await,
                Task::Follow(_) | Task::Rejoin(_) => {
                    let (friend, source) = (friend.ok_or_else(nobody)?, source.ok_or_else(nobody)?);
                    if discard {
                        return body.reseed(&friend.server, &source).await;
                    }
                    body.follow(&friend.server, &source).await
                }
                Task::Start => body.start(&friend.ok_or_else(nobody)?.server).await,
                Task::SaveSurplus => {
                    let friend = friend.ok_or_else(nobody)?;
                    surplus::keep(&body, &friend, &seat, epoch).await
                }
            }
        };
        let handle = tokio::spawn(async move {
            let result = timeout(limit, doing).await;
            let result = result.unwrap_or_else(|_| Err("it took too long".to_owned()));
            let _ = tell.send(Heard::Did(number, task, result));
        });
        self.task = Some((number, handle.abort_handle()));
    }

    /// The server that is configured as the local one's source.
    fn source_name(&self) -> Option<Name> {
        let Some(Ok(seen)) = &self.picture.observation else {
            return None;
        };
        let host: IpAddr = seen.replication.as_ref()?.host.parse().ok()?;
        let member = self.seat.members().find(|member| member.address == host)?;
        Some(member.name.clone())
    }

    /// A person's wish. Whom it is about is looked at first: what was seen some seconds ago may be cured.
    fn wish(&self, wish: Wish, answer: oneshot::Sender<Result<String, String>>) {
        let about = match &wish {
            Wish::Switchover(to) => to.clone().or_else(|| self.heir()),
            Wish::TakeOver { .. } | Wish::Rejoin { .. } => None,
        };
        let about = about.and_then(|name| Some((self.friends.get(&name)?, name)));
        let (tell, patience) = (self.tell.clone(), self.patience());
        tokio::spawn(async move {
            if let Some((friend, name)) = about {
                let seen = friend.server.observe(patience).await;
                let _ = tell.send(Heard::Other(name, seen));
            }
            let _ = tell.send(Heard::Wish(wish, answer));
        });
    }

    /// How long an observation of another server may take.
    fn patience(&self) -> Duration {
        self.seat.settings.times.timeout * 2
    }

    fn grant(&mut self, wish: &Wish) -> Result<String, String> {
        if !self.trusted() {
            return Err(
                "the bucket's conditional writes are not known to be right: see agentctl db status"
                    .into(),
            );
        }
        let product = self.seat.product.clone();
        let owner = self.versions.last().map(|lease| lease.owner.clone());
        match wish {
            Wish::Switchover(to) => {
                if !matches!(self.machine.state(), State::Serving) {
                    let whose = owner.map_or_else(
                        || "nobody is the master yet".to_owned(),
                        |owner| format!("the master is {owner}: order it there"),
                    );
                    return Err(format!(
                        "{} is not the master of {product}; {whose}",
                        self.seat.me
                    ));
                }
                let to = match to {
                    Some(to) => to.clone(),
                    None => self.heir().ok_or("there is no other server in the chain")?,
                };
                self.may_switch(&to)?;
                let id = self.names.id(&to);
                self.step(Event::Order(Order::Switchover(id)));
                Ok(format!("{} hands over to {to}", self.seat.me))
            }
            Wish::TakeOver { off } => {
                if owner.as_ref() == Some(&self.seat.me)
                    && matches!(self.machine.state(), State::Serving)
                {
                    return Err(format!("{} is the master of {product}", self.seat.me));
                }
                self.step(Event::Order(Order::TakeOver { off: *off }));
                Ok(format!(
                    "{} takes over as soon as it is safe, within {} s or not at all",
                    self.seat.me,
                    self.rules.timing.order.div_ceil(1_000)
                ))
            }
            Wish::Rejoin { discard } => {
                let me = &self.seat.me;
                if owner.is_none() || owner.as_ref() == Some(me) {
                    return Err(format!("{me} has no other master of {product} to follow"));
                }
                // Also a new server, and one whose copy broke off: it has nothing that the master lacks.
                let empty = *discard && !self.replicates();
                if !self.machine.is_quarantined(&self.rules) && !empty {
                    return Err(format!("{me} is not kept out of {product}"));
                }
                let said = if *discard {
                    format!("{me} is made anew from the master")
                } else {
                    format!("{me} joins if the master has all that it has")
                };
                self.discard = *discard;
                self.step(Event::Order(Order::Rejoin));
                Ok(said)
            }
        }
    }

    /// Whether the local server receives from anybody, as far as is known.
    fn replicates(&self) -> bool {
        let Some(Ok(seen)) = &self.picture.observation else {
            return false;
        };
        let state = seen.replication.as_ref().map(|it| it.io.state);
        state == Some(ThreadState::Running)
    }

    fn heir(&self) -> Option<Name> {
        let id = self.rules.candidates(self.rules.me).next()?;
        self.names.name(id).cloned()
    }

    /// Whether that server could take over now, as far as can be seen from here.
    fn may_switch(&self, to: &Name) -> Result<(), String> {
        if !self.seat.chain.iter().any(|member| member.name == *to) {
            return Err(format!("{to} is not in the chain"));
        }
        if *to == self.seat.me {
            return Err(format!("{to} is the master"));
        }
        let seen = self.picture.others.get(to);
        match seen.and_then(Seen::why_not) {
            Some(why) => Err(format!("{to} cannot take over now: {why}")),
            None if seen.is_none() => {
                Err(format!("{to} was not seen yet: try again in some seconds"))
            }
            None => Ok(()),
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
            tokio::spawn(async move {
                if let Err(error) = record.record(&bucket).await {
                    let _ = tell.send(Heard::Told(format!(
                        "the event of epoch {} could not be written: {}",
                        record.epoch,
                        crate::system::chain(&error)
                    )));
                }
            });
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
