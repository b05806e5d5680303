//! The part of the ledger that is the fast lane's: others than the run that goes on may write it.

use std::path::PathBuf;

use super::ledger::{Ledger, Part};
use crate::system::file::{FileError, Files, Sighting};

/// What the ledger on disk has of the fast lane, and which file that was: as long as it is that one, nobody has changed it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct OnDisk {
    part: Part,
    file: Sighting,
}

impl OnDisk {
    /// Reads it. That the ledger is damaged is told by the run itself.
    pub(super) fn read(files: &Files) -> Result<Self, FileError> {
        let file = files.look(&ledger_file())?;
        let ledger = Ledger::load_quietly(files)?;
        Ok(Self {
            part: ledger.fast_part(),
            file,
        })
    }

    /// Of a ledger that was read after its file was seen to be this one.
    pub(super) fn of(ledger: &Ledger, file: Sighting) -> Self {
        Self {
            part: ledger.fast_part(),
            file,
        }
    }

    /// The part of the ledger.
    pub(super) fn part(&self) -> &Part {
        &self.part
    }

    /// The same, for keeps.
    pub(super) fn into_part(self) -> Part {
        self.part
    }

    /// Whether somebody has changed it since. The ledger is read only where its file is another one.
    pub(super) fn changed(&self, files: &Files) -> Result<Option<Self>, FileError> {
        if files.look(&ledger_file())? == self.file {
            return Ok(None);
        }
        let now = Self::read(files)?;
        Ok((now.part != self.part).then_some(now))
    }
}

/// The ledger's file.
pub(super) fn ledger_file() -> PathBuf {
    super::state::path(super::ledger::FILE)
}

/// Writes what the ledger has of them, and nothing else of it: the run that does this is not at its end. Returns
/// what was written. Only with the lock.
pub(super) fn keep_part(files: &Files, ledger: &Ledger) -> Result<OnDisk, FileError> {
    let part = ledger.fast_part();
    let mut on_disk = Ledger::load(files)?;
    on_disk.replace_fast_part(part.clone());
    on_disk.save(files)?;
    let file = files.look(&ledger_file())?;
    Ok(OnDisk { part, file })
}
