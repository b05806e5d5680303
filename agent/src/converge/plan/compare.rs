//! Comparing one step with the box.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::super::change::{Change, Inverse, When};
use super::super::hands;
use super::super::ledger::{KnownStep, Owned};
use super::super::situation::Situation;
use super::{Decision, PlannedStep};
use crate::report::{Cause, Kind, Problem, Severity, StepName};
use crate::resource::{LeftOut, Step, Thing, Wave};

/// What steps are compared with.
pub(super) struct Comparison<'a> {
    situation: &'a Situation<'a>,
    /// What the ledger has of each step.
    owned: BTreeMap<&'a StepName, Vec<(&'a Thing, &'a Owned)>>,
    /// What any step wants.
    claimed: &'a BTreeSet<Thing>,
}

impl<'a> Comparison<'a> {
    pub(super) fn new(situation: &'a Situation<'a>, claimed: &'a BTreeSet<Thing>) -> Self {
        Self {
            situation,
            owned: situation.ledger.by_step(),
            claimed,
        }
    }

    /// What a step owns that nothing asks for any more and that cannot go yet, each with why.
    pub(super) fn staying(&self, step: &StepName) -> Vec<Problem> {
        let owned = self
            .owned(step)
            .filter(|(thing, _)| !self.claimed.contains(*thing));
        let stays = owned.filter_map(|(thing, owned)| {
            let message = hands::account::stays(thing, owned, self.situation)?;
            Some(Problem {
                kind: owned.kind,
                step: Some(step.clone()),
                severity: Severity::Warning,
                message,
                origin: None,
            })
        });
        stays.collect()
    }

    /// What the ledger has of a step.
    fn owned(&self, step: &StepName) -> impl Iterator<Item = (&'a Thing, &'a Owned)> {
        self.owned.get(step).into_iter().flatten().copied()
    }
}

/// What must change for `step` to be true.
pub(super) fn step(step: &Step, with: &Comparison<'_>) -> PlannedStep {
    let (changes, obstacle) = changes(step, with);
    planned(step, changes, obstacle, with.situation)
}

/// The same; `None` where nothing has to be done or said.
pub(super) fn work(step: &Step, with: &Comparison<'_>) -> Option<PlannedStep> {
    let (changes, obstacle) = changes(step, with);
    let situation = with.situation;
    let has_work = !changes.is_empty()
        || obstacle.is_some()
        || situation.pending.unfinished(&step.name).is_some()
        || super::stands_still(step, situation);
    has_work.then(|| planned(step, changes, obstacle, situation))
}

fn planned(
    step: &Step,
    changes: Vec<Change>,
    obstacle: Option<String>,
    situation: &Situation<'_>,
) -> PlannedStep {
    let mut planned = PlannedStep {
        name: step.name.clone(),
        private: step.wants.iter().any(|want| want.wish.is_private()),
        known: KnownStep {
            kind: step.kind,
            activate: step.activate.clone(),
            fast: step.fast,
        },
        wave: step.wave,
        needs: step.needs.clone(),
        cause: Cause::Intended,
        decision: obstacle.map_or(Decision::Do, Decision::Obstructed),
        changes,
        check: step.check.clone(),
        file_checks: step.file_checks.clone(),
        precautions: step.precautions.clone(),
        probes: step.probes.clone(),
        smoke: step.smoke.clone(),
        members: step.members.clone(),
        keep_packages: step.keep_packages.clone(),
        list: step.list.as_ref().map(|list| list.entries.clone()),
        may_take: step.may_take,
        fast: step.fast,
        restore: Vec::new(),
    };
    if let Some(interrupted) = situation.pending.unfinished(&step.name) {
        planned.cause = Cause::Pending;
        planned.restore.clone_from(&interrupted.changes);
    } else if only_drift(&planned)
        || (planned.changes.is_empty() && super::stands_still(step, situation))
    {
        planned.cause = Cause::Drift;
    }
    planned
}

