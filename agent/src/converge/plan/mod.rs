//! The plan: what differs between the wishes and the box. The very object that a run applies. Pure.

mod compare;
mod guard;
mod records;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::ledger::{Form, KnownStep, Ledger};
use super::pending::{Pending, Saved};
use super::quarantine::Quarantine;
use crate::report::{Action, Cause, DocumentId, Kind, Problem, StepName};
use crate::resource::{Check, Desired, LineOrigin, Phase, Probe, Step};
use crate::settings::GuardSettings;
use crate::system::file::Found;
use crate::system::systemd::UnitState;

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
    /// What stands at every path of the wishes and the ledger; an error where that cannot be told.
    pub(super) found: &'a BTreeMap<PathBuf, Result<Found, String>>,
    /// The state of every unit of the wishes and the ledger. `None` under a root, where units are left alone.
    pub(super) units: Option<&'a BTreeMap<String, UnitState>>,
    /// `None`: the document confirms the shrinkage, or the server is retired.
    pub(super) guard: Option<GuardSettings>,
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
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PlannedStep {
    pub(super) name: StepName,
    pub(super) known: KnownStep,
    pub(super) cause: Cause,
    pub(super) verdict: Verdict,
    pub(super) changes: Vec<Change>,
    pub(super) units: Vec<UnitChange>,
    pub(super) check: Option<Check>,
    pub(super) probes: Vec<Probe>,
    pub(super) list: Option<Vec<String>>,
    /// What an interrupted run left for putting back, oldest first.
    pub(super) restore: Vec<super::pending::Restore>,
}

/// Whether a step is carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is.
    Do,
    /// Not until the document confirms it: why.
    Held(String),
    /// Not for this document's version: how it failed before.
    Quarantined(String),
    /// It cannot be, as things stand on the box: why.
    Obstructed(String),
}

/// One path that changes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change {
    pub(super) action: Action,
    pub(super) path: PathBuf,
    pub(super) shown_as: Option<PathBuf>,
    pub(super) when: When,
    /// What stands there now.
    pub(super) before: Saved,
    /// What will: `None` for a removal.
    pub(super) after: Option<After>,
    pub(super) form: Form,
    /// Somebody else's work is replaced: a copy is kept.
    pub(super) backup: bool,
    /// Only somebody else's change is undone.
    pub(super) drift: bool,
    /// What a person would compare the new text with, where it is not what stands at the path.
    pub(super) diff_base: Option<String>,
    /// Only machinery: not shown to people.
    pub(super) hidden: bool,
    pub(super) origins: Vec<LineOrigin>,
}

/// What a path will hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum After {
    /// A file of this text; the mode is for one that is not there yet. `digest` is the ledger's.
    Text {
        text: String,
        mode: u32,
        digest: String,
    },
    /// A link.
    Link { target: PathBuf, digest: String },
}

/// When a path changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum When {
    /// Before the check.
    Prepare,
    /// After it.
    Commit,
    /// After the step was shown to work.
    Cleanup,
}

impl From<Phase> for When {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Prepare => Self::Prepare,
            Phase::Commit => Self::Commit,
        }
    }
}

/// One unit that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnitChange {
    pub(super) action: Action,
    pub(super) unit: String,
    pub(super) drift: bool,
}

impl Plan {
    /// Whether a run would change anything or has anything to say of a step.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// Steps of the document that may not be carried out, and why.
pub(super) fn verdicts(
    desired: &Desired,
    ledger: &Ledger,
    quarantine: &Quarantine,
    guard: Option<GuardSettings>,
) -> BTreeMap<StepName, Verdict> {
    let mut verdicts = BTreeMap::new();
    if let Some(guard) = guard {
        for (name, reason) in guard::shrinkages(desired, ledger, guard) {
            verdicts.insert(name, Verdict::Held(reason));
        }
    }
    for (name, failure) in &quarantine.steps {
        verdicts.insert(name.clone(), Verdict::Quarantined(failure.error.clone()));
    }
    verdicts
}

/// Compares the wishes with the box.
pub(super) fn plan(situation: &Situation<'_>) -> Plan {
    let verdicts = verdicts(
        &situation.desired,
        situation.ledger,
        situation.quarantine,
        situation.guard,
    );
    let Situation {
        document,
        desired,
        fallback,
        ..
    } = situation;
    let mut kept: BTreeSet<StepName> = desired.keep.iter().cloned().collect();
    let mut problems = desired.problems.clone();
    let mut blocked = Vec::new();
    let mut wanted = Vec::new();
    let old = |name: &StepName| {
        fallback
            .as_ref()?
            .steps
            .iter()
            .find(|step| step.name == *name)
            .cloned()
    };

    for step in &desired.steps {
        let Some(verdict) = verdicts.get(&step.name) else {
            wanted.push(step.clone());
            continue;
        };
        let mut preview = compare::step(step, situation);
        preview.verdict = verdict.clone();
        blocked.push(preview);
        match old(&step.name) {
            Some(old) => wanted.push(old),
            None => drop(kept.insert(step.name.clone())),
        }
    }
    let named: BTreeSet<&StepName> = desired.steps.iter().map(|step| &step.name).collect();
    let mut removals = Vec::new();
    for (name, known) in &situation.ledger.steps {
        if named.contains(name) || kept.contains(name) {
            continue;
        }
        let mut removal = compare::removal(name, known, situation);
        match verdicts.get(name) {
            None => removals.push(removal),
            Some(verdict) => {
                removal.verdict = verdict.clone();
                blocked.push(removal);
                wanted.extend(old(name));
            }
        }
    }
    // What uses a thing goes before the thing.
    removals.sort_by_key(|step| std::cmp::Reverse(step.known.kind));
    wanted.sort_by_key(|step| step.kind);

    let planned = wanted.iter().map(|step| compare::step(step, situation));
    let steps: Vec<PlannedStep> = removals
        .into_iter()
        .chain(planned)
        .filter(PlannedStep::has_work)
        .chain(blocked)
        .collect();
    problems.sort_by(|a, b| (a.kind, &a.step, &a.message).cmp(&(b.kind, &b.step, &b.message)));
    problems.dedup();
    Plan {
        document: document.clone(),
        problems,
        steps,
        wanted,
    }
}

impl PlannedStep {
    fn has_work(&self) -> bool {
        !self.changes.is_empty()
            || !self.units.is_empty()
            || self.cause == Cause::Pending
            || self.cause == Cause::Unwanted
            || self.verdict != Verdict::Do
    }

    /// Whether a run carries it out.
    pub(super) fn touches(&self) -> bool {
        self.verdict == Verdict::Do
    }

    /// Which resource.
    pub(super) const fn kind(&self) -> Kind {
        self.known.kind
    }
}
