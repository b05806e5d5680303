//! The plan: what differs between the wishes and the box. The very object that a run applies. Pure.

mod compare;
mod guard;
mod records;

use std::collections::{BTreeMap, BTreeSet};

use compare::Comparison;

use super::change::{Change, When};
use super::ledger::{KnownStep, Ledger};
use super::pending::Undo;
use super::quarantine::Quarantine;
use super::situation::{Seen, Situation};
use crate::fleet::Fleet;
use crate::node;
use crate::report::{Cause, DocumentId, Kind, Problem, StepName};
use crate::resource::{
    Check, Desired, FileCheck, Member, Precaution, Probe, Smoke, Step, Thing, Verb, Wave,
};
use crate::settings::GuardSettings;

/// What a run would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// For which document.
    pub document: DocumentId,
    /// What speaks against the document on this box.
    pub problems: Vec<Problem>,
    /// Steps with something to do or to say, in the order in which a run takes them.
    pub(super) steps: Vec<PlannedStep>,
    /// All steps that are to be true after the run, those with nothing to do included.
    pub(super) wanted: Vec<Step>,
    /// Everything that any step wants, also one that is held: none of it is removed.
    pub(super) claimed: BTreeSet<Thing>,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PlannedStep {
    pub(super) name: StepName,
    /// It is about files that not every account may read.
    pub(super) private: bool,
    pub(super) known: KnownStep,
    pub(super) wave: Wave,
    pub(super) needs: Vec<StepName>,
    pub(super) cause: Cause,
    pub(super) decision: Decision,
    pub(super) changes: Vec<Change>,
    pub(super) check: Option<Check>,
    pub(super) file_checks: Vec<FileCheck>,
    pub(super) precautions: Vec<Precaution>,
    pub(super) probes: Vec<Probe>,
    pub(super) smoke: Vec<Smoke>,
    pub(super) members: Vec<Member>,
    pub(super) keep_packages: Vec<String>,
    pub(super) list: Option<Vec<String>>,
    pub(super) may_take: std::time::Duration,
    pub(super) fast: bool,
    /// What an interrupted run left for putting back, oldest first.
    pub(super) restore: Vec<Undo>,
}

/// Whether a step is carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is.
    Do,
    /// Not until the document confirms it: why.
    Held(String),
    /// Not for this document's version: how it failed before.
    Quarantined(String),
    /// It cannot be, as things stand on the box: why.
    Obstructed(String),
    /// Not while a person holds this box: until when, and why.
    OnHold(String),
}

impl Plan {
    /// Leaves alone all that this plan would do, but for what follows the databases' masters, and for what was interrupted: half of
    /// a change is worse than all of it. `why`: in what words a person holds this box.
    pub(super) fn hold_back(&mut self, why: &str) {
        let untouched = self
            .steps
            .iter_mut()
            .filter(|step| step.touches() && !step.fast && step.cause != Cause::Pending);
        for step in untouched {
            step.decision = Decision::OnHold(why.to_owned());
        }
    }

