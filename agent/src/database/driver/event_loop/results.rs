//! The results of work beside the loop: noted, and passed to the protocol's machine.

use std::net::IpAddr;
use std::sync::Arc;

use super::{DriverLoop, PositionBefore, WorkResult, write_record};
use crate::database::driver::audit::Audit;
use crate::database::driver::catchup::Fetched;
use crate::database::driver::failover_record::of_epoch_without_change;
use crate::database::driver::last_seen::LastSeen;
use crate::database::driver::lease_requests::LeaseReply;
use crate::database::driver::local_server::now;
use crate::database::driver::{health, lease_requests};
use crate::database::gtid::Containment;
use crate::database::hold::{Hold, HoldError};
use crate::database::lease::LeaseState;
use crate::database::protocol::{
    BucketAnswer, Event, Health, History, Holding, ServerId, State, Task,
};
use crate::database::semantics::Semantics;
use crate::database::server::{Observation, ServerError, ThreadState};
use crate::database::store::Written;
use crate::fleet::Name;
use crate::system::clock;

impl DriverLoop {
    pub(super) fn take_result(&mut self, result: WorkResult) {
        match result {
            WorkResult::Event(event) => self.step(event),
            WorkResult::Lease(reply) => self.on_lease_reply(reply),
            WorkResult::Observed(tasks, seen) => self.on_observed(tasks, seen),
            WorkResult::Did(number, task, result) => self.on_task_ended(number, task, &result),
            WorkResult::Hold(hold) => self.on_hold(hold),
            WorkResult::Peer(name, had, seen) => self.on_peer(name, had.as_ref(), &seen),
            WorkResult::DeadmanFed(result) => self.on_deadman_fed(result),
            WorkResult::GateShut(result) => self.on_gate_shut(result),
            WorkResult::GateAdopted(found) => {
                self.adopt_again = false;
                // An owner puts its own in the place of whatever there is.
                let armed = found && !self.machine.state().owns();
                if found || self.machine.armed() != armed {
                    self.step(Event::Armed(armed));
                }
            }
            WorkResult::Reached(result) => self.on_reached(result),
            WorkResult::Semantics(semantics) => self.on_semantics(semantics),
            WorkResult::Note(trouble) => self.report.note(trouble),
            WorkResult::SurplusSaved(idle) => self.report.surplus_is_idle = idle,
            WorkResult::Audited(audit) => self.on_audited(audit),
            WorkResult::SemiSyncSwitched(done) => self.on_semi_sync_switched(done),
            WorkResult::CaughtUp(fetched) => self.on_caught_up(&fetched),
            WorkResult::Order(order, answer) => {
                let _ = answer.send(self.check_and_order(&order));
            }
        }
    }

    fn on_lease_reply(&mut self, reply: LeaseReply) {
        if let LeaseReply::Held(holding) = reply {
            self.step(Event::Hold(holding));
        }
        if let LeaseReply::Written(Written::Lost(Some(there)), _) = &reply {
            self.ids.note_refusal(&there.lease, self.versions.last());
        }
        if let (LeaseReply::Written(Written::Done(_), lease), Some(last)) =
            (&reply, self.versions.last())
            && last.epoch + 1 == lease.epoch
            && let Some(record) = of_epoch_without_change(last, lease)
        {
            let (bucket, tell) = (Arc::clone(&self.bucket), self.tell.clone());
            tokio::spawn(write_record(record, bucket, tell));
        }
        let (answer, trouble) = lease_requests::interpret(reply, &mut self.ids, &mut self.versions);
        self.report.bucket_answered(trouble);
        if matches!(
            answer,
            BucketAnswer::Unchanged | BucketAnswer::Lease(_) | BucketAnswer::Done(_)
        ) {
            self.report.confirmed = Some(clock::now());
        }
        self.step(Event::Bucket(answer));
    }

    fn on_observed(&mut self, tasks: u64, seen: Result<Observation, ServerError>) {
        self.observing = false;
        // What was seen before a task ended says nothing of after it.
        if tasks != self.tasks {
            self.observe();
            return;
        }
        let writes = seen.as_ref().is_ok_and(|seen| {
            seen.replication.is_some() && seen.read_only && !seen.local_writes.is_empty()
        });
        // Two variables of a server that applies are not of one moment.
        self.local_writes = if writes { self.local_writes + 1 } else { 0 };
        let health = self.health(&seen);
        self.report.own = Some(LastSeen::of(&seen));
        if let Ok(seen) = &seen {
            self.report.position = seen.executed.tip().to_string();
        }
        self.report.observation = Some(seen);
        self.observed = tasks;
        if std::mem::take(&mut self.compare) {
            self.observe_peers();
        }
        self.step(Event::Health(health));
        self.keep_semi_sync();
        if self.observe_again {
            self.observe();
        }
    }

