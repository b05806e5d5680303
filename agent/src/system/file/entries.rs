//! What is in a directory: names, read as they come, so that a directory of a million of them costs time and no memory.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::staged::is_temporary;
use super::{FileError, Files, reopened};

/// The most names that are kept in memory, and the most that a directory of the agent's own has.
const MOST_KEPT: usize = 100_000;
/// The most names of a directory that are looked at for temporary files. More is what nobody needs and somebody has planted.
const MOST_SWEPT: usize = 200_000;

impl Files {
    /// Names in a directory, sorted, the agent's own temporary files left out. Empty where there is no directory. An error where
    /// there are more than 100,000.
    ///
    /// Names that are not UTF-8 are left out: the agent never makes such.
    pub fn list(&self, dir: &Path) -> Result<Vec<String>, FileError> {
        let Some(fd) = self.directory("list", dir)? else {
            return Ok(Vec::new());
        };
        let failed = |errno: Errno| FileError::io("list", dir, errno);
        let mut names: Vec<String> = Vec::new();
        let whole = each(&fd, usize::MAX, |name| {
            if is_temporary(name) {
                return true;
            }
            names.extend(name.to_str().map(str::to_owned));
            names.len() <= MOST_KEPT
        });
        if !whole.map_err(failed)? {
            return Err(too_many("list", dir, MOST_KEPT));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The agent's own temporary files in a directory: work under way, or what a crash left. Of the first 200,000 names.
    pub fn temporaries(&self, dir: &Path) -> Result<Vec<OsString>, FileError> {
        let Some(fd) = self.directory("list", dir)? else {
            return Ok(Vec::new());
        };
        temporaries(&fd)
            .map(|(names, _)| names)
            .map_err(|errno| FileError::io("list", dir, errno))
    }

    /// Removes the agent's temporary files that a crash left in `dir`. In a directory of more than 200,000 names not all may be
    /// found, which is an error.
    ///
    /// Only for the holder of the run's lock: it cannot tell a crash's leftovers from another process's work.
    pub fn sweep(&self, dir: &Path) -> Result<(), FileError> {
        let failed = |errno: Errno| FileError::io("sweep", dir, errno);
        let Some(fd) = self.directory("sweep", dir)? else {
            return Ok(());
        };
        let (names, whole) = temporaries(&fd).map_err(failed)?;
        for name in names {
            match unlinkat(&fd, name.as_os_str(), UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT | Errno::EISDIR) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        if whole {
            Ok(())
        } else {
            Err(too_many("sweep", dir, MOST_SWEPT))
        }
    }
}

/// The agent's temporary files, and whether all names were looked at.
fn temporaries(dir: impl AsFd) -> nix::Result<(Vec<OsString>, bool)> {
    let mut names = Vec::new();
    let whole = each(dir, MOST_SWEPT, |name| {
        if is_temporary(name) {
            names.push(name.to_owned());
        }
        names.len() < MOST_KEPT
    })?;
    Ok((names, whole))
}

fn too_many(operation: &'static str, dir: &Path, most: usize) -> FileError {
    let why = format!("it has more than {most} entries: remove what nobody needs there");
    FileError::io(operation, dir, io::Error::other(why))
}

/// Whether there is nothing in a directory.
pub(super) fn is_empty(dir: impl AsFd) -> nix::Result<bool> {
    each(dir, usize::MAX, |_| false)
}

/// Some names of a directory, at most `most`; none, where it is empty.
pub(super) fn some(dir: impl AsFd, most: usize) -> nix::Result<Vec<OsString>> {
    let mut names = Vec::new();
    each(dir, most, |name| {
        names.push(name.to_owned());
        true
    })?;
    Ok(names)
}

/// Hands out each name, at most `most` of them, as long as `goes_on` wants more. Whether those were all.
fn each(dir: impl AsFd, most: usize, mut goes_on: impl FnMut(&OsStr) -> bool) -> nix::Result<bool> {
    let mut left = most;
    for entry in Dir::from_fd(reopened(dir)?)?.iter() {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        if left == 0 || !goes_on(name) {
            return Ok(false);
        }
        left -= 1;
    }
    Ok(true)
}
