//! What stood at a path when it was last read or written here: so that whoever watches the disk can tell one's own
//! writes, and what was read already, from somebody else's.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::stat::FileStat;
use serde::{Deserialize, Serialize};

/// A file's identity and state, content aside: another one means that somebody has written since.
///
/// Without the time of its last change of status: giving a file its name changes that too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: i64,
    modified: (i64, i64),
    mode: u32,
    owner: (u32, u32),
}

impl Stamp {
    pub(super) const fn of(stat: &FileStat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            mode: stat.st_mode,
            owner: (stat.st_uid, stat.st_gid),
        }
    }
}

impl Stamp {
    /// Whether only root can change it, or take it away where it is a directory that others stand in.
    pub const fn is_roots_alone(&self) -> bool {
        self.owner.0 == 0 && self.mode & 0o022 == 0
    }

    /// Whose it is: the numbers of its user and group.
    pub const fn owner(&self) -> (u32, u32) {
        self.owner
    }

    /// Its permission bits.
    pub const fn permissions(&self) -> u32 {
        self.mode & 0o7777
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        u64::try_from(self.size).unwrap_or_default()
    }

    /// Whether it is a regular file.
    pub const fn is_file(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFREG
    }

    /// When it was last written to, in seconds since 1970.
    pub const fn modified(&self) -> i64 {
        self.modified.0
    }
}

/// What was last seen at a path: its stamp, or that nothing was there.
pub type Sighting = Option<Stamp>;

/// The last sighting of each path. Clones share it. Remembers nothing until it is told to.
#[derive(Debug, Clone, Default)]
pub(super) struct Sightings(Option<Arc<Mutex<HashMap<PathBuf, Sighting>>>>);

impl Sightings {
    pub(super) fn remembering() -> Self {
        Self(Some(Arc::default()))
    }

    pub(super) fn note(&self, path: &Path, sighting: Sighting) {
        if let Some(seen) = &self.0 {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.insert(path.to_path_buf(), sighting);
        }
    }

    pub(super) fn of(&self, path: &Path) -> Option<Sighting> {
        let seen = self.0.as_ref()?;
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(path).copied()
    }

    pub(super) fn forget(&self, path: &Path) {
        if let Some(seen) = &self.0 {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.remove(path);
        }
    }

    pub(super) fn forget_all_but(&self, keep: impl Fn(&Path) -> bool) {
        if let Some(seen) = &self.0 {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.retain(|path, _| keep(path));
        }
    }
}
