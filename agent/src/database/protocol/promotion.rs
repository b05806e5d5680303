//! From owning the lease to accepting writes: everything that was received is applied first.

use super::{Action, Fenced, Machine, Ms, Rules, State, Step, Task};
use crate::database::lease::LeaseState;

impl Machine {
    /// Makes the server ready, renewing meanwhile.
    pub(super) fn promote(
        &mut self,
        rules: &Rules,
        now: Ms,
        since: Ms,
        step: Step,
        out: &mut Vec<Action>,
    ) {
        // Not before it was armed in this promotion: till then it may stand as it was left, shut.
        self.feed(rules, now, out);
        let state = match self.lease_state() {
            // A server that was open when its agent started stays what it was.
            Some(LeaseState::Serving) => LeaseState::Serving,
            _ => LeaseState::Promoting,
        };
        if state == LeaseState::Serving {
            self.beat(rules, now, out);
            self.ping(rules, now, out);
        }
        let opening = matches!(step, Step::Recheck { .. } | Step::Forget | Step::Open);
        self.renew_promoting(rules, now, state, opening, out);
        if self.drain_failed || now.saturating_sub(since) >= rules.timing.drain {
            self.drain_failed = true;
            self.begin_fencing(now, Fenced::DrainFailed, out);
            return;
        }
        let late = now.saturating_sub(since) >= rules.timing.apply;
        let others = rules.candidates(rules.me).next().is_some();
        if step == Step::Drain && state == LeaseState::Promoting && late && others && !self.yielded
        {
            self.yielded = true;
            self.yields = true;
            self.begin_fencing(now, Fenced::Yields, out);
            return;
        }
        if self.task.is_some() || now < self.next_task {
            return;
        }
        let Some(health) = self.answers(rules, now) else {
            return;
        };
        let replica = health.replica.is_some();
        let until = self.valid_until(rules, now).unwrap_or(now);
        match step {
            Step::StopReceiving if replica => self.work(Task::StopReceiving, out),
            Step::StopReceiving => self.go_on(since, Step::Arm),
            // Only a test leaves this out.
            Step::Drain if rules.omit.drain => self.go_on(since, Step::Arm),
            Step::Drain => self.work(Task::Drain, out),
            Step::Arm => self.work(Task::Arm { until }, out),
            Step::Recheck { than } => {
                // Before it opens the lease says that it may: till then others know that it is closed.
                let said = self.seen.is_some_and(|seen| !seen.view.is_closed());
                let confirmed = self.confirmed.is_some_and(|sent| sent >= than);
                if rules.omit.recheck || said && confirmed {
                    self.go_on(since, Step::Forget);
                } else if self.ask.is_none_or(|ask| ask.sent < than) {
                    self.next_ask = now;
                    self.renew_promoting(rules, now, state, opening, out);
                }
            }
            Step::Forget if replica => self.work(Task::Forget, out),
            Step::Forget => self.go_on(since, Step::Open),
            Step::Open => self.work(Task::Open { until }, out),
        }
    }

    fn renew_promoting(
        &mut self,
        rules: &Rules,
        now: Ms,
        state: LeaseState,
        opening: bool,
        out: &mut Vec<Action>,
    ) {
        // Nothing can be committed yet, so that it answers must do.
        if self.answers(rules, now).is_none() || now < self.next_ask {
            return;
        }
        if let Some(mut proposal) = self.proposal(rules, now, state, None) {
            proposal.opening |= opening && state == LeaseState::Promoting;
            self.write(rules, now, proposal, out);
        }
    }

    fn go_on(&mut self, since: Ms, step: Step) {
        self.enter(State::Promoting { since, step });
    }

    /// A task has ended: what that means for a promotion.
    pub(super) fn went_on(&mut self, now: Ms, task: Task, done: bool) {
        let State::Promoting { since, step } = self.state else {
            return;
        };
        match (step, task, done) {
            (Step::StopReceiving, Task::StopReceiving, true) => self.go_on(since, Step::Drain),
            (Step::Drain, Task::Drain, true) => self.go_on(since, Step::Arm),
            // Without a dead-man the lease says so, and candidates will not guess.
            (Step::Arm, Task::Arm { .. }, _) => {
                self.next_ask = now;
                self.next_task = now;
                self.go_on(since, Step::Recheck { than: now });
            }
            (Step::Forget, Task::Forget, true) => self.go_on(since, Step::Open),
            (Step::Open, Task::Open { .. }, true) => {
                self.closed = false;
                self.next_ask = now;
                self.next_beat = now;
                self.next_ping = now;
                // It answered this moment; the first heartbeat follows at once.
                self.beat = Some(now);
                if let Some((health, _)) = &mut self.health {
                    health.read_only = false;
                }
                self.enter(State::Serving);
            }
            _ => {}
        }
    }
}
