//! What is under way: written before the first switch of a step, so that a crash between writing
//! and activating is made good by the next run.
//!
//! A file a step, `pending/<step>.json`, each written when the step begins, when one of its units has changed and when
//! it was shown to work; all are gone when the ledger has them.

mod format1;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ledger::{KnownStep, Ledger, Owned};
use super::saved::{self, Recorded, Saved};
use super::state;
use crate::report::StepName;
use crate::resource::Thing;
use crate::system::digest::sha256_hex;
use crate::system::file::{FileError, Files};

const DIR: &str = "pending";
const FORMAT: u32 = 2;
/// The most bytes of a step's name that are a file's name as they stand.
const LONGEST_NAME: usize = 180;

/// Steps whose end is not in the ledger yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Pending {
    pub(super) steps: BTreeMap<StepName, Interrupted>,
    /// What is on disk and must go: of these steps, or of a format of the past.
    on_disk: BTreeSet<PathBuf>,
    /// There is something on disk though nothing is under way: a crash came between.
    residue: bool,
    /// How many files a newer version wrote that this one does not know.
    pub(super) foreign: usize,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interrupted {
    /// How far it came.
    pub(super) stage: Stage,
    /// What the ledger will say of the step.
    pub(super) known: KnownStep,
    /// What the ledger will say of what it owns.
    pub(super) owned: BTreeMap<Thing, Owned>,
    /// Directories that were made for it.
    pub(super) dirs: BTreeSet<PathBuf>,
    /// What changes, in the order of the changes, each with what undoes it.
    pub(super) changes: Vec<Undo>,
}

/// How far a step came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Stage {
    /// It is not known to work: it is activated and probed again, though all be written already.
    Begun,
    /// It works, and is only kept until the ledger is on disk.
    Proven,
}

/// A change with its inverse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Undo {
    pub(super) thing: Thing,
    /// What was there before the step.
    pub(super) before: Saved,
    /// It is known to have been carried out. Whether a file was written is seen by looking at it; whether a unit has
    /// read it, is not.
    pub(super) done: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct OnDisk {
    format: u32,
    step: StepName,
    stage: Stage,
    known: KnownStep,
    owned: BTreeMap<Thing, Owned>,
    dirs: BTreeSet<PathBuf>,
    changes: Vec<UndoOnDisk>,
}

#[derive(Debug, Serialize, Deserialize)]
struct UndoOnDisk {
    thing: Thing,
    before: Recorded,
    done: bool,
}

impl Pending {
    /// What earlier runs left. What cannot be understood counts as missing, with a warning, and stays where it is if
    /// a newer version wrote it.
    pub(super) fn load(files: &Files) -> Result<Self, FileError> {
        let mut pending = Self::default();
        if let Some((old, path)) = format1::load(files)? {
            pending.steps = old;
            pending.on_disk.insert(path);
        }
        for name in files.list(&state::path(DIR))? {
            let file = format!("{DIR}/{name}");
            match state::load::<OnDisk>(files, &file)? {
                Some(on_disk) if on_disk.format == FORMAT => {
                    pending.on_disk.insert(state::path(&file));
                    let (step, interrupted) = on_disk.into_parts();
                    pending.steps.insert(step, interrupted);
                }
                _ if is_newer(files, &file)? => pending.foreign += 1,
                _ => drop(pending.on_disk.insert(state::path(&file))),
            }
        }
        pending.residue = pending.foreign == 0 && files.look(&state::path(DIR))?.is_some();
        Ok(pending)
    }

    /// Records a step as it is now, before anything that cannot be seen later is done.
    pub(super) fn record(&mut self, files: &Files, name: &StepName) -> Result<(), FileError> {
        let Some(step) = self.steps.get(name) else {
            return Ok(());
        };
        for change in &step.changes {
            change.before.keep(files)?;
        }
        let file = format!("{DIR}/{}", file_name(name));
        self.on_disk.insert(state::path(&file));
        state::save(files, &file, &OnDisk::of(name, step))
    }

    /// There are copies on disk, whether a step is recorded or not: see [`Pending::settle`].
    pub(super) const fn note_copies(&mut self) {
        self.residue = true;
    }

    /// Removes what is recorded of one step that is over: the ledger on disk has it.
    pub(super) fn forget(&mut self, files: &Files, name: &StepName) -> Result<(), FileError> {
        let path = state::path(DIR).join(file_name(name));
        self.steps.remove(name);
        if self.on_disk.remove(&path) {
            files.remove(&path)?;
            self.residue = true;
        }
        Ok(())
    }

