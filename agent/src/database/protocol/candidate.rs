//! The conditions under which a server takes a lease over. All are named, so that a person can be told which is missing.

use super::{
    Action, Bucket, Health, History, Holding, Life, Machine, Ms, OldMaster, Order, Proposal,
    Reason, Rules, SeenLease, ServerId, Servers, State,
};
use crate::database::lease::LeaseState;

impl Machine {
    /// Why this server does not take over now; nothing: it would. For the lease's owner it says why it does not go on.
    pub fn blockers(&self, rules: &Rules, now: Ms) -> Vec<Reason> {
        let mut reasons = Vec::new();
        let Some(seen) = self.seen else {
            reasons.push(if self.absent_since.is_some() && self.known_epoch > 0 {
                Reason::LeaseGone
            } else {
                Reason::NoLease
            });
            self.server_blockers(rules, now, None, &mut reasons);
            return reasons;
        };
        if self.absent_since.is_some() {
            reasons.push(Reason::LeaseGone);
        }
        if self.regressed {
            reasons.push(Reason::Regressed);
        }
        // What it remembers may be old, and it must not close a master over SQL that only others see renew.
        if self.bucket != Bucket::There {
            reasons.push(Reason::Away);
        }
        let ordered = self.takes_over_by_order();
        let switched = seen.view.to == Some(rules.me) && seen.switches(rules, now);
        self.word_blockers(rules, now, &seen, ordered || switched, &mut reasons);
        self.lease_blockers(rules, now, &seen, switched, &mut reasons);
        self.server_blockers(rules, now, Some(&seen), &mut reasons);
        if self.task.is_some() {
            reasons.push(Reason::Busy);
        }
        if !self.judged {
            reasons.push(Reason::Unjudged);
        }
        // Last, and only when nothing else stands in the way: it is asked over the network.
        if reasons.is_empty() && !seen.view.is_closed() {
            reasons.extend(self.old_blocker(rules, now, &seen));
        }
        reasons
    }

    /// What people have said, in the document, the settings, by a hold.
    fn word_blockers(
        &self,
        rules: &Rules,
        now: Ms,
        seen: &SeenLease,
        ordered: bool,
        reasons: &mut Vec<Reason>,
    ) {
        if !rules.chain.contains(&rules.me) {
            reasons.push(Reason::NotInChain);
        }
        if !rules.bucket {
            reasons.push(Reason::Bucket);
        }
        if ordered {
            return;
        }
        // An owner that goes on changes nothing; nor does one that was given another machine, once the lease has run out.
        let mine = rules.is_own_name(seen.view.owner);
        if rules.never.contains(rules.me) && !mine {
            reasons.push(Reason::Never);
        }
        if self.held != Holding::Free && !mine {
            reasons.push(Reason::Held);
        }
        if seen.view.observed && !mine {
            reasons.push(Reason::Observed);
        }
        if !rules.automatic && !mine {
            reasons.push(Reason::Manual);
        }
        if self.drain_failed {
            reasons.push(Reason::DrainFailed);
        }
        // The first epoch follows no change, one by order is no failure, and in one that was given back nothing happened.
        let left = seen.cools(rules, now);
        if left > 0 && !mine {
            reasons.push(Reason::Cooldown { left });
        }
    }

