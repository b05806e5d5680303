//! The fast lane: a change of master must not wait for a run that waits for a package or a service. Steps that say so
//! (`/etc/hosts`) are carried out alone and at once, be it in the middle of a run.
//!
//! Two can write what such a step owns then, a run and [`Converger::lead`]. Whoever does holds the lock of the fast lane
//! for that moment, and writes what the ledger says of it under the same lock. A run compares the ledger on disk with
//! what it has planned by: if somebody else has carried the step out since, its own is of the past, and it leaves the
//! file and what the ledger says of it alone. So the newest word stays, and the ledger says what stands there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::apply::{Applier, Progress};
use super::fast_part::{OnDisk, keep_part};
use super::ledger::Ledger;
use super::observe::Scope;
use super::orders::Order;
use super::plan::{Plan, PlannedStep};
use super::{Converger, Intent, RunError, journal};
use crate::report::{Cause, Outcome, RunRecord, StepRecord, Trigger};
use crate::settings::RUN_DIR;
use crate::system::clock;
use crate::system::crash;
use crate::system::file::{FileError, Files};
use crate::system::lock::Lock;

/// Who holds the lock writes one file: no longer than this is waited for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// What became of following at once.
#[derive(Debug, Clone, PartialEq)]
pub enum Followed {
    /// It is done. What was; it is in the journal.
    Now(Box<RunRecord>),
    /// All was so already.
    Already,
    /// Somebody writes there in this moment: to be tried again soon.
    Busy,
    /// This is a whole run's work, and why: the lines are not the agent's yet, are held, or could not be written.
    ByARun(String),
}

/// The lock that whoever carries out a step of the fast lane holds. `None`: somebody does.
fn lock(files: &Files) -> Result<Option<Lock>, FileError> {
    Lock::try_take(files.root(), &lock_file())
}

/// The same, waited for. `None`: whoever has it does not go on.
pub(super) async fn lock_patiently(files: &Files) -> Result<Option<Lock>, FileError> {
    Lock::take(files.root(), &lock_file(), PATIENCE, || ()).await
}

fn lock_file() -> PathBuf {
    Path::new(RUN_DIR).join("hosts.lock")
}

impl Converger {
    /// Carries out what the fast lane has to do for `intent` at once, also while a run goes on, this process's or
    /// another's: everything else is left to runs. Runs no command; waits for nothing.
    pub async fn lead(&self, intent: &Intent) -> Result<Followed, RunError> {
        let (started, clock) = (clock::now(), std::time::Instant::now());
        let Some(_lock) = lock(&self.files)? else {
            return Ok(Followed::Busy);
        };
        let observed = self.observe(intent, Scope::Fast, None).await?;
        let plan = observed.plan();
        if plan.steps.is_empty() {
            return Ok(Followed::Already);
        }
        let why_not = |step: &PlannedStep| step.not_alone(&observed.ledger);
        if let Some(why) = plan.steps.iter().find_map(why_not) {
            return Ok(Followed::ByARun(why));
        }
        // The run in whose middle this is may have the next id already, and nothing on disk says so yet.
        let id = journal::next_id(&self.files)?.saturating_add(1);
        let mut applier = Applier {
            booting: false,
            // A run may have files staged.
            sweeps: false,
            ..self.applier(observed, id, started, &|_, _| ())
        };
        let mut steps = Vec::new();
        for step in &plan.steps {
            steps.push(applier.alone(step, &plan).await);
        }
        if let Some(failed) = steps.iter().find(|row| row.outcome.is_failure()) {
            return Ok(Followed::ByARun(failed.error.clone().unwrap_or_default()));
        }
        crash::point("names led elsewhere");
        keep_part(&self.files, &applier.ledger)?;
        let record = RunRecord {
            format: 1,
            id,
            node: intent.node.clone(),
            document: plan.document.clone(),
            signers: intent.document.signers.clone(),
            trigger: Trigger::Lease,
            started,
            took_ms: u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX),
            steps,
            problems: Vec::new(),
            outstanding: Vec::new(),
        };
        journal::keep(&self.files, &record, self.journal)?;
        Ok(Followed::Now(Box::new(record)))
    }
}

