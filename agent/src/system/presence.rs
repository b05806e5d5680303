//! Whether directories are there, and open to who serves from them, on whatever file system: one that does not answer holds
//! nobody up.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::accounts::Credentials;

/// How long all of them together may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// A look is under way, be it one that was given up: a second thread would hang beside it.
static LOOKING: AtomicBool = AtomicBool::new(false);

/// What is wrong with a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// Nothing is there, or a link that leads nowhere.
    Absent,
    /// Something else than a directory is there.
    NoDirectory,
    /// The reader may not pass through this directory, which is it or on the way to it.
    Closed(PathBuf),
}

/// Those of `paths` that are not there, are no directories, or are closed to the account `reader`; links are followed. What
/// cannot be told within two seconds, or at all, is not among them.
pub async fn missing(
    paths: BTreeSet<PathBuf>,
    reader: Option<String>,
) -> BTreeMap<PathBuf, Presence> {
    if LOOKING.swap(true, Ordering::AcqRel) {
        return BTreeMap::new();
    }
    let (tell, answer) = oneshot::channel();
    let look = move || {
        let reader = reader.map(Reader::new);
        let found: BTreeMap<_, _> = (paths.into_iter())
            .filter_map(|path| Some((path.clone(), look_at(&path, reader.as_ref())?)))
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

fn look_at(path: &Path, reader: Option<&Reader>) -> Option<Presence> {
    match path.metadata() {
        Ok(meta) if !meta.is_dir() => Some(Presence::NoDirectory),
        Ok(_) => Some(Presence::Closed(reader?.closed(path)?)),
        Err(error) => {
            let leads_nowhere =
                matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
                    || error.raw_os_error() == Some(libc::ELOOP);
            leads_nowhere.then_some(Presence::Absent)
        }
    }
}

/// Who is to pass through directories, as their modes and owners have it. Where a list of rights (an ACL) says more than that,
/// nothing is said.
struct Reader {
    name: String,
    /// Looked up where a directory is not open to everybody.
    credentials: OnceCell<Option<Credentials>>,
    /// What was found of each directory: sites have most of their way in common.
    open: RefCell<BTreeMap<PathBuf, bool>>,
}

impl Reader {
    fn new(name: String) -> Self {
        Self {
            name,
            credentials: OnceCell::new(),
            open: RefCell::default(),
        }
    }

    /// The first directory on the way that it may not pass through.
    fn closed(&self, path: &Path) -> Option<PathBuf> {
        let real = path.canonicalize().ok()?;
        let mut way: Vec<&Path> = real.ancestors().collect();
        way.reverse();
        let closed = way.into_iter().find(|dir| !self.passes(dir));
        closed.map(Path::to_path_buf)
    }

    fn passes(&self, dir: &Path) -> bool {
        if let Some(open) = self.open.borrow().get(dir) {
            return *open;
        }
        let open = dir.metadata().map_or(true, |meta| {
            meta.mode() & 0o001 != 0 || self.is_let_in(&meta) || has_list_of_rights(dir)
        });
        self.open.borrow_mut().insert(dir.to_path_buf(), open);
        open
    }

    fn is_let_in(&self, meta: &Metadata) -> bool {
        let credentials = self.credentials.get_or_init(|| Credentials::of(&self.name));
        let Some(credentials) = credentials else {
            return true;
        };
        if credentials.user == 0 {
            true
        } else if credentials.user == meta.uid() {
            meta.mode() & 0o100 != 0
        } else {
            credentials.groups.contains(&meta.gid()) && meta.mode() & 0o010 != 0
        }
    }
}

/// POSIX's lists of rights; other file systems' have other names and are not looked at.
fn has_list_of_rights(dir: &Path) -> bool {
    matches!(xattr::get(dir, "system.posix_acl_access"), Ok(Some(_)))
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
        let found = missing(all.iter().map(|name| path(name)).collect(), None).await;
        let expected = [
            (path("dangling"), Presence::Absent),
            (path("file"), Presence::NoDirectory),
            (path("file/below"), Presence::Absent),
            (path("gone"), Presence::Absent),
            (path("round"), Presence::Absent),
        ];
        assert_eq!(found, expected.into());
    }

    #[test]
    fn a_directory_that_its_reader_cannot_enter_is_told_with_what_closes_it() {
        use std::os::unix::fs::{PermissionsExt as _, chown};

        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let mode = |name: &str, mode: u32| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(path(name), mode).unwrap();
        };
        mode(".", 0o755);
        std::fs::create_dir_all(path("home/site")).unwrap();
        // An account without rights that every system has.
        let closed = || look_at(&path("home/site"), Some(&Reader::new("nobody".into())));
        assert_eq!(closed(), None);
        mode("home", 0o750);
        let home = path("home").canonicalize().unwrap();
        assert_eq!(closed(), Some(Presence::Closed(home.clone())));
        // Its own, its group's.
        let nobody = Credentials::of("nobody").unwrap();
        chown(path("home"), Some(nobody.user), None).unwrap();
        assert_eq!(closed(), None);
        chown(path("home"), Some(0), nobody.groups.first().copied()).unwrap();
        assert_eq!(closed(), None);
        mode("home", 0o700);
        assert_eq!(closed(), Some(Presence::Closed(home)));
        assert_eq!(look_at(&path("home/site"), None), None);
        let root = Reader::new("root".into());
        assert_eq!(look_at(&path("home/site"), Some(&root)), None);
        let unknown = Reader::new("no-such-account-here".into());
        assert_eq!(look_at(&path("home/site"), Some(&unknown)), None);
    }
}
