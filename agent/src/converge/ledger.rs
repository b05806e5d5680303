//! The ledger: every path and unit that the agent owns, with what it wrote there and why.
//!
//! What is not in it is not the agent's, and is never removed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::state;
use crate::report::{Kind, StepName};
use crate::resource::{Activation, Content, LineOrigin};
use crate::system::file::{FileError, Files};

pub(super) const FILE: &str = "ledger.json";

/// One path that the agent owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owned {
    /// Which resource.
    pub kind: Kind,
    /// Which step.
    pub step: StepName,
    /// What it is: a file, a block of lines in a file, a link.
    pub form: Form,
    /// SHA-256 of what was written (the block's lines, the link's target), in hexadecimal.
    pub digest: String,
    /// The path under which people know it.
    pub shown_as: Option<PathBuf>,
    /// Who asks for it, by line.
    pub origins: Vec<LineOrigin>,
    /// It stood there as wished before the agent came: kept in order from now on, but never removed.
    #[serde(default)]
    pub adopted: bool,
    /// The run that wrote it last; 0 for an adopted one.
    pub run: u64,
    /// When.
    pub written: Timestamp,
    /// For which version of the document.
    pub version: u64,
}

/// What an owned path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A whole file.
    File,
    /// Lines between markers.
    Block,
    /// A symlink.
    Link,
}

/// What is remembered of a step, so that its removal can be activated when nothing asks for it any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownStep {
    /// Which resource.
    pub kind: Kind,
    /// What makes a change of it take effect.
    pub activate: Vec<Activation>,
}

/// Everything that the agent owns on this box.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// Files and links, by path.
    pub paths: BTreeMap<PathBuf, Owned>,
    /// systemd units, by name, with the step that wants them.
    pub units: BTreeMap<String, StepName>,
    /// The steps that were applied.
    pub steps: BTreeMap<StepName, KnownStep>,
    /// The guarded lists as they were last applied, by step.
    pub lists: BTreeMap<StepName, Vec<String>>,
    /// Directories that the agent made for its files; removed when empty.
    pub dirs: BTreeSet<PathBuf>,
    /// The digest of the last document of which everything was applied.
    pub good: Option<String>,
}

impl Ledger {
    /// The ledger of this box; empty where there is none.
    pub fn load(files: &Files) -> Result<Self, FileError> {
        Ok(state::load(files, FILE)?.unwrap_or_default())
    }

    /// Whether there is a ledger that cannot be understood. It counts as empty until the next run has rebuilt it.
    pub fn is_damaged(files: &Files) -> Result<bool, FileError> {
        state::is_damaged::<Self>(files, FILE)
    }

    pub(super) fn save(&self, files: &Files) -> Result<(), FileError> {
        state::save(files, FILE, self)
    }

    /// The paths of one step.
    pub fn of_step<'a>(
        &'a self,
        step: &'a StepName,
    ) -> impl Iterator<Item = (&'a PathBuf, &'a Owned)> {
        self.paths
            .iter()
            .filter(move |(_, owned)| owned.step == *step)
    }
}

/// What the ledger has of one step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Part {
    paths: BTreeMap<PathBuf, Owned>,
    known: Option<KnownStep>,
    list: Option<Vec<String>>,
}

impl Part {
    /// A ledger that has this and nothing else.
    pub(super) fn alone(self, step: &StepName) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.replace(step, self);
        ledger
    }
}

impl Ledger {
    /// What it has of one step. Without units: for steps that have none.
    pub(super) fn part(&self, step: &StepName) -> Part {
        let paths = self.of_step(step);
        Part {
            paths: (paths.map(|(path, owned)| (path.clone(), owned.clone()))).collect(),
            known: self.steps.get(step).cloned(),
            list: self.lists.get(step).cloned(),
        }
    }

    /// From now on it has exactly this of the step.
    pub(super) fn replace(&mut self, step: &StepName, part: Part) {
        self.paths.retain(|_, owned| owned.step != *step);
        self.paths.extend(part.paths);
        self.steps.remove(step);
        self.steps
            .extend(part.known.map(|known| (step.clone(), known)));
        self.lists.remove(step);
        self.lists
            .extend(part.list.map(|list| (step.clone(), list)));
    }
}

impl Form {
    /// The form of a wish.
    pub const fn of(content: &Content) -> Self {
        match content {
            Content::File { .. } => Self::File,
            Content::Block { .. } => Self::Block,
            Content::Link { .. } => Self::Link,
        }
    }
}

/// The digest that the ledger keeps of a wish.
pub(super) fn digest_of(content: &Content) -> String {
    match content {
        Content::File { text, .. } | Content::Block { text } => digest(text.as_bytes()),
        Content::Link { target } => digest(target.as_os_str().as_encoded_bytes()),
    }
}

/// SHA-256 in hexadecimal.
pub(super) fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
