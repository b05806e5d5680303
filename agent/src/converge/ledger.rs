//! The ledger: every path and unit that the agent owns, with what it wrote there and why.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::report::{Kind, StepName};
use crate::resource::LineOrigin;
use crate::system::file::{FileError, Files};

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
    /// The run that wrote it last.
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

/// Everything that the agent owns on this box.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// Files and links, by path.
    pub paths: BTreeMap<PathBuf, Owned>,
    /// systemd units, by name, with the step that wants them.
    pub units: BTreeMap<String, StepName>,
    /// The guarded lists as they were last applied, by step.
    pub lists: BTreeMap<StepName, Vec<String>>,
}

impl Ledger {
    /// The ledger of this box; empty where there is none.
    pub fn load(_files: &Files) -> Result<Self, FileError> {
        Ok(Self::default())
    }
}
