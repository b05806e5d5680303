//! Documents from before the accepted one: they are signed by whoever had to then.

use super::succession::Succession;
use crate::fleet::Document;

/// Reads one that was accepted, or published, under the present trust or the one before. `None`: it is none to go by.
pub(super) fn read(bytes: &[u8], succession: &Succession) -> Option<Document> {
    let now = Document::read_accepted_trusted(bytes, &succession.trust());
    let before = succession.number().saturating_sub(1);
    now.or_else(|_| Document::read_accepted_trusted(bytes, &succession.trust_at(before)))
        .ok()
}
