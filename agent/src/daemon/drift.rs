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
use tokio::time::{Instant, timeout_at};

use crate::system::root::Root;

/// Quiet for so long: whoever edits has written what they wanted.
const QUIET: Duration = Duration::from_millis(100);
/// No longer than this is waited for quiet.
const LONGEST: Duration = Duration::from_millis(400);

/// Watches the directories of owned paths.
#[derive(Debug)]
pub(super) struct DriftWatch {
    root: Root,
    inotify: Option<AsyncFd<Inotify>>,
    /// Owned paths as they are opened, with the names that the agent speaks of them.
    owned: BTreeMap<PathBuf, PathBuf>,
    directories: BTreeMap<PathBuf, Watch>,
    by_descriptor: HashMap<WatchDescriptor, PathBuf>,
    touched: BTreeSet<PathBuf>,
    /// When the first and the last of `touched` were: kept here, for the waiting may be broken off and begun again.
    between: Option<(Instant, Instant)>,
    /// A directory that was followed is gone or is another one now.
    lost: bool,
    trouble: Option<String>,
}

#[derive(Debug)]
struct Watch {
    descriptor: WatchDescriptor,
    /// Device and inode: a directory made anew under the same name is another one.
    identity: (u64, u64),
}

impl DriftWatch {
    /// Watches nothing yet.
    pub(super) fn new(root: &Root) -> Self {
        Self {
            root: root.clone(),
            inotify: None,
            owned: BTreeMap::new(),
            directories: BTreeMap::new(),
            by_descriptor: HashMap::new(),
            touched: BTreeSet::new(),
            between: None,
            lost: true,
            trouble: None,
        }
    }

    /// Whether the paths are watched that were last asked for: else they should be asked for again.
    pub(super) const fn is_current(&self) -> bool {
        !self.lost && self.trouble.is_none()
    }

    /// Opens inotify, where that was not done or it broke.
    fn open(&mut self) {
        if self.inotify.is_some() {
            return;
        }
        self.directories.clear();
        self.by_descriptor.clear();
        #[expect(
            deprecated,
            reason = "its successor is an unsafe function; `Inotify` owns its descriptor for as long as this lives"
        )]
        let watcher = Inotify::init().and_then(AsyncFd::new);
        match watcher {
            Ok(inotify) => self.inotify = Some(inotify),
            Err(error) => self.trouble = Some(trouble(&error)),
        }
    }

    /// Why some edits are noticed only at the next check, if they are.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// From now on these paths are watched, and no others. Where that cannot be done in full, see [`DriftWatch::trouble`].
    /// Needs a tokio runtime.
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
        self.trouble = None;
        self.open();
        let Some(inotify) = &self.inotify else { return };
        self.lost = false;
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

    /// Waits until owned paths were touched and it is quiet again. Forever, where nothing can be watched. May be
    /// broken off and called again at any time: the quiet is counted from the last event, not from the call.
    pub(super) async fn touched(&mut self) -> BTreeSet<PathBuf> {
        loop {
            let Some((first, last)) = self.between else {
                self.listen().await;
                continue;
            };
            let until = (last + QUIET).min(first + LONGEST);
            if until <= Instant::now() || timeout_at(until, self.listen()).await.is_err() {
                self.between = None;
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
            if self.note(&descriptor, mask, name.as_deref()) {
                let now = Instant::now();
                let first = self.between.map_or(now, |(first, _)| first);
                self.between = Some((first, now));
            }
        }
    }

    fn give_up(&mut self, error: &io::Error) {
        self.inotify = None;
        self.trouble = Some(trouble(error));
    }

    /// Whether the event is about what is followed.
    fn note(&mut self, descriptor: &WatchDescriptor, mask: EventMask, name: Option<&Path>) -> bool {
        if mask.contains(EventMask::Q_OVERFLOW) {
            // Events were lost: anything may have been touched.
            self.touched.extend(self.owned.values().cloned());
            return true;
        }
        let Some(directory) = self.by_descriptor.get(descriptor) else {
            return false;
        };
        if let Some(name) = name {
            let path = self.owned.get(&directory.join(name));
            self.touched.extend(path.cloned());
            return path.is_some();
        }
        let gone =
            EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::UNMOUNT | EventMask::IGNORED;
        if !mask.intersects(gone) {
            return false;
        }
        let directory = directory.clone();
        let below = self
            .owned
            .iter()
            .filter(|(path, _)| path.parent() == Some(&directory));
        self.touched.extend(below.map(|(_, path)| path.clone()));
        // Forgotten here, and not found out later: a directory made anew may well get the number of the old one.
        self.lost = true;
        self.by_descriptor.remove(descriptor);
        self.directories.remove(&directory);
        if let Some(inotify) = &self.inotify {
            // Only one that was moved is still watched.
            let _ = inotify.get_ref().watches().remove(descriptor.clone());
        }
        true
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
        "edits of some files are noticed only once a minute, for they cannot be watched ({error}): {what_to_do}; the next check tries again"
    )
}

#[cfg(test)]
mod tests;
