//! Copies of what somebody else wrote, before it is replaced.

use std::path::{Path, PathBuf};

use super::super::journal;
use super::super::plan::PlannedStep;
use super::super::saved::{Content, Saved};
use super::Applier;
use super::fault::Fault;
use crate::report::StepRecord;
use crate::system::file::{FileError, Files};

impl Applier<'_> {
    /// Copies of all that a step replaces and that is not the agent's, before anything is touched.
    pub(super) fn keep_copies(
        &self,
        step: &PlannedStep,
        row: &mut StepRecord,
    ) -> Result<(), Fault> {
        for change in step.changes.iter().filter(|change| change.backup) {
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
