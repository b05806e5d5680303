//! Reading and durably replacing files: confined to a root, never through a symlink.
//!
//! Writing a file: temporary file in the same directory, owner, mode and extended attributes of the
//! old one (or the directory's default), `fsync`, `rename`, `fsync` of the directory.

mod attributes;
mod entries;
mod large;
mod of_accounts;
mod sightings;
mod staged;
#[cfg(test)]
mod tests;
mod trees;
mod walk;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};

pub use attributes::{Attributes, Keep};
use sightings::Sightings;
pub use sightings::{Sighting, Stamp};
pub use staged::Staged;
use staged::temporary_name;

use super::crash;
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
        /// Its owner and permission bits.
        attributes: Attributes,
    },
    /// A regular file that is too large to be kept in memory for being looked at: see [`Files::read_small`].
    Large {
        /// How many bytes it has.
        size: u64,
        /// SHA-256 of its content, in hexadecimal.
        digest: String,
        /// Its owner and permission bits.
        attributes: Attributes,
    },
    /// A symbolic link, and where it points.
    Link(PathBuf),
    /// A directory.
    Directory(Attributes),
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
        /// `read`, `write`, `link`, `remove`, `list`, `lock` and so on.
        operation: &'static str,
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file system is read-only, or the daemon's unit lets nobody write there.
    #[error(
        "cannot {operation} {path}: it is read-only there. If a root shell can do it, it is agentd's unit that forbids \
         it: `systemctl edit agentd`, add ReadWritePaths={place} (it must exist) under [Service], restart agentd"
    )]
    ReadOnly {
        /// As above.
        operation: &'static str,
        /// The path.
        path: PathBuf,
        /// The directory that would have to be writable.
        place: PathBuf,
    },
    /// Somebody has made the file or its directory immutable (`chattr +i`): not even root writes there.
    #[error(
        "cannot {operation} {path}: {what} is immutable; `chattr -i {what}` lets the agent write there again"
    )]
    Immutable {
        /// As above.
        operation: &'static str,
        /// The path.
        path: PathBuf,
        /// The file, or its directory.
        what: PathBuf,
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
    /// Something that is neither a file nor a link stands where one should be written or removed.
    #[error("{path} is {what}, not a file: the agent leaves it alone; move it away")]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// `a directory`, `a device, socket or FIFO`.
        what: &'static str,
    },
    /// A directory that should be an account's is another's: whose files would those be that lie in it?
    #[error(
        "refusing to write {path}: the directory {dir} belongs to uid {found}, and it should be that of uid {wanted}; chown it, or move it away"
    )]
    OfAnother {
        /// The path.
        path: PathBuf,
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        found: u32,
        /// Whose it should be.
        wanted: u32,
    },
    /// Anybody may put what they like into a directory on the way, so what is written there cannot be trusted.
    #[error(
        "refusing to write {path}: everybody may write to the directory {dir} (mode {mode:04o}); `chmod o-w {dir}` first"
    )]
    OpenToAll {
        /// The path.
        path: PathBuf,
        /// The directory.
        dir: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

impl FileError {
    /// A call in the directory `dir` about the file called `name` failed.
    fn at(
        operation: &'static str,
        path: &Path,
        (dir, name): (&OwnedFd, &OsStr),
        errno: Errno,
    ) -> Self {
        let is_immutable = |name: &OsStr| {
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
            openat(dir, name, flags, Mode::empty())
                .ok()
                .and_then(|file| rustix::fs::ioctl_getflags(file).ok())
                .is_some_and(|flags| flags.contains(rustix::fs::IFlags::IMMUTABLE))
        };
        let what = match errno {
            Errno::EPERM if is_immutable(name) => Some(path),
            Errno::EPERM if is_immutable(OsStr::new(".")) => path.parent(),
            _ => None,
        };
        match what {
            Some(what) => Self::Immutable {
                operation,
                path: path.into(),
                what: what.into(),
            },
            None => Self::io(operation, path, errno),
        }
    }

    fn io(operation: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        let (path, source) = (path.to_path_buf(), source.into());
        if source.kind() == io::ErrorKind::ReadOnlyFilesystem {
            // The whole tree: directories on the way may have to be made first.
            let place = path.components().take(2).collect();
            return Self::ReadOnly {
                operation,
                path,
                place,
            };
        }
        Self::Io {
            operation,
            path,
            source,
        }
    }
}

/// The files under a root. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Files {
    root: Root,
    /// The root directory, opened at the first use and kept: all paths are walked from it.
    top: Arc<OnceLock<OwnedFd>>,
    sightings: Sightings,
}

