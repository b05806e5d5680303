//! Directories and files of accounts: what lies there is theirs, and they may put anything in the way.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fchmod, fstat, mkdirat};
use nix::unistd::{Gid, Uid, fchown};

use super::{Attributes, FileError, Files, Keep, Staged, entries, reopened, stat_at, sync};
use crate::system::crash;

/// A directory that only its owner may look into, whoever else may.
const PRIVATE: u32 = 0o700;
/// Group and others write there.
const OPEN: u32 = 0o022;

impl Files {
    /// [`Files::stage_as`], in a directory that belongs to the account of `attributes`, as the file will. The directory is made
    /// where it is missing, only for that account; one that others may write to is shut; one of another's is refused. What
    /// it stands in must be there.
    pub fn stage_private(
        &self,
        path: &Path,
        bytes: &[u8],
        attributes: Attributes,
    ) -> Result<Staged, FileError> {
        let failed = |errno: Errno| FileError::io("write", path, errno);
        let (Some(dir), Some(file)) = (path.parent(), path.file_name()) else {
            return Err(failed(Errno::EISDIR));
        };
        let (home, name) = self
            .parent("write", dir)?
            .ok_or_else(|| failed(Errno::ENOENT))?;
        let own = match opened(&home, name) {
            Err(Errno::ENOENT) => {
                made(&home, name, PRIVATE, attributes).map_err(failed)?;
                opened(&home, name).map_err(failed)?
            }
            // A link, or no directory.
            Err(Errno::ELOOP | Errno::ENOTDIR) => {
                return Err(FileError::SymlinkInTheWay {
                    path: path.into(),
                    link: dir.into(),
                });
            }
            opened => opened.map_err(failed)?,
        };
        let stat = fstat(&own).map_err(failed)?;
        if stat.st_uid != attributes.uid {
            return Err(FileError::OfAnother {
                path: path.into(),
                dir: dir.into(),
                found: stat.st_uid,
                wanted: attributes.uid,
            });
        }
        if stat.st_mode & OPEN != 0 {
            fchmod(&own, Mode::from_bits_truncate(PRIVATE)).map_err(failed)?;
        }
        let keep = Keep::Nothing(attributes);
        Staged::write(own, file, path, bytes, keep, self.sightings.clone())
    }

    /// Makes the home of an account where nothing is, with `mode`. What is there is left as it is.
    pub fn create_home(&self, path: &Path, mode: u32, uid: u32, gid: u32) -> Result<(), FileError> {
        let failed = |errno: Errno| FileError::io("make", path, errno);
        let (dir, name) = self.made_parent("make", path)?;
        if stat_at(&dir, name).map_err(failed)?.is_some() {
            return Ok(());
        }
        made(&dir, name, mode, Attributes { mode, uid, gid }).map_err(failed)
    }
}

fn opened(dir: &OwnedFd, name: &OsStr) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}

/// Makes a directory and gives it away.
fn made(dir: &OwnedFd, name: &OsStr, mode: u32, owner: Attributes) -> nix::Result<()> {
    mkdirat(dir, name, Mode::from_bits_truncate(PRIVATE))?;
    crash::point("home:made");
    let own = opened(dir, name)?;
    // Who may write to the directory around it could have put another one in its place by now: one that is root's, to be
    // given it. An empty one is worth nothing.
    if fstat(&own)?.st_uid != nix::unistd::geteuid().as_raw() || !entries::is_empty(&own)? {
        return Err(Errno::EBUSY);
    }
    fchown(
        &own,
        Some(Uid::from_raw(owner.uid)),
        Some(Gid::from_raw(owner.gid)),
    )?;
    fchmod(&own, Mode::from_bits_truncate(mode))?;
    sync(reopened(dir)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    use std::{fs, path::PathBuf};

    use super::*;
    use crate::system::file::Found;
    use crate::system::root::Root;

    const KEYS: &str = "/home/deploy/.ssh/authorized_keys";

    struct Home {
        dir: tempfile::TempDir,
        files: Files,
    }

    impl Home {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let files = Files::new(Root::machine_at(dir.path()));
            fs::create_dir_all(dir.path().join("home/deploy")).unwrap();
            Self { dir, files }
        }

        fn real(&self, path: &str) -> PathBuf {
            self.dir.path().join(path.trim_start_matches('/'))
        }

        fn write(&self) -> Result<(), FileError> {
            let me = Attributes::own(0o600);
            self.files
                .stage_private(Path::new(KEYS), b"key\n", me)?
                .commit()
                .map(drop)
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn the_directory_is_made_and_shut() {
        let home = Home::new();
        home.write().unwrap();
        assert_eq!(mode(&home.real("/home/deploy/.ssh")), 0o700);
        assert_eq!(mode(&home.real(KEYS)), 0o600);
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(home.real("/home/deploy/.ssh"), open).unwrap();
        home.write().unwrap();
        assert_eq!(mode(&home.real("/home/deploy/.ssh")), 0o700);
        assert!(
            matches!(home.files.read(Path::new(KEYS)).unwrap(), Found::File { bytes, .. } if bytes == b"key\n")
        );
    }

    #[test]
    fn no_link_is_followed_and_nothing_is_made_around_it() {
        let home = Home::new();
        fs::create_dir(home.real("/etc")).unwrap();
        symlink(home.real("/etc"), home.real("/home/deploy/.ssh")).unwrap();
        let error = home.write().unwrap_err();
        assert!(
            matches!(error, FileError::SymlinkInTheWay { .. }),
            "{error}"
        );
        assert_eq!(fs::read_dir(home.real("/etc")).unwrap().count(), 0);

        fs::remove_file(home.real("/home/deploy/.ssh")).unwrap();
        fs::create_dir(home.real("/home/deploy/.ssh")).unwrap();
        symlink(home.real("/etc/passwd"), home.real(KEYS)).unwrap();
        let error = home.write().unwrap_err();
        assert!(
            matches!(error, FileError::SymlinkInTheWay { .. }),
            "{error}"
        );
        assert_eq!(fs::read_dir(home.real("/etc")).unwrap().count(), 0);

        let path = Path::new("/home/gone/.ssh/authorized_keys");
        let gone = home.files.stage_private(path, b"", Attributes::own(0o600));
        assert!(gone.is_err());
        assert!(!home.real("/home/gone").exists());
    }

    #[test]
    fn the_directory_of_another_is_refused() {
        let home = Home::new();
        fs::create_dir(home.real("/home/deploy/.ssh")).unwrap();
        let me = Attributes::own(0o600);
        let another = Attributes {
            uid: me.uid + 1,
            ..me
        };
        let error = home
            .files
            .stage_private(Path::new(KEYS), b"", another)
            .unwrap_err();
        let words = format!(
            "belongs to uid {}, and it should be that of uid {}",
            me.uid, another.uid
        );
        assert!(error.to_string().contains(&words), "{error}");
    }

    #[test]
    fn a_home_is_made_once() {
        let home = Home::new();
        let (path, me) = (Path::new("/srv/shop"), Attributes::own(0));
        home.files.create_home(path, 0o755, me.uid, me.gid).unwrap();
        let made = fs::metadata(home.real("/srv/shop")).unwrap();
        assert_eq!((made.mode() & 0o7777, made.uid()), (0o755, me.uid));
        home.files.create_home(path, 0o700, me.uid, me.gid).unwrap();
        assert_eq!(mode(&home.real("/srv/shop")), 0o755);
    }
}
