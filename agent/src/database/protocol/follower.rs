//! What a server does that is not the master: refuse writes, replicate from the right source, rejoin or wait for a person.

use super::{
    Action, Fenced, Health, History, Holding, Life, Machine, Ms, Order, Proposal, Rules, SeenLease,
    ServerId, Servers, State, Task,
};
use crate::database::lease::LeaseState;

impl Machine {
    /// Follows the lease.
    pub(super) fn follow(&mut self, rules: &Rules, now: Ms, out: &mut Vec<Action>) {
        let soon = self.seen.is_some_and(|seen| seen.view.to == Some(rules.me));
        let every = if soon {
            rules.timing.handover_poll
        } else {
            rules.timing.renew
        };
        if soon {
            self.next_ask = self.next_ask.min(now.saturating_add(every));
        }
        let Some(seen) = self.seen else {
            if self.absent_since.is_some() {
                self.found(rules, now, out);
            }
            self.read(now, every, out);
            return;
        };
        if self.is_mine(rules) {
            self.mine(rules, now, &seen, out);
        } else {
            self.others(rules, now, &seen, out);
        }
        if self.state == State::Following {
            self.read(now, every, out);
        }
    }

    /// The lease names this server, which is not serving.
    fn mine(&mut self, rules: &Rules, now: Ms, seen: &SeenLease, out: &mut Vec<Action>) {
        if self.ask.is_some() {
            return;
        }
        // A process that is gone has no position to be compared.
        let gone = |health: &Health| self.closed && health.life == Life::Gone;
        let health = self.fresh_health(rules, now);
        let Some(health) = health.filter(|it| self.judged || gone(it)) else {
            self.observe(out);
            return;
        };
        // Whether it is to be opened is not known before people's holds are.
        let unsure = seen.view.observed && !self.hold_known;
        let open = health.life == Life::Answers && !health.read_only;
        let alone = self.is_watched_only(rules) && !open && self.order.is_none();
        if (unsure || alone) && seen.view.state != LeaseState::Switching {
            return;
        }
        match (seen.view.state, health.life) {
            (LeaseState::Switching, _) => {
                if let Some(to) = seen.view.to {
                    self.order = Some((Order::Switchover(to), now));
                    self.enter(State::Handed { to, since: now });
                }
            }
            (LeaseState::Released, Life::Answers) => {
                if self.blockers(rules, now).is_empty() {
                    self.begin_claim(now);
                }
            }
            // Another candidate may be able to do what this one could not.
            (_, Life::Answers)
                if (self.drain_failed || self.sick || self.yields) && self.order.is_none() =>
            {
                self.release(rules, now, seen, out);
            }
            (_, Life::Answers) => {
                if self.may_claim(rules, &health) {
                    self.begin_claim(now);
                }
            }
            (LeaseState::Released, _) | (_, Life::Hangs | Life::Full | Life::Denied) => {}
            (_, Life::Gone) if !self.closed => self.begin_fencing(now, Fenced::Gone, out),
            (_, Life::Gone) => self.release(rules, now, seen, out),
        }
    }

    /// Says that the server takes no writes, so that nobody waits for its time to end.
    fn release(&mut self, rules: &Rules, now: Ms, seen: &SeenLease, out: &mut Vec<Action>) {
        if now < self.next_ask || !self.closed {
            return;
        }
        let proposal = Proposal {
            over: Some(seen.view.tag),
            epoch: seen.view.epoch,
            state: LeaseState::Released,
            armed: self.armed,
            held: Servers::default(),
            to: None,
            planned: seen.view.planned,
            opening: false,
            complete: seen.view.complete,
            observed: false,
            // A server opens only under a lease that says so.
            unopened: seen.view.unopened
                || seen.view.state == LeaseState::Promoting && !seen.view.opening,
        };
        self.write(rules, now, proposal, out);
    }

    /// Whether the owner that does not serve may go on. What it lost, a candidate may have.
    fn may_claim(&self, rules: &Rules, health: &Health) -> bool {
        let ordered = self.takes_over_by_order();
        let whole = health.missing == 0 || self.lease_state() == Some(LeaseState::Promoting);
        rules.chain.contains(&rules.me)
            && !self.regressed
            && self.absent_since.is_none()
            && (!self.drain_failed || ordered)
            && (whole || ordered)
    }

    pub(super) fn begin_claim(&mut self, now: Ms) {
        if self.takes_over_by_order() {
            self.order = None;
            self.drain_failed = false;
        }
        self.sick = false;
        self.yields = false;
        self.missed = false;
        self.confirmed = None;
        self.next_ask = now;
        self.enter(State::Claiming { since: now });
    }