/// What must change for `step` to be true, and what is in the way of it.
fn changes(step: &Step, with: &Comparison<'_>) -> (Vec<Change>, Option<String>) {
    let situation = with.situation;
    let mut changes: Vec<Change> = Vec::new();
    let mut obstacle = None;
    // Units come after the paths that they read: whether one of those changes is known by then.
    let mut touched: BTreeSet<PathBuf> = BTreeSet::new();
    let (paths, rest): (Vec<_>, Vec<_>) = step
        .wants
        .iter()
        .partition(|want| want.thing.path().is_some());
    for want in paths.into_iter().chain(rest) {
        let is_touched = |path: &Path| touched.contains(path);
        match hands::difference(want, step, situation, &is_touched) {
            Ok(Some(change)) => {
                touched.extend(change.thing.path().map(Path::to_path_buf));
                changes.push(change);
            }
            Ok(None) => {}
            Err(why) => obstacle = Some(why),
        }
    }
    let shown: BTreeSet<&Path> = step
        .wants
        .iter()
        .filter_map(|want| want.shown_as.as_deref())
        .collect();
    for (thing, owned) in with.owned(&step.name) {
        if with.claimed.contains(thing) {
            continue;
        }
        if let Some(mut change) = hands::removal(thing, owned, situation) {
            // A unit that nothing wants any more stops before what it reads goes.
            if change.when != When::Activate {
                change.when = When::Cleanup;
                change.inverse = Inverse::Never("it goes when the step was shown to work");
            }
            // The same thing lives on under another path (the next generation): nothing was removed for people.
            change.hidden |= owned
                .shown_as
                .as_deref()
                .is_some_and(|path| shown.contains(path));
            changes.push(change);
        }
    }
    (changes, obstacle)
}

/// What must change for a step that nothing asks for any more to be gone.
pub(super) fn removal(name: &StepName, with: &Comparison<'_>) -> PlannedStep {
    let situation = with.situation;
    let mut kind = None;
    let mut changes = Vec::new();
    for (thing, owned) in with.owned(name) {
        kind = Some(owned.kind);
        if !with.claimed.contains(thing) {
            changes.extend(hands::removal(thing, owned, situation));
        }
    }
    changes.reverse();
    let known = situation.ledger.steps.get(name);
    let interrupted = situation.pending.unfinished(name);
    PlannedStep {
        name: name.clone(),
        private: false,
        known: known.cloned().unwrap_or_else(|| KnownStep {
            kind: kind.unwrap_or(Kind::Hosts),
            activate: Vec::new(),
            fast: false,
        }),
        wave: Wave::Base,
        needs: Vec::new(),
        cause: Cause::Unwanted,
        decision: Decision::Do,
        changes,
        check: None,
        file_checks: Vec::new(),
        precautions: Vec::new(),
        probes: Vec::new(),
        smoke: Vec::new(),
        members: Vec::new(),
        keep_packages: Vec::new(),
        list: None,
        may_take: crate::resource::USUAL_STEP,
        fast: false,
        restore: interrupted
            .map(|step| step.changes.clone())
            .unwrap_or_default(),
    }
}

/// A row for a member that its step comes true without.
pub(super) fn left_out(left_out: &LeftOut) -> PlannedStep {
    let said = format!(
        "{}\n{} stays as it was, or away if it is new; the rest of {} is as the document says",
        left_out.why, left_out.member, left_out.step
    );
    let name = StepName(format!("{}/{}", left_out.step, left_out.member));
    PlannedStep {
        name,
        // Which of a step's files it is about is not known here, and files have all modes.
        private: left_out.kind == Kind::Files,
        known: KnownStep {
            kind: left_out.kind,
            activate: Vec::new(),
            fast: false,
        },
        wave: Wave::Proof,
        needs: Vec::new(),
        cause: Cause::Intended,
        decision: if left_out.quarantined {
            Decision::Quarantined(said)
        } else {
            Decision::Obstructed(said)
        },
        changes: Vec::new(),
        check: None,
        file_checks: Vec::new(),
        precautions: Vec::new(),
        probes: Vec::new(),
        smoke: Vec::new(),
        members: Vec::new(),
        keep_packages: Vec::new(),
        list: None,
        may_take: crate::resource::USUAL_STEP,
        fast: false,
        restore: Vec::new(),
    }
}

fn only_drift(planned: &PlannedStep) -> bool {
    !planned.changes.is_empty() && planned.changes.iter().all(|change| change.drift)
}
