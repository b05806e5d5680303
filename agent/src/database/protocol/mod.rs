//! The protocol of one product on one server: a pure machine `(state, event, now) → (state, actions)`.
//!
//! Nothing here does input or output, knows a name or reads a clock: the code that runs is the code that is
//! model-checked (`model/`). What the page `docs/failover.md` says in plain words stands here as code:
//!
//! | part | what it is responsible for |
//! |---|---|
//! | `servers` | servers by number, and sets of them |
//! | `rules` | what a server is in its product; its times and their inequality stand in `settings` |
//! | `state` | the states, and which may follow which |
//! | `event`, `action`, `task` | what a machine is told, what it wants done, and that on the local server |
//! | `reason` | why a server is closed, why a candidate does not take over |
//! | `handle_event` | what each event says is noted; nothing is decided yet |
//! | `owner` | renewals, locks on peers, validity, fencing |
//! | `candidate` | the conditions of a takeover |
//! | `promotion` | from owning the lease to accepting writes |
//! | `handover` | switchover by a person |
//! | `follower` | replication from the right source, rejoining, quarantine |
//!
//! # Why there are never two masters
//!
//! Let the last renewal that took effect be sent at *m*, take effect at *a*, and be seen by a candidate at *r*:
//! *m ≤ a ≤ r*. The master is closed by *m + L + F*, the candidate writes at *r + TTL* at the earliest, and
//! `TTL·(1−ρ) ≥ (L+F)·(1+ρ)` makes the first the earlier one whatever the requests' delays were. The bucket's
//! compare-and-swap arbitrates between candidates, and between a candidate and a renewal that comes late.
//!
//! While the bucket is away, or lets the owner write no longer, for whatever reason, locks stand for renewals. The lease
//! lists (`held`) the servers on which the owner held the lock. Only if it lists some may he go on without renewals, for L
//! after he *sent* the oldest of the last pings answered on all that it lists, or may list by writes of which nobody knows
//! what became. A candidate in that list must have seen the owner's session silent for L+F, or hold the lock itself for TTL;
//! one that is not in it must not take over at all. So the owner may leave out who is down: that one cannot take over, and
//! when it is back it is listed again by a renewal. An owner that stopped goes on only by a renewal, never by a lock.
//!
//! Whoever says by the lease that his server is closed (`switching`, `released`) opens it again only after a later
//! write was confirmed: one that is still on its way is void from then on.

mod action;
mod candidate;
mod event;
mod follower;
mod handle_event;
mod handover;
mod owner;
mod promotion;
mod reason;
mod rules;
mod servers;
mod state;
mod task;

use std::collections::BTreeMap;

use crate::database::lease::LeaseState;
pub use crate::settings::{Ms, Timing, UnfitTiming};

pub use action::{Action, Proposal};
pub use event::{
    Beat, BucketAnswer, Event, Health, History, Holding, Life, OldMaster, Order, OwnLock,
    PeerAnswer, Replica, Tag, View,
};
pub use reason::{Fenced, Reason};
pub use rules::{Omissions, Rules};
pub use servers::{ServerId, Servers};
pub use state::{State, Step};
pub use task::Task;

/// The lease as it was last read or written, and since when it is known to be so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct SeenLease {
    view: View,
    /// When the first answer that showed this version came.
    since: Ms,
    /// When the first answer that showed this epoch came.
    epoch_since: Ms,
}

/// A request to the bucket that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct BucketRequest {
    /// What is to be written; `None`: a read.
    write: Option<Proposal>,
    /// When it was handed out: it is sent no earlier.
    sent: Ms,
}

/// What is known of the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Bucket {
    /// It answers, or was not asked yet.
    There,
    /// It did not answer the last request, or not with what says anything of the lease.
    Away,
}

/// The lock on a peer's server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct PeerLock {
    /// A ping is under way, sent then.
    asked: Option<Ms>,
    /// The lock is held; the last ping that showed it was sent then.
    held: Option<Ms>,
    /// Since when no ping has shown that it is held.
    lost: Option<Ms>,
    /// Since when its machine says that no server listens there.
    down: Option<Ms>,
}

