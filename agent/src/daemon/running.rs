//! Making a run: who has the lock, what goes on meanwhile, what a run means for what comes next.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::agent::Agent;
use super::leases;
use super::orders;
use super::services::AGAIN;
use super::signs::Signs;
use crate::bucket::backoff;
use crate::control::messages::{Answer, Applied};
use crate::converge::{RunError, lock_runs};
use crate::identity::Clues;
use crate::report::{Cause, Outcome, RunRecord, Trigger};
use crate::system::chain;
use crate::system::file::FileError;

/// How long somebody else's run is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);
/// A box is looked at this often even if nothing was noticed: events can be lost.
pub(super) const LOOK: Duration = Duration::from_mins(1);
/// What could not be finished for a passing reason is tried again this soon.
const SOON: Duration = Duration::from_secs(1);

/// How a run ended, or why there was none.
enum Ended {
    Ran(Result<RunRecord, RunError>),
    Busy,
    Stopping,
    NoLock(FileError),
}

impl Agent {
    /// Makes a run and shows how the box is after it. Fails at nothing: what went wrong is logged, shown in the
    /// status and returned for whoever asked. `trouble`: why the newest document could not be had.
    pub(super) async fn run(
        &mut self,
        trigger: Trigger,
        retry: bool,
        trouble: Option<String>,
    ) -> Answer {
        self.next_look = Instant::now() + LOOK;
        let answer = self.try_run(trigger, retry, trouble).await;
        let answer = answer.unwrap_or_else(|message| Answer::Failed { message });
        if !self.booting {
            self.look_at_services(trigger).await;
        }
        self.become_ready();
        if std::mem::take(&mut self.overtaken) {
            // That run knew of another master.
            self.next_look = Instant::now();
        }
        self.publish();
        answer
    }

    async fn look_at_services(&mut self, trigger: Trigger) {
        let settings = &self.session.settings;
        if let Some(still) = self.services.look(settings, &self.files, trigger).await {
            if !still.is_empty() {
                self.next_look = self.next_look.min(Instant::now() + AGAIN);
            }
            self.picture.services = still;
        }
    }

