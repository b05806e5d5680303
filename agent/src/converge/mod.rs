//! A run: trigger → fetch → verify → view → plan → stage → check → commit → activate → probe → record.
//!
//! [`intake`] brings documents in. [`Converger`] looks at the box, works out the [`Plan`] (pure) and
//! carries it out, each step as a transaction. The [`ledger`] knows what the agent owns, the
//! [`journal`] what it did.

mod apply;
pub mod follow;
mod good;
mod hosts;
pub mod intake;
pub mod journal;
pub mod ledger;
mod observe;
mod offline;
mod pending;
mod plan;
mod quarantine;
mod seal;
mod session;
mod state;
mod sweep;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

pub use hosts::Led;
pub use offline::plan_offline;
pub use plan::Plan;
pub use seal::{Sealed, seal};
pub use session::{NotReady, Session, lock_runs};

use apply::Applier;
use ledger::Ledger;
use observe::{Observed, Scope};
use pending::Pending;

use crate::fleet::{Document, Name};
use crate::node::Elections;
use crate::report::{self, Outcome, RunRecord, StepRecord, Trigger};
use crate::settings::{GuardSettings, HostsScope, JournalSettings, Settings};
use crate::system::clock;
use crate::system::crash;
use crate::system::file::{FileError, Files};
use crate::system::platform::Platform;

/// What a box should converge to.
#[derive(Debug, Clone)]
pub struct Intent {
    /// The document.
    pub document: Document,
    /// The server that this box is.
    pub node: Name,
    /// Which servers stand in `/etc/hosts`.
    pub hosts: HostsScope,
    /// The leases that the box goes by.
    pub elections: Elections,
}

/// A run could not be made at all.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The agent's own state cannot be read or written.
    #[error("the agent's own state is out of reach")]
    State(#[from] FileError),
    /// The document does not have this server.
    #[error("the document has no server {0}")]
    NotInDocument(Name),
}

/// Makes a box what the document says. One run at a time: the caller holds the run lock.
#[derive(Debug)]
pub struct Converger {
    files: Files,
    platform: Platform,
    guard: GuardSettings,
    journal: JournalSettings,
    booting: AtomicBool,
    /// Leftovers of processes before this one were swept.
    swept: AtomicBool,
}

impl Converger {
    /// For the box of these settings.
    pub fn new(settings: &Settings) -> Self {
        Self {
            files: Files::new(settings.root.clone()).remembering(),
            platform: settings.platform.clone(),
            guard: settings.guard,
            journal: settings.journal,
            booting: AtomicBool::new(false),
            swept: AtomicBool::new(false),
        }
    }

    /// While the machine starts, services that are ordered after the agent are not started by it: it
    /// would wait for itself. What that leaves undone stays pending: see [`Converger::has_pending`].
    pub fn set_booting(&self, booting: bool) {
        self.booting.store(booting, Ordering::Relaxed);
    }

    /// Whether an activation is outstanding, so that a run is due though nothing changed.
    pub fn has_pending(&self) -> Result<bool, FileError> {
        Ok(!Pending::load(&self.files)?.steps.is_empty())
    }

    /// What a run would do now. Writes nothing, runs no command but queries.
    pub async fn plan(&self, intent: &Intent) -> Result<Plan, RunError> {
        Ok(self.observe(intent, Scope::All).await?.plan())
    }

