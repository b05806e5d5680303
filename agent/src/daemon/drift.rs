//! Watching what the agent owns, so that an edit is noticed at once.
//!
//! The kernel tells of changes in the directories of owned paths, never of openings: `/etc/hosts` is opened thousands of
//! times a second on a busy web server. What stands at a path as the agent itself last read or wrote it is no drift, whoever
//! made the event. Where nothing can be watched, because inotify's limits are used up, the paths are looked at every few
//! seconds instead, until it can be again.

mod events;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{Config, ErrorKind, EventKindMask, INotifyWatcher, RecursiveMode, Watcher};
use tokio::time::{Instant, sleep_until};

use crate::system::chain;
use crate::system::file::{Files, Sighting};
use events::Events;

/// Quiet for so long: whoever edits has written what they wanted.
const QUIET: Duration = Duration::from_millis(100);
/// No longer than this is waited for quiet.
const LONGEST: Duration = Duration::from_millis(400);
/// Paths that cannot be watched are looked at this often, and watching is tried again.
const LOOK_INTERVAL: Duration = Duration::from_secs(3);

/// Watches the directories of owned paths.
pub(super) struct DriftWatch {
    /// What the agent last saw at each path.
    files: Files,
    events: Arc<Events>,
    watcher: Option<INotifyWatcher>,
    /// Owned paths as they are opened, with the names that the agent speaks of them.
    owned: BTreeMap<PathBuf, PathBuf>,
    /// Watched directories, with device and inode: one made anew under the same name is another one.
    directories: BTreeMap<PathBuf, (u64, u64)>,
    /// Directories that are there and cannot be watched.
    unwatched: BTreeSet<PathBuf>,
    /// What was last found at paths of those, where that was told already.
    told: BTreeMap<PathBuf, Option<Sighting>>,
    next_look: Instant,
    trouble: Option<String>,
}

impl DriftWatch {
    /// Watches nothing yet. `files` knows what the agent last saw: see [`Files::remembering`].
    pub(super) fn new(files: Files) -> Self {
        Self {
            files,
            events: Arc::default(),
            watcher: None,
            owned: BTreeMap::new(),
            directories: BTreeMap::new(),
            unwatched: BTreeSet::new(),
            told: BTreeMap::new(),
            next_look: Instant::now(),
            trouble: None,
        }
    }

    /// Whether the paths are watched that were last asked for: else they should be asked for again.
    pub(super) fn is_current(&self) -> bool {
        self.watcher.is_some() && self.unwatched.is_empty() && !self.events.any_replaced()
    }

    /// Why some edits are noticed only after seconds, if they are.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// From now on these paths are watched, and no others. Where that cannot be done in full, see [`DriftWatch::trouble`].
    pub(super) fn follow(&mut self, owned: &[PathBuf]) {
        let root = self.files.root();
        self.owned = owned
            .iter()
            .map(|path| (root.real(path), path.clone()))
            .collect();
        self.told.retain(|path, _| owned.contains(path));
        let replaced = self.events.set_owned(self.owned.clone());
        self.watch(&replaced);
    }

