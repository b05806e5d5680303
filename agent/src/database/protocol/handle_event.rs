//! Handling of events: the facts that each brings are noted here; what follows from them is decided elsewhere.

use super::{
    Action, Beat, Bucket, BucketAnswer, BucketRequest, Event, Fenced, Health, Life, Machine, Ms,
    Order, OwnLock, OwnLockState, PeerAnswer, Rules, SeenLease, ServerId, State, Step, Task, View,
};
use crate::database::lease::LeaseState;

impl Machine {
    pub(super) fn handle_event(
        &mut self,
        rules: &Rules,
        now: Ms,
        event: Event,
        out: &mut Vec<Action>,
    ) {
        match event {
            Event::Tick => {}
            Event::Bucket(answer) => {
                if let Some(ask) = self.ask.take() {
                    self.on_bucket_answer(rules, now, ask, answer, out);
                }
            }
            Event::Health(health) => self.on_health(now, health),
            Event::Beat(beat) => {
                if let Some(sent) = self.beating.take() {
                    self.on_heartbeat(rules, now, sent, beat, out);
                }
            }
            Event::Did(task, done) => {
                if self.task == Some(task) {
                    self.task = None;
                    self.on_task_ended(rules, now, task, done);
                }
            }
            Event::Peer(id, answer) => self.on_peer_answer(rules, now, id, answer),
            Event::OwnLock(lock) => self.on_own_lock(rules, now, lock),
            Event::Old(old) => {
                self.looking = false;
                self.old = Some((old, now));
            }
            Event::Armed(armed) => {
                self.armed = armed;
                // An owner has a gate of its own by now, which is fed.
                self.shut = armed && !self.state.owns();
                if !armed {
                    self.fed = None;
                }
            }
            Event::Hold(held) => {
                self.held = held;
                self.hold_known = true;
            }
            Event::Order(order) => {
                self.refuse_order(out);
                self.order = Some((order, now));
            }
        }
    }

    fn on_bucket_answer(
        &mut self,
        rules: &Rules,
        now: Ms,
        ask: BucketRequest,
        answer: BucketAnswer,
        out: &mut Vec<Action>,
    ) {
        let wrote = ask.write.is_some();
        let answer = match answer {
            BucketAnswer::Refused | BucketAnswer::Lease(_)
                if wrote && rules.omit.refusal_fences =>
            {
                BucketAnswer::Away
            }
            answer => answer,
        };
        self.bucket = match answer {
            BucketAnswer::Away => Bucket::Away,
            _ => Bucket::There,
        };
        match answer {
            BucketAnswer::Unchanged | BucketAnswer::NotDone | BucketAnswer::Away => {}
            BucketAnswer::Absent => {
                self.absent_since.get_or_insert(now);
            }
            BucketAnswer::Done(view) => {
                self.learn(rules, now, view, out);
                let closes = matches!(view.state, LeaseState::Released | LeaseState::Switching);
                if !closes {
                    let sent = if rules.omit.sent_time { now } else { ask.sent };
                    self.confirmed = Some(self.confirmed.unwrap_or(0).max(sent));
                    self.pledge = Some(view.held).filter(|held| !held.is_empty());
                    self.observed = view.observed;
                }
            }
            BucketAnswer::Lease(view) => {
                self.learn(rules, now, view, out);
                if wrote && view.owner == rules.me {
                    // An earlier write of ours came through late. How old it is, nobody knows: the next one will tell.
                    self.pledge = None;
                    self.observed = false;
                    self.next_ask = now;
                }
            }
            BucketAnswer::Refused => {
                // One that is only watched is told by whom when that can be read.
                if wrote && self.state.owns() && !self.is_left_alone(rules) {
                    self.begin_fencing(now, Fenced::Refused, out);
                }
            }
        }
        if let (State::Starting { .. }, false) = (
            self.state,
            matches!(answer, BucketAnswer::Away | BucketAnswer::NotDone),
        ) {
            self.enter(State::Following);
        }
        if self.state == State::Bidding {
            self.next_ask = now;
            if matches!(answer, BucketAnswer::Done(_)) && self.takes_as_it_is(rules, now) {
                self.enter(State::Serving);
            } else if matches!(answer, BucketAnswer::Done(_)) {
                self.next_task = now;
                self.enter(State::Promoting {
                    since: now,
                    step: Step::StopReceiving,
                });
            } else {
                self.enter(State::Following);
            }
        }
    }

