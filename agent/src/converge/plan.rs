//! The plan: what differs between the wishes and the box. The very object that a run applies.

use crate::report::{DocumentId, Problem, StepRecord};

/// What a run would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// For which document.
    pub document: DocumentId,
    /// What speaks against the document on this box.
    pub problems: Vec<Problem>,
}

impl Plan {
    /// What a run of this plan would record, if all went well: a row for each step with something to do, diffs included.
    pub fn records(&self) -> Vec<StepRecord> {
        Vec::new()
    }

    /// Whether a run would change anything.
    pub fn is_empty(&self) -> bool {
        self.records().is_empty()
    }
}
