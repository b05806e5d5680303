//! Who owns a file and what its permission bits are: part of what is wanted of it, as its content is.

use std::fmt;

use nix::sys::stat::FileStat;
use serde::{Deserialize, Serialize};

/// Permission bits and owner of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// Permission bits, `0o7777` masked.
    pub mode: u32,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
}

impl Attributes {
    /// Those of a file that belongs to the agent itself: root's, unless a scratch root is somebody else's.
    pub fn own(mode: u32) -> Self {
        Self {
            mode,
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
        }
    }

    /// Whether nobody but its owner may do anything with it.
    pub const fn is_private(&self) -> bool {
        // The bits of the group and of others are the six lowest.
        self.mode.trailing_zeros() >= 6
    }

    pub(super) const fn of(stat: &FileStat) -> Self {
        Self {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
        }
    }
}

impl fmt::Display for Attributes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "mode {:04o}, owner {}:{}",
            self.mode, self.uid, self.gid
        )
    }
}

/// What becomes of a written file's owner and permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Those of the file that stands there stay, its extended attributes too, but for set-user-ID and set-group-ID. A
    /// new one gets these permission bits.
    Present(u32),
    /// It gets exactly these. Of the extended attributes those stay that do not speak of permissions.
    Nothing(Attributes),
    /// The same where a symlink of one's own may stand there: it goes, and is not followed.
    NotEvenLink(Attributes),
}