    /// What the lease and the locks say.
    fn lease_blockers(
        &self,
        rules: &Rules,
        now: Ms,
        seen: &SeenLease,
        switched: bool,
        reasons: &mut Vec<Reason>,
    ) {
        if switched {
            return;
        }
        let ttl = seen.ttl(rules);
        let stale_at = if seen.view.state == LeaseState::Released {
            seen.since
        } else {
            seen.since.saturating_add(ttl)
        };
        let fresh = stale_at.saturating_sub(now);
        if fresh > 0 {
            reasons.push(Reason::Fresh { left: fresh });
        }
        let listed = seen.view.held;
        // Who is not listed does not act by himself, and has no turn.
        let acts = |server: &ServerId| listed.is_empty() || listed.contains(*server);
        let mut candidates = rules.candidates(seen.view.owner).filter(acts);
        let turns = if seen.view.owner == rules.me {
            candidates.count()
        } else {
            candidates
                .position(|server| server == rules.me)
                .unwrap_or(rules.chain.len())
        };
        let ordered = self.takes_over_by_order();
        // Where nobody takes over by himself, nobody is waited for: not while people do not want it, and not so soon after a
        // failover.
        let held = self.held != Holding::Free || !rules.automatic;
        let alone = seen.view.owner == rules.me && (held || seen.cools(rules, now) > 0);
        // Who has applied everything does not wait for one who may not have: that is what the lease was given back for.
        let given_back = seen.view.unopened && seen.view.owner != rules.me;
        if turns > 0 && !ordered && !alone && !given_back {
            let wait = rules
                .timing
                .second_wait
                .saturating_mul(u64::try_from(turns).unwrap_or(u64::MAX));
            let left = stale_at.saturating_add(wait).saturating_sub(now);
            if left > 0 {
                reasons.push(Reason::Turn { left });
            }
        }
        if seen.view.state == LeaseState::Released || rules.omit.candidates_lock {
            return;
        }
        let unlisted = !listed.is_empty() && !listed.contains(rules.me);
        if unlisted && !rules.omit.listed {
            if self.order() != Some(Order::TakeOver { off: true }) {
                reasons.push(Reason::Unknown);
            }
            return;
        }
        if self.own.taken {
            reasons.push(Reason::MastersLock);
        } else if self.own.held.is_none_or(|since| {
            // Nobody goes by locks under a lease that names none.
            !seen.view.held.is_empty() && !self.own.silent && now.saturating_sub(since) < ttl
        }) {
            reasons.push(Reason::Lock);
        }
    }

    /// What this server itself is like.
    fn server_blockers(
        &self,
        rules: &Rules,
        now: Ms,
        seen: Option<&SeenLease>,
        reasons: &mut Vec<Reason>,
    ) {
        let Some(health) = self
            .fresh_health(rules, now)
            .filter(|it| it.life == Life::Answers)
        else {
            reasons.push(Reason::Dead);
            return;
        };
        if !health.read_only {
            reasons.push(Reason::Open);
        }
        // An owner that goes on is what it was.
        let mine = seen.is_some_and(|seen| seen.view.owner == rules.me);
        if !health.sane && !mine {
            reasons.push(Reason::Unfit);
        }
        let ordered = self.takes_over_by_order();
        match health.replica {
            None if mine || ordered && health.history != History::Blank => {}
            // It lacks nothing that the machine of its name has said that it has.
            None if seen.is_some_and(|seen| seen.view.owner == ServerId::NAMESAKE)
                && health.history != History::Blank
                && health.missing == 0 => {}
            None if health.history == History::Contained
                && (rules.omit.given || seen.is_some_and(|seen| seen.view.complete)) => {}
            None => reasons.push(Reason::NoReplica),
            // An owner that was started anew applies what it has, or fails to, before it opens. So does who is told to
            // by a person: what cannot be applied is not thrown away.
            Some(replica) if !replica.applies && !mine && !ordered => {
                reasons.push(Reason::NotApplying);
            }
            Some(_) => {}
        }
        if health.errant > 0 && !mine {
            reasons.push(Reason::Errant {
                errant: health.errant,
            });
        }
        // Who hands over and dies before anybody took over is dead like any other, once his time is over.
        let switched = seen.is_some_and(|seen| seen.switches(rules, now));
        let given_back = seen.is_some_and(|seen| seen.view.unopened) && !mine;
        if (switched || given_back) && !ordered && !health.applied {
            reasons.push(Reason::Unapplied);
        }
        // What an epoch that never opened began without was allowed when it began: who gave it back may go on with it.
        let mine = mine && !seen.is_some_and(|seen| seen.view.unopened);
        let limit = match (switched || mine || given_back, ordered) {
            // A planned change loses nothing; an owner that lost something must not hide it; one that gives the lease back may
            // have what this server lacks.
            (true, false) => 0,
            (_, true) => u64::MAX,
            (false, false) => rules.timing.max_lost,
        };
        if health.missing > limit {
            reasons.push(Reason::Behind {
                missing: health.missing,
            });
        }
    }