impl Files {
    /// The most that [`Files::read`] reads, in bytes.
    pub const READ_LIMIT: u64 = 16 * 1024 * 1024;

    /// Files under `root`. All paths given to the methods are as the agent speaks of them: absolute, without the root.
    pub fn new(root: Root) -> Self {
        Self {
            root,
            top: Arc::default(),
            sightings: Sightings::default(),
        }
    }

    /// The same, remembering what it last saw at each path that it read or wrote: see [`Files::sighting`].
    #[must_use]
    pub fn remembering(mut self) -> Self {
        self.sightings = Sightings::remembering();
        self
    }

    /// What was last seen at `path` by this or a clone of it, be it that it was read or that it was written. `None`:
    /// it was neither, or nothing is remembered.
    pub fn sighting(&self, path: &Path) -> Option<Sighting> {
        self.sightings.of(path)
    }

    /// Forgets what was last seen at a path: whatever stands there counts as somebody else's.
    pub fn forget_sighting(&self, path: &Path) {
        self.sightings.forget(path);
    }

    /// Forgets the sightings of all paths but these: what is remembered must not grow for ever.
    pub fn forget_sightings_but(&self, keep: impl Fn(&Path) -> bool) {
        self.sightings.forget_all_but(keep);
    }

    /// What stands at `path` now, without looking into it. Remembers nothing.
    pub fn look(&self, path: &Path) -> Result<Sighting, FileError> {
        match self.parent("read", path)? {
            Some((dir, name)) => Ok(stat_at(&dir, name)
                .map_err(|errno| FileError::io("read", path, errno))?
                .map(|stat| Stamp::of(&stat))),
            None => Ok(None),
        }
    }

    /// Looks at `path`, and remembers that: see [`Files::sighting`].
    pub fn look_at(&self, path: &Path) -> Result<(), FileError> {
        let seen = self.look(path)?;
        self.sightings.note(path, seen);
        Ok(())
    }

    /// The root.
    pub const fn root(&self) -> &Root {
        &self.root
    }

    /// What stands at `path`, content included. Never waits for a FIFO or a device.
    pub fn read(&self, path: &Path) -> Result<Found, FileError> {
        match self.parent("read", path)? {
            Some((dir, name)) => self.read_at(&dir, name, path, Self::READ_LIMIT),
            None => Ok(self.absent(path)),
        }
    }

    /// What stands at each of `paths`, as [`Files::read`] would say where `is_whole` holds, and else as [`Files::read_small`]; a
    /// directory that holds several, one after the other, is opened once.
    pub fn read_all(
        &self,
        paths: impl IntoIterator<Item = PathBuf>,
        is_whole: impl Fn(&Path) -> bool,
    ) -> impl Iterator<Item = (PathBuf, Result<Found, FileError>)> {
        let mut opened: Option<(PathBuf, Option<OwnedFd>)> = None;
        paths.into_iter().map(move |path| {
            let kept = if is_whole(&path) {
                Self::READ_LIMIT
            } else {
                Self::SMALL
            };
            let found = self.read_by_way_of(&mut opened, &path, kept);
            (path, found)
        })
    }