    /// Whether a run would change anything or has anything to say of a step.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// The units that a step has started where they stand still: what it wants is of use only while they run.
pub(super) fn kept_running(step: &Step) -> impl Iterator<Item = &str> {
    let activate = step.activate.iter();
    let kept = activate.filter(|activation| activation.verb == Verb::ReloadOrStart);
    kept.map(|activation| activation.unit.as_str())
}

/// Whether all of a step is there but a service that serves it, which stands still: somebody has stopped it, or it has ended.
fn stands_still(step: &Step, situation: &Situation<'_>) -> bool {
    kept_running(step).any(|unit| {
        let seen = situation.sight.get(&Thing::Unit(unit.to_owned()));
        // One that is masked is meant to stand still.
        matches!(seen, Some(Ok(Seen::Unit(state))) if state.loaded && !state.active)
    })
}

/// Why nothing is removed from this box for now, where `after` would take most of what it has, and does so from most of a fleet
/// that stood on `before`. `before` is asked for only where this box loses much.
pub(super) fn sweeping<E>(
    desired: &Desired,
    ledger: &Ledger,
    guard: GuardSettings,
    before: impl FnOnce() -> Result<Option<Fleet>, E>,
    after: &Fleet,
) -> Result<Option<String>, E> {
    if after.confirm || !guard::loses_most(desired, ledger, guard) {
        return Ok(None);
    }
    Ok(before()?.and_then(|before| node::sweeping(&before, after)))
}

/// Steps of the document that may not be carried out, and why. `sweeping`: why none may be removed.
pub(super) fn decisions(
    desired: &Desired,
    ledger: &Ledger,
    quarantine: &Quarantine,
    guard: Option<GuardSettings>,
    sweeping: Option<&str>,
) -> BTreeMap<StepName, Decision> {
    let mut decisions = BTreeMap::new();
    if let Some(why) = sweeping {
        let gone = guard::gone(desired, ledger);
        decisions.extend(gone.map(|name| (name.clone(), Decision::Held(why.to_owned()))));
    }
    if let Some(guard) = guard {
        for (name, reason) in guard::shrinkages(desired, ledger, guard) {
            decisions.insert(name, Decision::Held(reason));
        }
    }
    for (name, failure) in &quarantine.steps {
        decisions.insert(name.clone(), Decision::Quarantined(failure.error.clone()));
    }
    decisions
}

/// Compares the wishes with the box.
pub(super) fn plan(situation: &Situation<'_>) -> Plan {
    let Situation {
        document,
        desired,
        fallback,
        ledger,
        ..
    } = situation;
    let decisions = decisions(
        desired,
        ledger,
        situation.quarantine,
        situation.guard,
        situation.sweeping.as_deref(),
    );
    let mut kept: BTreeSet<StepName> = desired.keep.iter().cloned().collect();
    let mut blocked: Vec<(&Step, &Decision)> = Vec::new();
    let mut wanted: Vec<Step> = Vec::new();
    let old = |name: &StepName| {
        let mut steps = fallback.iter().flat_map(|fallback| &fallback.steps);
        steps.find(|step| step.name == *name)
    };

    for step in &desired.steps {
        let Some(decision) = decisions.get(&step.name) else {
            wanted.push(step.clone());
            continue;
        };
        blocked.push((step, decision));
        match old(&step.name) {
            // What the last good document wants is the very thing that failed: the box stays as it was put back.
            Some(old) if old.wants != step.wants => wanted.push(old.clone()),
            _ => drop(kept.insert(step.name.clone())),
        }
    }
    let named: BTreeSet<&StepName> = desired.steps.iter().map(|step| &step.name).collect();
    // Of a step that nothing asks for any more: its own name and those of the things that it owns.
    let owners = ledger.things.values().map(|owned| &owned.step);
    let gone: BTreeSet<&StepName> = (ledger.steps.keys().chain(owners))
        .filter(|name| !named.contains(name) && !kept.contains(name))
        .collect();
    for name in &gone {
        if decisions.contains_key(*name) {
            wanted.extend(old(name).cloned());
        }
    }
    wanted.sort_by_key(|step| (step.wave, step.kind));
    let wanted = needed_first(wanted);

    let claimed: BTreeSet<Thing> = (desired.steps.iter().chain(&wanted))
        .flat_map(|step| step.wants.iter().map(|want| want.thing.clone()))
        .chain(desired.claims.iter().cloned())
        .collect();
    let comparison = Comparison::new(situation, &claimed);
    let mut removals = Vec::new();
    let mut previews = Vec::new();
    let mut staying = Vec::new();
    for name in gone {
        let mut removal = compare::removal(name, &comparison);
        match decisions.get(name) {
            None => {
                let stays = comparison.staying(name);
                // It would be forgotten with its step: the ledger keeps it until it can go.
                if stays.is_empty() || !removal.changes.is_empty() {
                    removals.push(removal);
                }
                staying.extend(stays);
            }
            Some(decision) => {
                removal.decision = decision.clone();
                previews.push(removal);
            }
        }
    }
    // What uses a thing goes before the thing.
    removals.sort_by_key(|step| std::cmp::Reverse((step.wave, step.known.kind)));
    removals.sort_by(|a, b| match (a.kind(), b.kind()) {
        // An account is shut before its keys go, and its groups go last: by their names, backwards.
        (Kind::Accounts, Kind::Accounts) => b.name.cmp(&a.name),
        (one, other) => other.cmp(&one),
    });
    let blocked = blocked.into_iter().map(|(step, decision)| PlannedStep {
        decision: decision.clone(),
        ..compare::step(step, &comparison)
    });

    let planned = wanted
        .iter()
        .filter_map(|step| compare::work(step, &comparison));
    let steps: Vec<PlannedStep> = removals
        .into_iter()
        .chain(planned)
        .chain(blocked)
        .chain(previews)
        .chain(desired.left_out.iter().map(compare::left_out))
        .collect();
    let mut problems = desired.problems.clone();
    problems.append(&mut staying);
    problems.sort_by(|a, b| (a.kind, &a.step, &a.message).cmp(&(b.kind, &b.step, &b.message)));
    problems.dedup();
    Plan {
        document: document.clone(),
        problems,
        steps,
        wanted,
        claimed,
    }
}

/// The same steps with each behind those that it needs, as far as that goes: of steps that need each other none
/// comes first. Others keep their order.
fn needed_first(mut steps: Vec<Step>) -> Vec<Step> {
    if steps.iter().all(|step| step.needs.is_empty()) {
        return steps;
    }
    let mut ordered: Vec<Step> = Vec::with_capacity(steps.len());
    while !steps.is_empty() {
        let waits = |step: &Step| {
            step.needs
                .iter()
                .any(|name| steps.iter().any(|other| other.name == *name))
        };
        let next = steps.iter().position(|step| !waits(step)).unwrap_or(0);
        ordered.push(steps.remove(next));
    }
    ordered
}

impl PlannedStep {
    /// Whether all of it is there already, and only a service has to be started that serves it.
    pub(super) fn only_starts(&self) -> bool {
        self.cause == Cause::Drift && self.changes.is_empty()
    }

    /// Whether a run carries it out.
    pub(super) fn touches(&self) -> bool {
        self.decision == Decision::Do
    }

    /// Whether nothing asks for it any more.
    pub(super) fn is_removal(&self) -> bool {
        self.cause == Cause::Unwanted
    }

    /// Which resource.
    pub(super) const fn kind(&self) -> Kind {
        self.known.kind
    }

    /// The changes of one time.
    pub(super) fn at(&self, when: When) -> impl Iterator<Item = &Change> {
        self.changes
            .iter()
            .filter(move |change| change.when == when)
    }
}