    /// One run. Failures of steps are rows of the record, not errors.
    ///
    /// `progress` is called with what is being done, at least every few seconds: it feeds the watchdog.
    /// A run that had nothing to do, or only the same failures as the run before, wrote nothing to the
    /// journal: its record has the id 0.
    pub async fn run(
        &self,
        intent: &Intent,
        trigger: Trigger,
        progress: &dyn Fn(&str),
    ) -> Result<RunRecord, RunError> {
        let (started, clock) = (clock::now(), std::time::Instant::now());
        progress("looking at the box");
        let observed = self.observe(intent, Scope::All).await?;
        let plan = observed.plan();
        self.sweep(&observed, &plan);
        let Observed {
            document,
            ledger,
            pending,
            quarantine,
            hosts,
            ..
        } = observed;
        let recorded = (ledger.clone(), pending.clone(), quarantine.clone());
        let run = if plan.is_empty() {
            0
        } else {
            journal::next_id(&self.files)?
        };
        let mut applier = Applier {
            files: &self.files,
            platform: &self.platform,
            document: document.clone(),
            run,
            started,
            booting: self.booting.load(Ordering::Relaxed),
            sweeps: true,
            hosts,
            superseded: false,
            progress,
            ledger,
            pending,
            quarantine,
        };
        let steps = applier.apply(&plan).await;
        // Where nobody lets go of it: a crash could not do more harm than going on.
        let hosts_lock = hosts::lock_patiently(&self.files).await?;
        applier.take_over_hosts()?;
        applier.settle(&plan, &steps);
        let Applier {
            mut ledger,
            mut pending,
            quarantine,
            superseded,
            ..
        } = applier;

        // Warnings are no obstacle: all that is asked for is there.
        let all_true = !superseded && !report::is_failed(&steps, &plan.problems);
        if all_true && ledger.good.as_ref() != Some(&document.digest) {
            good::save(&self.files, &document, &intent.document.fleet)?;
            ledger.good = Some(document.digest.clone());
        }
        crash::point("before the ledger");
        if ledger != recorded.0 || observed_pending(&recorded.1) {
            ledger.save(&self.files)?;
        }
        drop(hosts_lock);
        if quarantine != recorded.2 {
            quarantine.save(&self.files)?;
        }
        crash::point("ledger saved");
        pending.steps.retain(|_, step| !step.done);
        let mut record = RunRecord {
            format: 1,
            id: run,
            node: intent.node.clone(),
            document,
            trigger,
            started,
            took_ms: u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX),
            steps,
            problems: plan.problems,
        };
        if run != 0 {
            if self.is_news(&record)? {
                journal::keep(&self.files, &record, self.journal)?;
            } else {
                record.id = 0;
            }
        }
        crash::point("journal kept");
        // Last: until here a crash makes the next run activate again, which does no harm.
        if pending != recorded.1 || plan.steps.iter().any(plan::PlannedStep::touches) {
            pending.save(&self.files)?;
        }
        Ok(record)
    }

    /// The files of the box. They remember what runs last saw: see [`Files::sighting`].
    pub const fn files(&self) -> &Files {
        &self.files
    }

    /// Paths that the agent owns now, for the watcher of drift: files, and the links among them.
    pub fn owned(&self) -> Result<Vec<PathBuf>, FileError> {
        Ok(Ledger::load(&self.files)?.paths.into_keys().collect())
    }

    /// Forgets the quarantine, so that the next run tries the document again: a person said so.
    pub fn release_quarantine(&self) -> Result<(), FileError> {
        quarantine::release(&self.files)
    }

    /// Whether a record says more than the last kept one: the same failures again are no news.
    fn is_news(&self, record: &RunRecord) -> Result<bool, FileError> {
        if record
            .steps
            .iter()
            .any(|step| step.outcome == Outcome::Changed)
        {
            return Ok(true);
        }
        let last = journal::last(&self.files, 1)?;
        let essence = |run: &RunRecord| -> (String, Vec<StepRecord>) {
            let failed = run.steps.iter().filter(|step| step.outcome.is_failure());
            let plain = |step: &StepRecord| StepRecord {
                took_ms: 0,
                notes: Vec::new(),
                ..step.clone()
            };
            (run.document.digest.clone(), failed.map(plain).collect())
        };
        Ok(last
            .first()
            .is_none_or(|last| essence(last) != essence(record)))
    }
}

/// Interrupted steps were merged into the ledger in memory only: they must reach the disk before they are forgotten.
fn observed_pending(pending: &Pending) -> bool {
    !pending.steps.is_empty()
}
