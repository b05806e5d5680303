//! The record of a change of master, collected while it goes on: what was seen before, what was done, what can be lost.

use super::catchup::Fetched;
use super::context::Context;
use super::local_server::now;
use super::report::Report;
use crate::database::event::{Cause, Event, FORMAT, Loss, Step};
use crate::database::gtid::{Flavour, Gtids};
use crate::database::lease::{Lease, LeaseState};
use crate::database::protocol::{Machine, Ms, State, Task};
use crate::system::clock;

/// What is collected of a change until its record is written.
#[derive(Debug, Default)]
pub(super) struct FailoverRecord {
    began: Ms,
    seen: Vec<String>,
    steps: Vec<Step>,
    cause: Option<Cause>,
    /// What this server had when it opened.
    promoted: Option<(Flavour, String)>,
    /// The epoch whose record was handed out.
    recorded: Option<u64>,
    /// Each of the other replicas was asked, and had nothing more in the end.
    all_asked: bool,
}

/// The record of an epoch that ends with a lease of `next`'s, and that nobody else records: it ended before its owner took
/// writes, or began when the lease was made anew after somebody had deleted it. `last` is the lease before.
pub(super) fn of_epoch_without_change(last: &Lease, next: &Lease) -> Option<Event> {
    let unserved =
        last.state == LeaseState::Promoting || last.state == LeaseState::Released && last.unopened;
    let event = |lease: &Lease, cause, seen: String| Event {
        format: FORMAT,
        product: lease.product.clone(),
        epoch: lease.epoch,
        nonce: lease.nonce,
        owner: lease.owner.clone(),
        from: lease
            .previous
            .as_ref()
            .map(|previous| previous.owner.clone()),
        at: clock::now(),
        cause,
        seen: vec![seen],
        steps: Vec::new(),
        loss: None,
    };
    if next.owner == last.owner && next.state == LeaseState::Serving {
        let seen =
            "somebody had deleted the lease: its owner, who served all the time, made it anew";
        return Some(event(next, Cause::Anew, seen.to_owned()));
    }
    if next.owner == last.owner || !unserved {
        return None;
    }
    let cause = if last.planned {
        Cause::Switchover
    } else {
        Cause::Expired
    };
    let seen = format!(
        "this epoch ended before {} took writes in it; recorded by {}, who came next",
        last.owner, next.owner
    );
    Some(event(last, cause, seen))
}

impl FailoverRecord {
    pub(super) fn begin(report: &Report, last: Option<&Lease>) -> Self {
        let mut seen = Vec::new();
        let cause = match last {
            None => Cause::First,
            Some(last) => {
                seen.push(format!(
                    "the lease of {} in epoch {} was {}, last written at {}",
                    last.owner, last.epoch, last.state, last.renewed
                ));
                match last.state {
                    LeaseState::Released => Cause::Released,
                    LeaseState::Switching => Cause::Switchover,
                    LeaseState::Serving | LeaseState::Promoting => Cause::Expired,
                }
            }
        };
        if let Some(observation) = last.and_then(|last| report.others.get(&last.owner)) {
            seen.push(
                observation.sentence(last.map(|last| last.owner.as_str()).unwrap_or_default()),
            );
        }
        Self {
            began: now(),
            seen,
            steps: Vec::new(),
            cause: Some(cause),
            promoted: None,
            recorded: None,
            all_asked: false,
        }
    }

    /// For an agent that finds its own change half done: what was seen and done before it was started anew is not known.
    pub(super) fn resume(&mut self, lease: &Lease) {
        if self.cause.is_some() {
            return;
        }
        self.began = now();
        self.cause = Some(match (&lease.previous, lease.planned) {
            (None, _) => Cause::First,
            (Some(_), true) => Cause::Switchover,
            (Some(_), false) => Cause::Expired,
        });
        self.seen = vec![format!(
            "the agent was started anew in the middle of this change, which had begun at {}: what it had seen, and whether the \
             lease had expired or was released, is not known",
            lease.since
        )];
        self.steps.clear();
        self.all_asked = false;
    }

