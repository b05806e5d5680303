//! A planned change of master: announce, close, write what there is, and let the other one take over. Nothing is lost,
//! and where the other one does not come, this one goes on.

use super::{Action, Machine, Ms, Order, Rules, ServerId, State, Task};
use crate::database::lease::LeaseState;

impl Machine {
    /// Begins a switchover that a person has ordered. Whether it did.
    pub(super) fn obey_switchover(
        &mut self,
        rules: &Rules,
        now: Ms,
        out: &mut Vec<Action>,
    ) -> bool {
        let Some(Order::Switchover(to)) = self.order() else {
            // Other orders are not a master's.
            self.refuse_order(out);
            return false;
        };
        let known = rules.chain.contains(&to) && to != rules.me;
        if !known || self.task.is_some() {
            if !known {
                self.refuse_order(out);
            }
            return false;
        }
        self.next_ask = now;
        self.proven = false;
        self.enter(State::Announcing { to, since: now });
        // While it is announced: a server that does not apply is found out before anything closes.
        self.work(Task::Prove(to), out);
        true
    }

    /// Has announced it: goes on once the other one must have seen that, and looks more often.
    pub(super) fn announce(
        &mut self,
        rules: &Rules,
        now: Ms,
        to: ServerId,
        since: Ms,
        out: &mut Vec<Action>,
    ) {
        self.beat(rules, now, out);
        self.ping(rules, now, out);
        self.feed(rules, now, out);
        if self.order.is_none() {
            self.enter(State::Serving);
            return;
        }
        if self.task.is_none() && !self.proven {
            self.refuse_order(out);
            self.enter(State::Serving);
            return;
        }
        let wait = rules.timing.renew.saturating_add(rules.timing.timeout);
        let announced = self.seen.is_some_and(|seen| seen.view.to == Some(to))
            && self.confirmed.is_some_and(|sent| sent >= since);
        if announced && now.saturating_sub(since) >= wait && self.task.is_none() {
            self.shut = true;
            self.enter(State::Closing { to, since: now });
            self.work(Task::Close, out);
            return;
        }
        if now.saturating_sub(since) >= rules.timing.handover {
            self.refuse_order(out);
            self.enter(State::Serving);
            return;
        }
        self.renew(rules, now, LeaseState::Serving, Some(to), out);
    }

    /// Closes, and writes that it is closed.
    pub(super) fn close(&mut self, rules: &Rules, now: Ms, to: ServerId, out: &mut Vec<Action>) {
        if self.closed {
            if self.ask.is_none() {
                if let Some(proposal) = self.proposal(rules, now, LeaseState::Switching, Some(to)) {
                    self.write(rules, now, proposal, out);
                    self.next_ask = now;
                }
                // Whether it stands there or not: from here on it opens only by a later write.
                self.enter(State::Handed { to, since: now });
            }
            return;
        }
        if self.task.is_none() {
            // It does not close by words. To kill it for a planned change would be a failure made by hand.
            self.refuse_order(out);
            self.confirmed = None;
            self.next_ask = now;
            self.enter(State::Claiming { since: now });
        }
    }

    /// Waits for the other one; takes the lease back where it does not come.
    pub(super) fn hand(&mut self, rules: &Rules, now: Ms, since: Ms, out: &mut Vec<Action>) {
        if !self.is_mine(rules) {
            self.order = None;
            // The new owner wants them.
            self.drop_peers(out);
            self.enter(State::Following);
            return;
        }
        if now.saturating_sub(since) >= rules.timing.handover || self.order.is_none() {
            if self.ask.is_none() {
                self.refuse_order(out);
                self.next_ask = now;
                self.confirmed = None;
                self.enter(State::Claiming { since: now });
            }
            return;
        }
        let written = self.lease_state() == Some(LeaseState::Switching);
        if written {
            self.read(now, rules.timing.handover_poll, out);
        } else if self.ask.is_none() && now >= self.next_ask {
            let State::Handed { to, .. } = self.state else {
                return;
            };
            if let Some(proposal) = self.proposal(rules, now, LeaseState::Switching, Some(to)) {
                self.write(rules, now, proposal, out);
            }
        }
    }
}
