//! The quarantine: steps that a version of the document failed to make true, and that are not tried again for it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::state;
use crate::report::StepName;
use crate::system::file::{FileError, Files};

const FILE: &str = "quarantine.json";

/// The steps that one version of the document failed at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Quarantine {
    /// The document's digest. Another document starts anew.
    pub(super) digest: String,
    pub(super) steps: BTreeMap<StepName, Failure>,
}

/// How a step failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failure {
    pub(super) since: Timestamp,
    pub(super) error: String,
}

impl Quarantine {
    /// The quarantine for this document; empty where another document's is kept.
    pub(super) fn load(files: &Files, digest: &str) -> Result<Self, FileError> {
        let kept: Option<Self> = state::load(files, FILE)?;
        Ok(kept
            .filter(|quarantine| quarantine.digest == digest)
            .unwrap_or_else(|| Self {
                digest: digest.into(),
                steps: BTreeMap::new(),
            }))
    }

    pub(super) fn save(&self, files: &Files) -> Result<(), FileError> {
        if self.steps.is_empty() {
            release(files)
        } else {
            state::save(files, FILE, self)
        }
    }
}

/// Forgets the quarantine.
pub(super) fn release(files: &Files) -> Result<(), FileError> {
    files.remove(&state::path(FILE))
}
