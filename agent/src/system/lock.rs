//! One run at a time: `flock` on a file, never a PID file.

use std::fs::File;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, openat};
use nix::sys::stat::Mode;

use super::file::{FileError, Files};
use super::root::Root;

/// A held lock. Dropped: released; so is it when the process dies, however it dies.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Takes the lock at `path` (made where it is missing, parents too; never written). `None`: another process holds it.
    ///
    /// Only its owner may open the file: with `flock`, who can read it could hold it.
    pub fn try_take(root: &Root, path: &Path) -> Result<Option<Self>, FileError> {
        let failed = |errno: Errno| FileError::Io {
            operation: "lock",
            path: path.into(),
            source: errno.into(),
        };
        let (dir, name) = Files::new(root.clone()).made_parent("lock", path)?;
        let flags = OFlag::O_RDONLY
            | OFlag::O_CREAT
            | OFlag::O_NOFOLLOW
            | OFlag::O_NONBLOCK
            | OFlag::O_CLOEXEC;
        let file = match openat(&dir, name, flags, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(file) => File::from(file),
            Err(Errno::ELOOP) => {
                return Err(FileError::SymlinkInTheWay {
                    path: path.into(),
                    link: path.into(),
                });
            }
            Err(errno) => return Err(failed(errno)),
        };
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Some(Self { _file: file })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(failed(errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_holds_it_and_it_is_free_again_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::under(dir.path()).unwrap();
        let path = Path::new("/run/agentd/lock");
        let held = Lock::try_take(&root, path).unwrap();
        assert!(held.is_some());
        assert!(Lock::try_take(&root, path).unwrap().is_none());
        drop(held);
        assert!(Lock::try_take(&root, path).unwrap().is_some());
        assert_eq!(
            dir.path().join("run/agentd/lock").metadata().unwrap().len(),
            0
        );
    }

    #[test]
    fn a_planted_symlink_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::under(dir.path()).unwrap();
        std::os::unix::fs::symlink("elsewhere", dir.path().join("lock")).unwrap();
        let error = Lock::try_take(&root, Path::new("/lock")).unwrap_err();
        assert!(
            matches!(error, FileError::SymlinkInTheWay { .. }),
            "{error}"
        );
        assert!(!dir.path().join("elsewhere").exists());
    }
}