    async fn try_run(
        &mut self,
        trigger: Trigger,
        retry: bool,
        trouble: Option<String>,
    ) -> Result<Answer, String> {
        if retry {
            let released = self.session.converger.release_quarantine();
            released.map_err(|error| chain(&error))?;
        }
        self.gather_again().await;
        if trouble.is_none() {
            self.leases.before_run(&mut self.session).await;
        }
        let (intent, found_by) = self.session.intent().map_err(|error| {
            if self.picture.waits_for() != Some(&error.0) {
                tracing::warn!(event = "waiting", "{error}");
            }
            self.picture.waiting(&error.0);
            match &trouble {
                Some(trouble) => format!("{error}; {trouble}"),
                None => error.0,
            }
        })?;
        if !self.picture.knows_itself() {
            tracing::info!(event = "identified", node = %intent.node, found_by, "this box is {}", intent.node);
        }
        let signs = Rc::clone(&self.signs);
        let progress = |what: &str| signs.progress(what);
        let converger = Arc::clone(&self.session.converger);
        let root = self.session.settings.root.clone();
        let mut stopped = self.stopped.clone();
        let running = async {
            let lock = tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => return Ended::Stopping,
                lock = lock_runs(&root, LOCK_PATIENCE, &progress) => lock,
            };
            match lock {
                Ok(Some(_lock)) => Ended::Ran(converger.run(&intent, trigger, &progress).await),
                Ok(None) => Ended::Busy,
                Err(error) => Ended::NoLock(error),
            }
        };
        let record = match self.meanwhile(running).await {
            Ended::Ran(record) => record,
            Ended::Busy => {
                self.next_look = Instant::now() + SOON;
                return Err("another run goes on (agentd --once, agentctl apply?); try again when it has ended".into());
            }
            Ended::Stopping => return Err("agentd is stopping and made no run".into()),
            Ended::NoLock(error) => return Err(chain(&error)),
        };
        let record = record.map_err(|error| {
            let error = chain(&error);
            tracing::error!(event = "run-failed", error, "no run could be made");
            self.picture.failed_to_run(&error);
            self.next_look = Instant::now() + backoff(self.session.settings.poll.max(SOON), 1);
            error
        })?;
        self.picture.ran(&intent, &found_by, &record);
        self.after(&record);
        if !self.overtaken {
            self.leases.after_run(&self.session).await;
        }
        Ok(Answer::Applied(Box::new(Applied {
            run: record,
            refused: self.picture.refused.clone(),
            unreachable: trouble,
        })))
    }

    /// Follows leases, takes orders to databases and shows how the box is while a run goes on: none of these waits for
    /// a package or a service.
    async fn meanwhile<T>(&mut self, running: impl Future<Output = T>) -> T {
        tokio::pin!(running);
        let mut sign = Signs::next();
        loop {
            let due = self.leases.due();
            tokio::select! {
                biased;
                done = &mut running => return done,
                () = sleep_until(sign) => {
                    sign = Signs::next();
                    self.signs.alive_unless_stuck();
                    self.show();
                }
                answers = leases::heard(&mut self.leases) => {
                    self.overtaken |= self.follow(answers).await;
                }
                () = sleep_until(due) => self.leases.turn(&self.session).await,
                Some(order) = self.orders.recv() => orders::take(&self.session, &self.keepers, order),
            }
        }
    }

    /// Asks once a minute who this box is, while no server of the document is it.
    async fn gather_again(&mut self) {
        // Whatever failed: a host name or a tag can be set long after the agent has started.
        let due = Instant::now() >= self.next_clues && self.session.intake.accepted().is_some();
        if due && self.session.intent().is_err() {
            self.session.clues = Clues::gather(&self.session.settings).await;
            self.next_clues = Instant::now() + LOOK;
        }
    }

    /// What a run means for what comes next.
    fn after(&mut self, record: &RunRecord) {
        let now = Instant::now();
        for step in &record.steps {
            if step.cause == Cause::Drift && step.outcome == Outcome::Changed {
                for change in &step.changes {
                    if self.fights.repaired(&change.path, now) {
                        tracing::warn!(
                            event = "fight",
                            path = %change.path.display(),
                            "somebody rewrites it again and again; it is repaired more slowly now"
                        );
                    }
                }
            }
        }
        if record.changed() || !self.drift.is_current() {
            match self.session.converger.owned() {
                Ok(owned) => {
                    self.drift.follow(&owned);
                    if self.booting {
                        // What was edited after the run had looked and before this watched.
                        self.next_look = now + SOON;
                    }
                }
                Err(error) => tracing::warn!(
                    event = "drift-unwatched",
                    error = chain(&error),
                    "edits are noticed late"
                ),
            }
        }
        self.picture.drift = self.fights.told(now);
        self.picture
            .drift
            .extend(self.drift.trouble().map(str::to_owned));
        let again = record
            .steps
            .iter()
            .any(|step| matches!(step.outcome, Outcome::Failed | Outcome::Broken));
        if again {
            self.next_look = now
                + backoff(self.session.settings.poll.max(SOON), self.picture.failing())
                    .min(LOOK * 5);
        }
    }

    /// Whether what was touched is repaired now. Where somebody fights the agent for all of it, later.
    pub(super) fn may_repair(&mut self, touched: &BTreeSet<PathBuf>) -> bool {
        let now = Instant::now();
        let soonest = touched
            .iter()
            .map(|path| self.fights.repair_at(path, now))
            .min();
        match soonest {
            Some(at) if at > now => {
                self.next_look = self.next_look.min(at);
                false
            }
            _ => true,
        }
    }

    /// After the first run: the machine's boot goes on, and what had to wait for that can be done.
    fn become_ready(&mut self) {
        self.signs.ready();
        if std::mem::take(&mut self.booting) {
            self.session.converger.set_booting(false);
            if self.session.converger.has_pending().unwrap_or(true) {
                self.next_look = self.next_look.min(Instant::now() + SOON);
            }
        }
    }
}
