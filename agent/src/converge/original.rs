//! What stood at a path before the agent: what comes back when the document lets go of it.
//!
//! The content of files is kept in files of its own, `originals/<SHA-256>`, as long as the ledger names them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::state;
use crate::system::digest::sha256_hex;
use crate::system::file::{Attributes, FileError, Files, Found, Keep, Staged};

const DIR: &str = "originals";
/// Nobody but root: what stood there may have been for its owner's eyes.
pub(super) const MODE: u32 = 0o600;

/// What stood there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Original {
    /// A file: the SHA-256 of its content, which is the name of the copy, its owner and permission bits.
    File {
        /// SHA-256 of its content.
        digest: String,
        /// Owner and permission bits.
        attributes: Attributes,
    },
    /// A link that pointed there.
    Link(PathBuf),
    /// A directory with this owner and these permission bits.
    Directory(Attributes),
}

impl Original {
    /// Puts it back to `at`.
    pub(super) fn put_back(&self, files: &Files, at: &Path) -> Result<(), FileError> {
        match self {
            Self::File { digest, attributes } => {
                let path = path(digest);
                let bytes = match files.read(&path)? {
                    Found::File { bytes, .. } if sha256_hex(&bytes) == *digest => bytes,
                    _ => {
                        return Err(FileError::Io {
                            operation: "find the copy of what stood there before,",
                            path,
                            source: std::io::ErrorKind::NotFound.into(),
                        });
                    }
                };
                let staged = files.stage_as(at, &bytes, Keep::NotEvenLink(*attributes))?;
                Staged::commit(staged).map(drop)
            }
            Self::Link(target) => files.link(at, target),
            Self::Directory(attributes) => files.place_dir(at, *attributes),
        }
    }

    /// The path of the copy.
    pub fn copy(&self) -> Option<PathBuf> {
        match self {
            Self::File { digest, .. } => Some(path(digest)),
            Self::Link(_) | Self::Directory(_) => None,
        }
    }
}

/// Where the copy of a content of this SHA-256 is.
pub(super) fn path(digest: &str) -> PathBuf {
    dir().join(digest)
}

/// The directory of the copies.
pub(super) fn dir() -> PathBuf {
    state::path(DIR)
}
