//! One step as a transaction: stage → check → commit → activate → probe → keep, or put back what was there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::super::ledger::{Ledger, Owned};
use super::super::pending::{Interrupted, Restore, Saved};
use super::super::plan::{After, Change, PlannedStep, When};
use super::super::quarantine::Failure;
use super::{Applier, activate, probe};
use crate::report::{Action, Cause, Outcome, StepRecord};
use crate::system::chain;
use crate::system::command;
use crate::system::crash;
use crate::system::file::{FileError, Found, Staged, Written};

/// Why a step did not come true.
enum Fault {
    /// The change itself does not work: the document's version is to blame and goes into quarantine.
    Change(String),
    /// The box is to blame (disk full, a configuration that was broken before): worth another try.
    Box(String),
}

impl From<FileError> for Fault {
    fn from(error: FileError) -> Self {
        Self::Box(chain(&error))
    }
}

/// What a step has switched so far.
struct Switched {
    /// What stood there before, oldest first: the first copy of a path is what putting back restores.
    restore: Vec<Restore>,
    /// Something that is in use was switched; before that, only what nobody uses yet was written.
    live: bool,
    /// This run has written something, be it only beside what is in use.
    touched: bool,
}

impl Applier<'_> {
    /// Carries one step out and writes down in `row` how it went.
    pub(super) async fn step(&mut self, step: &PlannedStep, row: &mut StepRecord) {
        let mut switched = Switched {
            live: !step.restore.is_empty(),
            restore: step.restore.clone(),
            touched: false,
        };
        let result = self.carry_out(step, row, &mut switched).await;
        match result {
            Ok(kept_pending) => {
                row.outcome = Outcome::Changed;
                self.clean_up(step, row);
                if !kept_pending && let Some(pending) = self.pending.steps.get_mut(&step.name) {
                    // The ledger reaches the disk at the end of the run: until then this is what knows of it.
                    pending.done = true;
                }
                self.quarantine.steps.remove(&step.name);
            }
            Err(Fault::Box(error)) if !switched.touched && !step.restore.is_empty() => {
                // An interrupted run's work stands, and this one could not even begin to activate it:
                // that is no reason to undo it. It stays outstanding.
                row.outcome = Outcome::Failed;
                row.error = Some(error);
            }
            Err(Fault::Box(error)) if step.only_outstanding() => {
                // Nothing was written, and the box is to blame: the activation stays outstanding.
                row.outcome = Outcome::Failed;
                row.error = Some(error);
            }
            Err(fault) => {
                let (error, blame) = match fault {
                    Fault::Change(error) => (error, true),
                    Fault::Box(error) => (error, false),
                };
                let put_back = self.put_back(step, &switched).await;
                row.outcome = match (&put_back, switched.live) {
                    (Ok(()), false) => Outcome::Failed,
                    (Ok(()), true) => Outcome::PutBack,
                    (Err(_), _) => Outcome::Broken,
                };
                row.error = Some(match put_back {
                    Ok(()) => error.clone(),
                    Err(second) => {
                        format!("{error}; putting back what was there failed too: {second}")
                    }
                });
                if blame && step.cause != Cause::Unwanted {
                    let since = self.started;
                    self.quarantine
                        .steps
                        .insert(step.name.clone(), Failure { since, error });
                }
                self.pending.steps.remove(&step.name);
            }
        }
        crash::point("step done");
    }

    async fn carry_out(
        &mut self,
        step: &PlannedStep,
        row: &mut StepRecord,
        switched: &mut Switched,
    ) -> Result<bool, Fault> {
        let machine = self.files.root().is_machine();
        let dirs = self.missing_dirs(step)?;
        self.keep_copies(step, row)?;
        if step.needs_record(machine, &self.ledger) {
            self.pending
                .steps
                .insert(step.name.clone(), self.interrupted(step, dirs.clone()));
            self.pending.save(self.files)?;
            crash::point("pending recorded");
        }
        self.ledger.dirs.extend(dirs);

        if self.sweeps {
            for dir in changed_dirs(step) {
                self.files.sweep(dir)?;
            }
        }
        for change in step.at(When::Prepare) {
            note_switch(&mut switched.restore, change);
            switched.touched = true;
            self.write(change, None, row)?;
            crash::point("prepared");
        }
        let mut staged = Vec::new();
        for change in step.at(When::Commit) {
            let stage = match &change.after {
                Some(After::Text { text, mode, .. }) => {
                    Some(self.files.stage(&change.path, text.as_bytes(), *mode)?)
                }
                _ => None,
            };
            staged.push((change, stage));
        }
        crash::point("staged");
        // Also where only the activation is outstanding: a configuration that somebody broke since is not the document's fault.
        if let Some(check) = step.check.as_ref().filter(|_| machine) {
            (self.progress)(&format!("checking {}", step.name));
            self.check(check).await?;
        }
        for (change, stage) in staged {
            note_switch(&mut switched.restore, change);
            (switched.live, switched.touched) = (true, true);
            self.write(change, stage, row)?;
            crash::point("committed");
        }
        if !machine {
            if !(step.known.activate.is_empty() && step.probes.is_empty()) {
                row.notes
                    .push("not activated: under --root no command is run".into());
            }
            return Ok(false);
        }
        switched.live |= !step.units.is_empty() || !step.known.activate.is_empty();
        let logs = activate::logs(&step.known.activate);
        let because = |fault: Fault| match fault {
            Fault::Change(error) => Fault::Change(error + &activate::reasons(&logs)),
            Fault::Box(error) => Fault::Box(error),
        };
        let deferred = self.activate(step, row).await.map_err(because)?;
        crash::point("activated");
        if !deferred {
            for question in &step.probes {
                (self.progress)(&format!("probing {}", step.name));
                let ended = || activate::ended(self.platform, &step.known.activate);
                probe::ask(question, &ended, self.progress)
                    .await
                    .map_err(|error| because(Fault::Change(error)))?;
            }
        }
        crash::point("probed");
        Ok(deferred)
    }

    /// Units and activations. Returns whether some were left to systemd, which is still starting the machine.
    async fn activate(&mut self, step: &PlannedStep, row: &mut StepRecord) -> Result<bool, Fault> {
        for change in &step.units {
            (self.progress)(&format!(
                "{} {}",
                activate::verb(change.action),
                change.unit
            ));
            activate::unit(self.platform, change)
                .await
                .map_err(Fault::Change)?;
            row.activated
                .push(format!("{} {}", activate::verb(change.action), change.unit));
            crash::point("unit changed");
        }
        let mut deferred = false;
        for activation in &step.known.activate {
            (self.progress)(&format!("activating {}", activation.unit));
            match activate::activation(self.platform, activation, self.booting)
                .await
                .map_err(Fault::Change)?
            {
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

    /// Runs the check. A fault that was there before the change is not the change's.
    async fn check(&self, check: &crate::resource::Check) -> Result<(), Fault> {
        let staged = command::run(&check.staged)
            .await
            .map_err(|error| Fault::Box(chain(&error)))?;
        if staged.success {
            return Ok(());
        }
        let said = format!("{} refused the change: {}", check.staged, staged.said());
        match command::run(&check.present).await {
            Ok(present) if !present.success => Err(Fault::Box(format!(
                "{} fails without our change too, so nothing was switched; mend the configuration by hand: {}",
                check.present,
                present.said()
            ))),
            Ok(_) => Err(Fault::Change(said)),
            Err(error) => Err(Fault::Box(chain(&error))),
        }
    }

    fn write(
        &self,
        change: &Change,
        stage: Option<Staged>,
        row: &mut StepRecord,
    ) -> Result<(), Fault> {
        let written = match (&change.after, stage) {
            (_, Some(stage)) => stage.commit()?,
            (Some(After::Text { text, mode, .. }), None) => {
                self.files.write(&change.path, text.as_bytes(), *mode)?
            }
            (Some(After::Link { target, .. }), None) => {
                self.files.link(&change.path, target)?;
                Written::Renamed
            }
            (None, None) => {
                self.files.remove(&change.path)?;
                Written::Renamed
            }
        };
        if written == Written::InPlace {
            row.notes.push(format!(
                "{} was written in place, for it is a mount point: a crash in that moment could have torn it",
                change.path.display()
            ));
        }
        Ok(())
    }

    /// Copies of what somebody else wrote, before anything is touched.
    fn keep_copies(&self, step: &PlannedStep, row: &mut StepRecord) -> Result<(), Fault> {
        for change in step.changes.iter().filter(|change| change.backup) {
            if let Saved::File { bytes, mode } = &change.before {
                let copy = self.back_up(&change.path, bytes, *mode)?;
                for record in row
                    .changes
                    .iter_mut()
                    .filter(|record| record.path == change.path)
                {
                    record.backup = Some(copy.clone());
                }
            }
        }
        Ok(())
    }

    /// Directories that are not there yet: the agent makes them, so it may remove them.
    fn missing_dirs(&self, step: &PlannedStep) -> Result<BTreeSet<PathBuf>, Fault> {
        let mut missing = BTreeSet::new();
        let mut present = BTreeSet::from([PathBuf::from("/")]);
        for change in step.changes.iter().filter(|change| change.after.is_some()) {
            for dir in change.path.ancestors().skip(1).map(Path::to_path_buf) {
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

    fn interrupted(&self, step: &PlannedStep, mut dirs: BTreeSet<PathBuf>) -> Interrupted {
        let mut restore = step.restore.clone();
        for change in &step.changes {
            note_switch(&mut restore, change);
        }
        let owned = step
            .changes
            .iter()
            .filter_map(|change| Some((change.path.clone(), self.owned(step, change)?)));
        let mut owned: BTreeMap<_, _> = owned.collect();
        // What a run before this one made and could not write down is in no ledger yet: this run may die too.
        if let Some(earlier) = self.pending.steps.get(&step.name) {
            dirs.extend(earlier.dirs.iter().cloned());
            for (path, made) in &earlier.owned {
                owned.entry(path.clone()).or_insert_with(|| made.clone());
            }
        }
        Interrupted {
            done: false,
            known: step.known.clone(),
            owned,
            dirs,
            restore,
            list: step.list.clone(),
        }
    }

    fn owned(&self, step: &PlannedStep, change: &Change) -> Option<Owned> {
        let (After::Text { digest, .. } | After::Link { digest, .. }) = change.after.as_ref()?;
        Some(Owned {
            kind: step.kind(),
            step: step.name.clone(),
            form: change.form,
            digest: digest.clone(),
            shown_as: change.shown_as.clone(),
            origins: change.origins.clone(),
            adopted: false,
            run: self.run,
            written: self.started,
            version: self.document.version,
        })
    }

    /// What the step leaves behind when it was shown to work. A failure here is a note: the box serves as asked.
    fn clean_up(&mut self, step: &PlannedStep, row: &mut StepRecord) {
        for change in &step.changes {
            if change.when == When::Cleanup
                && let Err(fault) = self.write(change, None, row)
            {
                let (Fault::Change(error) | Fault::Box(error)) = fault;
                row.notes.push(format!("left behind: {error}"));
                continue;
            }
            if change.after.is_none() || step.cause == Cause::Unwanted {
                self.forget(&change.path);
            }
            crash::point("cleaned up");
        }
        if step.cause == Cause::Unwanted {
            // Also what had vanished by itself.
            let gone: Vec<PathBuf> = self
                .ledger
                .of_step(&step.name)
                .map(|(path, _)| path.clone())
                .collect();
            for path in gone {
                self.forget(&path);
            }
            self.ledger.steps.remove(&step.name);
            self.ledger.lists.remove(&step.name);
            self.ledger.units.retain(|_, owner| *owner != step.name);
        }
    }

    /// Puts back what was there before the step, newest change first, and makes that take effect.
    async fn put_back(&mut self, step: &PlannedStep, switched: &Switched) -> Result<(), String> {
        let mut errors = Vec::new();
        for restore in switched.restore.iter().rev() {
            let path = &restore.path;
            let result = match &restore.before {
                Saved::Absent => self.files.remove(path),
                Saved::File { bytes, mode } => self.files.write(path, bytes, *mode).map(drop),
                Saved::Link(target) => self.files.link(path, target),
            };
            errors.extend(result.err().map(|error| chain(&error)));
            if restore.before == Saved::Absent && !self.ledger.paths.contains_key(path) {
                self.forget(path);
            }
            crash::point("put back");
        }
        if self.files.root().is_machine() && switched.live {
            for change in &step.units {
                let undo = activate::undo(change, !self.ledger.units.contains_key(&change.unit));
                errors.extend(activate::unit(self.platform, &undo).await.err());
            }
            for activation in &step.known.activate {
                let again = activate::activation(self.platform, activation, self.booting).await;
                errors.extend(again.err());
            }
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors.join("; "))
        }
    }
}

impl PlannedStep {
    fn at(&self, when: When) -> impl Iterator<Item = &Change> {
        self.changes
            .iter()
            .filter(move |change| change.when == when)
    }

    /// Whether all is written already and only has to take effect.
    fn only_outstanding(&self) -> bool {
        self.cause == Cause::Pending && self.changes.is_empty() && self.units.is_empty()
    }

    /// Whether a crash in the middle could leave something that the next plan would not see: then it is
    /// recorded first. Replacing one file of the agent's own that needs no activation is all or nothing by itself;
    /// what is new to the agent would be taken for something that had been there before.
    pub(in super::super) fn needs_record(&self, machine: bool, ledger: &Ledger) -> bool {
        let activates = machine
            && !(self.known.activate.is_empty() && self.units.is_empty() && self.probes.is_empty());
        let alone = matches!(
            self.changes.as_slice(),
            [change] if change.action == Action::Update && ledger.paths.contains_key(&change.path)
        );
        activates || !alone
    }
}

/// The directories that are written in: what a crash left there of an earlier write goes first.
fn changed_dirs(step: &PlannedStep) -> BTreeSet<&Path> {
    step.changes
        .iter()
        .filter_map(|change| change.path.parent())
        .collect()
}

/// Remembers what stood at a path before its first switch.
fn note_switch(switched: &mut Vec<Restore>, change: &Change) {
    if !switched.iter().any(|restore| restore.path == change.path) {
        switched.push(Restore {
            path: change.path.clone(),
            before: change.before.clone(),
        });
    }
}
