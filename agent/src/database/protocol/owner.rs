//! What an owner does: renew, hold locks, know until when he may serve, and stop.

use super::{
    Action, Bucket, Fenced, Life, Machine, Ms, Proposal, Rules, Servers, State, Step, Task,
};
use crate::database::lease::LeaseState;

impl Rules {
    /// After this time without an answer an owner has surely stopped, by this server's clock: the larger half of the
    /// inequality.
    pub(super) fn owner_stops(&self) -> Ms {
        let timing = &self.timing;
        let serves = timing.stop_serving.saturating_add(timing.fence_budget);
        let both = timing.clock_error_ppm.saturating_mul(2);
        serves.saturating_add(serves.saturating_mul(both).div_ceil(1_000_000))
    }
}

impl Machine {
    /// Until when this server may accept writes, as its owner.
    pub fn valid_until(&self, rules: &Rules, now: Ms) -> Option<Ms> {
        let since = self.confirmed?;
        let since = since.max(self.locked_since(rules, now).unwrap_or(0));
        Some(since.saturating_add(rules.timing.stop_serving))
    }

    /// When the oldest of the last pings was sent that show that nobody can take over. `None`: somebody could.
    fn locked_since(&self, rules: &Rules, now: Ms) -> Option<Ms> {
        if rules.omit.masters_locks && self.bucket == Bucket::Away {
            return self.beat;
        }
        // Whoever the lease does not list does not take over, be it that he is down or that he is new.
        let listed = self.pledge?;
        if !self.is_mine(rules) || !self.beat_is_fresh(rules, now) {
            return None;
        }
        listed
            .iter()
            .map(|id| {
                if id == rules.me {
                    self.beat
                } else {
                    self.peers.get(&id)?.held
                }
            })
            .try_fold(Ms::MAX, |oldest, sent| Some(oldest.min(sent?)))
    }

    /// Whether the local server has shown lately that it can commit.
    pub(super) fn beat_is_fresh(&self, rules: &Rules, now: Ms) -> bool {
        self.beat
            .is_some_and(|at| now.saturating_sub(at) <= rules.timing.beat_fresh())
    }

    /// Stops an owner whose time is over, or whose lease is another's. Whether it did.
    pub(super) fn must_stop(&mut self, rules: &Rules, now: Ms, out: &mut Vec<Action>) -> bool {
        if !self.state.owns() {
            return false;
        }
        let why = if !self.is_mine(rules) {
            Fenced::Taken
        } else if self.is_left_alone(rules) {
            return false;
        } else if self
            .valid_until(rules, now)
            .is_none_or(|until| now >= until)
        {
            Fenced::Expired
        } else if self
            .health
            .is_some_and(|(health, _)| health.life == Life::Gone)
        {
            Fenced::Gone
        } else {
            return false;
        };
        self.sick = why == Fenced::Expired && self.missed;
        self.begin_fencing(now, why, out);
        true
    }

    pub(super) fn begin_fencing(&mut self, now: Ms, why: Fenced, out: &mut Vec<Action>) {
        if matches!(self.state, State::Fencing { .. }) {
            return;
        }
        self.enter(State::Fencing { since: now, why });
        self.confirmed = None;
        self.pledge = None;
        self.observed = false;
        self.closed = false;
        self.shut = true;
        self.killing = why == Fenced::Gone;
        self.refuse_order(out);
        self.drop_peers(out);
        // A process that is gone may be started by somebody this very moment: killing confirms also that.
        let task = if self.killing {
            Task::Kill
        } else {
            Task::Close
        };
        self.task = Some(task);
        out.push(Action::Do(task));
    }

    pub(super) fn drop_peers(&mut self, out: &mut Vec<Action>) {
        self.peers.clear();
        out.push(Action::DropPeers);
    }

    /// Closes, then kills, until it is confirmed.
    pub(super) fn fence(&mut self, rules: &Rules, now: Ms, since: Ms, out: &mut Vec<Action>) {
        if self.closed {
            self.task = None;
            self.next_ask = now;
            // The gate stays shut: accounts that write in spite of `read_only` would go on beside another master.
            if self.armed && rules.omit.gate {
                self.armed = false;
                self.shut = false;
                out.push(Action::Disarm);
            }
            self.enter(State::Following);
            return;
        }
        let kill = now.saturating_sub(since) >= rules.timing.kill_after;
        if kill && !self.killing {
            self.killing = true;
            self.task = Some(Task::Kill);
            out.push(Action::Do(Task::Kill));
        } else if self.task.is_none() && now >= self.next_task {
            self.next_task = now.saturating_add(rules.timing.renew);
            self.work(if kill { Task::Kill } else { Task::Close }, out);
        }
        self.read(now, rules.timing.renew, out);
    }