    /// Takes note of a version of the lease.
    fn learn(&mut self, rules: &Rules, now: Ms, view: View, out: &mut Vec<Action>) {
        self.absent_since = None;
        self.regressed = view.epoch < self.known_epoch;
        if self.regressed {
            return;
        }
        self.known_epoch = view.epoch;
        let before = self.seen;
        let same_epoch = before.filter(|seen| seen.view.epoch == view.epoch);
        if before.is_some_and(|seen| seen.view.tag == view.tag) {
            return;
        }
        self.seen = Some(SeenLease {
            view,
            since: now,
            epoch_since: same_epoch.map_or(now, |seen| seen.epoch_since),
        });
        if same_epoch.is_none() {
            self.drain_failed = false;
            self.yields = false;
            self.yielded = false;
            self.sick = false;
            self.direct = false;
            self.saved = false;
            if self.takes_over_by_order() {
                if view.owner == rules.me {
                    self.order = None;
                } else if before.is_some() {
                    // It was said of another master.
                    self.refuse_order(out);
                }
            }
        }
        // What was seen while another version stood there shows nothing of this one.
        if self.own.held.is_some() {
            out.push(Action::DropLock);
        }
        self.own = OwnLockState {
            asked: self.own.asked,
            ..OwnLockState::default()
        };
        self.old = None;
        self.told_old = false;
        self.judged = false;
    }

    fn on_health(&mut self, now: Ms, health: Health) {
        self.health = Some((health, now));
        self.judged = true;
        self.observing = false;
        if health.errant == 0 {
            self.saved = false;
        }
        if health.life == Life::Answers && !health.read_only {
            self.closed = false;
        }
        // Who hangs on a server that the master has left behind receives all that this one has, and nothing of the master.
        let receives = health.replica.is_some_and(|replica| replica.receives);
        self.unreceived = if receives && health.missing == 0 {
            None
        } else {
            Some(self.unreceived.unwrap_or(now))
        };
    }

    fn on_heartbeat(
        &mut self,
        rules: &Rules,
        now: Ms,
        sent: Ms,
        beat: Beat,
        out: &mut Vec<Action>,
    ) {
        self.missed = beat == Beat::Failed;
        match beat {
            Beat::Done | Beat::Full => self.beat = Some(sent),
            Beat::Gone | Beat::ReadOnly if self.is_left_alone(rules) => {}
            Beat::Gone if self.state.owns() => self.begin_fencing(now, Fenced::Gone, out),
            // Somebody closed it: it is opened again, by the way that checks everything.
            Beat::ReadOnly => {
                if self.state == State::Serving {
                    self.next_ask = now;
                    self.enter(State::Promoting {
                        since: now,
                        step: Step::Recheck { than: now },
                    });
                }
            }
            Beat::Gone | Beat::Failed => {}
        }
    }

    fn on_peer_answer(&mut self, rules: &Rules, now: Ms, id: ServerId, answer: PeerAnswer) {
        let alive = self.beat_is_fresh(rules, now);
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let sent = peer.asked.take();
        if answer == PeerAnswer::Held {
            // A server whose disk hangs must not be kept a master by its network.
            if let Some(sent) = sent.filter(|_| alive) {
                peer.held = Some(sent);
                peer.lost = None;
            }
        } else {
            peer.held = None;
            peer.lost.get_or_insert(now);
        }
        if answer == PeerAnswer::Down {
            peer.down.get_or_insert(now);
        } else {
            peer.down = None;
        }
    }

    fn on_own_lock(&mut self, rules: &Rules, now: Ms, lock: OwnLock) {
        self.own.asked = false;
        match lock {
            OwnLock::Held => {
                self.own.taken = false;
                self.own.held = Some(self.own.held.unwrap_or(now));
            }
            OwnLock::Taken { silent } => {
                self.own.held = None;
                self.own.taken = true;
                self.own.silent |= silent >= rules.owner_stops();
            }
            OwnLock::Unknown => {
                self.own.held = None;
                self.own.taken = false;
            }
        }
    }

    fn on_task_ended(&mut self, rules: &Rules, now: Ms, task: Task, done: bool) {
        match task {
            Task::Close | Task::Kill if done => {
                self.closed = true;
                // What was seen before is not so any more.
                if let Some((health, _)) = &mut self.health {
                    health.read_only = true;
                    if task == Task::Kill {
                        health.life = Life::Gone;
                    }
                }
            }
            Task::Drain if !done => self.drain_failed = true,
            Task::Arm { until } if done => {
                self.armed = true;
                self.shut = false;
                self.fed = Some(until);
            }
            Task::Arm { .. } => self.armed = false,
            Task::SaveSurplus => self.saved |= done,
            Task::Prove(_) => self.proven = done,
            Task::Rejoin(_) => {
                // What comes after that was never saved.
                self.saved = false;
                if self.order() == Some(Order::Rejoin) {
                    self.order = None;
                }
            }
            _ => {}
        }
        if matches!(task, Task::Follow(_) | Task::Start | Task::Rejoin(_)) {
            // What the server looked like before does not count any more.
            self.next_task = now.saturating_add(rules.timing.renew.saturating_mul(2));
        }
        // What did not succeed is not tried again at once.
        if !done && !matches!(task, Task::Close | Task::Kill) {
            let pause = if matches!(self.state, State::Promoting { .. }) {
                rules.timing.renew
            } else {
                rules.timing.renew.saturating_mul(5)
            };
            self.next_task = now.saturating_add(pause);
        }
        self.went_on(now, task, done);
    }
}