    /// Another server owns the lease.
    fn others(&mut self, rules: &Rules, now: Ms, seen: &SeenLease, out: &mut Vec<Action>) {
        let health = self.answers(rules, now);
        // While it is only watched, an epoch that a person ordered replaces it all the same.
        let is_replaced = !self.is_watched_only(rules) || seen.view.planned;
        if health.is_some_and(|health| !health.read_only) && is_replaced {
            self.begin_fencing(now, Fenced::NotOwner, out);
            return;
        }
        if matches!(self.order(), Some(Order::Switchover(_))) {
            // Only a master hands over.
            self.refuse_order(out);
        }
        if let Some(health) = health {
            self.gate(rules, now, &health, out);
        }
        self.watch(rules, now, out);
        if self.state != State::Following {
            return;
        }
        if let Some(health) = health {
            self.replicate(rules, now, seen, &health, out);
        }
    }

    /// The gate of a server that is not the master: shut until it follows another epoch, and then taken away.
    fn gate(&mut self, rules: &Rules, now: Ms, health: &Health, out: &mut Vec<Action>) {
        let follows = health
            .replica
            .is_some_and(|replica| replica.source.is_some() && replica.receives);
        let is_replaced =
            !self.is_watched_only(rules) || self.seen.is_some_and(|seen| seen.view.planned);
        if follows || !is_replaced {
            // Readers of a replica are welcome.
            self.open_gate(out);
        } else if !self.armed
            && health.replica.is_none()
            && health.history != History::Blank
            && now >= self.next_gate
        {
            // It was a master once and has come back, or somebody has removed its gate.
            self.next_gate = now.saturating_add(rules.timing.renew.saturating_mul(10));
            self.armed = true;
            self.shut = true;
            out.push(Action::Shut);
        }
    }

    /// Takes the gate away, where it is in place.
    pub(super) fn open_gate(&mut self, out: &mut Vec<Action>) {
        if self.armed {
            self.armed = false;
            self.shut = false;
            self.fed = None;
            out.push(Action::Disarm);
        }
    }

    /// Replicates from the right source.
    fn replicate(
        &mut self,
        rules: &Rules,
        now: Ms,
        seen: &SeenLease,
        health: &Health,
        out: &mut Vec<Action>,
    ) {
        // Its own name leads to nobody else: whom to follow is not known.
        let somebody = seen.view.owner != ServerId::NAMESAKE;
        if !somebody || seen.view.state != LeaseState::Serving || now < self.next_task {
            return;
        }
        if !self.judged {
            self.observe(out);
            return;
        }
        let owner = seen.view.owner;
        // A master that is not there any more is nobody to turn to. That which stands goes on all the same: whether its
        // source is there and has all that it has is asked before it starts.
        let stale = now.saturating_sub(seen.since) >= rules.timing.ttl;
        if stale {
            if health.errant == 0 {
                self.start_again(health, out);
            }
            return;
        }
        if health.errant > 0 && !self.saved {
            self.work(Task::SaveSurplus, out);
            return;
        }
        if self.order() == Some(Order::Rejoin) {
            self.work(Task::Rejoin(owner), out);
            return;
        }
        if health.errant > 0 {
            return;
        }
        let patience = rules.timing.second_wait;
        if self
            .unreceived
            .is_some_and(|since| now.saturating_sub(since) >= patience)
        {
            self.direct = true;
        }
        let follows = health.replica.and_then(|replica| replica.source);
        let wanted = if self.direct {
            owner
        } else {
            rules.source(owner)
        };
        let works = !self.direct && health.replica.is_some_and(|replica| replica.receives);
        let fits = follows == Some(wanted)
            || (works && follows.is_some_and(|source| rules.is_before(source, owner)));
        let locked_out = health.replica.is_some_and(|replica| replica.locked_out);
        if fits && locked_out && now >= self.next_entry && self.task.is_none() {
            self.next_entry = now.saturating_add(rules.timing.renew.saturating_mul(30));
            self.work(Task::Follow(follows.unwrap_or(wanted)), out);
        } else if fits {
            self.start_again(health, out);
        } else if self.held == Holding::Free {
            self.work(Task::Follow(wanted), out);
        }
    }

    /// Starts replication that stands, except where an error has stopped it.
    fn start_again(&mut self, health: &Health, out: &mut Vec<Action>) {
        if health
            .replica
            .is_some_and(|replica| !replica.broken && (replica.stopped || !replica.applies))
        {
            self.work(Task::Start, out);
        }
    }

    /// Whether it has transactions that its master lacks, and waits for a person.
    pub fn is_quarantined(&self, rules: &Rules) -> bool {
        !self.is_mine(rules) && self.health.is_some_and(|(health, _)| health.errant > 0)
    }
}

impl Rules {
    /// Whether a lease of `owner` goes by this server's own name.
    pub(super) fn is_own_name(&self, owner: ServerId) -> bool {
        owner == self.me || owner == ServerId::NAMESAKE
    }

    /// Whether `source` stands before this server, as long as `owner` is the master.
    fn is_before(&self, source: ServerId, owner: ServerId) -> bool {
        let mut before = self
            .chain
            .iter()
            .filter(|&&server| server != owner)
            .take_while(|&&server| server != self.me);
        source == owner || (!self.abreast && before.any(|&server| server == source))
    }
}
