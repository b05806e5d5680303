//! Reading a document: from bytes to a checked [`Fleet`], or to all of its mistakes.

use std::fmt;
use std::sync::Arc;

use super::envelope::{Envelope, Signature, digest};
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
    /// Who says so, as the file has it. Nothing here was verified.
    pub signatures: Vec<Signature>,
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
    pub fn read(bytes: &[u8]) -> Result<Self, Vec<Mistake>> {
        Self::read_good(bytes).map_err(|error| {
            let position = u32::try_from(error.line())
                .ok()
                .zip(u32::try_from(error.column()).ok());
            vec![Mistake {
                pointer: Pointer(String::new()),
                position,
                message: error.to_string(),
            }]
        })
    }

    fn read_good(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let envelope: Envelope<'_> = serde_json::from_slice(bytes)?;
        let fleet: Fleet = serde_json::from_str(envelope.signed.get())?;
        let id = DocumentId {
            fleet: fleet.fleet.clone(),
            version: fleet.version,
            digest: digest(envelope.signed.get()),
        };
        Ok(Self {
            fleet: Arc::new(fleet),
            id,
            signatures: envelope.signatures,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heavy_fleet_is_read() {
        let document = Document::read(include_bytes!("../../../tests/fleets/heavy.json")).unwrap();
        assert_eq!(document.id.fleet.as_str(), "heavy");
        assert_eq!(document.fleet.servers.len(), 11);
    }
}