    /// The document may say something else of semi-synchronous replication than when the server was opened or led to
    /// its source. Where it never wanted it, what a person has set up is left alone.
    fn keep_semi_sync(&mut self) {
        self.semi_wanted |= self.context.semi_sync;
        let master = match self.machine.state() {
            State::Serving => true,
            State::Following => false,
            _ => return,
        };
        let Some(Ok(seen)) = &self.report.observation else {
            return;
        };
        if !self.semi_wanted || self.task.is_some() || self.switching {
            return;
        }
        let want = self.local.wanted_semi_sync(master);
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
        let (local, tell) = (Arc::clone(&self.local), self.tell.clone());
        tokio::spawn(async move {
            let done = local.switch_semi_sync(want, receives).await;
            let _ = tell.send(WorkResult::SemiSyncSwitched(done));
        });
    }

    fn on_audited(&mut self, audit: Option<Audit>) {
        let Some(audit) = audit else {
            // It is asked again soon: nothing is staked on a server that was not looked at.
            self.next_audit = self.next_audit.min(now() + 2 * self.rules.timing.renew);
            return;
        };
        if self.report.audit.as_ref() == Some(&audit) {
            return;
        }
        let (alarms, notes) = audit.alarms_and_notes();
        for what in alarms.iter().chain(&notes) {
            tracing::warn!(
                event = "database-settings",
                product = %self.context.product,
                what,
                "{}: a setting or an account of the database server is not as it must be: {what}",
                self.context.product
            );
        }
        self.report.audit = Some(audit);
    }

    fn on_semi_sync_switched(&mut self, done: Result<(), String>) {
        self.switching = false;
        match done {
            Ok(()) => tracing::info!(
                event = "database-semi-sync",
                product = %self.context.product,
                wanted = self.context.semi_sync,
                "{}: semi-synchronous replication was switched {} as the document says",
                self.context.product, if self.context.semi_sync { "on" } else { "off" }
            ),
            Err(why) => self.report.note(why),
        }
    }

    fn health(&mut self, seen: &Result<Observation, ServerError>) -> Health {
        let mut errant = self.errant;
        if self.local_writes >= 2 {
            errant = errant.max(1);
        }
        let (context, ids) = (Arc::clone(&self.context), &mut self.ids);
        let known: Vec<(IpAddr, ServerId)> = context
            .members()
            .map(|member| (member.address, ids.id(&member.name)))
            .collect();
        let source = |host: &str| {
            let address: IpAddr = host.parse().ok()?;
            known
                .iter()
                .find(|(of, _)| *of == address)
                .map(|(_, id)| *id)
        };
        let account = &context.credentials.replication().user;
        let mut health = health::health(seen, self.versions.last(), source, account, errant);
        // Nothing is staked on a server that was not looked at.
        health.sane &= self
            .report
            .audit
            .as_ref()
            .is_some_and(|audit| !audit.is_grave());
        // With semi-synchronous replication a third server may alone have what the new owner acknowledged.
        if context.semi_sync && known.len() > 2 && health.history == History::Contained {
            health.history = History::Unknown;
        }
        health
    }

