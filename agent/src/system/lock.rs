//! One at a time: `flock` on a file, never a PID file; and waiting for it, for a limited time.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, openat};
use nix::sys::stat::Mode;

use super::file::{FileError, Files};
use super::root::Root;

/// Between two tries of who waits. `flock` itself could wait, but not with a deadline, and not without a thread.
const PAUSE: Duration = Duration::from_millis(10);

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
        try_flock(file).map_err(failed)
    }

    /// The same, waiting at most `patience`. `None`: another process still holds it.
    ///
    /// `waiting` is called before each pause of some milliseconds, so that a wait need not look like a hang. May be
    /// dropped while it waits.
    pub async fn take(
        root: &Root,
        path: &Path,
        patience: Duration,
        waiting: impl Fn(),
    ) -> Result<Option<Self>, FileError> {
        let since = Instant::now();
        loop {
            match Self::try_take(root, path)? {
                None if since.elapsed() < patience => {
                    waiting();
                    tokio::time::sleep(PAUSE).await;
                }
                lock => return Ok(lock),
            }
        }
    }

    /// Takes the lock at `path` in a directory that others share, waiting at most `patience` in this thread. `None`:
    /// another process still holds it.
    ///
    /// The directory is somebody's choice and must exist; symlinks are followed, and whoever may write there may lock.
    pub fn take_shared(path: &Path, patience: Duration) -> io::Result<Option<Self>> {
        let since = Instant::now();
        loop {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            match try_flock(file)? {
                None if since.elapsed() < patience => std::thread::sleep(PAUSE),
                lock => return Ok(lock),
            }
        }
    }
}

/// The file is opened anew for each try: one that was removed meanwhile would be locked by nobody else.
fn try_flock(file: File) -> Result<Option<Lock>, Errno> {
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => Ok(Some(Lock { _file: file })),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

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

    #[tokio::test]
    async fn who_waits_gets_it_when_it_is_free_and_gives_up_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::under(dir.path()).unwrap();
        let path = Path::new("/run/agentd/lock");
        let held = Cell::new(Lock::try_take(&root, path).unwrap());
        let waits = Cell::new(0);
        let never = Lock::take(&root, path, 3 * PAUSE, || waits.set(waits.get() + 1));
        assert!(never.await.unwrap().is_none());
        assert!((1..=3).contains(&waits.get()), "{}", waits.get());

        let long = Duration::from_mins(1);
        let freed = Lock::take(&root, path, long, || drop(held.take()));
        let freed = freed.await.unwrap();
        assert!(freed.is_some());
        // Not even patience is needed for one that is free.
        drop(freed);
        let unused = || panic!("it waited");
        let at_once = Lock::take(&root, path, Duration::ZERO, unused).await;
        assert!(at_once.unwrap().is_some());
    }

    #[test]
    fn a_shared_lock_is_waited_for_in_its_thread() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let take = |patience| Lock::take_shared(&path, patience).unwrap();
        let held = take(Duration::ZERO);
        assert!(held.is_some());
        assert!(take(Duration::ZERO).is_none());
        assert!(take(3 * PAUSE).is_none());
        let frees = std::thread::spawn(move || {
            std::thread::sleep(5 * PAUSE);
            drop(held);
        });
        assert!(take(Duration::from_mins(1)).is_some());
        frees.join().unwrap();
        let nowhere = dir.path().join("none/lock");
        let error = Lock::take_shared(&nowhere, Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
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
