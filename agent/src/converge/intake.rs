//! Intake of documents: fetch, read, accept or refuse, persist the last good one.

use jiff::Timestamp;

use crate::bucket::{Bucket, BucketError};
use crate::fleet::{Document, Name};
use crate::report::Refusal;
use crate::system::file::{FileError, Files};

/// The accepted document, and what is known of its freshness.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The document.
    pub document: Document,
    /// When the bucket last said that it is the present one.
    pub confirmed: Timestamp,
}

/// What one poll brought.
#[derive(Debug)]
pub enum Polled {
    /// The bucket's document is the accepted one.
    Unchanged,
    /// A new document was accepted and persisted.
    New,
    /// The bucket's document was refused; the accepted one stays.
    Refused(Refusal),
    /// The bucket did not answer; the accepted one stays.
    Unreachable(BucketError),
}

/// The box's own copy of the document.
#[derive(Debug)]
pub struct Intake {
    accepted: Option<Accepted>,
}

impl Intake {
    /// Reads the persisted document, if there is one.
    pub fn open(_files: &Files, _pinned: Option<&Name>, _limit: u64) -> Result<Self, FileError> {
        Ok(Self { accepted: None })
    }

    /// The last document that was accepted.
    pub const fn accepted(&self) -> Option<&Accepted> {
        self.accepted.as_ref()
    }

    /// Asks the bucket once. A 304 writes nothing to disk.
    #[expect(clippy::unused_async, reason = "not built yet")]
    pub async fn poll(&mut self, _bucket: &Bucket) -> Result<Polled, FileError> {
        Ok(Polled::Unchanged)
    }
}
