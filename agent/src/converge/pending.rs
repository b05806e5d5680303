//! What is under way: written before the first switch of a step, so that a crash between writing
//! and activating is made good by the next run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ledger::{KnownStep, Ledger, Owned, digest};
use super::state;
use crate::report::StepName;
use crate::resource::block;
use crate::system::file::{FileError, Files, Found};

const FILE: &str = "pending.json";

/// Steps whose activation is not known to have happened.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) steps: BTreeMap<StepName, Interrupted>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Interrupted {
    /// It came true and is only kept until the ledger is on disk.
    pub(super) done: bool,
    /// What the ledger will say of the step.
    pub(super) known: KnownStep,
    /// What the ledger will say of its paths.
    pub(super) owned: BTreeMap<PathBuf, Owned>,
    /// Directories that were made for them.
    pub(super) dirs: BTreeSet<PathBuf>,
    /// What stood there before the step, oldest first: what putting back restores.
    pub(super) restore: Vec<Restore>,
    /// The list that the shrink guard compared with.
    pub(super) list: Option<Vec<String>>,
}

/// What stood at a path before a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Restore {
    pub(super) path: PathBuf,
    pub(super) before: Saved,
}

/// A copy of what stood at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Saved {
    Absent,
    File {
        #[serde(with = "hex::serde")]
        bytes: Vec<u8>,
        mode: u32,
    },
    Link(PathBuf),
}

impl Saved {
    /// A copy of `found`; `None` for what the agent never touches.
    pub(super) fn of(found: &Found) -> Option<Self> {
        match found {
            Found::Absent => Some(Self::Absent),
            Found::File { bytes, attributes } => Some(Self::File {
                bytes: bytes.clone(),
                mode: attributes.mode,
            }),
            Found::Link(target) => Some(Self::Link(target.clone())),
            Found::Directory | Found::Other => None,
        }
    }

    /// Digests under which `found` may be recognised as this, whole or as the agent's block in it.
    fn digests(&self) -> Vec<String> {
        match self {
            Self::Absent => Vec::new(),
            Self::File { bytes, .. } => {
                let lines = std::str::from_utf8(bytes).ok().and_then(block::extract);
                lines
                    .map(|lines| digest(lines.as_bytes()))
                    .into_iter()
                    .chain([digest(bytes)])
                    .collect()
            }
            Self::Link(target) => vec![digest(target.as_os_str().as_encoded_bytes())],
        }
    }
}

impl Pending {
    pub(super) fn load(files: &Files) -> Result<Self, FileError> {
        Ok(state::load(files, FILE)?.unwrap_or_default())
    }

    pub(super) fn save(&self, files: &Files) -> Result<(), FileError> {
        if self.steps.is_empty() {
            files.remove(&state::path(FILE))
        } else {
            state::save(files, FILE, self)
        }
    }

    /// The step `name`, if its activation is not known to have happened.
    pub(super) fn unfinished(&self, name: &StepName) -> Option<&Interrupted> {
        self.steps.get(name).filter(|step| !step.done)
    }

    /// The ledger as it would be, had the interrupted steps been recorded: what they wrote is the agent's.
    pub(super) fn merged_into(&self, mut ledger: Ledger) -> Ledger {
        for (name, step) in &self.steps {
            for (path, owned) in &step.owned {
                ledger
                    .paths
                    .entry(path.clone())
                    .or_insert_with(|| owned.clone());
            }
            ledger
                .steps
                .entry(name.clone())
                .or_insert_with(|| step.known.clone());
            ledger.dirs.extend(step.dirs.iter().cloned());
        }
        ledger
    }

    /// Digests under which the interrupted steps may have left `path`: not somebody else's work.
    pub(super) fn digests(&self, path: &PathBuf) -> Vec<String> {
        self.steps
            .values()
            .flat_map(|step| {
                let written = step.owned.get(path).map(|owned| owned.digest.clone());
                let before = step.restore.iter().filter(|restore| restore.path == *path);
                written
                    .into_iter()
                    .chain(before.flat_map(|restore| restore.before.digests()))
            })
            .collect()
    }
}