    /// Serves: heartbeats, locks, renewals.
    pub(super) fn serve(&mut self, rules: &Rules, now: Ms, out: &mut Vec<Action>) {
        self.beat(rules, now, out);
        self.ping(rules, now, out);
        if self.is_left_alone(rules) {
            self.open_gate(out);
            if self.takes_over_by_order() && self.task.is_none() {
                // A person wants it opened: by the way that has the lease confirmed first, for it may have run out.
                self.begin_claim(now);
                return;
            }
            if !self.obey_switchover(rules, now, out) {
                self.renew(rules, now, LeaseState::Serving, None, out);
            }
            return;
        }
        self.feed(rules, now, out);
        if self
            .answers(rules, now)
            .is_some_and(|health| health.read_only)
            && self.task.is_none()
        {
            // It was started anew, or somebody closed it.
            self.enter(State::Promoting {
                since: now,
                step: Step::Arm,
            });
            return;
        }
        if self.obey_switchover(rules, now, out) {
            return;
        }
        self.renew(rules, now, LeaseState::Serving, None, out);
        if !self.armed && self.task.is_none() && now >= self.next_task {
            let until = self.valid_until(rules, now).unwrap_or(now);
            self.next_task = now.saturating_add(rules.timing.renew.saturating_mul(5));
            self.work(Task::Arm { until }, out);
        }
    }

    /// Asks for a heartbeat, when it is time.
    pub(super) fn beat(&mut self, rules: &Rules, now: Ms, out: &mut Vec<Action>) {
        if self.beating.is_none() && now >= self.next_beat {
            self.beating = Some(now);
            self.next_beat = now.saturating_add(rules.timing.renew);
            out.push(Action::Beat);
        }
    }

    /// Shows on each candidate's server that the lock is held, when it is time.
    pub(super) fn ping(&mut self, rules: &Rules, now: Ms, out: &mut Vec<Action>) {
        if now < self.next_ping {
            return;
        }
        self.next_ping = now.saturating_add(rules.timing.renew);
        let listed = self.pledge.unwrap_or_default();
        for id in rules.eligible().and(listed).iter() {
            if id == rules.me {
                continue;
            }
            let peer = self.peers.entry(id).or_default();
            if peer.asked.is_none() {
                peer.asked = Some(now);
                out.push(Action::Ping(id));
            }
        }
    }

    /// Tells the dead-man until when the server may stay open.
    pub(super) fn feed(&mut self, rules: &Rules, now: Ms, out: &mut Vec<Action>) {
        let until = self.valid_until(rules, now);
        if self.armed && !self.shut && until.is_some() && until > self.fed {
            self.fed = until;
            out.extend(until.map(|until| Action::Feed { until }));
        }
    }

    /// Renews, when it is time, and the server has shown that it lives.
    pub(super) fn renew(
        &mut self,
        rules: &Rules,
        now: Ms,
        state: LeaseState,
        to: Option<super::ServerId>,
        out: &mut Vec<Action>,
    ) {
        let alive = match state {
            LeaseState::Serving => self.beat_is_fresh(rules, now),
            _ => self.answers(rules, now).is_some(),
        };
        if !alive || now < self.next_ask {
            return;
        }
        if let Some(proposal) = self.proposal(rules, now, state, to) {
            self.write(rules, now, proposal, out);
        }
    }

    /// The lease as this server, its owner, would write it now.
    pub(super) fn proposal(
        &self,
        rules: &Rules,
        now: Ms,
        state: LeaseState,
        to: Option<super::ServerId>,
    ) -> Option<Proposal> {
        let view = self.seen?.view;
        // Who deletes a lease takes it from nobody: its owner makes it anew, if nobody else has.
        let anew = self.absent_since.is_some();
        let (over, epoch) = if anew {
            (None, view.epoch.saturating_add(1))
        } else {
            (Some(view.tag), view.epoch)
        };
        let observed = state == LeaseState::Serving && self.is_watched_only(rules);
        Some(Proposal {
            over,
            epoch,
            state,
            armed: self.armed && !observed,
            held: if state == LeaseState::Serving {
                self.held_now(rules, now)
            } else {
                Servers::default()
            },
            to,
            planned: view.planned,
            // Who may be open does not say that he is not before he has been closed.
            opening: state == LeaseState::Promoting && !view.is_closed(),
            complete: view.complete && !anew,
            observed,
            unopened: false,
        })
    }