    fn step(&mut self, what: &str) {
        if self.cause.is_some() && self.steps.len() < 100 {
            self.steps.push(Step {
                what: what.to_owned(),
                at_ms: now().saturating_sub(self.began),
            });
        }
    }

    pub(super) fn task_ended(&mut self, task: Task, done: bool) {
        if !done {
            return;
        }
        self.step(match task {
            Task::StopReceiving => "receiving stopped",
            Task::Drain => "relay log applied",
            Task::Arm { .. } => "dead-man armed",
            Task::Forget => "source forgotten",
            _ => return,
        });
    }

    pub(super) fn fetched(&mut self, fetched: &Fetched) {
        self.all_asked = fetched.missed.is_empty();
        if let Some((from, count)) = &fetched.from {
            self.step(&format!("{count} transactions fetched from {from}"));
        }
        for (name, why) in &fetched.missed {
            self.seen
                .push(format!("{name} may have received more: {why}"));
        }
    }

    pub(super) fn opened(&mut self) {
        self.step("writable");
    }

    pub(super) fn position(&mut self, flavour: Flavour, position: String) {
        if self.promoted.is_none() {
            self.promoted = Some((flavour, position));
        }
    }

    /// The record, as soon as it can be written; once a change.
    pub(super) fn take_finished(
        &mut self,
        machine: &Machine,
        lease: Option<&Lease>,
        context: &Context,
    ) -> Option<Event> {
        let lease = lease?;
        let mine = lease.owner == context.me && lease.state == LeaseState::Serving;
        if !mine
            || machine.state() != State::Serving
            || self.recorded == Some(lease.epoch)
            || self.cause.is_none()
        {
            return None;
        }
        let cause = self.cause.take()?;
        self.recorded = Some(lease.epoch);
        let previous = lease.previous.as_ref();
        let loss = previous.map(|previous| {
            let (flavour, promoted) = self
                .promoted
                .clone()
                .unwrap_or((Flavour::MariaDb, lease.gtid.clone()));
            let had = Gtids::parse(flavour, &previous.gtid).ok();
            let has = Gtids::parse(flavour, &promoted).ok();
            let at_least = match (&had, &has) {
                (Some(had), Some(has)) => had.beyond(has),
                _ => 0,
            };
            Loss {
                had: previous.gtid.clone(),
                promoted,
                at_least,
                none: (cause == Cause::Switchover && previous.complete)
                    || (context.semi_sync && at_least == 0 && self.all_asked),
            }
        });
        Some(Event {
            format: FORMAT,
            product: context.product.clone(),
            epoch: lease.epoch,
            nonce: lease.nonce,
            owner: context.me.clone(),
            from: previous.map(|previous| previous.owner.clone()),
            at: clock::now(),
            cause,
            seen: std::mem::take(&mut self.seen),
            steps: std::mem::take(&mut self.steps),
            loss,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::lease::tests::{lease, successor};

    #[test]
    fn epochs_in_which_nobody_served_are_recorded_by_who_comes_next() {
        let last = |state, unopened| Lease {
            state,
            unopened,
            ..successor("shop", "db-2", 7)
        };
        let next = successor("shop", "db-3", 8);
        let record = |state, unopened| of_epoch_without_change(&last(state, unopened), &next);
        let event = record(LeaseState::Promoting, false).unwrap();
        assert_eq!((event.epoch, event.owner.as_str()), (7, "db-2"));
        assert_eq!(event.from.unwrap().as_str(), "db-1");
        assert!(record(LeaseState::Released, true).is_some());
        // Who took writes records that himself.
        assert!(record(LeaseState::Released, false).is_none());
        assert!(record(LeaseState::Serving, false).is_none());
    }

    #[test]
    fn a_lease_that_was_deleted_and_made_anew_has_an_event() {
        let next = successor("shop", "db-1", 2);
        let event = of_epoch_without_change(&lease("shop", "db-1"), &next).unwrap();
        assert_eq!((event.epoch, event.cause), (2, Cause::Anew));
    }
}
