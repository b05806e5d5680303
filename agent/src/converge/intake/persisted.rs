//! The accepted document as it is persisted on this box's own disk, byte for byte, and the record about it.
//!
//! The document is written first and the record about it last: a crash between the two leaves a
//! document that is newer than its record, and a record is never newer than its document.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::considered::{BEFORE, Considered};
use super::older;
use super::succession::Succession;
use crate::bucket::Tag;
use crate::fleet::names::KeyName;
use crate::fleet::{Document, Name};
use crate::report::DocumentId;
use crate::system::crash;
use crate::system::digest::sha256;
use crate::system::file::{FileError, Files, Found};

/// The last good document, byte for byte.
pub const DOCUMENT: &str = "/var/lib/agentd/document.json";
/// What is known of it: version, digest, tag, source, time.
pub const META: &str = "/var/lib/agentd/document.meta.json";
/// A copy that could not be used, for a person to look at.
pub const BAD: &str = "/var/lib/agentd/document.json.bad";

/// The document is the operator's business, not every account's.
const MODE: u32 = 0o640;

/// What is known of the persisted document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    /// The format of this record: 1.
    format: u32,
    /// Which document it is.
    #[serde(flatten)]
    pub id: DocumentId,
    /// The bucket's tag for it.
    pub tag: Tag,
    /// The URL that it came from.
    pub source: String,
    /// When.
    pub fetched: Timestamp,
    /// Who signed it, of the keys that counted then. For people: at each start the signatures themselves are looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signers: Vec<KeyName>,
    /// Under which generation of trust it was accepted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub trust: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Meta {
    pub(super) fn new(
        tag: &Tag,
        source: &str,
        fetched: Timestamp,
        id: DocumentId,
        signers: &[KeyName],
    ) -> Self {
        Self {
            format: 1,
            id,
            tag: tag.clone(),
            source: source.into(),
            fetched,
            signers: signers.into(),
            trust: 0,
        }
    }
}

/// What was found on disk.
#[derive(Debug, Default)]
pub(super) struct Persisted {
    /// The document, if it can be used.
    pub document: Option<Document>,
    /// The record, if it can be read and is not of another fleet than the pinned one.
    pub meta: Option<Meta>,
    /// Whether the record is about that document.
    pub fits: bool,
    /// The bytes of a document that cannot be used.
    pub damaged: Option<Vec<u8>>,
}

/// Reads what was persisted, all of it. Writes nothing.
pub(super) fn load(
    files: &Files,
    pinned: Option<&Name>,
    succession: &Succession,
    considered: &Considered,
) -> Result<Persisted, FileError> {
    let meta = load_meta(files)?;
    let bytes = match files.read(Path::new(DOCUMENT))? {
        Found::File { bytes, .. } => bytes,
        Found::Absent => {
            return Ok(Persisted {
                meta: meta.filter(|meta| pinned.is_none_or(|pinned| *pinned == meta.id.fleet)),
                ..Persisted::default()
            });
        }
        _ => {
            tracing::warn!(
                event = "document-copy-unusable",
                path = DOCUMENT,
                "the last good document, {DOCUMENT}, is no file; going on as if there were none"
            );
            return Ok(Persisted {
                meta,
                ..Persisted::default()
            });
        }
    };
    if let Some(why) = considered.refuses(sha256(&bytes)) {
        return the_one_before(files, meta, succession, &why);
    }
    // Verified again: the settings may trust others now than when it was accepted. Who vouched for it when that was enough,
    // before trust moved, is enough to go on standing on it.
    let trust = &succession.trust();
    let then = succession.trust_at(meta.as_ref().map_or(0, |meta| meta.trust));
    let read = match Document::read_accepted_trusted(&bytes, trust)
        .or_else(|refused| Document::read_accepted_trusted(&bytes, &then).map_err(|_| refused))
    {
        // These very bytes were accepted.
        Ok(read) if meta.as_ref().is_some_and(|meta| meta.id == read.id) => Ok(read),
        Ok(_) => Document::read_trusted(&bytes, trust),
        Err(refused) => Err(refused),
    };
    let why = match read {
        Err(refused) => {
            let first = refused.reasons().into_iter().next();
            first.unwrap_or_else(|| "it cannot be read".into())
        }
        Ok(document) => {
            let Some(why) = unusable(&document.id, meta.as_ref(), pinned) else {
                let fits = meta.as_ref().is_some_and(|meta| meta.id == document.id);
                return Ok(Persisted {
                    document: Some(document),
                    meta,
                    fits,
                    damaged: None,
                });
            };
            why
        }
    };
    tracing::warn!(
        event = "document-copy-unusable",
        path = DOCUMENT,
        why,
        "the last good document, {DOCUMENT}, cannot be used; going on as if there were none: {why}"
    );
    Ok(Persisted {
        document: None,
        meta: meta.filter(|meta| pinned.is_none_or(|pinned| *pinned == meta.id.fleet)),
        fits: false,
        damaged: Some(bytes),
    })
}

