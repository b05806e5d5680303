//! Whole directories: made new, renamed, removed with all that is in them. By descriptor; no link is ever followed.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::{FileError, Files, entries, kind, not_a_file, stat_at, sync};

/// So many names of a directory are kept in memory while they are removed.
const AT_ONCE: usize = 1000;
/// The most names that are removed with a tree.
const MOST: u64 = 2_000_000;
/// The deepest tree that is removed.
const DEEPEST: usize = 256;
const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

impl Files {
    /// Makes a directory that must not be there yet, and opens it; missing parents are made (0755).
    pub(in crate::system) fn make_new_dir(
        &self,
        path: &Path,
        mode: u32,
    ) -> Result<OwnedFd, FileError> {
        let (dir, name) = self.made_parent("make", path)?;
        let failed = |errno: Errno| FileError::at("make", path, (&dir, name), errno);
        let mode = Mode::from_bits_truncate(mode);
        mkdirat(&dir, name, mode).map_err(failed)?;
        let made = openat(&dir, name, DIRECTORY, Mode::empty()).map_err(failed)?;
        // Who may write to the directory around it could have put another one in its place by now.
        let is_own = fstat(&made).map_err(failed)?.st_uid == nix::unistd::geteuid().as_raw();
        if !is_own || !entries::is_empty(&made).map_err(failed)? {
            return Err(failed(Errno::EBUSY));
        }
        fchmod(&made, mode).map_err(failed)?;
        Ok(made)
    }

    /// Opens a directory for reading.
    pub(in crate::system) fn open_dir(&self, path: &Path) -> Result<OwnedFd, FileError> {
        let failed = |errno: Errno| FileError::io("read", path, errno);
        let (dir, name) = self
            .parent("read", path)?
            .ok_or_else(|| failed(Errno::ENOENT))?;
        openat(&dir, name, DIRECTORY, Mode::empty()).map_err(failed)
    }

    /// Opens a file for reading and appending, made with `mode` where it is missing.
    pub(in crate::system) fn open_to_append(
        &self,
        path: &Path,
        mode: u32,
    ) -> Result<File, FileError> {
        let (dir, name) = self.made_parent("write", path)?;
        let flags = OFlag::O_RDWR
            | OFlag::O_APPEND
            | OFlag::O_CREAT
            | OFlag::O_NOFOLLOW
            | OFlag::O_NONBLOCK
            | OFlag::O_CLOEXEC;
        let file = openat(&dir, name, flags, Mode::from_bits_truncate(mode))
            .map_err(|errno| FileError::at("write", path, (&dir, name), errno))?;
        Ok(File::from(file))
    }

    /// Opens a file for reading, whatever its size.
    pub fn open(&self, path: &Path) -> Result<File, FileError> {
        let failed = |errno: Errno| FileError::io("read", path, errno);
        let (dir, name) = self
            .parent("read", path)?
            .ok_or_else(|| failed(Errno::ENOENT))?;
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = openat(&dir, name, flags, Mode::empty()).map_err(failed)?;
        let stat = fstat(&file).map_err(failed)?;
        if kind(&stat) != SFlag::S_IFREG {
            return Err(not_a_file(path, kind(&stat)));
        }
        Ok(File::from(file))
    }

    /// Gives what stands at `from` the name `to`, durably; what stands there, if it can be replaced, is.
    pub fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        let failed = |errno: Errno| FileError::io("rename", from, errno);
        let (from_dir, from_name) = self
            .parent("rename", from)?
            .ok_or_else(|| failed(Errno::ENOENT))?;
        let (to_dir, to_name) = self
            .parent("rename", to)?
            .ok_or_else(|| failed(Errno::ENOENT))?;
        renameat(&from_dir, from_name, &to_dir, to_name).map_err(failed)?;
        sync(&to_dir).map_err(failed)?;
        sync(&from_dir).map_err(failed)
    }

    /// Removes what stands at `path`, with all that is in it. Not an error where it is gone already.
    ///
    /// Blocks for as long as that takes, and ends after 2,000,000 names. What somebody mounted in it stays, and is an error.
    pub fn remove_tree(&self, path: &Path) -> Result<(), FileError> {
        let Some((dir, name)) = self.parent("remove", path)? else {
            return Ok(());
        };
        let failed = |errno: Errno| FileError::at("remove", path, (&dir, name), errno);
        let device = fstat(&dir).map_err(failed)?.st_dev;
        let mut left = MOST;
        remove(&dir, name, device, 0, &mut left).map_err(failed)?;
        sync(&dir).map_err(failed)
    }
}

/// `left`: how many names may be removed yet. Whoever may write there could add some for ever: the directory is not empty then.
fn remove(
    dir: &OwnedFd,
    name: &OsStr,
    device: libc::dev_t,
    depth: usize,
    left: &mut u64,
) -> nix::Result<()> {
    *left = left.checked_sub(1).ok_or(Errno::ENOTEMPTY)?;
    if depth > DEEPEST {
        return Err(Errno::ENAMETOOLONG);
    }
    let Some(stat) = stat_at(dir, name)? else {
        return Ok(());
    };
    let gone = |removed: nix::Result<()>| match removed {
        Err(Errno::ENOENT) => Ok(()),
        other => other,
    };
    if kind(&stat) != SFlag::S_IFDIR {
        return gone(unlinkat(dir, name, UnlinkatFlags::NoRemoveDir));
    }
    let inside = match openat(dir, name, DIRECTORY, Mode::empty()) {
        Ok(inside) => inside,
        Err(Errno::ENOENT) => return Ok(()),
        // A link took its place.
        Err(Errno::ELOOP | Errno::ENOTDIR) => {
            return gone(unlinkat(dir, name, UnlinkatFlags::NoRemoveDir));
        }
        Err(errno) => return Err(errno),
    };
    if fstat(&inside)?.st_dev != device {
        return Err(Errno::EBUSY);
    }
    loop {
        let names = entries::some(&inside, AT_ONCE)?;
        if names.is_empty() {
            break;
        }
        for name in names {
            remove(&inside, &name, device, depth + 1, left)?;
        }
    }
    gone(unlinkat(dir, name, UnlinkatFlags::RemoveDir))
}
