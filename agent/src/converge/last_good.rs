//! The last document of which everything was applied: what a held or quarantined step stays on.

use serde::{Deserialize, Serialize};

use super::state;
use crate::fleet::Fleet;
use crate::report::DocumentId;
use crate::system::file::{FileError, Files};

const FILE: &str = "good.json";

/// The last good document.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Good {
    pub(super) id: DocumentId,
    pub(super) fleet: Fleet,
}

#[derive(Serialize)]
struct Borrowed<'a> {
    id: &'a DocumentId,
    fleet: &'a Fleet,
}

pub(super) fn load(files: &Files) -> Result<Option<Good>, FileError> {
    state::load(files, FILE)
}

pub(super) fn save(files: &Files, id: &DocumentId, fleet: &Fleet) -> Result<(), FileError> {
    state::save(files, FILE, &Borrowed { id, fleet })
}
