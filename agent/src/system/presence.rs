//! Whether directories are there, on whatever file system: one that does not answer holds nobody up.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long all of them together may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// A look is under way, be it one that was given up: a second thread would hang beside it.
static LOOKING: AtomicBool = AtomicBool::new(false);

/// What is wrong with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Nothing is there, or a link that leads nowhere.
    Absent,
    /// Something else than a directory is there.
    NoDirectory,
}

/// Those of `paths` that are not there or are no directories; links are followed. What cannot be told within
/// two seconds, or at all, is not among them.
pub async fn missing(paths: BTreeSet<PathBuf>) -> BTreeMap<PathBuf, Presence> {
    if LOOKING.swap(true, Ordering::AcqRel) {
        return BTreeMap::new();
    }
    let (tell, answer) = oneshot::channel();
    let look = move || {
        let found: BTreeMap<_, _> = (paths.into_iter())
            .filter_map(|path| Some((path.clone(), look_at(&path)?)))
            .collect();
        LOOKING.store(false, Ordering::Release);
        // Nobody waits any more: it took too long.
        let _ = tell.send(found);
    };
    // Not a thread of the runtime: that would wait for it when it ends.
    if std::thread::Builder::new()
        .name("presence".into())
        .spawn(look)
        .is_err()
    {
        LOOKING.store(false, Ordering::Release);
        return BTreeMap::new();
    }
    match timeout(PATIENCE, answer).await {
        Ok(Ok(found)) => found,
        _ => BTreeMap::new(),
    }
}

fn look_at(path: &Path) -> Option<Presence> {
    match path.metadata() {
        Ok(meta) => (!meta.is_dir()).then_some(Presence::NoDirectory),
        Err(error) => {
            let leads_nowhere =
                matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
                    || error.raw_os_error() == Some(libc::ELOOP);
            leads_nowhere.then_some(Presence::Absent)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_not_there_is_told_and_links_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir(path("there")).unwrap();
        std::fs::File::create(path("file")).unwrap();
        std::os::unix::fs::symlink("there", path("link")).unwrap();
        std::os::unix::fs::symlink("gone", path("dangling")).unwrap();
        std::os::unix::fs::symlink("round", path("round")).unwrap();
        let all = [
            "there",
            "file",
            "link",
            "dangling",
            "gone",
            "file/below",
            "round",
        ];
        let found = missing(all.iter().map(|name| path(name)).collect()).await;
        let expected = [
            (path("dangling"), Presence::Absent),
            (path("file"), Presence::NoDirectory),
            (path("file/below"), Presence::Absent),
            (path("gone"), Presence::Absent),
            (path("round"), Presence::Absent),
        ];
        assert_eq!(found, expected.into());
    }
}
