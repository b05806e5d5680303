//! Copies of what somebody else wrote, before it is replaced.

use std::fmt;
use std::path::{Path, PathBuf};

use super::super::change::Change;
use super::super::journal;
use super::super::ledger::Ledger;
use super::super::original::{self, Original};
use super::super::plan::PlannedStep;
use super::super::saved::{Content, Saved};
use super::Applier;
use super::fault::Fault;
use crate::report::{Kind, StepName, StepRecord};
use crate::system::digest::sha256_hex;
use crate::system::file::{FileError, Files, Found};

impl Applier<'_> {
    /// Copies of all that a step replaces and that is not the agent's, before anything is touched.
    pub(super) fn keep_copies(
        &mut self,
        step: &PlannedStep,
        row: &mut StepRecord,
    ) -> Result<(), Fault> {
        for change in &step.changes {
            // What could be put back only from memory, and is too large for that.
            let copied = match change.thing.path() {
                Some(path) => change.before.copy(self.files, path)?,
                None => None,
            };
            if copied.is_some() {
                self.pending.note_copies();
            }
            if let (Some(path), Some(copy)) = (
                change.thing.path(),
                keep_original((step.kind(), &step.name), change, &self.ledger, self.files)?,
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
                continue;
            }
            let (
                Some(path),
                Saved::File {
                    content,
                    attributes,
                },
            ) = (change.thing.path(), &change.before)
            else {
                continue;
            };
            match content {
                Content::Memory(bytes) => {
                    let copy = back_up(self.files, self.run, path, bytes, attributes.mode)?;
                    note(row, path, &copy);
                }
                Content::Large { digest, size } => {
                    let copy = (*size, digest.as_str(), attributes.mode);
                    match back_up_large(self.files, self.run, path, copy)? {
                        Copied::Here(copy) => note(row, path, &copy),
                        not @ Copied::Not { .. } => row
                            .notes
                            .push(format!("somebody wrote {}: {not}", path.display())),
                    }
                }
                Content::Secret(_) | Content::Disk { .. } => {}
            }
        }
        Ok(())
    }
}

/// The largest file of which a copy is kept, in bytes: the journal holds those of many runs.
const LARGEST_COPY: u64 = 4 * 1024 * 1024;

/// What became of what somebody else wrote.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Copied {
    /// A copy is there.
    Here(PathBuf),
    /// None was kept of so many bytes with this digest.
    Not { size: u64, digest: String },
}

impl Copied {
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Here(path) => Some(path),
            Self::Not { .. } => None,
        }
    }
}

impl fmt::Display for Copied {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(path) => write!(out, "a copy is at {}", path.display()),
            Self::Not { size, digest } => write!(
                out,
                "no copy of that was kept, for it has {size} bytes (SHA-256 {digest}), and copies have {LARGEST_COPY} at most"
            ),
        }
    }
}

/// Keeps a copy of what was found at `path` and is somebody else's.
pub(super) fn back_up_found(
    files: &Files,
    run: u64,
    path: &Path,
    found: &Found,
) -> Result<Copied, FileError> {
    match found {
        Found::File { bytes, attributes } => {
            back_up(files, run, path, bytes, attributes.mode).map(Copied::Here)
        }
        Found::Large {
            size,
            digest,
            attributes,
        } => back_up_large(files, run, path, (*size, digest, attributes.mode)),
        _ => Ok(Copied::Here(PathBuf::new())),
    }
}

/// The same of a file that is not in memory: how large it is, its digest and permission bits are known.
fn back_up_large(
    files: &Files,
    run: u64,
    path: &Path,
    (size, digest, mode): (u64, &str, u32),
) -> Result<Copied, FileError> {
    if size > LARGEST_COPY {
        return Ok(Copied::Not {
            size,
            digest: digest.into(),
        });
    }
    let is_same = |kept: &[u8]| sha256_hex(kept) == digest;
    if let Some(copy) = journal::kept_copy(files, path, size, is_same)? {
        return Ok(Copied::Here(copy));
    }
    let copy = journal::backup_path(run, path);
    files.copy(path, digest, &copy, mode & 0o640)?;
    Ok(Copied::Here(copy))
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
    if let Some(copy) = journal::kept_copy(files, path, bytes.len() as u64, |kept| kept == bytes)? {
        return Ok(copy);
    }
    let copy = journal::backup_path(run, path);
    files.write(&copy, bytes, mode & 0o640)?;
    Ok(copy)
}

/// What a change of a step of this kind is the first to replace. `None`: nothing, or something of the agent's own.
///
/// Only of files that the document names, and of node lists: what others own as a whole (sites) was never anybody else's.
pub(super) fn first_replaced(
    (kind, step): (Kind, &StepName),
    change: &Change,
    ledger: &Ledger,
) -> Option<Original> {
    // What memcached itself reads stands where only the agent writes.
    let is_own = kind == Kind::Cache && step.0.ends_with("/instance");
    let is_first = matches!(kind, Kind::Files | Kind::Cache)
        && !is_own
        && change.after.is_some()
        && !ledger.things.contains_key(&change.thing);
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
        Saved::File {
            content: Content::Large { digest, .. },
            attributes,
        } => Some(Original::File {
            digest: digest.clone(),
            attributes: *attributes,
        }),
        Saved::Link(target) => Some(Original::Link(target.clone())),
        Saved::Directory(attributes) => Some(Original::Directory(*attributes)),
        _ => None,
    }
}

/// Keeps the content of what a change is the first to replace. Returns where.
fn keep_original(
    step: (Kind, &StepName),
    change: &Change,
    ledger: &Ledger,
    files: &Files,
) -> Result<Option<PathBuf>, FileError> {
    let (Some(Original::File { digest, .. }), Saved::File { content, .. }, Some(at)) = (
        first_replaced(step, change, ledger),
        &change.before,
        change.thing.path(),
    ) else {
        return Ok(None);
    };
    let path = original::path(&digest);
    if files.look(&path)?.is_none() {
        match content {
            Content::Memory(bytes) => drop(files.write(&path, bytes, original::MODE)?),
            _ => files.copy(at, &digest, &path, original::MODE)?,
        }
    }
    Ok(Some(path))
}