/// What the beginning of a run has done.
#[derive(Default)]
pub(super) struct First {
    /// Its rows; none, where there was nothing to do.
    pub(super) rows: Vec<StepRecord>,
    /// The id of the run, where there are rows.
    pub(super) run: u64,
}

impl Converger {
    /// The beginning of a run: what the fast lane has to do, before anything else of the box is looked at. Whatever stands
    /// elsewhere on it, however large or many, names follow the document. What cannot be done so is left to the run, and told by it.
    pub(super) async fn names_first(
        &self,
        intent: &Intent,
        started: Timestamp,
        progress: Progress<'_>,
    ) -> Result<First, RunError> {
        if Order::Hold.standing(&self.files, started)?.is_some() {
            return Ok(First::default());
        }
        let Some(_lock) = lock(&self.files)? else {
            return Ok(First::default());
        };
        let observed = self.observe(intent, Scope::Fast, None).await?;
        let plan = observed.plan();
        let steps = plan.steps.iter();
        let steps: Vec<&PlannedStep> = steps
            .filter(|step| step.not_alone(&observed.ledger).is_none())
            .collect();
        if steps.is_empty() {
            return Ok(First::default());
        }
        let run = journal::next_id(&self.files)?;
        let mut applier = Applier {
            sweeps: false,
            ..self.applier(observed, run, started, progress)
        };
        let mut rows = Vec::new();
        for step in steps {
            let row = applier.alone(step, &plan).await;
            if !row.outcome.is_failure() {
                rows.push(row);
            }
        }
        keep_part(&self.files, &applier.ledger)?;
        Ok(First { rows, run })
    }
}

impl PlannedStep {
    /// Why this is more than the replacing of what is the agent's already.
    fn not_alone(&self, ledger: &Ledger) -> Option<String> {
        if !self.touches() {
            return Some("it is held, or cannot be done as things stand".into());
        }
        let replaces = matches!(self.cause, Cause::Intended | Cause::Drift)
            && self.fast
            && !self.needs_record(true, ledger);
        (!replaces).then(|| "a whole run has to make the lines first".into())
    }
}

impl Applier<'_> {
    /// The run's own carrying out of a step of the fast lane, unless somebody has done so since it was planned. Then
    /// the row is left out: there is nothing of this run to tell.
    pub(super) async fn fast_step(
        &mut self,
        step: &PlannedStep,
        plan: &Plan,
    ) -> Option<StepRecord> {
        match self.try_fast_step(step, plan).await {
            Ok(row) => row,
            Err(error) => {
                let mut row = step.record();
                row.outcome = Outcome::Failed;
                row.error = Some(crate::system::chain(&error));
                self.untrue.insert(step.name.clone());
                Some(row)
            }
        }
    }

    async fn try_fast_step(
        &mut self,
        step: &PlannedStep,
        plan: &Plan,
    ) -> Result<Option<StepRecord>, FileError> {
        let Some(_lock) = lock_patiently(self.files).await? else {
            let mut row = step.record();
            row.outcome = Outcome::Failed;
            row.error = Some(
                "another process of the agent writes these lines and does not go on: see agentctl status, and ps".into(),
            );
            self.untrue.insert(step.name.clone());
            return Ok(Some(row));
        };
        if self.fast.changed(self.files)?.is_some() {
            self.overtaken = true;
            return Ok(None);
        }
        let row = self.alone(step, plan).await;
        if row.outcome == Outcome::Changed {
            self.fast = keep_part(self.files, &self.ledger)?;
            // The ledger has it: nothing is left to be made good.
            self.pending.forget(self.files, &step.name)?;
            crash::point("hosts kept");
        }
        Ok(Some(row))
    }

    /// Before the ledger is written as a whole: what somebody else has done in the fast lane meanwhile stays. Only with
    /// the lock.
    pub(super) fn take_over_fast_lane(&mut self) -> Result<(), FileError> {
        let others = match self.fast.changed(self.files)? {
            None if !self.overtaken => return Ok(()),
            None => OnDisk::read(self.files)?,
            Some(others) => others,
        };
        self.overtaken = true;
        self.ledger.replace_fast_part(others.into_part());
        Ok(())
    }
}
