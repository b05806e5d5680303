//! One step as a transaction: stage → check → commit → activate → probe → keep, or put back what was there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::super::change::{AccountOrder, After, Change, Inverse, When};
use super::super::hands::{account, path, unit};
use super::super::ledger::{Form, Owned};
use super::super::pending::{Interrupted, Stage, Undo};
use super::super::plan::{Plan, PlannedStep};
use super::super::quarantine::Failure;
use super::super::saved::Saved;
use super::fault::Fault;
use super::{Applier, activate, backup, probe};
use crate::report::{Action, Cause, Kind, Outcome, StepRecord};
use crate::resource::{MemberName, Thing};
use crate::system::chain;
use crate::system::crash;
use crate::system::file::Found;

/// What a step has changed so far.
pub(super) struct Switched {
    /// What was there before, oldest first: the first copy of a thing is what putting back restores.
    pub(super) undo: Vec<Undo>,
    /// Something that is in use was switched; before that, only what nobody uses yet was written.
    pub(super) live: bool,
    /// This run has written something, be it only beside what is in use.
    pub(super) touched: bool,
}

impl Switched {
    /// Remembers what was there before the first change of a thing.
    fn note(&mut self, thing: &Thing, before: &Saved) {
        if !self.undo.iter().any(|undo| undo.thing == *thing) {
            self.undo.push(Undo {
                thing: thing.clone(),
                before: before.clone(),
                done: true,
            });
        }
    }
}

