//! Reading a document: from bytes to a checked [`Fleet`], or to all of its mistakes.

use std::fmt;
use std::sync::Arc;

use super::model::Fleet;
use super::pointer::Pointer;
use crate::report::DocumentId;

/// A document that was read and checked as a whole.
#[derive(Debug, Clone)]
pub struct Document {
    /// What it says.
    pub fleet: Arc<Fleet>,
    /// Which it is.
    pub id: DocumentId,
}

/// One mistake in a document.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Mistake {
    /// Where, as a JSON pointer into the file.
    pub pointer: Pointer,
    /// Line and column of the value (or the key) in the file, both from 1, where they are known.
    pub position: Option<(u32, u32)>,
    /// What is wrong, what was expected, and the nearest right name for a misspelt one.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.position {
            write!(out, "{line}:{column}: ")?;
        }
        write!(out, "{}: {}", self.pointer, self.message)
    }
}

impl Document {
    /// Reads and checks a document. All its mistakes are returned at once, in the order of the file.
    pub fn read(_bytes: &[u8]) -> Result<Self, Vec<Mistake>> {
        Err(Vec::new())
    }
}
