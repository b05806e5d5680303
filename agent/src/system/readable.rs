//! Whether a service that gave up root's rights could read a file, judged by owners and modes alone.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Reading for owner, group and others.
const READ: [u32; 3] = [0o400, 0o040, 0o004];
/// Passing through a directory, for the same.
const PASS: [u32; 3] = [0o100, 0o010, 0o001];

/// What stands at a path for somebody who is not root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readable {
    /// A file that somebody besides root can read. Whether the service is that somebody is not looked at.
    Yes,
    /// Nothing, or a link that leads nowhere.
    Missing,
    /// A directory, a device, or another thing that is no file.
    NoFile,
    /// A file with nothing in it.
    Empty,
    /// Only root gets there: this is what keeps the others out, the file itself or a directory on the way.
    OnlyRoot(PathBuf),
}

/// Looks at the file at `path`, an absolute path of the machine itself. Links are followed.
pub fn readable(path: &Path) -> Readable {
    let Ok(meta) = path.metadata() else {
        return Readable::Missing;
    };
    if !meta.is_file() {
        return Readable::NoFile;
    }
    if meta.len() == 0 {
        return Readable::Empty;
    }
    if only_root(&meta, READ) {
        return Readable::OnlyRoot(path.to_path_buf());
    }
    let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let closed = real
        .ancestors()
        .skip(1)
        .find(|dir| dir.metadata().is_ok_and(|meta| only_root(&meta, PASS)));
    closed.map_or(Readable::Yes, |dir| Readable::OnlyRoot(dir.to_path_buf()))
}

fn only_root(meta: &std::fs::Metadata, [owner, group, others]: [u32; 3]) -> bool {
    let may = |bit: u32| meta.mode() & bit != 0;
    !(may(others) || may(group) && meta.gid() != 0 || may(owner) && meta.uid() != 0)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_keeps_others_out_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        };
        let (inner, root) = (dir.path().join("inner"), dir.path().to_path_buf());
        let file = inner.join("users");
        mode(&root, 0o755);
        std::fs::create_dir(&inner).unwrap();
        assert_eq!(readable(&file), Readable::Missing);
        assert_eq!(readable(&inner), Readable::NoFile);
        crate::system::file::Files::new(crate::system::root::Root::under(&root).unwrap())
            .write(Path::new("/inner/users"), b"", 0o644)
            .unwrap();
        assert_eq!(readable(&file), Readable::Empty);
        crate::system::file::Files::new(crate::system::root::Root::under(&root).unwrap())
            .write(Path::new("/inner/users"), b"bob:x\n", 0o644)
            .unwrap();
        mode(&file, 0o644);
        assert_eq!(readable(&file), Readable::Yes);
        // The rest only where the test's files are root's.
        if file.metadata().unwrap().uid() != 0 {
            return;
        }
        mode(&file, 0o640);
        assert_eq!(readable(&file), Readable::OnlyRoot(file.clone()));
        mode(&file, 0o644);
        mode(&inner, 0o700);
        let inner = inner.canonicalize().unwrap();
        assert_eq!(readable(&file), Readable::OnlyRoot(inner));
    }
}
