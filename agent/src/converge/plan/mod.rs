//! The plan: what differs between the wishes and the box. The very object that a run applies. Pure.

mod compare;
mod guard;
mod records;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::hands::{Inverse, Sight};
use super::ledger::{Form, KnownStep, Ledger};
use super::pending::{Pending, Undo};
use super::quarantine::Quarantine;
use super::saved::Saved;
use crate::report::{Action, Cause, DocumentId, Kind, Problem, StepName};
use crate::resource::{Check, Desired, LineOrigin, Member, Phase, Probe, Step, Text, Thing, Wave};
use crate::settings::GuardSettings;
use crate::system::file::Attributes;

/// Everything that a plan is worked out from.
#[derive(Debug)]
pub(super) struct Situation<'a> {
    pub(super) document: DocumentId,
    /// What the document wants of this box.
    pub(super) desired: Desired,
    /// What the last good document wanted of it, for steps that this one's version may not touch.
    pub(super) fallback: Option<Desired>,
    /// With the interrupted steps merged into it.
    pub(super) ledger: &'a Ledger,
    pub(super) pending: &'a Pending,
    pub(super) quarantine: &'a Quarantine,
    /// What was found of everything that is wanted or owned.
    pub(super) sight: &'a Sight,
    /// `None`: the document confirms the shrinkage, or the server is retired.
    pub(super) guard: Option<GuardSettings>,
}

impl Situation<'_> {
    /// Whether an interrupted run may have left a unit running with what it had read before.
    pub(super) fn owes(&self, step: &StepName, thing: &Thing) -> bool {
        let interrupted = self.pending.unfinished(step);
        interrupted.is_some_and(|interrupted| interrupted.owes(thing))
    }
}

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
    pub(super) known: KnownStep,
    pub(super) wave: Wave,
    pub(super) needs: Vec<StepName>,
    pub(super) cause: Cause,
    pub(super) decision: Decision,
    pub(super) changes: Vec<Change>,
    pub(super) check: Option<Check>,
    pub(super) probes: Vec<Probe>,
    pub(super) members: Vec<Member>,
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
}

/// One thing that changes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change {
    pub(super) thing: Thing,
    pub(super) action: Action,
    pub(super) when: When,
    /// What is there now.
    pub(super) before: Saved,
    /// How it is undone.
    pub(super) inverse: Inverse,
    /// What will be: `None` for a path that goes.
    pub(super) after: Option<After>,
    pub(super) form: Form,
    /// The ledger's digest of what will be; empty for a removal.
    pub(super) digest: String,
    /// Somebody else's work is replaced: a copy is kept.
    pub(super) backup: bool,
    /// Only somebody else's change is undone.
    pub(super) drift: bool,
    /// What a person would compare the new text with, where it is not what stands at the path.
    pub(super) diff_base: Option<String>,
    /// Only machinery: not shown to people.
    pub(super) hidden: bool,
    /// The path under which people know it.
    pub(super) shown_as: Option<PathBuf>,
    pub(super) origins: Vec<LineOrigin>,
}

/// What a thing will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum After {
    /// A whole file.
    File { text: Text, attributes: Attributes },
    /// A file with the agent's lines in it or, with `None`, without them; `whole` is what comes of what stands there now.
    Block {
        lines: Option<String>,
        whole: Vec<u8>,
    },
    /// A link.
    Link(PathBuf),
    /// A unit that was told so.
    Unit(UnitOrder),
}

/// What a unit is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UnitOrder {
    /// To start at boot, or no longer. `None`: that is as it should be.
    pub(super) enable: Option<bool>,
    /// `Start`, `Restart` or `Stop`. `None`: that is as it should be.
    pub(super) run: Option<Action>,
}

/// When a thing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum When {
    /// Before the check.
    Prepare,
    /// After it.
    Commit,
    /// After the switch.
    Activate,
    /// After the step was shown to work.
    Cleanup,
}

impl From<Phase> for When {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Prepare => Self::Prepare,
            Phase::Commit => Self::Commit,
            Phase::Activate => Self::Activate,
        }
    }
}

impl Plan {
    /// Whether a run would change anything or has anything to say of a step.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// Steps of the document that may not be carried out, and why.
pub(super) fn decisions(
    desired: &Desired,
    ledger: &Ledger,
    quarantine: &Quarantine,
    guard: Option<GuardSettings>,
) -> BTreeMap<StepName, Decision> {
    let mut decisions = BTreeMap::new();
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
    let decisions = decisions(desired, ledger, situation.quarantine, situation.guard);
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
    let is_claimed = |thing: &Thing| claimed.contains(thing);
    let mut removals = Vec::new();
    let mut previews = Vec::new();
    for name in gone {
        let mut removal = compare::removal(name, situation, &is_claimed);
        match decisions.get(name) {
            None => removals.push(removal),
            Some(decision) => {
                removal.decision = decision.clone();
                previews.push(removal);
            }
        }
    }
    // What uses a thing goes before the thing.
    removals.sort_by_key(|step| std::cmp::Reverse((step.wave, step.known.kind)));
    let blocked = blocked.into_iter().map(|(step, decision)| PlannedStep {
        decision: decision.clone(),
        ..compare::step(step, situation, &is_claimed)
    });

    let planned = wanted
        .iter()
        .map(|step| compare::step(step, situation, &is_claimed));
    let steps: Vec<PlannedStep> = removals
        .into_iter()
        .chain(planned)
        .filter(PlannedStep::has_work)
        .chain(blocked)
        .chain(previews)
        .chain(desired.left_out.iter().map(compare::left_out))
        .collect();
    let mut problems = desired.problems.clone();
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
    fn has_work(&self) -> bool {
        !self.changes.is_empty()
            || matches!(self.cause, Cause::Pending | Cause::Unwanted)
            || self.decision != Decision::Do
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
