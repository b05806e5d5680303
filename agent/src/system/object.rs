//! Objects in a plain directory that several processes share: whole reads, atomic puts, one lock. Lists of them are in
//! [`list`], those that are written bit by bit in [`partial`].
//!
//! For a directory that the operator chose, so symlinks in it are followed. Files that the agent owns
//! are written by [`super::file`], which does not follow them.

pub mod list;
pub mod partial;

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::clock;
use super::digest::Sha256;
use super::lock::Lock;

/// How long the lock is waited for. It is held for as long as a few files take to sync.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// How old a file's times must be before its status is trusted to change with its content: the coarsest
/// file systems count in steps of two seconds.
const SETTLED_SECS: i64 = 3;

/// An operation on an object failed.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// A system call failed.
    #[error("cannot {operation} {path}")]
    Io {
        /// `read`, `lock`, `write`, `delete`, `list`, `make the directory of`.
        operation: &'static str,
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is larger than what is read.
    #[error("{path} has {size} bytes, the limit is {limit}")]
    TooLarge {
        /// The path.
        path: PathBuf,
        /// Its size, in bytes.
        size: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// It changed while it was read.
    #[error("{path} changed while it was read: write beside it and rename")]
    Changing {
        /// The path.
        path: PathBuf,
    },
    /// It is a directory, a device, a FIFO.
    #[error("{path} is not a regular file")]
    NoFile {
        /// The path.
        path: PathBuf,
    },
    /// Another process holds the lock.
    #[error("another process holds the lock {path}")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
}

impl ObjectError {
    fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            operation,
            path,
            source,
        }
    }
}

/// The status of a file, by which a change of it is noticed without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(status: &Metadata) -> Self {
        Self {
            device: status.dev(),
            inode: status.ino(),
            size: status.size(),
            modified: (status.mtime(), status.mtime_nsec()),
            changed: (status.ctime(), status.ctime_nsec()),
        }
    }

    /// Its size, in bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Whether the file's times lie so far back that another change would have given it other ones.
    pub fn is_settled(&self) -> bool {
        let newest = self.modified.0.max(self.changed.0);
        newest.saturating_add(SETTLED_SECS) < clock::now().as_second()
    }
}

/// The status of the file at `path`.
pub fn stamp(path: &Path) -> Result<Stamp, ObjectError> {
    let status = fs::metadata(path).map_err(ObjectError::io("read", path))?;
    Ok(Stamp::of(&status))
}

/// The content of the file at `path`, at most `limit` bytes, and the status that goes with it.
pub fn read(path: &Path, limit: u64) -> Result<(Vec<u8>, Stamp), ObjectError> {
    let fail = || ObjectError::io("read", path);
    let (mut file, before) = open(path)?;
    if before.size > limit {
        return Err(ObjectError::TooLarge {
            path: path.into(),
            size: before.size,
            limit,
        });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(before.size).unwrap_or_default());
    // One byte more than there should be, so that a file that grows is noticed and not followed.
    (&mut file)
        .take(before.size.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(fail())?;
    let after = Stamp::of(&file.metadata().map_err(fail())?);
    if after != before || bytes.len() as u64 != before.size {
        return Err(ObjectError::Changing { path: path.into() });
    }
    Ok((bytes, before))
}

/// At most `length` bytes of the file at `path` from the byte `from` on, and the status that goes with them. None where
/// it ends before.
pub fn read_range(path: &Path, from: u64, length: u64) -> Result<(Vec<u8>, Stamp), ObjectError> {
    let fail = || ObjectError::io("read", path);
    let (mut file, before) = open(path)?;
    let there = before.size.saturating_sub(from).min(length);
    let mut bytes = Vec::with_capacity(usize::try_from(there).unwrap_or_default());
    file.seek(io::SeekFrom::Start(from)).map_err(fail())?;
    (&mut file)
        .take(there)
        .read_to_end(&mut bytes)
        .map_err(fail())?;
    let after = Stamp::of(&file.metadata().map_err(fail())?);
    if after != before || bytes.len() as u64 != there {
        return Err(ObjectError::Changing { path: path.into() });
    }
    Ok((bytes, before))
}

/// SHA-256 of the file at `path`, in hexadecimal, whatever its size.
pub fn digest(path: &Path) -> Result<String, ObjectError> {
    Ok(digest_with_stamp(path)?.0)
}

/// The same, and the status that goes with it.
pub fn digest_with_stamp(path: &Path) -> Result<(String, Stamp), ObjectError> {
    let (mut file, before) = open(path)?;
    let mut digest = Sha256::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        let count = file
            .read(&mut piece)
            .map_err(ObjectError::io("read", path))?;
        if count == 0 {
            let status = file.metadata().map_err(ObjectError::io("read", path))?;
            if Stamp::of(&status) != before {
                return Err(ObjectError::Changing { path: path.into() });
            }
            return Ok((digest.finish_hex(), before));
        }
        digest.update(piece.get(..count).unwrap_or_default());
    }
}

