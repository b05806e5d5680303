//! Copies of what somebody else wrote, before it is replaced.

use std::path::{Path, PathBuf};

use super::super::change::Change;
use super::super::journal;
use super::super::ledger::Ledger;
use super::super::original::{self, Original};
use super::super::plan::PlannedStep;
use super::super::saved::{Content, Saved};
use super::Applier;
use super::fault::Fault;
use crate::report::{Kind, StepRecord};
use crate::system::digest::sha256_hex;
use crate::system::file::{FileError, Files};

impl Applier<'_> {
    /// Copies of all that a step replaces and that is not the agent's, before anything is touched.
    pub(super) fn keep_copies(
        &self,
        step: &PlannedStep,
        row: &mut StepRecord,
    ) -> Result<(), Fault> {
        for change in &step.changes {
            if let (Some(path), Some(copy)) = (
                change.thing.path(),
                keep_original(step.kind(), change, &self.ledger, self.files)?,
            ) {
                row.notes.push(format!(
                    "{} was there before: it is kept at {} and comes back when the document lets go of the path",
                    path.display(),
                    copy.display()
                ));
            }
        }
        for change in step.changes.iter().filter(|change| change.backup) {
            if let (Some(path), true) = (change.thing.path(), change.is_secret()) {
                row.notes.push(format!(
                    "somebody wrote {}; no copy of that was kept, for it may have a secret in it",
                    path.display()
                ));
            }
            if let (
                Some(path),
                Saved::File {
                    content: Content::Memory(bytes),
                    attributes,
                },
            ) = (change.thing.path(), &change.before)
            {
                let copy = back_up(self.files, self.run, path, bytes, attributes.mode)?;
                note(row, path, &copy);
            }
        }
        Ok(())
    }
}

/// Has the row of a changed path say where the copy is.
pub(super) fn note(row: &mut StepRecord, path: &Path, copy: &Path) {
    let records = row.changes.iter_mut();
    for record in records.filter(|record| record.path == path) {
        record.backup = Some(copy.to_path_buf());
    }
}

/// Keeps a copy of what somebody else wrote at `path`. Returns where: the last copy, where that has the same content.
pub(super) fn back_up(
    files: &Files,
    run: u64,
    path: &Path,
    bytes: &[u8],
    mode: u32,
) -> Result<PathBuf, FileError> {
    if let Some(copy) = journal::kept_copy(files, path, bytes)? {
        return Ok(copy);
    }
    let copy = journal::backup_path(run, path);
    files.write(&copy, bytes, mode & 0o640)?;
    Ok(copy)
}

/// What a change of a step of this kind is the first to replace. `None`: nothing, or something of the agent's own.
///
/// Only of files that the document names: what others own as a whole (sites, lists) was never anybody else's.
pub(super) fn first_replaced(kind: Kind, change: &Change, ledger: &Ledger) -> Option<Original> {
    let is_first =
        kind == Kind::Files && change.after.is_some() && !ledger.things.contains_key(&change.thing);
    if !is_first {
        return None;
    }
    match &change.before {
        Saved::File {
            content: Content::Memory(bytes),
            attributes,
        } => Some(Original::File {
            digest: sha256_hex(bytes),
            attributes: *attributes,
        }),
        Saved::Link(target) => Some(Original::Link(target.clone())),
        Saved::Directory(attributes) => Some(Original::Directory(*attributes)),
        _ => None,
    }
}

/// Keeps the content of what a change is the first to replace. Returns where.
fn keep_original(
    kind: Kind,
    change: &Change,
    ledger: &Ledger,
    files: &Files,
) -> Result<Option<PathBuf>, FileError> {
    let (
        Some(Original::File { digest, .. }),
        Saved::File {
            content: Content::Memory(bytes),
            ..
        },
    ) = (first_replaced(kind, change, ledger), &change.before)
    else {
        return Ok(None);
    };
    let path = original::path(&digest);
    if files.look(&path)?.is_none() {
        files.write(&path, bytes, original::MODE)?;
    }
    Ok(Some(path))
}
