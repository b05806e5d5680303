//! Temporary files that a run left which was killed while it wrote: removed by the next start, wherever they may lie.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::ledger::Ledger;
use super::observe::Observed;
use super::{Converger, journal, original, pending, state};
use crate::resource::{OBJECTS, Thing};
use crate::settings::{RUN_DIR, STATE_DIR};
use crate::system::chain;
use crate::system::file::FileError;

impl Converger {
    /// Sweeps the directories that the agent writes to: once in the life of a process, and where a run was interrupted.
    ///
    /// `has_work`: the run has something to do, or has done it (names come first). Without work, only those of its own state: a write that was killed in the middle of one of the managed files
    /// has its work still to do. Where nothing was left this only looks, so that an idle run writes nothing. Not fatal:
    /// leftovers harm nobody. Should another process of the agent be writing its status or a new document in this very
    /// moment, it tries again.
    pub(super) fn sweep(&self, observed: &Observed, has_work: bool) {
        let swept = self.swept.swap(true, Ordering::Relaxed);
        if swept && observed.pending.steps.is_empty() {
            return;
        }
        let runs = state::path(journal::RUNS);
        let objects = state::path(OBJECTS);
        let mut dirs = BTreeSet::from([
            STATE_DIR.into(),
            RUN_DIR.into(),
            runs,
            original::dir(),
            objects,
        ]);
        dirs.extend(pending::dirs());
        if has_work {
            let owned = observed.ledger.paths().map(|(path, _)| path);
            let seen = observed.sight.keys().filter_map(Thing::path);
            let parents = owned.chain(seen).filter_map(Path::parent);
            dirs.extend(parents.map(Path::to_path_buf));
            dirs.extend(self.copies().unwrap_or_default());
        }
        for dir in dirs {
            if let Err(error) = self.files.sweep(&dir) {
                tracing::warn!(event = "not-swept", dir = %dir.display(), error = chain(&error), "temporary files may be left in {}: {}", dir.display(), chain(&error));
            }
        }
    }

    /// Removes copies of what stood at paths before the agent that the ledger names no more. What cannot be removed is
    /// tried again with the next change.
    pub(super) fn sweep_originals(&self, ledger: &Ledger) {
        let kept: BTreeSet<PathBuf> = ledger.copies().collect();
        for name in self.files.list(&original::dir()).unwrap_or_default() {
            let path = original::dir().join(name);
            if !kept.contains(&path)
                && let Err(error) = self.files.remove(&path)
            {
                tracing::warn!(
                    event = "copy-left",
                    error = chain(&error),
                    "{}",
                    chain(&error)
                );
            }
        }
    }

    /// The directories of the journal that hold copies of what was replaced.
    fn copies(&self) -> Result<Vec<PathBuf>, FileError> {
        let backups = state::path(journal::BACKUPS);
        let runs = self.files.list(&backups)?;
        Ok(runs.into_iter().map(|run| backups.join(run)).collect())
    }
}
