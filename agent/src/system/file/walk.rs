//! The way to a file: component by component, by descriptor, so that nobody can lead it elsewhere.
//!
//! `openat2` would do it in one call, but CentOS 7's kernel has none.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, mkdirat};
use nix::unistd::{Gid, Uid, fchown};

use super::{FileError, Files, kind, reopened, stat_at, sync};

/// Only a place to start from: searching it needs no permission to read it.
const PLACE: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

const PARENT_MODE: u32 = 0o755;

impl Files {
    /// The directory that holds `path`, and the last component. `None`: there is no such directory.
    pub(super) fn parent<'path>(
        &self,
        operation: &'static str,
        path: &'path Path,
    ) -> Result<Option<(OwnedFd, &'path OsStr)>, FileError> {
        let (parents, name) = split(operation, path)?;
        let walk = self.walk(operation, path)?;
        Ok(walk.into(&parents)?.map(|dir| (dir, name)))
    }

    /// The directory that will hold `path`, made where it is missing, and the last component. For writing.
    pub(in crate::system) fn made_parent<'path>(
        &self,
        operation: &'static str,
        path: &'path Path,
    ) -> Result<(OwnedFd, &'path OsStr), FileError> {
        let (parents, name) = split(operation, path)?;
        let dir = self.walk(operation, path)?.making(&parents, PARENT_MODE)?;
        Ok((dir, name))
    }

    /// The directory `path` itself. `None`: there is none.
    pub(super) fn directory(
        &self,
        operation: &'static str,
        path: &Path,
    ) -> Result<Option<OwnedFd>, FileError> {
        self.walk(operation, path)?.into(&components(path))
    }

    /// The directory `path` itself, made with `mode` where it is missing.
    pub(super) fn made_directory(
        &self,
        operation: &'static str,
        path: &Path,
        mode: u32,
    ) -> Result<OwnedFd, FileError> {
        self.walk(operation, path)?.making(&components(path), mode)
    }

    fn walk<'path>(
        &self,
        operation: &'static str,
        path: &'path Path,
    ) -> Result<Walk<'path>, FileError> {
        Ok(Walk {
            operation,
            path,
            machine: self.root.is_machine(),
            at: self
                .top()
                .and_then(|top| top.try_clone_to_owned())
                .map_err(|source| FileError::io(operation, path, source))?,
            walked: PathBuf::from("/"),
        })
    }

    fn top(&self) -> io::Result<BorrowedFd<'_>> {
        if let Some(top) = self.top.get() {
            return Ok(top.as_fd());
        }
        let opened = open(self.root.dir(), PLACE, Mode::empty())?;
        // Another thread may have been faster; then its descriptor is as good.
        Ok(self.top.get_or_init(|| opened).as_fd())
    }
}

/// Only normal components count: `..` cannot lead out.
fn components(path: &Path) -> Vec<&OsStr> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect()
}

fn split<'path>(
    operation: &'static str,
    path: &'path Path,
) -> Result<(Vec<&'path OsStr>, &'path OsStr), FileError> {
    let mut parts = components(path);
    match parts.pop() {
        Some(name) => Ok((parts, name)),
        None => Err(FileError::io(operation, path, Errno::EISDIR)),
    }
}

struct Walk<'path> {
    operation: &'static str,
    path: &'path Path,
    machine: bool,
    at: OwnedFd,
    walked: PathBuf,
}

impl Walk<'_> {
    fn into(mut self, parts: &[&OsStr]) -> Result<Option<OwnedFd>, FileError> {
        for part in parts {
            match self.step(part) {
                Ok(()) => {}
                Err(Errno::ENOENT) => return Ok(None),
                Err(errno) => {
                    return match self.obstacle(part, errno) {
                        // A file where a directory should be: nothing can stand below it.
                        FileError::Io { source, .. }
                            if source.kind() == io::ErrorKind::NotADirectory =>
                        {
                            Ok(None)
                        }
                        error => Err(error),
                    };
                }
            }
        }
        Ok(Some(self.at))
    }

    /// Makes what is missing; the last one with `mode`.
    fn making(mut self, parts: &[&OsStr], mode: u32) -> Result<OwnedFd, FileError> {
        for (index, part) in parts.iter().enumerate() {
            let mode = if index + 1 == parts.len() {
                mode
            } else {
                PARENT_MODE
            };
            match self.step(part) {
                Ok(()) => {}
                Err(Errno::ENOENT) => self
                    .make(part, mode)
                    .map_err(|errno| self.obstacle(part, errno))?,
                Err(errno) => return Err(self.obstacle(part, errno)),
            }
            self.open_to_all()?;
        }
        Ok(self.at)
    }

    fn step(&mut self, part: &OsStr) -> nix::Result<()> {
        self.at = openat(&self.at, part, PLACE, Mode::empty())?;
        self.walked.push(part);
        Ok(())
    }

    fn make(&mut self, part: &OsStr, mode: u32) -> nix::Result<()> {
        let mode = Mode::from_bits_truncate(mode);
        match mkdirat(&self.at, part, mode) {
            Ok(()) => {}
            // Somebody else made it in this moment, as they wanted it.
            Err(Errno::EEXIST) => return self.step(part),
            Err(errno) => return Err(errno),
        }
        let parent = self.at.try_clone().map_err(|_| Errno::EMFILE)?;
        self.step(part)?;
        // The umask had its say in mkdirat.
        fchmod(reopened(&self.at)?, mode)?;
        sync(parent)
    }

    /// What `errno` at `part` means.
    fn obstacle(&self, part: &OsStr, errno: Errno) -> FileError {
        let is_link = matches!(errno, Errno::ELOOP | Errno::ENOTDIR)
            && stat_at(&self.at, part)
                .is_ok_and(|stat| stat.is_some_and(|stat| kind(&stat) == SFlag::S_IFLNK));
        if is_link {
            FileError::SymlinkInTheWay {
                path: self.path.into(),
                link: self.walked.join(part),
            }
        } else {
            FileError::io(self.operation, self.path, errno)
        }
    }

    /// On the machine itself, a directory that everybody may write to without the sticky bit is no place
    /// for what the agent writes: anybody could exchange it. Group-writable ones are usual (a product's
    /// deploy group) and harmless: all is done by descriptor. A scratch root is its owner's business.
    fn open_to_all(&self) -> Result<(), FileError> {
        if !self.machine {
            return Ok(());
        }
        let mode = fstat(&self.at)
            .map_err(|errno| FileError::io(self.operation, self.path, errno))?
            .st_mode
            & 0o7777;
        if mode & 0o1002 == 0o0002 {
            return Err(FileError::OpenToAll {
                path: self.path.into(),
                dir: self.walked.clone(),
                mode,
            });
        }
        Ok(())
    }
}

/// Gives a directory its owner and permission bits: in this order, because chown clears some bits.
pub(super) fn give_directory(dir: &OwnedFd, attributes: super::Attributes) -> nix::Result<()> {
    let dir = reopened(dir)?;
    let now = super::Attributes::of(&fstat(&dir)?);
    if (now.uid, now.gid) != (attributes.uid, attributes.gid) {
        fchown(
            &dir,
            Some(Uid::from_raw(attributes.uid)),
            Some(Gid::from_raw(attributes.gid)),
        )?;
    }
    fchmod(&dir, Mode::from_bits_truncate(attributes.mode))?;
    sync(&dir)
}