/// What a candidate knows of the lock on its own server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct OwnLockState {
    /// It is being tried.
    asked: bool,
    /// Held since then.
    held: Option<Ms>,
    /// The owner's session was seen silent for longer than he serves without an answer, while the lease stood still.
    silent: bool,
    /// The owner holds it.
    taken: bool,
}

/// A machine: one product on one server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Machine {
    state: State,
    seen: Option<SeenLease>,
    /// Since when every answer said that there is no lease.
    absent_since: Option<Ms>,
    /// The highest epoch that was ever seen here, in this life or an earlier one; 0: none.
    known_epoch: u64,
    /// The last read showed a lease of a lower epoch.
    regressed: bool,
    bucket: Bucket,
    ask: Option<BucketRequest>,
    next_ask: Ms,
    /// As the owner: when the last write that was confirmed was sent.
    confirmed: Option<Ms>,
    /// All servers that the lease may list: by the last confirmed write and by every one since. `None`: it may list nobody.
    pledge: Option<Servers>,
    health: Option<(Health, Ms)>,
    /// The last look at the server was at this version of the lease.
    judged: bool,
    observing: bool,
    beating: Option<Ms>,
    /// When the last heartbeat that was committed was asked for.
    beat: Option<Ms>,
    next_beat: Ms,
    /// The last heartbeat was not committed, though the server runs.
    missed: bool,
    /// It closed because it could not commit: another one may be able to.
    sick: bool,
    peers: BTreeMap<ServerId, PeerLock>,
    next_ping: Ms,
    own: OwnLockState,
    next_lock: Ms,
    /// What the old master was last seen to be, and when.
    old: Option<(OldMaster, Ms)>,
    /// It is being looked at.
    looking: bool,
    /// The old master was told to refuse writes; it is not told again for this version of the lease.
    told_old: bool,
    /// The gate of the dead-man is in place.
    armed: bool,
    /// It was shut, or found in place: it stays as it is until it is armed anew or taken away.
    shut: bool,
    /// The gate is not shut again before.
    next_gate: Ms,
    /// Until when the dead-man was last told to wait.
    fed: Option<Ms>,
    task: Option<Task>,
    next_task: Ms,
    /// The server was closed, and confirmed so, and not opened since.
    closed: bool,
    /// The task that kills the server has been handed out in this fencing.
    killing: bool,
    held: Holding,
    /// People's holds were read, be it that there is none.
    hold_known: bool,
    /// Every lease of this owner's that may stand in the bucket says that it is only watched.
    observed: bool,
    /// A person's word, and when it was given.
    order: Option<(Order, Ms)>,
    /// A promotion failed in this epoch.
    drain_failed: bool,
    /// It gives the lease back for somebody who has applied what it has not.
    yields: bool,
    /// It has done so in this epoch: once.
    yielded: bool,
    /// The server to which is handed over has shown that it applies.
    proven: bool,
    /// It replicates straight from the owner, because the one between did not work.
    direct: bool,
    /// It is not given its credentials anew before.
    next_entry: Ms,
    /// Since when it has not received what the lease says that the master has.
    unreceived: Option<Ms>,
    saved: bool,
}

impl Machine {
    /// A machine that has just started. `known_epoch`: the highest epoch that this server ever saw.
    pub fn new(now: Ms, known_epoch: u64) -> Self {
        Self {
            state: State::Starting { since: now },
            seen: None,
            absent_since: None,
            known_epoch,
            regressed: false,
            bucket: Bucket::There,
            ask: None,
            next_ask: now,
            confirmed: None,
            pledge: None,
            health: None,
            judged: false,
            observing: false,
            beating: None,
            beat: None,
            next_beat: now,
            missed: false,
            sick: false,
            peers: BTreeMap::new(),
            next_ping: now,
            own: OwnLockState::default(),
            next_lock: now,
            old: None,
            looking: false,
            told_old: false,
            armed: false,
            shut: false,
            next_gate: now,
            fed: None,
            task: None,
            next_task: now,
            closed: false,
            killing: false,
            held: Holding::Free,
            hold_known: false,
            observed: false,
            order: None,
            drain_failed: false,
            yields: false,
            yielded: false,
            proven: false,
            direct: false,
            next_entry: now,
            unreceived: None,
            saved: false,
        }
    }