fn open(path: &Path) -> Result<(File, Stamp), ObjectError> {
    let fail = || ObjectError::io("read", path);
    let file = OpenOptions::new()
        .read(true)
        // A FIFO in the directory must not hang its reader.
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)
        .map_err(fail())?;
    let status = file.metadata().map_err(fail())?;
    if !status.is_file() {
        return Err(ObjectError::NoFile { path: path.into() });
    }
    Ok((file, Stamp::of(&status)))
}

/// Takes the lock at `path`, made where it is missing, and waits for it a few seconds. Dropped: released.
pub fn lock(path: &Path) -> Result<Lock, ObjectError> {
    Lock::take_shared(path, LOCK_WAIT)
        .map_err(ObjectError::io("lock", path))?
        .ok_or_else(|| ObjectError::Locked { path: path.into() })
}

/// Replaces or makes the file at `path`, atomically and durably. An old one's permissions are kept. Under [`lock`] only.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), ObjectError> {
    put(path, bytes, |temporary| move_over(temporary, path))
}

/// Makes the file at `path`, atomically and durably; it is an error where it exists. Under [`lock`] only.
pub fn create(path: &Path, bytes: &[u8]) -> Result<(), ObjectError> {
    put(path, bytes, |temporary| move_new(temporary, path))
}

/// Removes the file at `path`, durably, and the directories under `base` that are empty without it, but for those that
/// stand in `base` itself. `false`: there was none. Under [`lock`] only.
pub fn remove(base: &Path, path: &Path) -> Result<bool, ObjectError> {
    let fail = || ObjectError::io("delete", path);
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        removed => removed.map_err(fail())?,
    }
    let mut dir = path.parent();
    while let Some(parent) = dir {
        let deep = parent != base && parent.parent().is_some_and(|above| above != base);
        // One that is not empty stays, with the trace of the deletion in it.
        if !deep || fs::remove_dir(parent).is_err() {
            File::open(parent)
                .and_then(|dir| dir.sync_all())
                .map_err(fail())?;
            break;
        }
        dir = parent.parent();
    }
    Ok(true)
}

fn move_over(temporary: &Path, path: &Path) -> io::Result<()> {
    if let Ok(old) = fs::metadata(path) {
        fs::set_permissions(temporary, old.permissions())?;
    }
    fs::rename(temporary, path)
}

/// Unlike a rename, a link never replaces what a person without the lock may have put there just now.
fn move_new(temporary: &Path, path: &Path) -> io::Result<()> {
    fs::hard_link(temporary, path)?;
    fs::remove_file(temporary)
}

fn put(
    path: &Path,
    bytes: &[u8],
    publish: impl FnOnce(&Path) -> io::Result<()>,
) -> Result<(), ObjectError> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(dir).map_err(ObjectError::io("make the directory of", path))?;
    // Its name is fixed: the lock keeps others away, and what a crash leaves behind is replaced here.
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".agentd-tmp");
    let temporary = dir.join(name);
    let write = || {
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        publish(&temporary)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&temporary);
        ObjectError::io("write", path)(error)
    })
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn only_a_file_that_has_rested_has_a_stamp_to_rely_on() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("object");
        File::create(&path).unwrap();
        let fresh = stamp(&path).unwrap();
        assert!(!fresh.is_settled());

        let rested = |seconds: i64| {
            let mut rested = fresh.clone();
            rested.modified.0 -= seconds;
            rested.changed.0 -= seconds;
            rested
        };
        assert!(rested(10).is_settled());
        // An old modification time says nothing: anybody can set it, nobody the time of the change.
        let mut backdated = fresh.clone();
        backdated.modified.0 -= 10;
        assert!(!backdated.is_settled());
    }

    #[test]
    fn a_file_with_other_content_than_its_status_says_is_changing() {
        // The kernel's own files announce no size and have content.
        let read = read(Path::new("/proc/self/status"), 4096);
        assert!(matches!(read, Err(ObjectError::Changing { .. })));
    }

    #[test]
    fn what_a_crash_left_behind_is_replaced() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("object");
        File::create(dir.path().join(".object.agentd-tmp")).unwrap();
        create(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        let names = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!((read(&path, 9).unwrap().0, names), (b"two".to_vec(), 1));
    }
}