    /// The servers that the lease is to list: who alone may take over, and only by the lock. Nobody: everybody may, without it.
    ///
    /// Who is not listed does not take over by himself, so he is left out only where that costs little: he is down, or has
    /// been away for the lease's time to live, and another one is listed. Where there is no other one he must be down for
    /// that long: a master that dies while its only replica is started anew is to have a successor.
    fn held_now(&self, rules: &Rules, now: Ms) -> Servers {
        let wanted = rules.eligible();
        let apart = self.unlocked(rules, now);
        let held = wanted.without(apart);
        let long = |since: Option<Ms>| {
            since.is_some_and(|since| now.saturating_sub(since) >= rules.timing.ttl)
        };
        let spared = apart.iter().all(|id| {
            self.peers.get(&id).is_some_and(|peer| {
                if held.is_empty() {
                    long(peer.down)
                } else {
                    peer.down.is_some() || long(peer.lost)
                }
            })
        });
        match (spared, held.is_empty()) {
            (false, _) => Servers::default(),
            (true, false) => held,
            (true, true) => Servers::of(rules.me),
        }
    }

    /// The candidates on whose servers this one, as the owner, does not hold the lock.
    pub fn unlocked(&self, rules: &Rules, now: Ms) -> Servers {
        let holds = |id: &super::ServerId| {
            let held = self.peers.get(id).and_then(|peer| peer.held);
            *id == rules.me
                || held.is_some_and(|at| now.saturating_sub(at) < rules.timing.stop_serving)
        };
        let wanted = rules.eligible().iter();
        wanted.filter(|id| !holds(id)).collect()
    }

    /// Until when this owner would go on by its locks if the bucket took no renewal from now on. `None`: not by them.
    pub fn locked_until(&self, rules: &Rules, now: Ms) -> Option<Ms> {
        let until = self
            .locked_since(rules, now)?
            .saturating_add(rules.timing.stop_serving);
        Some(until).filter(|&until| until > now)
    }

    /// Whether this owner goes on by its locks alone: the bucket has confirmed no renewal for so long.
    pub fn goes_by_locks(&self, rules: &Rules, now: Ms) -> bool {
        self.state.owns()
            && self
                .confirmed
                .is_some_and(|at| now.saturating_sub(at) >= rules.timing.stop_serving)
    }

    /// Whether an owner that was just confirmed is a master already, and is only to be watched.
    pub(super) fn takes_as_it_is(&self, rules: &Rules, now: Ms) -> bool {
        self.is_left_alone(rules)
            && self
                .answers(rules, now)
                .is_some_and(|health| !health.read_only)
    }

    /// Has started: waits for the bucket's first answer, but not for ever with an open server.
    pub(super) fn start(&mut self, rules: &Rules, now: Ms, since: Ms, out: &mut Vec<Action>) {
        self.read(now, rules.timing.renew, out);
        let open = self
            .answers(rules, now)
            .is_some_and(|health| !health.read_only);
        let late = now.saturating_sub(since) >= rules.timing.stop_serving;
        if self.known_epoch > 0 && open && late && !self.is_watched_only(rules) {
            self.begin_fencing(now, Fenced::Unconfirmed, out);
        }
    }

    /// The lease names this server: has it confirmed, and goes on from there.
    pub(super) fn claim(&mut self, rules: &Rules, now: Ms, since: Ms, out: &mut Vec<Action>) {
        if !self.is_mine(rules) {
            self.enter(State::Following);
            return;
        }
        if self.confirmed.is_some_and(|at| at >= since) {
            if self.takes_as_it_is(rules, now) {
                self.enter(State::Serving);
                return;
            }
            self.next_task = now;
            self.enter(State::Promoting {
                since: now,
                step: Step::StopReceiving,
            });
            return;
        }
        let Some(health) = self.answers(rules, now) else {
            self.enter(State::Following);
            return;
        };
        let late = now.saturating_sub(since) >= rules.timing.stop_serving;
        if !health.read_only && late && !self.is_watched_only(rules) {
            self.begin_fencing(now, Fenced::Unconfirmed, out);
            return;
        }
        if now >= self.next_ask {
            let state = if health.read_only {
                LeaseState::Promoting
            } else {
                LeaseState::Serving
            };
            if let Some(proposal) = self.proposal(rules, now, state, None) {
                self.write(rules, now, proposal, out);
            }
        }
    }
}
