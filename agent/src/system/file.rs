//! Reading and durably replacing files: confined to a root, never through a symlink.
//!
//! Writing a file: temporary file in the same directory, owner, mode and extended attributes of the
//! old one (or the directory's default), `fsync`, `rename`, `fsync` of the directory.

use std::io;
use std::path::{Path, PathBuf};

use super::root::Root;

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Absent,
    /// A regular file.
    File {
        /// Its content.
        bytes: Vec<u8>,
        /// Permission bits, `0o7777` masked.
        mode: u32,
    },
    /// A symbolic link, and where it points.
    Link(PathBuf),
    /// A directory.
    Directory,
    /// Something that is never touched: a device, a socket, a FIFO.
    Other,
}

/// How a file was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// By `rename`: nobody ever sees half of it.
    Renamed,
    /// In place, because `rename` cannot work there (bind mount: EBUSY). A crash in the middle can tear it.
    InPlace,
}

/// A file operation failed. Paths are as the agent speaks of them, without the root.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A system call failed.
    #[error("cannot {operation} {path}")]
    Io {
        /// `read`, `write`, `link`, `remove`, `list`.
        operation: &'static str,
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A component of the path is a symlink: whoever controls it could lead the agent anywhere.
    #[error(
        "refusing to follow the symlink {link} on the way to {path}: name the real path instead"
    )]
    SymlinkInTheWay {
        /// The path.
        path: PathBuf,
        /// The component that is a symlink.
        link: PathBuf,
    },
    /// The file is larger than what is read.
    #[error("{path} is larger than {limit} bytes")]
    TooLarge {
        /// The path.
        path: PathBuf,
        /// The limit, in bytes.
        limit: u64,
    },
}

/// The files under a root. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Files {
    root: Root,
}

impl Files {
    /// The most that [`Files::read`] reads, in bytes.
    pub const READ_LIMIT: u64 = 16 * 1024 * 1024;

    /// Files under `root`. All paths given to the methods are as the agent speaks of them: absolute, without the root.
    pub const fn new(root: Root) -> Self {
        Self { root }
    }

    /// The root.
    pub const fn root(&self) -> &Root {
        &self.root
    }

    /// What stands at `path`, content included.
    pub fn read(&self, path: &Path) -> Result<Found, FileError> {
        Err(self.not_built(path))
    }

    /// Names in a directory, sorted, the agent's own temporary files left out. Empty where there is no directory.
    pub fn list(&self, dir: &Path) -> Result<Vec<String>, FileError> {
        Err(self.not_built(dir))
    }

    /// Writes `bytes` beside `path` and syncs them; missing parent directories are made (0755).
    ///
    /// An existing regular file's owner, mode and extended attributes are kept; `mode` is for a new one.
    pub fn stage(&self, path: &Path, _bytes: &[u8], _mode: u32) -> Result<Staged, FileError> {
        Err(self.not_built(path))
    }

    /// [`Files::stage`] and [`Staged::commit`] in one.
    pub fn write(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<Written, FileError> {
        self.stage(path, bytes, mode)?.commit()
    }

    /// Makes `path` a symlink to `target`, atomically replacing a symlink or file that is there.
    pub fn link(&self, path: &Path, _target: &Path) -> Result<(), FileError> {
        Err(self.not_built(path))
    }

    /// Removes a file or symlink, durably. Not an error where it is gone already. Never a directory.
    pub fn remove(&self, path: &Path) -> Result<(), FileError> {
        Err(self.not_built(path))
    }

    /// Removes a directory where it is empty; returns whether it did. Not an error where it is not empty or gone.
    pub fn remove_empty_dir(&self, dir: &Path) -> Result<bool, FileError> {
        Err(self.not_built(dir))
    }

    /// Removes the agent's temporary files that a crash left in `dir`.
    pub fn sweep(&self, dir: &Path) -> Result<(), FileError> {
        Err(self.not_built(dir))
    }

    fn not_built(&self, path: &Path) -> FileError {
        FileError::Io {
            operation: "use",
            path: path.into(),
            source: io::Error::other("not built yet"),
        }
    }
}

/// New content of a file, complete and synced beside the old one. Dropped without `commit`: removed.
#[derive(Debug)]
pub struct Staged {
    _private: (),
}

impl Staged {
    /// Makes the staged content the file's, durably.
    pub fn commit(self) -> Result<Written, FileError> {
        Ok(Written::Renamed)
    }
}
