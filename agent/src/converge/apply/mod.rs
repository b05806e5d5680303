//! Carrying a plan out: each step as a transaction of its own, so that one's failure leaves the others alone.

mod activate;
mod probe;
mod step;

#[cfg(test)]
pub(super) use activate::{Done, activation};

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::journal;
use super::ledger::{Form, Ledger, Owned, Part, digest_of};
use super::pending::Pending;
use super::plan::{Plan, PlannedStep, Verdict};
use super::quarantine::Quarantine;
use crate::report::{DocumentId, Outcome, StepRecord};
use crate::resource::{HOSTS_STEP, Step};
use crate::system::file::{FileError, Files, Found};
use crate::system::platform::Platform;

/// One run's hands and memory.
pub(super) struct Applier<'a> {
    pub(super) files: &'a Files,
    pub(super) platform: &'a Platform,
    pub(super) document: DocumentId,
    pub(super) run: u64,
    pub(super) started: Timestamp,
    /// The machine is still starting: a stopped service that starts after the agent is left to systemd.
    pub(super) booting: bool,
    /// Whether what killed processes left beside the files that are written is cleared away.
    pub(super) sweeps: bool,
    /// What the ledger on disk has of the lines of `/etc/hosts`, as far as this run knows.
    pub(super) hosts: Part,
    /// Somebody else has written those lines since: what this run has planned of them is of the past.
    pub(super) superseded: bool,
    pub(super) progress: &'a dyn Fn(&str),
    pub(super) ledger: Ledger,
    pub(super) pending: Pending,
    pub(super) quarantine: Quarantine,
}

impl Applier<'_> {
    /// Carries out all steps. Rows come in the order of the plan.
    pub(super) async fn apply(&mut self, plan: &Plan) -> Vec<StepRecord> {
        let mut rows = Vec::new();
        for step in &plan.steps {
            if step.verdict != Verdict::Do {
                rows.push(step.record());
            } else if step.is_hosts() {
                rows.extend(self.hosts_step(step, plan).await);
            } else {
                rows.push(self.alone(step).await);
            }
        }
        rows
    }

    /// Carries one step out, whatever else the plan has.
    pub(super) async fn alone(&mut self, step: &PlannedStep) -> StepRecord {
        let mut row = step.record();
        (self.progress)(&format!("applying {}", step.name));
        let clock = std::time::Instant::now();
        self.step(step, &mut row).await;
        row.took_ms = u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX);
        log(&row);
        row
    }

    /// Brings the ledger up to what is true now: everything that is wanted and was not left undone.
    pub(super) fn settle(&mut self, plan: &Plan, rows: &[StepRecord]) {
        let undone: BTreeSet<_> = rows
            .iter()
            .filter(|row| {
                matches!(
                    row.outcome,
                    Outcome::Failed | Outcome::PutBack | Outcome::Broken
                )
            })
            .map(|row| &row.step)
            .collect();
        let superseded = self.superseded;
        for step in plan
            .wanted
            .iter()
            .filter(|step| !undone.contains(&step.name))
            .filter(|step| !(superseded && step.name.0 == HOSTS_STEP))
        {
            self.settle_step(step, plan);
        }
    }

    /// The same for one of the wanted steps.
    pub(super) fn settle_step(&mut self, step: &Step, plan: &Plan) {
        let written: BTreeSet<&Path> = plan
            .steps
            .iter()
            .filter(|planned| planned.name == step.name && planned.verdict == Verdict::Do)
            .flat_map(|planned| planned.changes.iter().map(|change| change.path.as_path()))
            .collect();
        for entry in &step.entries {
            let digest = digest_of(&entry.content);
            let before = self.ledger.paths.get(&entry.path);
            let wrote = written.contains(entry.path.as_path());
            let (adopted, run, at, version) = match before {
                Some(owned) if !wrote && owned.digest == digest => {
                    (owned.adopted, owned.run, owned.written, owned.version)
                }
                _ => (
                    !wrote && before.is_none(),
                    if wrote { self.run } else { 0 },
                    self.started,
                    self.document.version,
                ),
            };
            let owned = Owned {
                kind: step.kind,
                step: step.name.clone(),
                form: Form::of(&entry.content),
                digest,
                shown_as: entry.shown_as.clone(),
                origins: entry.origins.clone(),
                adopted,
                run,
                written: at,
                version,
            };
            if before != Some(&owned) {
                self.ledger.paths.insert(entry.path.clone(), owned);
            }
        }
        self.forget_gone(step);
        for wish in &step.units {
            self.ledger
                .units
                .insert(wish.unit.clone(), step.name.clone());
        }
        let known = super::ledger::KnownStep {
            kind: step.kind,
            activate: step.activate.clone(),
        };
        self.ledger.steps.insert(step.name.clone(), known);
        match &step.list {
            Some(list) => drop(
                self.ledger
                    .lists
                    .insert(step.name.clone(), list.entries.clone()),
            ),
            None => drop(self.ledger.lists.remove(&step.name)),
        }
    }

    /// Forgets what the step no longer wants and what is not there any more: a crash may have come between
    /// its removal, or that of the directory around it, and the ledger. So it does with what was there before the agent.
    fn forget_gone(&mut self, step: &Step) {
        let entries: BTreeSet<&Path> = step
            .entries
            .iter()
            .map(|entry| entry.path.as_path())
            .collect();
        let gone: Vec<PathBuf> = self
            .ledger
            .of_step(&step.name)
            .filter(|(path, _)| !entries.contains(path.as_path()))
            .filter(|(path, owned)| owned.adopted || self.is_gone(path))
            .map(|(path, _)| path.clone())
            .collect();
        for path in gone {
            self.forget(&path);
        }
    }

    fn is_gone(&self, path: &Path) -> bool {
        matches!(self.files.read(path), Ok(Found::Absent))
    }

    /// Forgets paths of the ledger that are gone, and the directories that were made for them.
    fn forget(&mut self, path: &PathBuf) {
        self.ledger.paths.remove(path);
        for dir in path.ancestors().skip(1) {
            if !self.ledger.dirs.contains(dir) {
                break;
            }
            // What a crash left of a write would keep the directory. A failure shows in the removal.
            let _ = self.files.sweep(dir);
            match self.files.remove_empty_dir(dir) {
                Ok(removed) if removed || self.is_gone(dir) => {
                    self.ledger.dirs.remove(dir);
                }
                _ => break,
            }
        }
    }

    /// Keeps a copy of what somebody else wrote, before it is replaced. Returns where.
    fn back_up(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<PathBuf, FileError> {
        let copy = journal::backup_path(self.run, path);
        self.files.write(&copy, bytes, mode & 0o640)?;
        Ok(copy)
    }
}

fn log(row: &StepRecord) {
    let (step, cause) = (
        row.step.to_string(),
        format!("{:?}", row.cause).to_lowercase(),
    );
    match (&row.outcome, &row.error) {
        (Outcome::Changed, _) => {
            tracing::info!(
                event = "step-changed",
                step,
                cause,
                changes = row.changes.len(),
                took_ms = row.took_ms,
                "changed"
            );
        }
        (outcome, error) => tracing::error!(
            event = "step-failed",
            step,
            cause,
            outcome = outcome.as_str(),
            took_ms = row.took_ms,
            error = error.as_deref().unwrap_or_default(),
            "not as the document says"
        ),
    }
}