    /// Tells it one thing, and returns what it wants done. `now` never goes back.
    pub fn step(&mut self, rules: &Rules, now: Ms, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        self.handle_event(rules, now, event, &mut out);
        self.expire_order(rules, now, &mut out);
        // Each round enters a state at most; no chain of states without an answer in between is longer.
        for _ in 0..8 {
            let before = self.state;
            self.decide(rules, now, &mut out);
            if self.state == before {
                break;
            }
        }
        out
    }

    fn decide(&mut self, rules: &Rules, now: Ms, out: &mut Vec<Action>) {
        if self.must_stop(rules, now, out) {
            return;
        }
        match self.state {
            State::Starting { since } => self.start(rules, now, since, out),
            State::Following => self.follow(rules, now, out),
            State::Claiming { since } => self.claim(rules, now, since, out),
            State::Bidding => {}
            State::Promoting { since, step } => self.promote(rules, now, since, step, out),
            State::Serving => self.serve(rules, now, out),
            State::Announcing { to, since } => self.announce(rules, now, to, since, out),
            State::Closing { to, .. } => self.close(rules, now, to, out),
            State::Handed { since, .. } => self.hand(rules, now, since, out),
            State::Fencing { since, .. } => self.fence(rules, now, since, out),
        }
    }

    /// Where it stands.
    pub const fn state(&self) -> State {
        self.state
    }

    /// The lease as it was last read or written, and when the first answer that showed it came.
    pub fn lease(&self) -> Option<(View, Ms)> {
        self.seen.map(|seen| (seen.view, seen.since))
    }

    /// The highest epoch that was seen, to be kept over restarts.
    pub const fn known_epoch(&self) -> u64 {
        self.known_epoch
    }

    /// Whether something outside the agent closes the server.
    pub const fn armed(&self) -> bool {
        self.armed
    }

    /// Whether the gate is in place and not known to be open: clients are kept out.
    pub const fn is_shut(&self) -> bool {
        self.armed && self.shut
    }

    /// Whether the bucket answered the last request.
    pub fn bucket_answers(&self) -> bool {
        self.bucket == Bucket::There
    }

    /// The order that is being carried out.
    pub fn order(&self) -> Option<Order> {
        self.order.map(|(order, _)| order)
    }

    /// On which peers the lock is held, by the last answers.
    pub fn locks(&self) -> Servers {
        let held = self.peers.iter().filter(|(_, peer)| peer.held.is_some());
        held.map(|(&id, _)| id).collect()
    }

    fn enter(&mut self, next: State) {
        debug_assert!(
            self.state.may_become(&next),
            "{:?} cannot become {next:?}",
            self.state
        );
        self.state = next;
    }

    /// Whether people want nothing to be done by itself: not closed, opened, killed, taken over.
    pub fn is_watched_only(&self, rules: &Rules) -> bool {
        self.held == Holding::Paused || !rules.automatic
    }

    /// Whether this owner is left alone: nobody takes over from it, for its lease says so.
    fn is_left_alone(&self, rules: &Rules) -> bool {
        self.observed && self.is_watched_only(rules)
    }

    /// Whether a person wants this server to take over.
    fn takes_over_by_order(&self) -> bool {
        matches!(self.order(), Some(Order::TakeOver { .. }))
    }

    /// An order that still stands is not carried out, and that is told.
    fn refuse_order(&mut self, out: &mut Vec<Action>) {
        out.extend(self.order.take().map(|(order, _)| Action::Refuse(order)));
    }

    /// What a person wanted then need not be what is right now.
    fn expire_order(&mut self, rules: &Rules, now: Ms, out: &mut Vec<Action>) {
        let under_way = self.task.is_some()
            || matches!(
                self.state,
                State::Bidding
                    | State::Announcing { .. }
                    | State::Closing { .. }
                    | State::Handed { .. }
            );
        let late = self
            .order
            .is_some_and(|(_, at)| now.saturating_sub(at) >= rules.timing.order);
        if late && !under_way {
            self.refuse_order(out);
        }
    }

    /// Whether the lease, as far as known, is this server's.
    fn is_mine(&self, rules: &Rules) -> bool {
        self.seen.is_some_and(|seen| seen.view.owner == rules.me)
    }

    /// Whether the lease goes by this server's name, and is that of another machine.
    pub fn is_namesakes(&self) -> bool {
        self.seen
            .is_some_and(|seen| seen.view.owner == ServerId::NAMESAKE)
    }