impl Applier<'_> {
    /// Carries one step out and writes down in `row` how it went.
    pub(super) async fn step(&mut self, step: &PlannedStep, row: &mut StepRecord, plan: &Plan) {
        let mut switched = Switched {
            live: !step.restore.is_empty(),
            undo: step.restore.clone(),
            touched: false,
        };
        match self.carry_out(step, row, &mut switched).await {
            Ok(deferred) => {
                row.outcome = Outcome::Changed;
                if deferred {
                    // What is written is the agent's; whether it works, a later run will see.
                    self.mark_outstanding(step, plan);
                } else {
                    self.keep(step, row, plan);
                }
                self.quarantine.steps.remove(&step.name);
            }
            Err(Fault::Box(error)) if !switched.touched && step.is_outstanding() => {
                // An interrupted run's work stands, or all is written already, and this run could not even begin to
                // activate it: that is no reason to undo it. It stays outstanding.
                self.mark_untrue(&step.name);
                row.outcome = Outcome::Failed;
                row.error = Some(error);
            }
            Err(Fault::Change { error, .. } | Fault::Release(error) | Fault::Box(error))
                if step.only_starts() =>
            {
                // Nothing was changed that could be put back, and the document is not to blame. It is tried again.
                self.mark_untrue(&step.name);
                row.outcome = Outcome::Failed;
                row.error = Some(error);
            }
            Err(fault) => self.give_up(step, row, fault, &switched).await,
        }
        crash::point("step done");
    }

    /// The step was shown to work.
    fn keep(&mut self, step: &PlannedStep, row: &mut StepRecord, plan: &Plan) {
        let leftovers = step.at(When::Cleanup).next().is_some();
        if let Some(pending) = self.pending.steps.get_mut(&step.name) {
            // The ledger reaches the disk at the end of the run: until then this is what knows of it.
            pending.stage = Stage::Proven;
            // From here on what was there before cannot be put back.
            if leftovers && let Err(error) = self.pending.record(self.files, &step.name) {
                row.notes.push(format!("left behind: {}", chain(&error)));
                return;
            }
        }
        self.clean_up(step, row);
        if step.is_removal() {
            self.settle_removal(step, plan);
        } else if let Some(wanted) = plan.wanted.iter().find(|wanted| wanted.name == step.name) {
            self.settle_done(wanted, step);
        }
    }

    fn mark_outstanding(&mut self, step: &PlannedStep, plan: &Plan) {
        if let Some(wanted) = plan.wanted.iter().find(|wanted| wanted.name == step.name) {
            self.settle_done(wanted, step);
        }
        self.mark_untrue(&step.name);
    }

    /// The step did not come true: what was there before is put back.
    async fn give_up(
        &mut self,
        step: &PlannedStep,
        row: &mut StepRecord,
        fault: Fault,
        switched: &Switched,
    ) {
        self.mark_untrue(&step.name);
        let put_back = self.put_back(step, switched).await;
        let is_put_back = !matches!(fault, Fault::Box(_));
        let (error, blamed) = match fault {
            Fault::Change { error, members } => (error, Some(members)),
            Fault::Release(error) | Fault::Box(error) => (error, None),
        };
        row.outcome = match (&put_back, switched.live) {
            (Ok(()), true) if is_put_back => Outcome::PutBack,
            (Ok(()), live) => {
                if live && step.kind() != Kind::Services {
                    row.notes.push("it was switched and put back".into());
                }
                Outcome::Failed
            }
            (Err(_), _) => Outcome::Broken,
        };
        row.error = Some(match put_back {
            Ok(()) => error.clone(),
            Err(second) => format!("{error}; putting back what was there failed too: {second}"),
        });
        match blamed {
            Some(members) if step.can_do_without(&members) => self.blame(step, &members),
            Some(_) if !step.is_removal() => {
                let since = self.started;
                let failure = Failure { since, error };
                self.quarantine.steps.insert(step.name.clone(), failure);
            }
            _ => {}
        }
        self.pending.steps.remove(&step.name);
    }

    /// Some members do not work: the step is tried again without them.
    fn blame(&mut self, step: &PlannedStep, members: &BTreeMap<MemberName, String>) {
        let since = self.started;
        let blamed = members.iter().map(|(member, error)| {
            let error = error.clone();
            (member.clone(), Failure { since, error })
        });
        let quarantined = self.quarantine.members.entry(step.name.clone());
        quarantined.or_default().extend(blamed);
    }

    /// Returns whether an activation was left to systemd, which is still starting the machine.
    async fn carry_out(
        &mut self,
        step: &PlannedStep,
        row: &mut StepRecord,
        switched: &mut Switched,
    ) -> Result<bool, Fault> {
        let machine = self.files.root().is_machine();
        if machine {
            self.first_precautions(step).await?;
        }
        let dirs = self.missing_dirs(step)?;
        self.keep_copies(step, row)?;
        if !step.only_starts() && step.needs_record(machine, &self.ledger) {
            let interrupted = self.interrupted(step, dirs.clone());
            self.pending.steps.insert(step.name.clone(), interrupted);
            self.pending.record(self.files, &step.name)?;
            crash::point("pending recorded");
        }
        self.ledger.dirs.extend(dirs);
        if self.sweeps {
            for dir in changed_dirs(step) {
                self.files.sweep(dir)?;
            }
        }
        for change in step.at(When::Prepare) {
            let ready = path::stage(self.files, change)?;
            self.commit(change, ready, row, switched)?;
            crash::point("prepared");
        }
        let mut staged = Vec::new();
        for change in step.at(When::Commit) {
            staged.push((change, path::stage(self.files, change)?));
        }
        crash::point("staged");
        // Also where only the activation is outstanding: a configuration that somebody broke since is not the document's fault.
        if let Some(check) = step.check.as_ref().filter(|_| machine) {
            self.say(&format!("checking {}", step.name), step);
            self.check(check, step).await?;
        }
        if machine {
            self.check_files(step, &staged).await?;
        }
        if machine {
            self.last_precautions(step).await?;
        }
        let silent = if machine {
            self.silent_before(step).await
        } else {
            None
        };
        if step.kind() == Kind::Releases {
            self.make_releases(step, row).await?;
        } else if machine {
            self.together(step, row, switched).await?;
        }
        for (change, ready) in staged {
            match &change.after {
                Some(After::Account(order)) => {
                    self.commit_account(change, order, step, switched).await?;
                }
                _ => self.commit(change, ready, row, switched)?,
            }
            switched.live = true;
            crash::point("committed");
        }
        if !machine {
            if !(step.known.activate.is_empty() && step.probes.is_empty()) {
                row.notes
                    .push("not activated: under --root no command is run".into());
            }
            return Ok(false);
        }
        switched.live |=
            step.at(When::Activate).next().is_some() || !step.known.activate.is_empty();
        let logs = activate::logs(&step.known.activate);
        let refusals = probe::refusals(&step.probes);
        let deferred = self.activate(step, row, switched).await;
        let deferred = deferred.map_err(|error| match step.kind() {
            // What the document says of a service is not to blame for its not starting: it is tried again.
            Kind::Services => Fault::Box(error),
            _ => Fault::change(error).and(&activate::reasons(&logs)),
        })?;
        crash::point("activated");
        if !deferred {
            let proven = self.prove(step, silent.as_ref(), &refusals).await;
            proven.map_err(|fault| fault.and(&activate::reasons(&logs)))?;
            self.smoke(step, row).await?;
        }
        crash::point("probed");
        Ok(deferred)
    }

    /// Carries a change of a path out.
    fn commit(
        &self,
        change: &Change,
        ready: path::Ready,
        row: &mut StepRecord,
        switched: &mut Switched,
    ) -> Result<(), Fault> {
        let (files, run) = (self.files, self.run);
        let mut keep = |path: &Path, now: &Found| {
            let copy = backup::back_up_found(files, run, path, now)?;
            if let Some(copy) = copy.path() {
                backup::note(row, path, copy);
            }
            Ok(copy.to_string())
        };
        let done = path::commit(files, change, ready, &mut keep);
        switched.touched = true;
        match done {
            Ok(outcome) => {
                let before = outcome.overtaken.as_ref().unwrap_or(&change.before);
                switched.note(&change.thing, before);
                row.notes.extend(outcome.note);
                Ok(())
            }
            Err(error) => {
                // It may have failed after the switch: in syncing the directory. Putting back looks for itself.
                switched.note(&change.thing, &change.before);
                Err(error.into())
            }
        }
    }

    /// Carries a change of a group or a user out.
    async fn commit_account(
        &self,
        change: &Change,
        order: &AccountOrder,
        step: &PlannedStep,
        switched: &mut Switched,
    ) -> Result<(), Fault> {
        let what = format!(
            "{} {}",
            change.action.verb(),
            change.thing.as_path().display()
        );
        self.say(&what, step);
        switched.touched = true;
        if !matches!(change.inverse, Inverse::Never(_)) {
            switched.note(&change.thing, &change.before);
        }
        let done = account::commit(self.files, &change.thing, &change.before, order);
        done.await.map_err(Fault::Box)
    }

    /// Units, then activations. Returns whether some were left to systemd, which is still starting the machine.
    async fn activate(
        &mut self,
        step: &PlannedStep,
        row: &mut StepRecord,
        switched: &mut Switched,
    ) -> Result<bool, String> {
        let mut deferred = false;
        for change in step.at(When::Activate) {
            let (Some(name), Some(After::Unit(order))) = (change.thing.unit(), &change.after)
            else {
                continue;
            };
            let what = format!("{} {name}", change.action.verb());
            self.say(&what, step);
            switched.note(&change.thing, &change.before);
            let starts = change.form == Form::Service && order.run == Some(Action::Start);
            let booting = starts && self.booting;
            unit::commit(self.platform, name, *order, booting).await?;
            row.activated.push(what);
            if booting {
                row.notes.push(format!(
                    "{name} is on its way; the next run looks whether it runs"
                ));
                deferred = true;
            } else if starts {
                unit::stays_up(self.platform, name).await?;
            }
            crash::point("unit changed");
            if let Some(pending) = self.pending.steps.get_mut(&step.name) {
                let changes = pending.changes.iter_mut();
                for undo in changes.filter(|undo| undo.thing == change.thing) {
                    undo.done = true;
                }
                let recorded = self.pending.record(self.files, &step.name);
                recorded.map_err(|error| chain(&error))?;
            }
        }
        for activation in &step.known.activate {
            self.say(&format!("activating {}", activation.unit), step);
            match activate::activation(self.platform, activation, self.booting).await? {
                activate::Done::Did(what) => row.activated.push(what),
                activate::Done::Skipped(why) => row.notes.push(why),
                activate::Done::Deferred(why) => {
                    row.notes.push(why);
                    deferred = true;
                }
            }
        }
        Ok(deferred)
    }

    fn interrupted(&self, step: &PlannedStep, mut dirs: BTreeSet<PathBuf>) -> Interrupted {
        let mut switched = Switched {
            undo: step.restore.clone(),
            live: false,
            touched: false,
        };
        let undone = |change: &&Change| !matches!(change.inverse, Inverse::Never(_));
        let lasting = step.changes.iter().filter(undone);
        for change in lasting.clone() {
            switched.note(&change.thing, &change.before);
        }
        // What this run is about to do has not been done, whatever an earlier one did.
        for undo in &mut switched.undo {
            if lasting.clone().any(|change| change.thing == undo.thing) {
                undo.done = false;
            }
        }
        let owned = step
            .changes
            .iter()
            .filter_map(|change| Some((change.thing.clone(), self.owned(step, change)?)));
        let mut owned: BTreeMap<_, _> = owned.collect();
        // What a run before this one made and could not write down is in no ledger yet: this run may die too.
        if let Some(earlier) = self.pending.steps.get(&step.name) {
            dirs.extend(earlier.dirs.iter().cloned());
            for (thing, made) in &earlier.owned {
                owned.entry(thing.clone()).or_insert_with(|| made.clone());
            }
        }
        Interrupted {
            stage: Stage::Begun,
            known: step.known.clone(),
            owned,
            dirs,
            changes: switched.undo,
        }
    }

    pub(super) fn owned(&self, step: &PlannedStep, change: &Change) -> Option<Owned> {
        if change.digest.is_empty() {
            return None;
        }
        Some(Owned {
            kind: step.kind(),
            step: step.name.clone(),
            form: change.form,
            digest: change.digest.clone(),
            shown_as: change.shown_as.clone(),
            origins: change.origins.clone(),
            adopted: change.adopts,
            groups: match &change.after {
                Some(After::Account(order)) => order.groups.clone(),
                _ => Vec::new(),
            },
            secret: matches!(&change.after, Some(After::File { text, .. }) if text.is_secret()),
            attributes: match &change.after {
                Some(After::File { attributes, .. } | After::Directory(attributes))
                    if step.kind() == Kind::Files =>
                {
                    Some(*attributes)
                }
                _ => None,
            },
            original: match self.ledger.things.get(&change.thing) {
                Some(owned) => owned.original.clone(),
                None => backup::first_replaced((step.kind(), &step.name), change, &self.ledger),
            },
            run: self.run,
            written: self.started,
            version: self.document.version,
        })
    }

    /// What the step leaves behind when it was shown to work. A failure here is a note: the box serves as asked.
    fn clean_up(&mut self, step: &PlannedStep, row: &mut StepRecord) {
        let mut unused = Switched {
            undo: Vec::new(),
            live: false,
            touched: false,
        };
        for change in &step.changes {
            if change.when == When::Cleanup {
                let done = path::stage(self.files, change)
                    .map_err(Fault::from)
                    .and_then(|ready| self.commit(change, ready, row, &mut unused));
                if let Err(fault) = done {
                    let (Fault::Change { error, .. } | Fault::Release(error) | Fault::Box(error)) =
                        fault;
                    row.notes.push(format!("left behind: {error}"));
                    continue;
                }
            }
            if change.digest.is_empty() {
                self.forget(&change.thing);
            }
            crash::point("cleaned up");
        }
    }
}

impl PlannedStep {
    /// What an interrupted run wrote waits for its activation.
    fn is_outstanding(&self) -> bool {
        !self.restore.is_empty() || (self.cause == Cause::Pending && self.changes.is_empty())
    }

    /// Whether a crash in the middle could leave something that the next plan would not see: then it is
    /// recorded first. Replacing one file of the agent's own that needs no activation is all or nothing by itself;
    /// what is new to the agent would be taken for something that had been there before.
    pub(in super::super) fn needs_record(
        &self,
        machine: bool,
        ledger: &super::super::ledger::Ledger,
    ) -> bool {
        let activates = machine
            && !(self.known.activate.is_empty()
                && self.probes.is_empty()
                && self.at(When::Activate).next().is_none());
        let alone = matches!(
            self.changes.as_slice(),
            [change] if change.action == Action::Update && ledger.things.contains_key(&change.thing)
        );
        activates || !alone
    }
}

/// The directories that are written in: what a crash left there of an earlier write goes first.
fn changed_dirs(step: &PlannedStep) -> BTreeSet<&Path> {
    step.changes
        .iter()
        .filter_map(|change| change.thing.path()?.parent())
        .collect()
}