    fn read_by_way_of(
        &self,
        opened: &mut Option<(PathBuf, Option<OwnedFd>)>,
        path: &Path,
        kept: u64,
    ) -> Result<Found, FileError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return self.read(path);
        };
        let dir = match opened.take() {
            Some((last, dir)) if last.as_os_str() == parent.as_os_str() => dir,
            _ => self.parent("read", path)?.map(|(dir, _)| dir),
        };
        let found = match &dir {
            Some(dir) => self.read_at(dir, name, path, kept),
            None => Ok(self.absent(path)),
        };
        *opened = Some((parent.into(), dir));
        found
    }

    /// Writes `bytes` beside `path` and syncs them; missing parent directories are made (0755).
    ///
    /// An existing regular file's owner, mode and extended attributes are kept (never set-user-ID or
    /// set-group-ID); `mode` is for a new one, whatever the umask. A symlink at `path` is refused.
    pub fn stage(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<Staged, FileError> {
        self.stage_as(path, bytes, Keep::Present(mode))
    }

    /// The same, with a say in what becomes of the owner and the permissions of the file that stands there.
    pub fn stage_as(&self, path: &Path, bytes: &[u8], keep: Keep) -> Result<Staged, FileError> {
        let (dir, name) = self.made_parent("write", path)?;
        Staged::write(dir, name, path, bytes, keep, self.sightings.clone())
    }

    /// [`Files::stage`] and [`Staged::commit`] in one.
    pub fn write(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<Written, FileError> {
        self.stage(path, bytes, mode)?.commit()
    }

    /// Makes `path` a symlink to `target`, atomically replacing a symlink or file that is there.
    ///
    /// Writes nothing where it is that already. Missing parent directories are made (0755).
    pub fn link(&self, path: &Path, target: &Path) -> Result<(), FileError> {
        let (dir, name) = self.made_parent("link", path)?;
        let failed = |errno: Errno| FileError::at("link", path, (&dir, name), errno);
        match stat_at(&dir, name).map_err(failed)?.as_ref().map(kind) {
            None | Some(SFlag::S_IFREG) => {}
            Some(SFlag::S_IFLNK) => {
                if readlinkat(&dir, name).is_ok_and(|present| present.as_os_str() == target) {
                    return Ok(());
                }
            }
            Some(kind) => return Err(not_a_file(path, kind)),
        }
        let mut made: Sighting = None;
        let temporary = loop {
            let temporary = temporary_name(name);
            match symlinkat(target, &dir, temporary.as_os_str()) {
                Ok(()) => break temporary,
                Err(Errno::EEXIST) => {}
                Err(errno) => return Err(failed(errno)),
            }
        };
        crash::point("link:made");
        if let Ok(stat) = stat_at(&dir, temporary.as_os_str()) {
            made = stat.as_ref().map(Stamp::of);
        }
        if let Err(errno) = renameat(&dir, temporary.as_os_str(), &dir, name) {
            let _ = unlinkat(&dir, temporary.as_os_str(), UnlinkatFlags::NoRemoveDir);
            return Err(failed(errno));
        }
        self.sightings.note(path, made);
        crash::point("link:renamed");
        sync(&dir).map_err(failed)
    }

    /// Removes a file or symlink, durably. Not an error where it is gone already. Never a directory, device, socket or FIFO.
    pub fn remove(&self, path: &Path) -> Result<(), FileError> {
        let Some((dir, name)) = self.parent("remove", path)? else {
            return Ok(());
        };
        let failed = |errno: Errno| FileError::at("remove", path, (&dir, name), errno);
        match stat_at(&dir, name).map_err(failed)?.as_ref().map(kind) {
            None => return Ok(()),
            Some(SFlag::S_IFREG | SFlag::S_IFLNK) => {}
            Some(kind) => return Err(not_a_file(path, kind)),
        }
        match unlinkat(&dir, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => {
                self.sightings.note(path, None);
                crash::point("file:removed");
                sync(&dir).map_err(failed)
            }
            Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(failed(errno)),
        }
    }

    /// Makes a directory with `mode`, durably, and missing parents (0755). One that is there is left as it is.
    pub fn create_dir(&self, dir: &Path, mode: u32) -> Result<(), FileError> {
        self.made_directory("make", dir, mode).map(drop)
    }

    /// Makes a directory with this owner and these permission bits, durably, and missing parents (0755); one that is there
    /// gets them. A symlink is refused.
    pub fn place_dir(&self, dir: &Path, attributes: Attributes) -> Result<(), FileError> {
        // Nobody else gets in before it is whose it shall be.
        let fd = self.made_directory("make", dir, 0o700)?;
        walk::give_directory(&fd, attributes).map_err(|errno| FileError::io("make", dir, errno))?;
        let seen = self.look(dir)?;
        self.sightings.note(dir, seen);
        Ok(())
    }

    /// Removes a directory where it is empty; returns whether it did. Not an error where it is not empty or gone.
    pub fn remove_empty_dir(&self, dir: &Path) -> Result<bool, FileError> {
        let failed = |errno: Errno| FileError::io("remove", dir, errno);
        let Some((parent, name)) = self.parent("remove", dir)? else {
            return Ok(false);
        };
        match unlinkat(&parent, name, UnlinkatFlags::RemoveDir) {
            Ok(()) => sync(&parent).map(|()| true).map_err(failed),
            // EBUSY: somebody mounted something there; it is not ours to empty.
            Err(
                Errno::ENOENT | Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOTDIR | Errno::EBUSY,
            ) => Ok(false),
            Err(errno) => Err(failed(errno)),
        }
    }
}

impl Files {
    fn absent(&self, path: &Path) -> Found {
        self.sightings.note(path, None);
        Found::Absent
    }

    /// [`Files::read`], in an open directory; of a file of more than `kept` bytes only what [`Found::Large`] has.
    fn read_at(
        &self,
        dir: &OwnedFd,
        name: &OsStr,
        path: &Path,
        kept: u64,
    ) -> Result<Found, FileError> {
        let failed = |errno: Errno| FileError::io("read", path, errno);
        let Some(stat) = stat_at(dir, name).map_err(failed)? else {
            return Ok(self.absent(path));
        };
        self.sightings.note(path, Some(Stamp::of(&stat)));
        match kind(&stat) {
            SFlag::S_IFDIR => Ok(Found::Directory(Attributes::of(&stat))),
            SFlag::S_IFLNK => match readlinkat(dir, name) {
                Ok(target) => Ok(Found::Link(target.into())),
                Err(Errno::ENOENT) => Ok(self.absent(path)),
                Err(errno) => Err(failed(errno)),
            },
            SFlag::S_IFREG => {
                // Not blocking, and looked at again: it may have been exchanged since the stat.
                let flags = OFlag::O_RDONLY
                    | OFlag::O_NOFOLLOW
                    | OFlag::O_NONBLOCK
                    | OFlag::O_NOCTTY
                    | OFlag::O_CLOEXEC;
                let file = match openat(dir, name, flags, Mode::empty()) {
                    Ok(file) => file,
                    Err(Errno::ENOENT) => return Ok(self.absent(path)),
                    Err(errno) => return Err(failed(errno)),
                };
                let stat = fstat(&file).map_err(failed)?;
                if kind(&stat) != SFlag::S_IFREG {
                    return Ok(Found::Other);
                }
                // Before its content: what is written meanwhile is looked at once more than need be, never once too few.
                self.sightings.note(path, Some(Stamp::of(&stat)));
                if large::size(&stat) > kept {
                    return large::digested(File::from(file), &stat, path);
                }
                Ok(Found::File {
                    bytes: contents(File::from(file), &stat, path)?,
                    attributes: Attributes::of(&stat),
                })
            }
            _ => Ok(Found::Other),
        }
    }
}

fn contents(file: File, stat: &FileStat, path: &Path) -> Result<Vec<u8>, FileError> {
    let expected = usize::try_from(large::size(stat).min(Files::READ_LIMIT)).unwrap_or_default();
    // With room to see the end of the file, it comes in one read instead of ever larger ones.
    let mut bytes = Vec::with_capacity(expected + 64);
    file.take(Files::READ_LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| FileError::io("read", path, source))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= Files::READ_LIMIT) {
        Ok(bytes)
    } else {
        Err(FileError::TooLarge {
            path: path.into(),
            limit: Files::READ_LIMIT,
        })
    }
}

/// What stands at a name, not followed; `None` for nothing.
fn stat_at(dir: impl AsFd, name: &OsStr) -> nix::Result<Option<FileStat>> {
    match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

fn not_a_file(path: &Path, kind: SFlag) -> FileError {
    FileError::NotAFile {
        path: path.into(),
        what: if kind == SFlag::S_IFDIR {
            "a directory"
        } else {
            "a device, socket or FIFO"
        },
    }
}

/// Opens a directory, held only as a place (`O_PATH`), for reading or syncing.
fn reopened(dir: impl AsFd) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    openat(dir, ".", flags, Mode::empty())
}

fn sync(dir: impl AsFd) -> nix::Result<()> {
    nix::unistd::fsync(reopened(dir)?)
}
