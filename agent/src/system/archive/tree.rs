//! A tree of files that is being made, written by descriptor from its own top: nothing on the way is ever followed.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, fchown, fchownat, linkat, symlinkat};

use super::{CHUNK, Deviation, UnpackError, Unpacked};
use crate::system::digest::Sha256;
use crate::system::file::{FileError, Files};

const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);
const NEW_FILE: OFlag = OFlag::O_WRONLY
    .union(OFlag::O_CREAT)
    .union(OFlag::O_EXCL)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);
const OLD_FILE: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_CLOEXEC);
/// Of the top, while it is not whole: whoever owns the directory around it cannot reach into it.
const SHUT: u32 = 0o700;
/// Of what the archive does not speak of.
const USUAL: u32 = 0o755;
/// The longest list that is kept, in bytes: what is read of a file of the agent's.
const LONGEST_LIST: usize = 15 * 1024 * 1024;

/// A tree that is being made.
pub(super) struct Tree {
    top: OwnedFd,
    owner: Option<(u32, u32)>,
    bytes: u64,
    list: Option<String>,
    /// The directory that was written in last: archives have what is in one directory together.
    last: Option<(String, OwnedFd)>,
}

impl Tree {
    pub fn make(files: &Files, at: &Path, owner: Option<(u32, u32)>) -> Result<Self, UnpackError> {
        Ok(Self {
            top: files.make_new_dir(at, SHUT)?,
            owner,
            bytes: 0,
            list: Some(String::new()),
            last: None,
        })
    }

    pub fn directory(&mut self, path: &str, mode: u32) -> Result<(), UnpackError> {
        // Its owner must be able to work in it.
        let mode = mode | 0o700;
        let dir = self.opened(path)?;
        fchmod(&dir, Mode::from_bits_truncate(mode)).map_err(|errno| failed(path, errno))
    }

    pub fn file(
        &mut self,
        path: &str,
        mode: u32,
        size: u64,
        content: &mut impl Read,
        read_error: &dyn Fn(io::Error) -> UnpackError,
    ) -> Result<(), UnpackError> {
        let (dir, name) = self.parent(path)?;
        let file = openat(&dir, name, NEW_FILE, Mode::from_bits_truncate(0o600))
            .map_err(|errno| failed(path, errno))?;
        let mut file = File::from(file);
        let mut hash = Sha256::new();
        let mut left = size;
        let mut chunk = vec![0; CHUNK];
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let room = chunk.get_mut(..most).unwrap_or_default();
            let read = content.read(room).map_err(read_error)?;
            if read == 0 {
                return Err(UnpackError::Damaged(format!(
                    "it ends in the middle of {path}"
                )));
            }
            let piece = chunk.get(..read).unwrap_or_default();
            hash.update(piece);
            file.write_all(piece).map_err(|source| UnpackError::Write {
                path: path.into(),
                source,
            })?;
            left = left.saturating_sub(read as u64);
        }
        if let Some((uid, gid)) = self.owner {
            fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                .map_err(|errno| failed(path, errno))?;
        }
        let mode = mode | 0o400;
        fchmod(&file, Mode::from_bits_truncate(mode)).map_err(|errno| failed(path, errno))?;
        self.bytes = self.bytes.saturating_add(size);
        self.note(&hash.finish_hex(), path);
        Ok(())
    }

    pub fn symlink(&mut self, path: &str, target: &str) -> Result<(), UnpackError> {
        let (dir, name) = self.parent(path)?;
        symlinkat(target, &dir, name).map_err(|errno| failed(path, errno))?;
        if let Some((uid, gid)) = self.owner {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            fchownat(&dir, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)
                .map_err(|errno| failed(path, errno))?;
        }
        self.note(&link_digest(target), path);
        Ok(())
    }

    /// A second name of a file that was unpacked before.
    pub fn hard_link(&mut self, path: &str, target: &str) -> Result<(), UnpackError> {
        let why = |why: &str| UnpackError::Refused {
            entry: path.into(),
            why: format!("it is a hard link to {target}, {why}"),
        };
        if !exists(&self.top, target) {
            return Err(why("which the archive has no file of before it"));
        }
        let (of_dir, of_name) = self.parent(target)?;
        let is_file = fstatat(&of_dir, of_name, AtFlags::AT_SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| kind(stat.st_mode) == SFlag::S_IFREG);
        if !is_file {
            return Err(why("which is no file"));
        }
        let (dir, name) = self.parent(path)?;
        linkat(&of_dir, of_name, &dir, name, AtFlags::empty())
            .map_err(|errno| failed(path, errno))?;
        Ok(())
    }

    /// All of it is on disk when this returns, and the top is whose it is to be.
    pub fn finish(mut self, entries: u64) -> Result<Unpacked, UnpackError> {
        self.last = None;
        let top = |errno| failed(".", errno);
        if let Some((uid, gid)) = self.owner {
            fchown(
                &self.top,
                Some(Uid::from_raw(uid)),
                Some(Gid::from_raw(gid)),
            )
            .map_err(top)?;
        }
        fchmod(&self.top, Mode::from_bits_truncate(USUAL)).map_err(top)?;
        rustix::fs::syncfs(&self.top).map_err(|errno| UnpackError::Write {
            path: ".".into(),
            source: errno.into(),
        })?;
        Ok(Unpacked {
            bytes: self.bytes,
            entries,
            list: self.list,
        })
    }

    fn note(&mut self, digest: &str, path: &str) {
        let Some(list) = &mut self.list else { return };
        if list.len() + digest.len() + path.len() + 2 > LONGEST_LIST {
            self.list = None;
            return;
        }
        let _ = writeln!(list, "{digest} {path}");
    }

    /// The directory that `path` stands in, made where it is missing, and its name.
    fn parent<'n>(&mut self, path: &'n str) -> Result<(OwnedFd, &'n OsStr), UnpackError> {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let kept = self.last.as_ref().filter(|(last, _)| last == above);
        let dir = if let Some((_, dir)) = kept {
            dir.try_clone()
        } else {
            let dir = self.opened(above)?;
            let clone = dir.try_clone();
            self.last = Some((above.to_owned(), dir));
            clone
        };
        let dir = dir.map_err(|source| UnpackError::Write {
            path: path.into(),
            source,
        })?;
        Ok((dir, OsStr::new(name)))
    }

    /// The directory at `path`, made where it is missing. No link is followed.
    fn opened(&self, path: &str) -> Result<OwnedFd, UnpackError> {
        let mut at = self.top.try_clone().map_err(|source| UnpackError::Write {
            path: path.into(),
            source,
        })?;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            at = match openat(&at, part, DIRECTORY, Mode::empty()) {
                Ok(next) => next,
                Err(Errno::ENOENT) => {
                    mkdirat(&at, part, Mode::from_bits_truncate(SHUT))
                        .map_err(|errno| failed(path, errno))?;
                    let made = openat(&at, part, DIRECTORY, Mode::empty())
                        .map_err(|errno| failed(path, errno))?;
                    if let Some((uid, gid)) = self.owner {
                        fchown(&made, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                            .map_err(|errno| failed(path, errno))?;
                    }
                    fchmod(&made, Mode::from_bits_truncate(USUAL))
                        .map_err(|errno| failed(path, errno))?;
                    made
                }
                Err(Errno::ELOOP | Errno::ENOTDIR) => {
                    return Err(UnpackError::Refused {
                        entry: path.into(),
                        why: format!(
                            "{part} on the way to it is a link or a file of the archive's"
                        ),
                    });
                }
                Err(errno) => return Err(failed(path, errno)),
            };
        }
        Ok(at)
    }
}

