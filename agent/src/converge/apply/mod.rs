//! Carrying a plan out: each step as a transaction of its own, so that one's failure leaves the others alone.

mod activate;
mod backup;
mod complaint;
mod explain;
mod fastcgi;
mod fault;
pub(super) mod http_answer;
mod precautions;
mod probe;
mod proof;
mod proxied;
mod settle;
pub(super) mod tls;
mod together;
mod transaction;
mod undo;

#[cfg(test)]
pub(super) use activate::{Done, activation};
pub(super) use fault::Fault;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::fast_part::OnDisk;
use super::ledger::Ledger;
use super::pending::Pending;
use super::plan::{Decision, Plan, PlannedStep};
use super::quarantine::Quarantine;
use crate::report::{DocumentId, Kind, Outcome, StepName, StepRecord, text};
use crate::resource::Wave;
use crate::system::file::Files;
use crate::system::package_manager::Patience;
use crate::system::platform::Platform;

/// Says what is being done and how long that may take: it feeds the watchdog.
pub type Progress<'a> = &'a dyn Fn(&str, Duration);

/// One run's memory, and what it works with.
pub(super) struct Applier<'a> {
    pub(super) files: &'a Files,
    pub(super) platform: &'a Platform,
    pub(super) packages: Patience,
    pub(super) document: DocumentId,
    pub(super) run: u64,
    pub(super) started: Timestamp,
    /// The machine is still starting: a stopped service that starts after the agent is left to systemd.
    pub(super) booting: bool,
    /// Whether what killed processes left beside the files that are written is cleared away.
    pub(super) sweeps: bool,
    /// What the ledger on disk has of the steps of the fast lane, as far as this run knows.
    pub(super) fast: OnDisk,
    /// Somebody else has carried out a step of the fast lane since: what this run has planned of them is of the past.
    pub(super) overtaken: bool,
    pub(super) progress: Progress<'a>,
    pub(super) ledger: Ledger,
    pub(super) pending: Pending,
    pub(super) quarantine: Quarantine,
    /// Steps that are not as the document says, and those whose activation is still to come.
    pub(super) untrue: BTreeSet<StepName>,
}

impl Applier<'_> {
    /// Carries out what nothing asks for any more.
    pub(super) async fn remove(&mut self, plan: &Plan) -> Vec<StepRecord> {
        let removals = plan.steps.iter().filter(|step| step.is_removal());
        self.each(removals, plan).await
    }

    /// Carries out the steps of one wave. Rows come in the order of the plan.
    pub(super) async fn wave(&mut self, wave: Wave, plan: &Plan) -> Vec<StepRecord> {
        let steps = plan.steps.iter();
        let steps = steps.filter(|step| step.wave == wave && !step.is_removal());
        self.each(steps, plan).await
    }

    /// Carries out what there is to do of one kind.
    pub(super) async fn of_kind(&mut self, kind: Kind, plan: &Plan) -> Vec<StepRecord> {
        let steps = plan.steps.iter().filter(|step| step.kind() == kind);
        self.each(steps, plan).await
    }

    async fn each(
        &mut self,
        steps: impl Iterator<Item = &PlannedStep>,
        plan: &Plan,
    ) -> Vec<StepRecord> {
        let mut rows = Vec::new();
        for step in steps.filter(|step| step.touches()) {
            if let Some(needed) = step.needs.iter().find(|name| self.is_untrue(name, plan)) {
                rows.push(self.waits(step, needed));
            } else if step.fast {
                rows.extend(self.fast_step(step, plan).await);
            } else {
                rows.push(self.alone(step, plan).await);
            }
        }
        rows
    }

    /// Whether a step is not as the document says: it failed, or is held, or cannot be worked out.
    fn is_untrue(&self, name: &StepName, plan: &Plan) -> bool {
        self.untrue.contains(name) || !plan.wanted.iter().any(|step| step.name == *name)
    }

    fn waits(&mut self, step: &PlannedStep, needed: &StepName) -> StepRecord {
        self.untrue.insert(step.name.clone());
        let mut row = step.record();
        row.outcome = Outcome::Failed;
        row.error = Some(format!(
            "waits for {needed}, which is not as the document says"
        ));
        row
    }

    /// Carries one step out, whatever else the plan has, and has the ledger know of it.
    pub(super) async fn alone(&mut self, step: &PlannedStep, plan: &Plan) -> StepRecord {
        let mut row = step.record();
        self.say(&format!("applying {}", step.name), step);
        let clock = std::time::Instant::now();
        self.step(step, &mut row, plan).await;
        row.took_ms = u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX);
        log(&row, self.run);
        row
    }

    /// Says what is being done for a step, which may take as long as that says.
    pub(super) fn say(&self, what: &str, step: &PlannedStep) {
        (self.progress)(what, step.may_take);
    }

    /// Whether a step failed in this run because of members that it can do without.
    pub(super) fn is_isolated(&self, row: &StepRecord) -> bool {
        row.outcome.is_failure()
            && self.quarantine.members.contains_key(&row.step)
            && !self.quarantine.steps.contains_key(&row.step)
            && self.untrue.contains(&row.step)
    }

    /// The rows of steps that are not carried out, and why.
    pub(super) fn left(plan: &Plan) -> impl Iterator<Item = StepRecord> {
        let left = plan
            .steps
            .iter()
            .filter(|step| step.decision != Decision::Do);
        left.map(PlannedStep::record)
    }
}

/// The message alone says it all, for whoever reads the journal; the fields are for programs.
fn log(row: &StepRecord, run: u64) {
    let (step, cause) = (
        row.step.to_string(),
        format!("{:?}", row.cause).to_lowercase(),
    );
    let line = text::step_line(row, run);
    match (&row.outcome, &row.error) {
        (Outcome::Changed, _) => {
            tracing::info!(
                event = "step-changed",
                step,
                cause,
                changes = row.changes.len(),
                took_ms = row.took_ms,
                "{line}"
            );
        }
        (outcome, error) => tracing::error!(
            event = "step-failed",
            step,
            cause,
            outcome = outcome.as_str(),
            took_ms = row.took_ms,
            error = error.as_deref().unwrap_or_default(),
            "{line}"
        ),
    }
}
