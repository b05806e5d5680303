//! Bringing the ledger up to what is true.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::super::change::Change;
use super::super::ledger::{Form, KnownStep, Owned, digest_of, groups_of};
use super::super::plan::{Decision, Plan, PlannedStep};
use super::{Applier, backup};
use crate::report::StepName;
use crate::resource::{Step, Thing, Want};
use crate::system::file::Found;

impl Applier<'_> {
    /// Everything that is wanted and true: steps that the plan had nothing to do for, too. Returns whether the ledger says
    /// anything else than before.
    pub(in super::super) fn settle_all(&mut self, plan: &Plan) -> bool {
        let mut changed = false;
        let mut owned: BTreeMap<StepName, Vec<Thing>> = BTreeMap::new();
        for (step, things) in self.ledger.by_step() {
            let things = things.into_iter().map(|(thing, _)| thing.clone());
            owned.insert(step.clone(), things.collect());
        }
        for step in &plan.wanted {
            let is_others = step.fast && self.overtaken;
            let obstructed = plan.steps.iter().any(|planned| {
                let left = matches!(
                    planned.decision,
                    Decision::Obstructed(_) | Decision::OnHold(_)
                );
                planned.name == step.name && left
            });
            if !self.untrue.contains(&step.name) && !is_others && !obstructed {
                let planned = plan.steps.iter().find(|planned| {
                    planned.touches() && !planned.is_removal() && planned.name == step.name
                });
                let owned = owned.get(&step.name).map_or(&[][..], Vec::as_slice);
                changed |= self.settle(step, planned, owned);
            }
        }
        changed
    }

    /// A wanted step that was just done.
    pub(super) fn settle_done(&mut self, step: &Step, planned: &PlannedStep) {
        let owned = self.ledger.of_step(&step.name);
        let owned: Vec<Thing> = owned.map(|(thing, _)| thing.clone()).collect();
        self.settle(step, Some(planned), &owned);
    }

    /// One wanted step, which is true now. `planned`: what was done for it in this run. `owned`: what the ledger has of it.
    /// Returns whether the ledger says anything else than before.
    fn settle(&mut self, step: &Step, planned: Option<&PlannedStep>, owned: &[Thing]) -> bool {
        let written: BTreeMap<&Thing, &Change> = planned
            .iter()
            .flat_map(|planned| planned.changes.iter().map(|change| (&change.thing, change)))
            .collect();
        let mut changed = false;
        for want in &step.wants {
            if self.is_left_alone(want) {
                continue;
            }
            let wrote = written.get(&want.thing).copied();
            if let Some(owned) = self.owned_now(want, step, wrote) {
                self.ledger.things.insert(want.thing.clone(), owned);
                changed = true;
            }
        }
        changed |= self.forget_gone(step, owned);
        if !self.ledger.steps.get(&step.name).is_some_and(|known| {
            (known.kind, known.fast) == (step.kind, step.fast) && known.activate == step.activate
        }) {
            let known = KnownStep {
                kind: step.kind,
                activate: step.activate.clone(),
                fast: step.fast,
            };
            self.ledger.steps.insert(step.name.clone(), known);
            changed = true;
        }
        match &step.list {
            Some(list) if self.ledger.lists.get(&step.name) == Some(&list.entries) => {}
            Some(list) => {
                let entries = list.entries.clone();
                self.ledger.lists.insert(step.name.clone(), entries);
                changed = true;
            }
            None => changed |= self.ledger.lists.remove(&step.name).is_some(),
        }
        changed
    }

    /// Units, packages and accounts under a root: nobody has looked at them.
    fn is_left_alone(&self, want: &Want) -> bool {
        let is_seen = matches!(want.thing, Thing::Path(_) | Thing::Release(_));
        !is_seen && !self.files.root().is_machine()
    }

    /// What the ledger has to say of a want that is true. `None`: what it says already.
    fn owned_now(&self, want: &Want, step: &Step, change: Option<&Change>) -> Option<Owned> {
        let wrote = change.is_some();
        let before = self.ledger.things.get(&want.thing);
        let digest = digest_of(want, step);
        let says_so = |owned: &Owned| {
            (owned.kind, owned.form) == (step.kind, Form::of(&want.wish))
                && owned.digest == digest
                && owned.step == step.name
                && owned.shown_as == want.shown_as
                && owned.origins == want.origins
                && owned.secret == want.wish.is_secret()
                && owned.attributes == want.wish.attributes()
        };
        if !wrote && before.is_some_and(says_so) {
            return None;
        }
        let (adopted, run, written, version) = match before {
            // The key of a secret's digest may be another since.
            Some(owned) if !wrote && (owned.digest == digest || owned.secret) => {
                (owned.adopted, owned.run, owned.written, owned.version)
            }
            _ => (
                change.map_or_else(|| before.is_none(), |change| change.adopts),
                if wrote { self.run } else { 0 },
                self.started,
                self.document.version,
            ),
        };
        Some(Owned {
            kind: step.kind,
            step: step.name.clone(),
            form: Form::of(&want.wish),
            digest,
            shown_as: want.shown_as.clone(),
            origins: want.origins.clone(),
            adopted,
            secret: want.wish.is_secret(),
            attributes: want.wish.attributes(),
            original: match (before, change) {
                (Some(owned), _) => owned.original.clone(),
                (None, Some(change)) => {
                    backup::first_replaced((step.kind, &step.name), change, &self.ledger)
                }
                (None, None) => None,
            },
            groups: groups_of(want),
            run,
            written,
            version,
        })
    }

    /// A step that nothing asked for is gone, but for what others want by now.
    pub(super) fn settle_removal(&mut self, step: &PlannedStep, plan: &Plan) {
        let owned: Vec<Thing> = self
            .ledger
            .of_step(&step.name)
            .map(|(thing, _)| thing.clone())
            .filter(|thing| !plan.claimed.contains(thing))
            .collect();
        for thing in owned {
            self.forget(&thing);
        }
        self.ledger.steps.remove(&step.name);
        self.ledger.lists.remove(&step.name);
    }

    /// Forgets what the step no longer wants and what is not there any more: a crash may have come between
    /// its removal, or that of the directory around it, and the ledger. So it does with what was there before the agent.
    /// Returns whether there was anything.
    fn forget_gone(&mut self, step: &Step, owned: &[Thing]) -> bool {
        if owned.is_empty() {
            return false;
        }
        let mut forgot = false;
        let wanted: BTreeSet<&Thing> = step.wants.iter().map(|want| &want.thing).collect();
        for thing in owned.iter().filter(|thing| !wanted.contains(thing)) {
            let Some(known) = self.ledger.things.get(thing) else {
                continue;
            };
            let gone = known.step == step.name
                && match thing {
                    Thing::Path(path) => known.adopted || self.is_gone(path),
                    // Stopped by this very step, or never running; a package stays, and is nobody's business any more; an
                    // account is locked, or gone.
                    Thing::Unit(_) | Thing::Package(_) | Thing::Group(_) | Thing::User(_) => {
                        self.files.root().is_machine()
                    }
                    // It is there as long as it is in use or kept, and pruned by who keeps records of it.
                    Thing::Release(_) => true,
                };
            if gone {
                self.forget(thing);
                forgot = true;
            }
        }
        forgot
    }

    fn is_gone(&self, path: &Path) -> bool {
        matches!(self.files.read(path), Ok(Found::Absent))
    }

    /// Forgets a thing of the ledger that is gone, and the directories that were made for it.
    pub(super) fn forget(&mut self, thing: &Thing) {
        let owned = self.ledger.things.remove(thing);
        if let Thing::Path(path) = thing {
            // One that is not empty yet goes with the last that is in it.
            let is_made = owned.is_some_and(|owned| {
                owned.form == Form::Directory && !owned.adopted && owned.original.is_none()
            });
            if is_made && !self.is_gone(path) {
                self.ledger.dirs.insert(path.clone());
            }
            self.remove_made_dirs(path);
        }
    }

    /// Removes the directories around `path` that the agent made, where they are empty.
    pub(super) fn remove_made_dirs(&mut self, path: &Path) {
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

    /// Has the ledger know from now on that a step is not as the document says.
    pub(super) fn mark_untrue(&mut self, step: &StepName) {
        self.untrue.insert(step.clone());
    }

    /// Directories that are not there yet: the agent makes them, so it may remove them.
    pub(super) fn missing_dirs(
        &self,
        step: &PlannedStep,
    ) -> Result<BTreeSet<PathBuf>, super::fault::Fault> {
        let mut missing = BTreeSet::new();
        let mut present = BTreeSet::from([PathBuf::from("/")]);
        let made = step.changes.iter().filter(|change| change.after.is_some());
        for path in made.filter_map(|change| change.thing.path()) {
            for dir in path.ancestors().skip(1).map(Path::to_path_buf) {
                if missing.contains(&dir) || present.contains(&dir) {
                    break;
                }
                match self.files.read(&dir)? {
                    Found::Absent => drop(missing.insert(dir)),
                    _ => drop(present.insert(dir)),
                }
            }
        }
        Ok(missing)
    }
}
