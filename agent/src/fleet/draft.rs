//! A document on its way to be published: its own text, with another version and other moments in it, and its envelope.
//! What a person wrote stays as it stands, to the byte.

use jiff::Timestamp;

use super::document::Document;
use super::envelope::{Signature, sealed, signed_part};
use super::findings::Mistake;
use super::tree::Node;

/// The signed part of a document that has no mistakes.
#[derive(Debug, Clone)]
pub struct Draft {
    signed: String,
}

impl Draft {
    /// Reads a whole document, envelope included, and checks it.
    pub fn read(bytes: &[u8]) -> Result<(Self, Document), Vec<Mistake>> {
        let document = Document::read(bytes)?;
        // Read just now: it is there.
        let signed = signed_part(bytes).unwrap_or_default().to_owned();
        Ok((Self { signed }, document))
    }

    /// The exact bytes that are signed.
    pub fn signed(&self) -> &str {
        &self.signed
    }

    /// The same with another version, moment of issue and, where one is given, of expiry.
    #[must_use]
    pub fn with(&self, version: u64, issued: Timestamp, expires: Option<Timestamp>) -> Self {
        let mut signed = self.signed.clone();
        let mut put = |key: &str, value: String| {
            if let Some((start, end)) = place(&signed, key) {
                signed.replace_range(start..end, &value);
            }
        };
        put("version", version.to_string());
        put("issued", format!("\"{}\"", whole_seconds(issued)));
        if let Some(expires) = expires {
            put("expires", format!("\"{}\"", whole_seconds(expires)));
        }
        Self { signed }
    }

    /// The whole document, with these signatures.
    pub fn sealed(&self, signatures: &[Signature]) -> String {
        sealed(&self.signed, signatures)
    }
}

fn whole_seconds(moment: Timestamp) -> Timestamp {
    Timestamp::from_second(moment.as_second()).unwrap_or(moment)
}

/// Where the value of a member stands.
fn place(text: &str, key: &str) -> Option<(usize, usize)> {
    let tree = Node::parse(text).ok()?;
    let value = tree.member(key)?.value;
    Some((value.start, value.end))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"{"signatures": [], "signed": {
  "format": 1,   "fleet": "f", "servers": {},
  "version":41, "issued" : "2026-01-01T00:00:00Z",
  "expires": "2126-01-01T00:00:00Z" } }"#;

    #[test]
    fn only_what_is_asked_for_is_replaced() {
        let (draft, _) = Draft::read(DOCUMENT.as_bytes()).unwrap();
        let issued = "2026-11-30T10:00:00.5Z".parse().unwrap();
        let next = draft.with(42, issued, None);
        assert_eq!(
            next.signed(),
            r#"{
  "format": 1,   "fleet": "f", "servers": {},
  "version":42, "issued" : "2026-11-30T10:00:00Z",
  "expires": "2126-01-01T00:00:00Z" }"#
        );
        let later = "2027-01-01T00:00:00Z".parse().unwrap();
        assert!(
            next.with(42, issued, Some(later))
                .signed()
                .contains("\"2027-01-01T00:00:00Z\"")
        );
        let (again, document) = Draft::read(next.sealed(&[]).as_bytes()).unwrap();
        assert_eq!(again.signed(), next.signed());
        assert_eq!(document.id.version, 42);
    }
}
