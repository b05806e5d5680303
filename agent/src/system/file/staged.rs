//! New content beside the old one, and the switch to it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, fallocate, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};
use xattr::FileExt as _;

use super::sightings::{Sightings, Stamp};
use super::{Attributes, FileError, Keep, Written, kind, not_a_file, stat_at, sync};
use crate::system::crash;

/// Between the file's name and the random end of a temporary file's name.
const MARK: &[u8] = b".agentd-";
const RANDOM: usize = 8;
const NAME_MAX: usize = 255;

/// A temporary file's name: dot first, so that cron passes it over, and no suffix that an include pattern takes.
pub(super) fn temporary_name(name: &OsStr) -> OsString {
    let mut temporary = vec![b'.'];
    let room = NAME_MAX - 1 - MARK.len() - RANDOM;
    temporary.extend(name.as_bytes().iter().take(room));
    temporary.extend(MARK);
    temporary.extend((0..RANDOM).map(|_| u8::try_from(fastrand::lowercase()).unwrap_or(b'x')));
    OsString::from_vec(temporary)
}

/// Whether a name is one that [`temporary_name`] makes.
pub(super) fn is_temporary(name: &OsStr) -> bool {
    name.as_bytes()
        .strip_prefix(b".")
        .and_then(|rest| rest.split_last_chunk::<RANDOM>())
        .is_some_and(|(rest, random)| {
            rest.len() > MARK.len()
                && rest.ends_with(MARK)
                && random.iter().all(u8::is_ascii_lowercase)
        })
}

/// New content of a file, complete and synced beside the old one. Dropped without `commit`: removed.
#[derive(Debug)]
pub struct Staged {
    dir: OwnedFd,
    name: OsString,
    path: PathBuf,
    /// The temporary file's name, until it is renamed.
    temporary: Option<OsString>,
    file: File,
    /// What the file is to have, where what stands there has no say.
    wanted: Option<Attributes>,
    sightings: Sightings,
}

impl Staged {
    pub(super) fn write(
        dir: OwnedFd,
        name: &OsStr,
        path: &Path,
        bytes: &[u8],
        keep: Keep,
        sightings: Sightings,
    ) -> Result<Self, FileError> {
        let failed = |source: io::Error| FileError::io("write", path, source);
        let old = match stat_at(&dir, name).map_err(|errno| failed(errno.into()))? {
            Some(stat) => match kind(&stat) {
                SFlag::S_IFREG => Some(stat),
                SFlag::S_IFLNK if matches!(keep, Keep::NotEvenLink(_)) => None,
                SFlag::S_IFLNK => {
                    return Err(FileError::SymlinkInTheWay {
                        path: path.into(),
                        link: path.into(),
                    });
                }
                other => return Err(not_a_file(path, other)),
            },
            None => None,
        };
        let (temporary, file) = create_temporary(&dir, name)
            .map_err(|errno| FileError::at("write", path, (&dir, name), errno))?;
        // From here on, an early return removes the temporary file.
        let mut staged = Self {
            dir,
            name: name.to_owned(),
            path: path.into(),
            temporary: Some(temporary),
            file,
            wanted: match keep {
                Keep::Present(_) => None,
                Keep::Nothing(attributes) | Keep::NotEvenLink(attributes) => Some(attributes),
            },
            sightings,
        };
        crash::point("file:made");
        staged.file.write_all(bytes).map_err(failed)?;
        crash::point("file:written");
        match (keep, old) {
            (Keep::Present(_), Some(old)) => staged.keep(&old).map_err(failed)?,
            (Keep::Present(mode), None) => fchmod(&staged.file, Mode::from_bits_truncate(mode))
                .map_err(|errno| failed(errno.into()))?,
            (Keep::Nothing(attributes) | Keep::NotEvenLink(attributes), old) => {
                let labels = old.is_some();
                staged.give(attributes, labels).map_err(failed)?;
            }
        }
        staged.file.sync_all().map_err(failed)?;
        crash::point("file:staged");
        Ok(staged)
    }

    /// Adds to the content. Not durable before [`Staged::sync`].
    pub(super) fn append(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_all(piece)
    }

    /// Syncs what was added.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Where it stands until then, as the agent speaks of paths. `None`: it was committed.
    pub fn path(&self) -> Option<PathBuf> {
        let name = self.temporary.as_ref()?;
        Some(self.path.with_file_name(name))
    }

    /// Makes the staged content the file's, durably.
    pub fn commit(mut self) -> Result<Written, FileError> {
        let Some(temporary) = self.temporary.take() else {
            return Ok(Written::Renamed);
        };
        crash::point("file:before-rename");
        let stamp = fstat(&self.file).ok().map(|stat| Stamp::of(&stat));
        let renamed = renameat(
            &self.dir,
            temporary.as_os_str(),
            &self.dir,
            self.name.as_os_str(),
        );
        if renamed.is_err() {
            self.temporary = Some(temporary);
        }
        match renamed {
            Ok(()) => {
                if stamp.is_some() {
                    self.sightings.note(&self.path, stamp);
                }
                crash::point("file:renamed");
                sync(&self.dir)
                    .map(|()| Written::Renamed)
                    .map_err(|errno| FileError::io("write", &self.path, errno))
            }
            Err(Errno::EBUSY | Errno::EXDEV) => self
                .commit_in_place()
                .map(|()| Written::InPlace)
                .map_err(|source| FileError::io("write", &self.path, source)),
            Err(errno) => {
                let place = (&self.dir, self.name.as_os_str());
                Err(FileError::at("write", &self.path, place, errno))
            }
        }
    }