    /// What the old master itself says.
    fn old_blocker(&self, rules: &Rules, now: Ms, seen: &SeenLease) -> Option<Reason> {
        if seen.view.owner == rules.me {
            return None;
        }
        let limit = rules.timing.renew.saturating_mul(3);
        let Some((old, _)) = self.old.filter(|(_, at)| now.saturating_sub(*at) <= limit) else {
            return Some(Reason::Looking);
        };
        // One that is only watched has no gate, whatever its lease said before it took that away.
        let armed = seen.view.armed && !seen.view.observed;
        match old {
            OldMaster::Closed => None,
            OldMaster::Open if !self.told_old => Some(Reason::Looking),
            OldMaster::Open if armed => None,
            OldMaster::Open => Some(Reason::OldOpen),
            OldMaster::Unreachable if armed || rules.omit.unreachable_is_open => None,
            OldMaster::Unreachable => match self.order() {
                Some(Order::TakeOver { off: true }) => None,
                _ => Some(Reason::OldUnreachable),
            },
        }
    }

    /// Watches for the moment to take over.
    pub(super) fn watch(&mut self, rules: &Rules, now: Ms, out: &mut Vec<Action>) {
        let Some(seen) = self.seen else {
            return;
        };
        self.want_lock(rules, now, &seen, out);
        let reasons = self.blockers(rules, now);
        if reasons == [Reason::Unjudged] {
            self.observe(out);
            return;
        }
        if reasons == [Reason::Looking] {
            self.look(&seen, out);
            return;
        }
        if !reasons.is_empty() || self.ask.is_some() {
            return;
        }
        let complete = seen.view.state == LeaseState::Switching
            && self
                .answers(rules, now)
                .is_some_and(|health| health.missing == 0);
        self.enter(State::Bidding);
        let proposal = Proposal {
            over: Some(seen.view.tag),
            epoch: seen.view.epoch.saturating_add(1),
            state: LeaseState::Promoting,
            armed: self.armed,
            held: Servers::default(),
            to: None,
            planned: complete || self.takes_over_by_order(),
            opening: false,
            complete,
            observed: false,
            unopened: false,
        };
        self.write(rules, now, proposal, out);
    }

    /// The lock on the own server is wanted when the lease stands still for longer than a renewal can take.
    fn want_lock(&mut self, rules: &Rules, now: Ms, seen: &SeenLease, out: &mut Vec<Action>) {
        let patience = rules
            .timing
            .renew
            .saturating_mul(2)
            .saturating_add(rules.timing.timeout);
        let quiet = now.saturating_sub(seen.since) >= patience;
        let may = rules.chain.contains(&rules.me)
            && (seen.view.held.is_empty()
                || seen.view.held.contains(rules.me)
                || rules.omit.listed);
        if quiet && may {
            self.take_lock(rules, now, out);
        }
    }

    fn take_lock(&mut self, rules: &Rules, now: Ms, out: &mut Vec<Action>) {
        if !self.own.asked && now >= self.next_lock {
            self.own.asked = true;
            self.next_lock = now.saturating_add(rules.timing.renew);
            out.push(Action::TakeLock);
        }
    }

    fn look(&mut self, seen: &SeenLease, out: &mut Vec<Action>) {
        if self.looking {
            return;
        }
        self.looking = true;
        if matches!(self.old, Some((OldMaster::Open, _))) {
            self.told_old = true;
            out.push(Action::FenceOld(seen.view.owner));
        } else {
            out.push(Action::LookAtOld(seen.view.owner));
        }
    }

