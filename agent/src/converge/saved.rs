//! What stood there before a change: what putting back restores, in memory and on disk.
//!
//! The content of files is kept in files of its own, `before/<SHA-256>`, each written once, before the first switch.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::state;
use crate::resource::block;
use crate::system::account_files::{Group, User};
use crate::system::digest::sha256_hex;
use crate::system::file::{Attributes, FileError, Files, Found};
use crate::system::systemd::UnitState;

const DIR: &str = "before";
/// Nobody but root: what stood there may have been for its owner's eyes.
const MODE: u32 = 0o600;

/// What stood at a thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Saved {
    Absent,
    File {
        content: Content,
        attributes: Attributes,
    },
    Link(PathBuf),
    Directory(Attributes),
    Unit(UnitState),
    /// A package in this version, `None`: not there. Nothing puts it back, so it stands in no state file.
    Package(Option<String>),
    /// A file with a secret in it, of which nothing was kept: what stands there stays.
    Withheld,
    Group(Group),
    User(User),
}

/// The content of a file that stood there.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Content {
    Memory(Vec<u8>),
    /// With a secret in it: it is never written anywhere but to its own path, and not shown.
    Secret(Vec<u8>),
    /// In a file of its own, which an earlier run has written.
    Disk {
        digest: String,
        block: Option<String>,
    },
    /// Too large to be kept in memory: from before the step is carried out it is in a file of its own.
    Large {
        digest: String,
        /// In bytes.
        size: u64,
    },
}

impl fmt::Debug for Content {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(bytes) => out.debug_tuple("Memory").field(bytes).finish(),
            Self::Secret(_) => out.write_str("<secret>"),
            Self::Disk { digest, .. } => out.debug_tuple("Disk").field(digest).finish(),
            Self::Large { digest, .. } => out.debug_tuple("Large").field(digest).finish(),
        }
    }
}

/// The same as it stands in a state file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Recorded {
    Absent,
    File {
        /// SHA-256 of its content, which is the name of the file that keeps it.
        digest: String,
        /// SHA-256 of the agent's block in it, if there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        block: Option<String>,
        attributes: Attributes,
    },
    Link(PathBuf),
    Directory(Attributes),
    Unit(UnitState),
    Withheld,
    Group(Group),
    User(User),
}

impl Saved {
    /// A copy of `found`; `None` for what the agent never touches.
    pub(super) fn of(found: &Found) -> Option<Self> {
        match found {
            Found::Absent => Some(Self::Absent),
            Found::File { bytes, attributes } => Some(Self::File {
                content: Content::Memory(bytes.clone()),
                attributes: *attributes,
            }),
            Found::Large {
                size,
                digest,
                attributes,
            } => Some(Self::File {
                content: Content::Large {
                    digest: digest.clone(),
                    size: *size,
                },
                attributes: *attributes,
            }),
            Found::Link(target) => Some(Self::Link(target.clone())),
            Found::Directory(attributes) => Some(Self::Directory(*attributes)),
            Found::Other => None,
        }
    }

    /// The same as one with a secret in it: nothing of it is kept on disk or shown.
    #[must_use]
    pub(super) fn into_secret(self) -> Self {
        match self {
            Self::File {
                content: Content::Memory(bytes),
                attributes,
            } => Self::File {
                content: Content::Secret(bytes),
                attributes,
            },
            // It could only be put back from a copy, and there is none of it.
            Self::File {
                content: Content::Large { .. },
                ..
            } => Self::Withheld,
            other => other,
        }
    }

    /// Whether it has a secret in it.
    pub(super) const fn is_secret(&self) -> bool {
        matches!(
            self,
            Self::Withheld
                | Self::File {
                    content: Content::Secret(_),
                    ..
                }
        )
    }

    /// Whether that is what is there now.
    pub(super) fn is(&self, found: &Found) -> bool {
        match (self, found) {
            (Self::Absent, Found::Absent) => true,
            (
                Self::File {
                    content,
                    attributes,
                },
                Found::File {
                    bytes,
                    attributes: present,
                },
            ) => attributes == present && content.is(bytes),
            (
                Self::File {
                    content,
                    attributes,
                },
                Found::Large {
                    digest,
                    attributes: present,
                    ..
                },
            ) => attributes == present && content.digests().0 == *digest,
            (Self::Link(target), Found::Link(present)) => target == present,
            (Self::Directory(attributes), Found::Directory(present)) => attributes == present,
            _ => false,
        }
    }