    fn on_task_ended(&mut self, number: u64, task: Task, result: &Result<(), String>) {
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
                product = %self.context.product,
                task = ?task,
                error = %why,
                "{}: work on the database server was not done ({task:?}): {why}",
                self.context.product
            );
        } else {
            tracing::info!(event = "database-task", product = %self.context.product, task = ?task, "{}: done: {task:?}", self.context.product);
        }
        self.report.task_ended(task, result);
        self.failover_record.task_ended(task, result.is_ok());
        if matches!(task, Task::Rejoin(_)) {
            self.discard = false;
            self.accept = false;
        }
        if matches!(task, Task::Follow(_) | Task::Rejoin(_)) {
            // It was compared before it was led there; why it was refused is counted against the master itself.
            if result.is_ok() {
                self.errant = 0;
            }
            self.compare = true;
        }
        self.step(Event::Did(task, result.is_ok()));
        self.observe();
    }

    fn on_caught_up(&mut self, fetched: &Fetched) {
        if let Some((from, count)) = &fetched.from {
            tracing::warn!(
                event = "database-caught-up",
                product = %self.context.product,
                server = %from,
                transactions = count,
                "{}: {from} had received more of the dead master: {count} transactions were fetched",
                self.context.product
            );
        }
        for (name, why) in &fetched.missed {
            tracing::warn!(
                event = "database-not-caught-up",
                product = %self.context.product,
                server = %name,
                error = %why,
                "{}: whether {name} had received more of the dead master is not known, or it could not be fetched: {why}",
                self.context.product
            );
        }
        self.failover_record.fetched(fetched);
    }

    fn on_hold(&mut self, hold: Result<Option<Hold>, HoldError>) {
        match hold {
            Ok(hold) => {
                let holding = hold.as_ref().map_or(Holding::Free, Hold::holding);
                self.report.hold = hold.filter(Hold::is_in_force);
                self.step(Event::Hold(holding));
            }
            // A person meant something by it.
            Err(HoldError::Wrong { .. }) => self.step(Event::Hold(Holding::Paused)),
            Err(_) => {}
        }
    }

    /// `had` is what this server had before the other one was asked: the master has all of that, from wherever it came,
    /// or this server has a history of its own.
    fn on_peer(
        &mut self,
        name: Name,
        had: Option<&PositionBefore>,
        seen: &Result<Observation, ServerError>,
    ) {
        let owner = self
            .versions
            .last()
            .map(|lease| (&lease.owner, lease.state));
        if let (Ok(other), Some(had), Some((owner, LeaseState::Serving))) = (seen, had, owner)
            && had.tasks == self.tasks
            && *owner == name
            && *owner != self.context.me
        {
            let errant = match other.executed.contains(&had.tip) {
                Containment::Yes => 0,
                Containment::No | Containment::Unknown => had.tip.beyond(&other.executed).max(1),
            };
            if std::mem::replace(&mut self.errant, errant) != errant {
                // The machine hears of it with the next look.
                self.observe();
            }
        }
        self.report.others.insert(name, LastSeen::of(seen));
    }

    fn on_deadman_fed(&mut self, result: Result<(), String>) {
        self.feeding = None;
        if let Err(why) = result {
            tracing::warn!(
                event = "database-deadman-lost",
                product = %self.context.product,
                error = %why,
                "{}: the dead-man is not fed: it is armed anew: {why}",
                self.context.product
            );
            self.report.deadman = Some(why);
            self.step(Event::Armed(false));
        }
        if let Some(until) = self.feed_next.take() {
            self.feed(until);
        }
    }

    fn on_gate_shut(&mut self, result: Result<(), String>) {
        match result {
            Ok(()) => {
                self.report.deadman = None;
                tracing::info!(
                    event = "database-gate-shut",
                    product = %self.context.product,
                    "{}: clients are kept from this server until it follows the master: it was one itself",
                    self.context.product
                );
            }
            Err(why) => {
                self.report.deadman = Some(why);
                self.step(Event::Armed(false));
            }
        }
    }

    /// Whether clients reach the server, as far as it should take writes at all.
    fn on_reached(&mut self, result: Result<(), String>) {
        self.reaching = false;
        if !matches!(self.machine.state(), State::Serving) {
            self.report.unreached = None;
            return;
        }
        match result {
            Ok(()) => {
                if self.report.unreached.take().is_some() {
                    tracing::info!(
                        event = "database-clients-pass",
                        product = %self.context.product,
                        "{}: clients reach this server again",
                        self.context.product
                    );
                }
            }
            Err(why) => {
                // Looked at again soon.
                self.next_reach = now() + 2 * self.rules.timing.renew;
                if self.report.unreached.is_none() {
                    tracing::error!(
                        event = "database-clients-refused",
                        product = %self.context.product,
                        error = %why,
                        "{}: this server takes writes, and no client reaches it: {why}",
                        self.context.product
                    );
                }
                self.report.unreached = Some(why);
            }
        }
    }

    fn on_semantics(&mut self, semantics: Semantics) {
        if let Semantics::Wrong(findings) = &semantics {
            tracing::error!(
                event = "database-bucket-unfit",
                product = %self.context.product,
                findings = findings.join("; "),
                "{}: this bucket's conditional writes are wrong: no master changes by itself: {}",
                self.context.product,
                findings.join("; ")
            );
        }
        if self.semantics.as_ref() != Some(&semantics) {
            tracing::info!(
                event = "database-bucket-tried",
                product = %self.context.product,
                verdict = ?semantics,
                "{}: the bucket's conditional writes were tried: {semantics:?}",
                self.context.product
            );
        }
        self.semantics = Some(semantics.clone());
        self.report.semantics = Some(semantics);
        self.rules = self.ids.rules(&self.context, self.trusted());
    }
}
