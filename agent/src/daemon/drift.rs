//! Watching what the agent owns, so that an edit is noticed at once.
//!
//! inotify directly, and not a general watcher of files: those also listen for opening, and `/etc/hosts`
//! is opened thousands of times a second on a busy web server. Here only changes wake the daemon.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use tokio::io::unix::AsyncFd;

use crate::system::root::Root;

/// Quiet for so long: whoever edits has written what they wanted.
const QUIET: Duration = Duration::from_millis(100);
/// No longer than this is waited for quiet.
const LONGEST: Duration = Duration::from_millis(400);

/// Watches the directories of owned paths.
#[derive(Debug)]
pub(super) struct Drift {
    root: Root,
    inotify: Option<AsyncFd<Inotify>>,
    /// Owned paths as they are opened, with the names that the agent speaks of them.
    owned: BTreeMap<PathBuf, PathBuf>,
    directories: BTreeMap<PathBuf, Watch>,
    by_descriptor: HashMap<WatchDescriptor, PathBuf>,
    touched: BTreeSet<PathBuf>,
    trouble: Option<String>,
}

#[derive(Debug)]
struct Watch {
    descriptor: WatchDescriptor,
    /// Device and inode: a directory made anew under the same name is another one.
    identity: (u64, u64),
}

impl Drift {
    /// Watches nothing yet. Where the kernel gives no inotify, it never will, and says so. Needs a tokio runtime.
    pub(super) fn new(root: &Root) -> Self {
        #[expect(
            deprecated,
            reason = "its successor is an unsafe function; `Inotify` owns its descriptor for as long as this lives"
        )]
        let watcher = Inotify::init().and_then(AsyncFd::new);
        let (inotify, trouble) = match watcher {
            Ok(inotify) => (Some(inotify), None),
            Err(error) => (None, Some(trouble(&error))),
        };
        Self {
            root: root.clone(),
            inotify,
            owned: BTreeMap::new(),
            directories: BTreeMap::new(),
            by_descriptor: HashMap::new(),
            touched: BTreeSet::new(),
            trouble,
        }
    }

    /// Why some edits are noticed only at the next check, if they are.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// From now on these paths are watched, and no others.
    pub(super) fn follow(&mut self, owned: &[PathBuf]) {
        self.owned = owned
            .iter()
            .map(|path| (self.root.real(path), path.clone()))
            .collect();
        let wanted: BTreeSet<_> = self
            .owned
            .keys()
            .filter_map(|path| path.parent().map(Path::to_path_buf))
            .collect();
        let Some(inotify) = &self.inotify else { return };
        let mut watches = inotify.get_ref().watches();
        let by_descriptor = &mut self.by_descriptor;
        self.directories.retain(|path, watch| {
            let stays = wanted.contains(path) && identity(path) == Some(watch.identity);
            if !stays {
                by_descriptor.remove(&watch.descriptor);
                // Not fatal: the kernel drops the watch of a directory that is gone by itself.
                let _ = watches.remove(watch.descriptor.clone());
            }
            stays
        });
        self.trouble = None;
        for path in wanted {
            let Some(identity) = identity(&path) else {
                continue; // Made by the run that needs it; followed after that.
            };
            if self.directories.contains_key(&path) {
                continue;
            }
            let mask = WatchMask::CLOSE_WRITE
                | WatchMask::CREATE
                | WatchMask::DELETE
                | WatchMask::MOVE
                | WatchMask::ATTRIB
                | WatchMask::DELETE_SELF
                | WatchMask::MOVE_SELF
                | WatchMask::ONLYDIR;
            match watches.add(&path, mask) {
                Ok(descriptor) => {
                    self.by_descriptor.insert(descriptor.clone(), path.clone());
                    self.directories.insert(
                        path,
                        Watch {
                            descriptor,
                            identity,
                        },
                    );
                }
                Err(error) => self.trouble = Some(trouble(&error)),
            }
        }
    }

    /// Waits until owned paths were touched and it is quiet again. Forever, where nothing can be watched.
    pub(super) async fn touched(&mut self) -> BTreeSet<PathBuf> {
        while self.touched.is_empty() {
            self.listen().await;
        }
        let longest = tokio::time::Instant::now() + LONGEST;
        loop {
            let until = (tokio::time::Instant::now() + QUIET).min(longest);
            if tokio::time::timeout_at(until, self.listen()).await.is_err() {
                return std::mem::take(&mut self.touched);
            }
            if tokio::time::Instant::now() >= longest {
                return std::mem::take(&mut self.touched);
            }
        }
    }

    /// Takes one batch of events in. Loses nothing when it is dropped half way.
    async fn listen(&mut self) {
        let Some(inotify) = &mut self.inotify else {
            return std::future::pending().await;
        };
        let mut buffer = [0; 4096];
        let mut seen: Vec<(WatchDescriptor, EventMask, Option<PathBuf>)> = Vec::new();
        match inotify.readable_mut().await {
            Ok(mut ready) => {
                let read = ready.try_io(|inotify| {
                    let events = inotify.get_mut().read_events(&mut buffer)?;
                    seen.extend(events.map(|event| {
                        let name = event.name.map(PathBuf::from);
                        (event.wd, event.mask, name)
                    }));
                    Ok(())
                });
                if let Ok(Err(error)) = read {
                    self.give_up(&error);
                }
            }
            Err(error) => self.give_up(&error),
        }
        for (descriptor, mask, name) in seen {
            self.note(&descriptor, mask, name.as_deref());
        }
    }

    fn give_up(&mut self, error: &io::Error) {
        self.inotify = None;
        self.trouble = Some(trouble(error));
    }

    fn note(&mut self, descriptor: &WatchDescriptor, mask: EventMask, name: Option<&Path>) {
        if mask.contains(EventMask::Q_OVERFLOW) {
            // Events were lost: anything may have been touched.
            self.touched.extend(self.owned.values().cloned());
            return;
        }
        let Some(directory) = self.by_descriptor.get(descriptor) else {
            return;
        };
        if let Some(name) = name {
            if let Some(path) = self.owned.get(&directory.join(name)) {
                self.touched.insert(path.clone());
            }
            return;
        }
        let gone =
            EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::UNMOUNT | EventMask::IGNORED;
        if mask.intersects(gone) {
            let below = self
                .owned
                .iter()
                .filter(|(path, _)| path.parent() == Some(directory));
            self.touched.extend(below.map(|(_, path)| path.clone()));
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = std::fs::symlink_metadata(path).ok()?;
    found.is_dir().then(|| (found.dev(), found.ino()))
}

fn trouble(error: &io::Error) -> String {
    let what_to_do = match error.raw_os_error() {
        Some(libc::ENOSPC) => "raise fs.inotify.max_user_watches (sysctl)",
        Some(libc::EMFILE) => "raise fs.inotify.max_user_instances (sysctl)",
        _ => "see the log",
    };
    format!(
        "edits of some files are noticed only once a minute, for they cannot be watched ({error}): {what_to_do}, then systemctl reload agentd"
    )
}

#[cfg(test)]
mod tests;