    /// Owner, attributes, permissions of the old file; in this order, because chown clears permission
    /// bits, and an access control list sets some.
    fn keep(&self, old: &FileStat) -> io::Result<()> {
        let new = fstat(&self.file)?;
        if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid) {
            fchown(
                &self.file,
                Some(Uid::from_raw(old.st_uid)),
                Some(Gid::from_raw(old.st_gid)),
            )?;
        }
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let old_file = openat(&self.dir, self.name.as_os_str(), flags, Mode::empty())?;
        keep_xattrs(&File::from(old_file), &self.file, |_| true)?;
        // A hard link to a set-user-ID program must not make one of what the agent writes.
        fchmod(&self.file, Mode::from_bits_truncate(old.st_mode & 0o1777))?;
        Ok(())
    }

    /// Exactly these, whatever the file that stands there has, but for its `labels`: what says where it may be read
    /// from, and not by whom.
    fn give(&self, wanted: Attributes, labels: bool) -> io::Result<()> {
        let new = fstat(&self.file)?;
        if (new.st_uid, new.st_gid) != (wanted.uid, wanted.gid) {
            let (uid, gid) = (Uid::from_raw(wanted.uid), Gid::from_raw(wanted.gid));
            fchown(&self.file, Some(uid), Some(gid))?;
        }
        if labels {
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
            let old = openat(&self.dir, self.name.as_os_str(), flags, Mode::empty())?;
            keep_xattrs(&File::from(old), &self.file, |name| {
                !name.as_bytes().starts_with(ACCESS_LIST)
            })?;
        }
        fchmod(&self.file, Mode::from_bits_truncate(wanted.mode))?;
        Ok(())
    }

    /// The old file is a mount point: its directory entry cannot be replaced, only its content.
    fn commit_in_place(&mut self) -> io::Result<()> {
        let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let target = openat(&self.dir, self.name.as_os_str(), flags, Mode::empty())?;
        let stat = fstat(&target)?;
        if kind(&stat) != SFlag::S_IFREG {
            return Err(io::Error::other("it is no longer a regular file"));
        }
        let mut target = File::from(target);
        let mut new = Vec::new();
        self.file.rewind()?;
        self.file.read_to_end(&mut new)?;
        let mut old = Vec::new();
        target.read_to_end(&mut old)?;
        reserve(&target, new.len())?;
        if let Err(error) = overwrite(&mut target, &new, "file:in-place") {
            // Better the old content than half of the new one; the first error is the one to report.
            let _ = overwrite(&mut target, &old, "file:put-back");
            return Err(error);
        }
        if let Some(wanted) = self.wanted {
            let (uid, gid) = (Uid::from_raw(wanted.uid), Gid::from_raw(wanted.gid));
            fchown(&target, Some(uid), Some(gid))?;
            fchmod(&target, Mode::from_bits_truncate(wanted.mode))?;
        }
        let stat = fstat(&target)?;
        self.sightings.note(&self.path, Some(Stamp::of(&stat)));
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _ = unlinkat(&self.dir, temporary.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

fn create_temporary(dir: &OwnedFd, name: &OsStr) -> nix::Result<(OsString, File)> {
    let flags =
        OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    loop {
        let temporary = temporary_name(name);
        // Nobody else reads it before it has its final owner and permissions.
        match openat(
            dir,
            temporary.as_os_str(),
            flags,
            Mode::S_IRUSR | Mode::S_IWUSR,
        ) {
            Ok(file) => return Ok((temporary, File::from(file))),
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Extended attributes that speak of the old content, not of the place: they must not pass to the new one.
const OF_CONTENT: [&str; 3] = ["security.capability", "security.ima", "security.evm"];

/// Access control lists: they say who may do what, as permission bits do.
const ACCESS_LIST: &[u8] = b"system.posix_acl_";

fn keep_xattrs(old: &File, new: &File, wanted: impl Fn(&OsStr) -> bool) -> io::Result<()> {
    let names = match old.list_xattr() {
        Ok(names) => names,
        Err(error) if unsupported(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    for name in names {
        if OF_CONTENT.iter().any(|skipped| name == *skipped) || !wanted(&name) {
            continue;
        }
        let Some(value) = old.get_xattr(&name)? else {
            continue;
        };
        // The directory's default is often right already, and then needs no permission to relabel.
        if new
            .get_xattr(&name)
            .is_ok_and(|present| present.as_ref() == Some(&value))
        {
            continue;
        }
        match new.set_xattr(&name, &value) {
            Err(error) if unsupported(&error) || means_nothing(&name, &error) => {}
            done => done?,
        }
    }
    Ok(())
}

fn unsupported(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ENOTSUP as i32)
}

/// A label from a time when SELinux was on. Without it the kernel takes labels only from whoever has `CAP_SYS_ADMIN`,
/// which the daemon's unit gives up, and nobody reads them: who turns it on again has to relabel the disk anyway.
fn means_nothing(name: &OsStr, error: &io::Error) -> bool {
    name == "security.selinux"
        && error.raw_os_error() == Some(Errno::EPERM as i32)
        && !Path::new("/sys/fs/selinux/enforce").exists()
}

/// Asks for the disk space beforehand, so that a full disk shows before anything is overwritten.
fn reserve(file: &File, length: usize) -> io::Result<()> {
    let Ok(length @ 1..) = i64::try_from(length) else {
        return Ok(());
    };
    match fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, length) {
        Ok(()) | Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn overwrite(file: &mut File, bytes: &[u8], point: &str) -> io::Result<()> {
    file.rewind()?;
    file.write_all(bytes)?;
    crash::point(point);
    file.set_len(u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
    file.sync_all()
}