fn failed(path: &str, errno: Errno) -> UnpackError {
    if errno == Errno::EEXIST {
        return UnpackError::Refused {
            entry: path.into(),
            why: "the archive has something else under this name".into(),
        };
    }
    UnpackError::Write {
        path: path.into(),
        source: errno.into(),
    }
}

fn kind(mode: u32) -> SFlag {
    SFlag::from_bits_truncate(mode) & SFlag::S_IFMT
}

/// What stands for a link in a list.
fn link_digest(target: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(b"link:");
    hash.update(target.as_bytes());
    hash.finish_hex()
}

/// Whether something stands at `path`, no link on the way followed.
fn exists(top: &OwnedFd, path: &str) -> bool {
    let Ok(mut at) = top.try_clone() else {
        return false;
    };
    let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
    for part in above.split('/').filter(|part| !part.is_empty()) {
        match openat(&at, part, DIRECTORY, Mode::empty()) {
            Ok(next) => at = next,
            Err(_) => return false,
        }
    }
    fstatat(&at, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
}

/// See [`super::compare`].
pub(super) fn compare(
    files: &Files,
    at: &Path,
    list: &str,
    most: usize,
) -> Result<(u64, Vec<Deviation>), FileError> {
    let top = files.open_dir(at)?;
    let mut deviations = Vec::new();
    let mut looked = 0;
    for line in list.lines() {
        let Some((digest, path)) = line.split_once(' ') else {
            continue;
        };
        looked += 1;
        let what = match found(top.as_fd(), path) {
            Ok(found) if found == digest => continue,
            Ok(_) => "is otherwise than it was unpacked".to_owned(),
            Err(Errno::ENOENT) => "is gone".to_owned(),
            Err(errno) => format!("cannot be read: {}", io::Error::from(errno)),
        };
        if deviations.len() < most {
            deviations.push(Deviation {
                path: path.into(),
                what,
            });
        }
    }
    Ok((looked, deviations))
}

/// The digest of what stands at `path`, as a list has it.
fn found(top: std::os::fd::BorrowedFd<'_>, path: &str) -> Result<String, Errno> {
    let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut at = openat(top, ".", DIRECTORY, Mode::empty())?;
    for part in above.split('/').filter(|part| !part.is_empty()) {
        at = openat(&at, part, DIRECTORY, Mode::empty())?;
    }
    let stat = fstatat(&at, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    match kind(stat.st_mode) {
        SFlag::S_IFLNK => {
            let target = readlinkat(&at, name)?;
            Ok(link_digest(&target.to_string_lossy()))
        }
        SFlag::S_IFREG => {
            let file = openat(&at, name, OLD_FILE, Mode::empty())?;
            if kind(fstat(&file)?.st_mode) != SFlag::S_IFREG {
                return Err(Errno::EINVAL);
            }
            let mut file = File::from(file);
            let mut hash = Sha256::new();
            let mut chunk = vec![0; CHUNK];
            loop {
                let read = file
                    .read(&mut chunk)
                    .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default()))?;
                if read == 0 {
                    return Ok(hash.finish_hex());
                }
                hash.update(chunk.get(..read).unwrap_or_default());
            }
        }
        _ => Err(Errno::EINVAL),
    }
}
