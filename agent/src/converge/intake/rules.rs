//! Which documents are accepted. Pure: no disk, no bucket, no clock.

use jiff::Timestamp;
use serde::Deserialize;

use super::persisted::{DOCUMENT, META};
use crate::fleet::signing::Trust;
use crate::fleet::{Document, Name, Refused};
use crate::report::DocumentId;

/// Where the box stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing<'a> {
    /// Who must vouch for a document.
    pub trust: &'a Trust,
    /// How far a version may be above the highest, where somebody must vouch for it.
    pub step: u64,
    /// The version below which none is taken, since trust moved.
    pub floor: Option<u64>,
    /// The fleet of the highest version that was ever accepted, whether it counts or not.
    pub fleet_before: Option<&'a Name>,
    /// The fleet that documents must name.
    pub pinned: Option<&'a Name>,
    /// The highest version that was ever accepted.
    pub highest: Option<&'a DocumentId>,
    /// Whether that document is at hand.
    pub has_document: bool,
    /// Whether the bucket is another one than the one that `highest` came from: a person changed the settings.
    pub moved: bool,
}

/// What becomes of the bytes that the bucket has.
#[derive(Debug)]
pub(super) enum Acceptance {
    /// They are the accepted document, maybe signed by others.
    Same(Box<Document>),
    /// They are the document to stand on from now on.
    New(Box<Document>),
    /// They are refused.
    Refused {
        /// The version, where it could be read.
        version: Option<u64>,
        /// All reasons.
        errors: Vec<String>,
        /// The expiry, where that is the only reason.
        expired: Option<Timestamp>,
    },
}

/// Bytes that are no document to go by.
#[derive(Debug)]
pub(super) struct Unreadable {
    /// The version, where it could be read.
    version: Option<u64>,
    /// All reasons.
    errors: Vec<String>,
}

/// Reads `bytes` as a document that those vouch for who must. Takes the longer the more there is to read.
pub(super) fn read(bytes: &[u8], trust: &Trust) -> Result<Document, Unreadable> {
    if bytes.is_empty() {
        return Err(Unreadable {
            version: None,
            errors: vec!["the document is empty: 0 bytes; publish it again".into()],
        });
    }
    Document::read_trusted(bytes, trust).map_err(|refused| Unreadable {
        version: match &refused {
            // Who knows who wrote it.
            Refused::Unverified(_) => None,
            Refused::Mistakes(_) => version_of(bytes, trust),
        },
        errors: refused.reasons(),
    })
}

/// Judges what was read.
pub(super) fn judge(
    read: Result<Document, Unreadable>,
    standing: &Standing<'_>,
    now: Timestamp,
) -> Acceptance {
    let document = match read {
        Ok(document) => document,
        Err(Unreadable { version, errors }) => {
            return Acceptance::Refused {
                version,
                errors,
                expired: None,
            };
        }
    };
    if standing.has_document && standing.highest == Some(&document.id) {
        return Acceptance::Same(Box::new(document));
    }

    let mut errors: Vec<String> = fleet_mistake(&document, standing)
        .or_else(|| version_mistake(&document.id, standing))
        .into_iter()
        .collect();
    let expires = document.fleet.expires.0;
    let expired = expires <= now;
    let only_expired = (errors.is_empty() && expired).then_some(expires);
    if expired {
        errors.push(format!(
            "version {} expired at {expires}, and it is {now} by this machine's clock; publish a new version, or set the clock",
            document.id.version
        ));
    }
    if errors.is_empty() {
        Acceptance::New(Box::new(document))
    } else {
        Acceptance::Refused {
            version: Some(document.id.version),
            errors,
            expired: only_expired,
        }
    }
}

fn fleet_mistake(document: &Document, standing: &Standing<'_>) -> Option<String> {
    let fleet = &document.id.fleet;
    if let Some(pinned) = standing.pinned {
        return (fleet != pinned).then(|| {
            format!(
                "the document is of fleet {fleet}, and agentd.toml pins fleet {pinned}; correct the bucket's URL or the pin there"
            )
        });
    }
    let before = standing.fleet_before?;
    (fleet != before && !standing.moved).then(|| {
        format!(
            "the document is of fleet {fleet}, and this box stands on fleet {before}; publish the right document, or pin fleet {fleet} in agentd.toml"
        )
    })
}

fn version_mistake(new: &DocumentId, standing: &Standing<'_>) -> Option<String> {
    if let Some(floor) = standing.floor.filter(|floor| new.version < *floor) {
        return Some(format!(
            "rollback: version {} is older than version {floor}, the first that counts since others sign; publish its content as a new version",
            new.version
        ));
    }
    let highest = standing
        .highest
        .filter(|highest| highest.fleet == new.fleet);
    let Some(highest) = highest else {
        let far = standing
            .floor
            .is_some_and(|floor| new.version - floor > standing.step);
        return far.then(|| {
            format!(
                "version {} is more than {} above version {}, from which on versions count since others sign: was it mistyped? publish this content as a lower version",
                new.version,
                standing.step,
                standing.floor.unwrap_or_default()
            )
        });
    };
    let next = highest.version.saturating_add(1);
    if new.version < highest.version {
        Some(format!(
            "rollback: version {} is older than version {}, which this box has accepted; publish its content as version {next} (to make only this box forget: stop agentd, remove {DOCUMENT} and {META}, start it)",
            new.version, highest.version
        ))
    } else if new.version == highest.version && new.digest != highest.digest {
        Some(format!(
            "equivocation: version {} was published twice with different content (SHA-256 {:.12}… now, {:.12}… when this box accepted it); publish this content as version {next}",
            new.version, new.digest, highest.digest
        ))
    } else if let (Trust::Keys(_), true) = (
        standing.trust,
        new.version - highest.version > standing.step,
    ) {
        Some(format!(
            "version {} is {} above version {}, which this box has accepted, and a version may be at most {} above the one before: was it mistyped? publish this content as version {next}",
            new.version,
            new.version - highest.version,
            highest.version,
            standing.step
        ))
    } else {
        None
    }
}

/// The version of a document that has mistakes elsewhere, where it can be read nevertheless.
fn version_of(bytes: &[u8], trust: &Trust) -> Option<u64> {
    #[derive(Deserialize)]
    struct Outer {
        signed: Inner,
    }
    #[derive(Deserialize)]
    struct Inner {
        version: u64,
    }
    // Nothing is read of what nobody vouches for.
    Document::signers(bytes, trust).ok()?;
    let outer: Outer = serde_json::from_slice(bytes).ok()?;
    Some(outer.signed.version)
}
