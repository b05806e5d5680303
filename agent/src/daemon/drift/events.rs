//! What the kernel tells of watched directories, filtered in the watcher's own thread: the event loop wakes only for paths
//! that the agent owns.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use notify::event::{Event, EventKind, ModifyKind};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{LONGEST, QUIET};

/// What was touched, shared with the watcher's thread.
#[derive(Debug, Default)]
pub(super) struct Events {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Owned paths as they are opened, with the names that the agent speaks of them.
    owned: BTreeMap<PathBuf, PathBuf>,
    touched: BTreeSet<PathBuf>,
    /// When the first and the last of `touched` were.
    between: Option<(Instant, Instant)>,
    /// Directories of owned paths that are gone, or others by now.
    replaced: BTreeSet<PathBuf>,
    /// Why the watcher does not work any more.
    failed: Option<notify::Error>,
}

impl Events {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on these paths count. Returns the directories that were replaced since the last call.
    pub(super) fn set_owned(&self, owned: BTreeMap<PathBuf, PathBuf>) -> BTreeSet<PathBuf> {
        let mut state = self.state();
        state.owned = owned;
        std::mem::take(&mut state.replaced)
    }

    /// Whether a directory that was watched is gone, or another one by now.
    pub(super) fn any_replaced(&self) -> bool {
        !self.state().replaced.is_empty()
    }

    /// Why the watcher broke, if it did since the last call.
    pub(super) fn take_failure(&self) -> Option<notify::Error> {
        self.state().failed.take()
    }

    /// When what was touched is due: [`QUIET`] after the last event, at most [`LONGEST`] after the first.
    pub(super) fn due(&self) -> Option<Instant> {
        let (first, last) = self.state().between?;
        Some((last + QUIET).min(first + LONGEST))
    }

    /// Takes what was touched, by the names that the agent speaks of it.
    pub(super) fn take(&self) -> BTreeSet<PathBuf> {
        let mut state = self.state();
        state.between = None;
        std::mem::take(&mut state.touched)
    }

    /// Waits for more to be touched than when it was last called. May be dropped and called again.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    /// Called in the watcher's thread.
    pub(super) fn handle(&self, event: notify::Result<Event>) {
        let mut state = self.state();
        let counts = match event {
            Ok(event) => state.note(&event),
            Err(error) => {
                state.failed = Some(error);
                true
            }
        };
        drop(state);
        if counts {
            self.news.notify_one();
        }
    }
}

impl State {
    /// Whether the event is about what is owned.
    fn note(&mut self, event: &Event) -> bool {
        let mut counts = false;
        if event.need_rescan() {
            // Events were lost: anything may have been touched.
            self.touched.extend(self.owned.values().cloned());
            counts = true;
        }
        for path in &event.paths {
            if let Some(name) = self.owned.get(path) {
                self.touched.insert(name.clone());
                counts = true;
            } else if replaces_directory(event.kind) {
                counts |= self.directory_replaced(path);
            }
        }
        if counts {
            let now = Instant::now();
            let first = self.between.map_or(now, |(first, _)| first);
            self.between = Some((first, now));
        }
        counts
    }

    /// Whether it is one that owned paths lie in: they are as touched.
    fn directory_replaced(&mut self, directory: &Path) -> bool {
        let below = self.owned.iter();
        let below: Vec<_> = below
            .filter(|(path, _)| path.parent() == Some(directory))
            .map(|(_, name)| name.clone())
            .collect();
        let any = !below.is_empty();
        if any {
            self.touched.extend(below);
            // Noted here, and not found out later: a directory made anew may well get the inode of the old one.
            self.replaced.insert(directory.to_path_buf());
        }
        any
    }
}

/// Whether after such an event of a directory another one, or none, stands there.
const fn replaces_directory(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
    )
}