    fn lease_state(&self) -> Option<LeaseState> {
        self.seen.map(|seen| seen.view.state)
    }

    /// The local server's health, if it is not too old to count.
    fn fresh_health(&self, rules: &Rules, now: Ms) -> Option<Health> {
        let limit = rules
            .timing
            .renew
            .saturating_mul(3)
            .saturating_add(rules.timing.timeout);
        self.health
            .filter(|(_, at)| now.saturating_sub(*at) <= limit)
            .map(|(health, _)| health)
    }

    fn answers(&self, rules: &Rules, now: Ms) -> Option<Health> {
        self.fresh_health(rules, now)
            .filter(|health| health.life == Life::Answers)
    }

    /// Wants to know how the server is, if that was not asked already.
    fn observe(&mut self, out: &mut Vec<Action>) {
        if !self.observing {
            self.observing = true;
            out.push(Action::Observe);
        }
    }

    /// Hands out a task, if none is under way.
    fn work(&mut self, task: Task, out: &mut Vec<Action>) {
        if self.task.is_none() {
            self.task = Some(task);
            out.push(Action::Do(task));
        }
    }

    fn read(&mut self, now: Ms, every: Ms, out: &mut Vec<Action>) {
        if self.ask.is_none() && now >= self.next_ask {
            self.ask = Some(BucketRequest {
                write: None,
                sent: now,
            });
            self.next_ask = now.saturating_add(every);
            out.push(Action::Read);
        }
    }

    fn write(&mut self, rules: &Rules, now: Ms, proposal: Proposal, out: &mut Vec<Action>) {
        if self.ask.is_some() {
            return;
        }
        self.pledge = self
            .pledge
            .filter(|_| !proposal.held.is_empty())
            .map(|pledge| pledge.and(proposal.held));
        self.observed &= proposal.observed;
        self.ask = Some(BucketRequest {
            write: Some(proposal),
            sent: now,
        });
        self.next_ask = now.saturating_add(rules.timing.renew);
        out.push(Action::Write(proposal));
    }

    /// For models: all that is remembered becomes `by` older; what is older than `floor` becomes `floor`. A model in
    /// which it is always the same moment has few states.
    pub fn age(&mut self, by: Ms, floor: Ms) {
        let older = |moment: &mut Ms| *moment = moment.saturating_sub(by).max(floor);
        let (a, b) = self.state.moments();
        a.into_iter().chain(b).for_each(older);
        if let Some(seen) = &mut self.seen {
            older(&mut seen.since);
            older(&mut seen.epoch_since);
        }
        if let Some(ask) = &mut self.ask {
            older(&mut ask.sent);
        }
        if let Some((_, at)) = &mut self.health {
            older(at);
        }
        if let Some((_, at)) = &mut self.old {
            older(at);
        }
        if let Some((_, at)) = &mut self.order {
            older(at);
        }
        for peer in self.peers.values_mut() {
            let moments = [
                &mut peer.asked,
                &mut peer.held,
                &mut peer.lost,
                &mut peer.down,
            ];
            moments.into_iter().flatten().for_each(older);
        }
        if let Some(Task::Arm { until } | Task::Open { until }) = &mut self.task {
            older(until);
        }
        [
            &mut self.next_ask,
            &mut self.next_beat,
            &mut self.next_ping,
            &mut self.next_lock,
            &mut self.next_task,
            &mut self.next_gate,
            &mut self.next_entry,
        ]
        .into_iter()
        .chain(&mut self.absent_since)
        .chain(&mut self.confirmed)
        .chain(&mut self.beating)
        .chain(&mut self.beat)
        .chain(&mut self.own.held)
        .chain(&mut self.fed)
        .chain(&mut self.unreceived)
        .for_each(older);
    }

    /// For models: gives the versions of the lease that are remembered other numbers.
    pub fn renumber(&mut self, mut number: impl FnMut(Tag) -> Tag) {
        if let Some(seen) = &mut self.seen {
            seen.view.tag = number(seen.view.tag);
        }
        if let Some(BucketRequest {
            write: Some(Proposal {
                over: Some(tag), ..
            }),
            ..
        }) = &mut self.ask
        {
            *tag = number(*tag);
        }
    }
}

#[cfg(test)]
mod tests;