    /// Watches the directories of owned paths that are not watched, and no longer those that should not be.
    fn watch(&mut self, replaced: &BTreeSet<PathBuf>) {
        let wanted: BTreeSet<_> = self
            .owned
            .keys()
            .filter_map(|path| path.parent().map(Path::to_path_buf))
            .collect();
        self.unwatched.clear();
        let mut trouble = self.open().err();
        let watcher = &mut self.watcher;
        self.directories.retain(|path, known| {
            let stays = wanted.contains(path)
                && !replaced.contains(path)
                && identity(path) == Some(*known)
                && watcher.is_some();
            if let (false, Some(watcher)) = (stays, watcher.as_mut()) {
                // Not fatal: the kernel drops the watch of a directory that is gone by itself.
                let _ = watcher.unwatch(path);
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
            let Some(watcher) = &mut self.watcher else {
                self.unwatched.insert(path);
                continue;
            };
            let watched = watcher.watch(&path, RecursiveMode::NonRecursive);
            match watched {
                Ok(()) => {
                    self.directories.insert(path, identity);
                }
                Err(error) => {
                    trouble = Some(error);
                    self.unwatched.insert(path);
                }
            }
        }
        self.tell(trouble.as_ref());
    }

    /// Opens the watcher, where that was not done or it broke.
    fn open(&mut self) -> notify::Result<()> {
        if self.watcher.is_some() {
            return Ok(());
        }
        self.directories.clear();
        let events = Arc::clone(&self.events);
        let handler = move |event| events.handle(event);
        self.watcher = Some(INotifyWatcher::new(handler, config())?);
        Ok(())
    }

    /// Notes why not all is watched, and logs it where that is news.
    fn tell(&mut self, error: Option<&notify::Error>) {
        let before = self.trouble.take();
        self.trouble = error.map(trouble);
        match (before, error) {
            (None, Some(error)) => {
                self.next_look = Instant::now() + LOOK_INTERVAL;
                tracing::warn!(
                    event = "drift-unwatched",
                    error = chain(error),
                    "edits are noticed after some seconds: {}",
                    chain(error)
                );
            }
            (Some(_), None) => {
                self.told.clear();
                tracing::info!(event = "drift-watched", "edits are noticed at once again");
            }
            _ => {}
        }
    }

    /// Waits until owned paths were touched by somebody else, and it is quiet again. Forever, where nothing is owned. May
    /// be broken off and called again at any time: the quiet is counted from the last event, not from the call.
    pub(super) async fn touched(&mut self) -> BTreeSet<PathBuf> {
        loop {
            if let Some(error) = self.events.take_failure() {
                self.watcher = None;
                self.directories.clear();
                self.unwatched.extend(
                    self.owned
                        .keys()
                        .filter_map(|path| path.parent().map(Path::to_path_buf)),
                );
                self.tell(Some(&error));
            }
            let (due, look) = (self.events.due(), self.looks().then_some(self.next_look));
            let now = Instant::now();
            tokio::select! {
                biased;
                () = sleep_until(due.unwrap_or(now)), if due.is_some() => {
                    let mut touched = self.events.take();
                    touched.retain(|path| !self.is_known(path));
                    if !touched.is_empty() {
                        return touched;
                    }
                }
                () = self.events.news() => {}
                () = sleep_until(look.unwrap_or(now)), if look.is_some() => {
                    let touched = self.look();
                    if !touched.is_empty() {
                        return touched;
                    }
                }
            }
        }
    }

    /// Whether paths have to be looked at.
    fn looks(&self) -> bool {
        !self.unwatched.is_empty()
    }

    /// Tries to watch what is not watched, and looks at the paths there: those that somebody else has touched.
    fn look(&mut self) -> BTreeSet<PathBuf> {
        self.next_look = Instant::now() + LOOK_INTERVAL;
        let unwatched = self.unwatched.clone();
        self.watch(&BTreeSet::new());
        // Also where it is watched now: it was not until now.
        let mut touched = BTreeSet::new();
        for (path, name) in &self.owned {
            if !path.parent().is_some_and(|dir| unwatched.contains(dir)) {
                continue;
            }
            if self.is_known(name) {
                self.told.remove(name);
                continue;
            }
            // What the run could not mend is not told again and again.
            let present = self.files.look(name).ok();
            if self.told.insert(name.clone(), present) != Some(present) {
                touched.insert(name.clone());
            }
        }
        touched
    }

    /// Whether what stands there is what the agent last read or wrote.
    fn is_known(&self, path: &Path) -> bool {
        match (self.files.sighting(path), self.files.look(path)) {
            (Some(last), Ok(present)) => last == present,
            _ => false,
        }
    }
}

/// Watches for what changes files, and not for opening nor for each write before the file is closed.
fn config() -> Config {
    Config::default()
        .with_follow_symlinks(false)
        .with_event_kinds(
            EventKindMask::CREATE
                | EventKindMask::REMOVE
                | EventKindMask::MODIFY_NAME
                | EventKindMask::MODIFY_META
                | EventKindMask::ACCESS_CLOSE,
        )
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = std::fs::symlink_metadata(path).ok()?;
    found.is_dir().then(|| (found.dev(), found.ino()))
}

fn trouble(error: &notify::Error) -> String {
    let errno = match &error.kind {
        ErrorKind::Io(error) => error.raw_os_error(),
        ErrorKind::MaxFilesWatch => Some(libc::ENOSPC),
        _ => None,
    };
    let what_to_do = match errno {
        Some(libc::ENOSPC) => "raise fs.inotify.max_user_watches (sysctl)",
        Some(libc::EMFILE) => "raise fs.inotify.max_user_instances (sysctl)",
        _ => "see the log",
    };
    let why = errno.map_or_else(
        || chain(error),
        |errno| io::Error::from_raw_os_error(errno).to_string(),
    );
    format!(
        "edits of some files are noticed only every {} s, for they cannot be watched ({why}): {what_to_do}; it is tried \
         again by itself",
        LOOK_INTERVAL.as_secs()
    )
}
