//! A document between its arrival and the word on it: reading is what takes long, and is done wherever there is time.

use crate::bucket::Tag;
use crate::fleet::Document;
use crate::fleet::signing::Trust;
use crate::system::digest::sha256;

use super::rules::{self, Unreadable};

/// Under which tag a bucket has some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub tag: Tag,
    pub source: String,
}

/// A document that came and is to be read.
#[derive(Debug)]
pub struct Reading {
    bytes: Vec<u8>,
    known: Known,
    digest: [u8; 32],
    trust: Trust,
}

/// One that was read, or could not be.
#[derive(Debug)]
pub struct Read {
    pub(super) bytes: Vec<u8>,
    pub(super) known: Known,
    /// SHA-256 of the bytes.
    pub(super) digest: [u8; 32],
    /// Who had to vouch for it.
    trust: Trust,
    pub(super) document: Result<Document, Unreadable>,
}

impl Reading {
    pub(super) fn new(bytes: Vec<u8>, known: Known, trust: Trust) -> Self {
        Self {
            digest: sha256(&bytes),
            bytes,
            known,
            trust,
        }
    }

    pub(super) const fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Reads it. No input or output, and a second at most for the largest document that is taken.
    pub fn read(self) -> Read {
        let document = rules::read(&self.bytes, &self.trust);
        Read {
            bytes: self.bytes,
            known: self.known,
            digest: self.digest,
            trust: self.trust,
            document,
        }
    }
}

impl Read {
    /// The same, as who trusts these reads it.
    pub(super) fn for_trust(self, trust: &Trust) -> Self {
        if self.trust == *trust {
            return self;
        }
        Reading::new(self.bytes, self.known, trust.clone()).read()
    }
}