    /// Removes what is recorded of steps that are over, and the copies that no other needs. Returns whether
    /// something is left.
    pub(super) fn settle(&mut self, files: &Files) -> Result<bool, FileError> {
        self.steps.retain(|_, step| step.stage == Stage::Begun);
        let keep: BTreeSet<PathBuf> = (self.steps.keys())
            .map(|name| state::path(DIR).join(file_name(name)))
            .collect();
        for path in self.on_disk.difference(&keep) {
            files.remove(path)?;
        }
        self.on_disk.retain(|path| keep.contains(path));
        if self.steps.is_empty() && self.foreign == 0 {
            saved::clear(files)?;
            // Last: while it is there, something may be left.
            files.remove_empty_dir(&state::path(DIR))?;
            self.residue = false;
        }
        Ok(!self.steps.is_empty())
    }

    /// Whether there is nothing on disk.
    pub(super) fn is_clear(&self) -> bool {
        self.steps.is_empty() && self.on_disk.is_empty() && !self.residue
    }

    /// The step `name`, if it is not known to work.
    pub(super) fn unfinished(&self, name: &StepName) -> Option<&Interrupted> {
        let step = self.steps.get(name)?;
        (step.stage == Stage::Begun).then_some(step)
    }

    /// The ledger as it would be, had the interrupted steps been recorded: what they wrote is the agent's.
    pub(super) fn merged_into(&self, mut ledger: Ledger) -> Ledger {
        for (name, step) in &self.steps {
            for (thing, owned) in &step.owned {
                let proven = step.stage == Stage::Proven;
                if proven || !ledger.things.contains_key(thing) {
                    ledger.things.insert(thing.clone(), owned.clone());
                }
            }
            ledger
                .steps
                .entry(name.clone())
                .or_insert_with(|| step.known.clone());
            ledger.dirs.extend(step.dirs.iter().cloned());
        }
        ledger
    }

    /// Digests under which the interrupted steps may have left a thing: not somebody else's work.
    pub(super) fn digests(&self, thing: &Thing) -> Vec<String> {
        self.steps
            .values()
            .flat_map(|step| {
                let written = step.owned.get(thing).map(|owned| owned.digest.clone());
                let before = step.changes.iter().filter(|undo| undo.thing == *thing);
                written
                    .into_iter()
                    .chain(before.flat_map(|undo| undo.before.digests()))
            })
            .collect()
    }
}

impl Interrupted {
    /// Whether a unit is not known to have read what this step wrote for it.
    pub(super) fn owes(&self, thing: &Thing) -> bool {
        self.changes
            .iter()
            .any(|undo| undo.thing == *thing && !undo.done)
    }
}

impl OnDisk {
    fn of(name: &StepName, step: &Interrupted) -> Self {
        Self {
            format: FORMAT,
            step: name.clone(),
            stage: step.stage,
            known: step.known.clone(),
            owned: step.owned.clone(),
            dirs: step.dirs.clone(),
            changes: (step.changes.iter())
                .map(|undo| UndoOnDisk {
                    thing: undo.thing.clone(),
                    before: undo.before.recorded(),
                    done: undo.done,
                })
                .collect(),
        }
    }

    fn into_parts(self) -> (StepName, Interrupted) {
        let changes = (self.changes.into_iter())
            .map(|undo| Undo {
                thing: undo.thing,
                before: undo.before.into(),
                done: undo.done,
            })
            .collect();
        let interrupted = Interrupted {
            stage: self.stage,
            known: self.known,
            owned: self.owned,
            dirs: self.dirs,
            changes,
        };
        (self.step, interrupted)
    }
}

/// The name of a step's file. Names of steps are paths where they are of files: what would be too long, or read as
/// another one, is told apart by its digest.
fn file_name(step: &StepName) -> String {
    let flat = step.0.replace('/', "+");
    if flat.len() <= LONGEST_NAME && !step.0.contains('+') {
        return format!("{flat}.json");
    }
    let digest = sha256_hex(step.0.as_bytes());
    let begin = flat.floor_char_boundary(LONGEST_NAME / 2);
    format!(
        "{}+{}.json",
        flat.get(..begin).unwrap_or_default(),
        digest.get(..32).unwrap_or_default()
    )
}

fn is_newer(files: &Files, file: &str) -> Result<bool, FileError> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    Ok(state::load::<Format>(files, file)?.is_some_and(|this| this.format > FORMAT))
}

/// Directories in which a crash may have left half a write.
pub(super) fn dirs() -> [PathBuf; 2] {
    [state::path(DIR), saved::dir()]
}
