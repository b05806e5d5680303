//! What comes back from work: noted, and told to the machine.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Had, Heard, Run};
use crate::database::driver::audit::Audit;
use crate::database::driver::body::now;
use crate::database::driver::catchup::Fetched;
use crate::database::driver::letter::Reply;
use crate::database::driver::told::Seen;
use crate::database::driver::{health, letter};
use crate::database::gtid::Containment;
use crate::database::hold::{Hold, HoldError};
use crate::database::lease::LeaseState;
use crate::database::protocol::{Answer, Event, Health, History, ServerId, State, Task};
use crate::database::semantics::Verdict;
use crate::database::server::{Observation, ServerError, ThreadState};
use crate::fleet::Name;
use crate::system::clock;

impl Run {
    pub(super) fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Event(event) => self.step(event),
            Heard::Reply(reply) => self.hear_reply(reply),
            Heard::Observed(tasks, seen) => self.hear_observed(tasks, seen),
            Heard::Did(number, task, result) => self.hear_did(number, task, &result),
            Heard::Hold(hold) => self.hear_hold(hold),
            Heard::Other(name, had, seen) => self.hear_other(name, had.as_ref(), &seen),
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
        self.observed = tasks;
        if std::mem::take(&mut self.compare) {
            self.look_aside();
        }
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
        let mut health = health::health(seen, self.versions.last(), source, errant);
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
            // It was compared before it was led there; why it was refused is counted against the master itself.
            if result.is_ok() {
                self.errant = 0;
            }
            self.compare = true;
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

    /// `had` is what this server had before the other one was asked: the master has all of that, from wherever it came,
    /// or this server has a history of its own.
    fn hear_other(
        &mut self,
        name: Name,
        had: Option<&Had>,
        seen: &Result<Observation, ServerError>,
    ) {
        let owner = self
            .versions
            .last()
            .map(|lease| (&lease.owner, lease.state));
        if let (Ok(other), Some(had), Some((owner, LeaseState::Serving))) = (seen, had, owner)
            && had.tasks == self.tasks
            && *owner == name
            && *owner != self.seat.me
        {
            let errant = match other.executed.contains(&had.tip) {
                Containment::Yes => 0,
                Containment::No | Containment::Unknown => had.tip.beyond(&other.executed).max(1),
            };
            if std::mem::replace(&mut self.errant, errant) != errant {
                // The machine hears of it with the next look.
                self.look();
            }
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
}