/// What the box goes on with where it dies of its document. That this was accepted goes on to count.
fn the_one_before(
    files: &Files,
    meta: Option<Meta>,
    succession: &Succession,
    why: &str,
) -> Result<Persisted, FileError> {
    tracing::warn!(
        event = "document-copy-unusable",
        path = DOCUMENT,
        why,
        "the last document, {DOCUMENT}, is not used, and the one before is: {why}"
    );
    let before = match files.read(Path::new(BEFORE))? {
        Found::File { bytes, .. } => older::read(&bytes, succession),
        _ => None,
    };
    Ok(Persisted {
        document: before,
        meta,
        fits: false,
        damaged: None,
    })
}

pub(super) fn load_meta(files: &Files) -> Result<Option<Meta>, FileError> {
    let Found::File { bytes, .. } = files.read(Path::new(META))? else {
        return Ok(None);
    };
    match serde_json::from_slice::<Meta>(&bytes) {
        Ok(meta) => Ok(Some(meta)),
        Err(error) => {
            tracing::warn!(event = "document-copy-unusable", path = META, %error, "the record of the last good document, {META}, cannot be read: {error}");
            Ok(None)
        }
    }
}

/// Why a document that reads well is not the last good one.
fn unusable(id: &DocumentId, meta: Option<&Meta>, pinned: Option<&Name>) -> Option<String> {
    if let Some(pinned) = pinned.filter(|pinned| **pinned != id.fleet) {
        return Some(format!(
            "it is of fleet {}, and agentd.toml pins fleet {pinned}",
            id.fleet
        ));
    }
    let recorded = &meta?.id;
    // A newer one than recorded is what a crash leaves, after which the record was not written.
    if recorded.fleet != id.fleet || recorded == id || id.version > recorded.version {
        return None;
    }
    Some(format!(
        "it is version {} ({}), and version {} ({}) was accepted",
        id.version, id.digest, recorded.version, recorded.digest
    ))
}

/// Persists a document that was accepted.
pub(super) fn keep(files: &Files, bytes: &[u8], meta: &Meta) -> Result<(), FileError> {
    // What the box stood on until now: should it die of the new one, it goes on with that.
    if let Found::File { bytes: before, .. } = files.read(Path::new(DOCUMENT))?
        && before != bytes
    {
        files.write(Path::new(BEFORE), &before, MODE)?;
    }
    files.write(Path::new(DOCUMENT), bytes, MODE)?;
    crash::point("document persisted, its record not");
    keep_meta(files, meta)
}

/// Persists the record alone: the same document is now known under another tag or URL.
pub(super) fn keep_meta(files: &Files, meta: &Meta) -> Result<(), FileError> {
    // Plain fields only: nothing here can fail to be written as JSON.
    let text = serde_json::to_vec_pretty(meta).unwrap_or_default();
    files.write(Path::new(META), &text, MODE)?;
    Ok(())
}

/// Keeps a copy that cannot be used where a person finds it.
pub(super) fn set_aside(files: &Files, bytes: &[u8]) -> Result<(), FileError> {
    files.write(Path::new(BAD), bytes, MODE)?;
    tracing::warn!(
        event = "document-set-aside",
        path = BAD,
        "the document that could not be used was set aside: {BAD}"
    );
    Ok(())
}