    /// Makes the first lease of a product, where this server is the master that there is.
    pub(super) fn found(&mut self, rules: &Rules, now: Ms, out: &mut Vec<Action>) {
        let reasons = self.founding_blockers(rules, now);
        let waits = |reason: &Reason| matches!(reason, Reason::Lock | Reason::MastersLock);
        if reasons
            .iter()
            .all(|reason| waits(reason) || reason.passes())
        {
            self.take_lock(rules, now, out);
        }
        if reasons.is_empty() && self.ask.is_none() {
            let open = self
                .answers(rules, now)
                .is_some_and(|health| !health.read_only);
            self.enter(State::Bidding);
            let observed = open && self.is_watched_only(rules);
            let proposal = Proposal {
                over: None,
                epoch: self.known_epoch.saturating_add(1),
                state: if open {
                    LeaseState::Serving
                } else {
                    LeaseState::Promoting
                },
                armed: self.armed && !observed,
                held: Servers::default(),
                to: None,
                planned: true,
                opening: false,
                complete: false,
                observed,
                unopened: false,
            };
            self.write(rules, now, proposal, out);
        }
    }

    /// Why this server does not make the first lease, or by a person's order one in place of a lease that was deleted.
    pub fn founding_blockers(&self, rules: &Rules, now: Ms) -> Vec<Reason> {
        let mut reasons = Vec::new();
        let ordered = self.takes_over_by_order();
        if rules.chain.first() != Some(&rules.me) && !ordered {
            reasons.push(Reason::NotInChain);
        }
        if !rules.bucket {
            reasons.push(Reason::Bucket);
        }
        // Not by a person's order either: two leases are two masters, and none knows of the other.
        if rules.other_lease {
            reasons.push(Reason::OtherLease);
        }
        if self.known_epoch > 0 && !ordered {
            reasons.push(Reason::LeaseGone);
        }
        if self.held != Holding::Free && !ordered {
            reasons.push(Reason::Held);
        }
        // Only a server that takes writes already is one that is only watched.
        let closed = self
            .answers(rules, now)
            .is_none_or(|health| health.read_only);
        if !rules.automatic && closed && !ordered {
            reasons.push(Reason::Manual);
        }
        self.founding_proofs(rules, now, &mut reasons);
        match self.answers(rules, now) {
            None => reasons.push(Reason::Dead),
            Some(Health { sane: false, .. }) => reasons.push(Reason::Unfit),
            Some(Health {
                replica: Some(_), ..
            }) if !ordered => reasons.push(Reason::Open),
            Some(_) => {}
        }
        if self.task.is_some() {
            reasons.push(Reason::Busy);
        }
        reasons
    }

    /// What shows that nobody is the master where there is no lease. A master that reaches the bucket makes his lease anew
    /// within a renewal; one that does not goes on by his lock here, or for no longer than his time.
    fn founding_proofs(&self, rules: &Rules, now: Ms, reasons: &mut Vec<Reason>) {
        let ttl = rules.timing.ttl;
        let again = self.known_epoch > 0;
        if self.own.taken {
            reasons.push(Reason::MastersLock);
        } else if self
            .own
            .held
            .is_none_or(|since| again && !self.own.silent && now.saturating_sub(since) < ttl)
        {
            reasons.push(Reason::Lock);
        }
        if !again {
            return;
        }
        let left = match self.absent_since {
            Some(since) => since.saturating_add(ttl).saturating_sub(now),
            None => ttl,
        };
        if left > 0 {
            reasons.push(Reason::Fresh { left });
        }
        // Nobody knows whom to ask, nor whether anything closes him.
        if self.order() != Some(Order::TakeOver { off: true }) {
            reasons.push(Reason::OldUnreachable);
        }
    }
}

impl SeenLease {
    /// The owner's time to live or this server's, whichever is longer.
    pub(super) fn ttl(&self, rules: &Rules) -> Ms {
        self.view.ttl.max(rules.timing.ttl)
    }

    /// How long yet no candidate takes over by himself, for the last failover was too recent.
    fn cools(&self, rules: &Rules, now: Ms) -> Ms {
        if self.view.epoch <= 1 || self.view.planned || self.view.unopened {
            return 0;
        }
        let by_wall = self.view.age.saturating_add(now.saturating_sub(self.since));
        let age = by_wall.max(now.saturating_sub(self.epoch_since));
        rules.timing.cooldown.saturating_sub(age)
    }

    /// Whether a change by a person's order is under way that loses nothing.
    fn switches(&self, rules: &Rules, now: Ms) -> bool {
        self.view.state == LeaseState::Switching && now.saturating_sub(self.since) < self.ttl(rules)
    }
}
