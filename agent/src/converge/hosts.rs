//! A change of master must not wait for a run that waits for a package or a service: `/etc/hosts` alone, in the middle of it.
//!
//! Two can write the agent's lines then, a run and [`Converger::lead`]. Whoever does holds the hosts lock for that moment,
//! and writes what the ledger says of them under the same lock. A run compares the ledger on disk with what it has
//! planned by: if somebody else has written the lines since, its own are of the past, and it leaves the file and what the
//! ledger says of it alone. So the newest word stays, and the ledger says what stands there.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::apply::Applier;
use super::ledger::{Ledger, Part};
use super::observe::{Observed, Scope};
use super::plan::{Plan, PlannedStep};
use super::{Converger, Intent, RunError, journal};
use crate::report::{Cause, Outcome, RunRecord, StepName, StepRecord, Trigger};
use crate::resource::HOSTS_STEP;
use crate::settings::RUN_DIR;
use crate::system::clock;
use crate::system::crash;
use crate::system::file::{FileError, Files};
use crate::system::lock::Lock;

/// Who holds the lock writes one file: no longer than this is waited for it.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

/// What became of leading the names elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub enum Led {
    /// They lead there now. What was done; it is in the journal.
    There(Box<RunRecord>),
    /// They did already.
    Already,
    /// Somebody writes them in this moment: to be tried again soon.
    Busy,
    /// This is a whole run's work: the lines are not the agent's yet, are held, or could not be written.
    NotSo(String),
}

/// The lock that whoever writes the agent's lines holds. `None`: somebody does.
fn lock(files: &Files) -> Result<Option<Lock>, FileError> {
    Lock::try_take(files.root(), &Path::new(RUN_DIR).join("hosts.lock"))
}

/// The same, waited for. `None`: whoever has it does not go on.
pub(super) async fn lock_patiently(files: &Files) -> Result<Option<Lock>, FileError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match lock(files)? {
            None if Instant::now() < deadline => sleep(PAUSE).await,
            lock => return Ok(lock),
        }
    }
}

/// What the ledger on disk has of the lines.
pub(super) fn part_on_disk(files: &Files) -> Result<Part, FileError> {
    // That it is damaged is told by the run itself.
    let ledger = if Ledger::is_damaged(files)? {
        Ledger::default()
    } else {
        Ledger::load(files)?
    };
    Ok(ledger.part(&StepName(HOSTS_STEP.into())))
}

/// Writes what the ledger has of the lines, and nothing else of it: the run that does this is not at its end. Returns
/// what was written. Only with the lock.
pub(super) fn keep_part(files: &Files, ledger: &Ledger) -> Result<Part, FileError> {
    let step = StepName(HOSTS_STEP.into());
    let part = ledger.part(&step);
    let mut on_disk = Ledger::load(files)?;
    on_disk.replace(&step, part.clone());
    on_disk.save(files)?;
    Ok(part)
}

impl Converger {
    /// Makes the names of `/etc/hosts` lead where `intent` has them, at once, also while a run goes on, this process's or
    /// another's: everything else is left to runs. Runs no command; waits for nothing.
    pub async fn lead(&self, intent: &Intent) -> Result<Led, RunError> {
        let (started, clock) = (clock::now(), std::time::Instant::now());
        let Some(_lock) = lock(&self.files)? else {
            return Ok(Led::Busy);
        };
        let observed = self.observe(intent, Scope::Hosts).await?;
        let plan = observed.plan();
        let Observed {
            document,
            ledger,
            pending,
            quarantine,
            ..
        } = observed;
        let Some(step) = plan.steps.first() else {
            return Ok(Led::Already);
        };
        if let Some(why) = step.not_alone(&ledger) {
            return Ok(Led::NotSo(why));
        }
        let mut applier = Applier {
            files: &self.files,
            platform: &self.platform,
            document: document.clone(),
            // The run in whose middle this is may have the next id already, and nothing on disk says so yet.
            run: journal::next_id(&self.files)?.saturating_add(1),
            started,
            booting: false,
            // A run may have files staged.
            sweeps: false,
            hosts: Part::default(),
            superseded: false,
            progress: &|_| (),
            ledger,
            pending,
            quarantine,
        };
        let steps = vec![applier.alone(step).await];
        if let Some(failed) = steps.iter().find(|row| row.outcome.is_failure()) {
            return Ok(Led::NotSo(failed.error.clone().unwrap_or_default()));
        }
        crash::point("names led elsewhere");
        applier.settle(&plan, &steps);
        keep_part(&self.files, &applier.ledger)?;
        let record = RunRecord {
            format: 1,
            id: applier.run,
            node: intent.node.clone(),
            document,
            trigger: Trigger::Lease,
            started,
            took_ms: u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX),
            steps,
            problems: Vec::new(),
        };
        journal::keep(&self.files, &record, self.journal)?;
        Ok(Led::There(Box::new(record)))
    }
}

impl PlannedStep {
    /// Whether this is the step of `/etc/hosts`.
    pub(super) fn is_hosts(&self) -> bool {
        self.name.0 == HOSTS_STEP
    }

    /// Why this is more than the replacing of lines that are the agent's already.
    fn not_alone(&self, ledger: &Ledger) -> Option<String> {
        if !self.touches() {
            return Some("it is held, or cannot be done as things stand".into());
        }
        let replaces = matches!(self.cause, Cause::Intended | Cause::Drift)
            && self.is_hosts()
            && !self.needs_record(true, ledger);
        (!replaces).then(|| "a whole run has to make the lines first".into())
    }
}

impl Applier<'_> {
    /// The run's own writing of the lines, unless somebody has led them elsewhere since it was planned. Then the row is
    /// left out: there is nothing of this run to tell.
    pub(super) async fn hosts_step(
        &mut self,
        step: &PlannedStep,
        plan: &Plan,
    ) -> Option<StepRecord> {
        match self.try_hosts_step(step, plan).await {
            Ok(row) => row,
            Err(error) => {
                let mut row = step.record();
                row.outcome = Outcome::Failed;
                row.error = Some(crate::system::chain(&error));
                Some(row)
            }
        }
    }

    async fn try_hosts_step(
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
            return Ok(Some(row));
        };
        if part_on_disk(self.files)? != self.hosts {
            self.superseded = true;
            return Ok(None);
        }
        let row = self.alone(step).await;
        if row.outcome == Outcome::Changed {
            for wanted in plan.wanted.iter().filter(|wanted| wanted.name == step.name) {
                self.settle_step(wanted, plan);
            }
            self.hosts = keep_part(self.files, &self.ledger)?;
            // The ledger has it: nothing is left to be made good.
            if self.pending.steps.remove(&step.name).is_some() {
                self.pending.save(self.files)?;
            }
            crash::point("hosts kept");
        }
        Ok(Some(row))
    }

    /// Before the ledger is written as a whole: what somebody else has done to the lines meanwhile stays. Only with the lock.
    pub(super) fn take_over_hosts(&mut self) -> Result<(), FileError> {
        let on_disk = part_on_disk(self.files)?;
        if self.superseded || on_disk != self.hosts {
            self.superseded = true;
            self.ledger.replace(&StepName(HOSTS_STEP.into()), on_disk);
        }
        Ok(())
    }
}