    /// The same for a state file. The content of a file must be kept first: see [`Saved::keep`].
    pub(super) fn recorded(&self) -> Recorded {
        match self {
            Self::Absent | Self::Package(_) => Recorded::Absent,
            Self::File {
                content: Content::Secret(_),
                ..
            }
            | Self::Withheld => Recorded::Withheld,
            Self::File {
                content,
                attributes,
            } => {
                let (digest, block) = content.digests();
                Recorded::File {
                    digest,
                    block,
                    attributes: *attributes,
                }
            }
            Self::Link(target) => Recorded::Link(target.clone()),
            Self::Directory(attributes) => Recorded::Directory(*attributes),
            Self::Unit(state) => Recorded::Unit(*state),
            Self::Group(group) => Recorded::Group(group.clone()),
            Self::User(user) => Recorded::User(user.clone()),
        }
    }

    /// Keeps the content of a file on disk, once. One that is not in memory is copied before its step is carried out: see
    /// [`Saved::copy`].
    pub(super) fn keep(&self, files: &Files) -> Result<(), FileError> {
        let Self::File {
            content: Content::Memory(bytes),
            ..
        } = self
        else {
            return Ok(());
        };
        let path = path(&sha256_hex(bytes));
        if files.look(&path)?.is_none() {
            files.write(&path, bytes, MODE)?;
        }
        Ok(())
    }

    /// Keeps a content that is not in memory, and stands at `from`, on disk. Returns the copy's path, where it made one.
    pub(super) fn copy(&self, files: &Files, from: &Path) -> Result<Option<PathBuf>, FileError> {
        let Self::File {
            content: Content::Large { digest, .. },
            ..
        } = self
        else {
            return Ok(None);
        };
        let path = path(digest);
        if files.look(&path)?.is_none() {
            files.copy(from, digest, &path, MODE)?;
        }
        Ok(Some(path))
    }

    /// Digests under which what stands there may be recognised as this, whole or as the agent's block in it.
    pub(super) fn digests(&self) -> Vec<String> {
        match self {
            Self::Absent
            | Self::Unit(_)
            | Self::Package(_)
            | Self::Directory(_)
            | Self::Withheld
            | Self::File {
                content: Content::Secret(_),
                ..
            }
            | Self::Group(_)
            | Self::User(_) => Vec::new(),
            Self::File { content, .. } => {
                let (whole, block) = content.digests();
                block.into_iter().chain([whole]).collect()
            }
            Self::Link(target) => vec![sha256_hex(target.as_os_str().as_encoded_bytes())],
        }
    }
}

impl Content {
    fn is(&self, bytes: &[u8]) -> bool {
        match self {
            Self::Memory(content) | Self::Secret(content) => content == bytes,
            Self::Disk { digest: kept, .. } | Self::Large { digest: kept, .. } => {
                *kept == sha256_hex(bytes)
            }
        }
    }

    fn digests(&self) -> (String, Option<String>) {
        match self {
            Self::Memory(bytes) | Self::Secret(bytes) => {
                (sha256_hex(bytes), block::extract(bytes).map(sha256_hex))
            }
            Self::Disk { digest, block } => (digest.clone(), block.clone()),
            Self::Large { digest, .. } => (digest.clone(), None),
        }
    }

    /// The bytes. The error says why they cannot be had any more.
    pub(super) fn bytes(&self, files: &Files) -> Result<Vec<u8>, String> {
        let kept = match self {
            Self::Memory(bytes) | Self::Secret(bytes) => return Ok(bytes.clone()),
            Self::Disk { digest, .. } | Self::Large { digest, .. } => digest,
        };
        let path = path(kept);
        match files.read(&path) {
            Ok(Found::File { bytes, .. }) if sha256_hex(&bytes) == *kept => Ok(bytes),
            Ok(_) => Err(format!(
                "the copy of what stood there, {}, is gone or damaged",
                path.display()
            )),
            Err(error) => Err(crate::system::chain(&error)),
        }
    }
}

impl From<Recorded> for Saved {
    fn from(recorded: Recorded) -> Self {
        match recorded {
            Recorded::Absent => Self::Absent,
            Recorded::File {
                digest,
                block,
                attributes,
            } => Self::File {
                content: Content::Disk { digest, block },
                attributes,
            },
            Recorded::Link(target) => Self::Link(target),
            Recorded::Directory(attributes) => Self::Directory(attributes),
            Recorded::Withheld => Self::Withheld,
            Recorded::Unit(state) => Self::Unit(state),
            Recorded::Group(group) => Self::Group(group),
            Recorded::User(user) => Self::User(user),
        }
    }
}

/// Forgets all that was kept: nothing is under way any more.
pub(super) fn clear(files: &Files) -> Result<(), FileError> {
    let dir = state::path(DIR);
    for name in files.list(&dir)? {
        files.remove(&dir.join(name))?;
    }
    files.remove_empty_dir(&dir).map(drop)
}

/// The directory of the kept contents.
pub(super) fn dir() -> PathBuf {
    state::path(DIR)
}

fn path(digest: &str) -> PathBuf {
    dir().join(digest)
}
