//! The quarantine: steps that a version of the document failed to make true, or members of them, and that are not
//! tried again for it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::state;
use crate::report::StepName;
use crate::resource::MemberName;
use crate::system::file::{FileError, Files};

const FILE: &str = "quarantine.json";

/// The steps that one version of the document failed at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Quarantine {
    /// The document's digest. Another document starts anew.
    pub(super) digest: String,
    pub(super) steps: BTreeMap<StepName, Failure>,
    /// Members that their steps come true without.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) members: BTreeMap<StepName, BTreeMap<MemberName, Failure>>,
}

/// How a step or a member failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failure {
    pub(super) since: Timestamp,
    pub(super) error: String,
}

impl Quarantine {
    /// Nothing is quarantined for this document.
    pub(super) fn empty(digest: &str) -> Self {
        Self {
            digest: digest.into(),
            steps: BTreeMap::new(),
            members: BTreeMap::new(),
        }
    }

    /// The quarantine for this document; empty where another document's is kept.
    pub(super) fn load(files: &Files, digest: &str) -> Result<Self, FileError> {
        let kept: Option<Self> = state::load(files, FILE)?;
        Ok(kept
            .filter(|quarantine| quarantine.digest == digest)
            .unwrap_or_else(|| Self::empty(digest)))
    }

    pub(super) fn save(&self, files: &Files) -> Result<(), FileError> {
        if self.steps.is_empty() && self.members.is_empty() {
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
