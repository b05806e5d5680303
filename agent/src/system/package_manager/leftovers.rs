//! Configuration files that a package brought beside an edited one, or kept of one that it removed: a person has to look.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// So many entries of /etc are looked at, and so deep.
const MOST: usize = 50_000;
const DEEPEST: usize = 16;
/// So many are told of.
const TOLD: usize = 20;

const ENDINGS: [&str; 6] = [
    ".rpmnew",
    ".rpmsave",
    ".rpmorig",
    ".dpkg-dist",
    ".dpkg-old",
    ".ucf-dist",
];

/// Those below `dir` that appeared since `since`, in seconds since 1970.
pub(super) fn since(dir: &Path, since: i64) -> Vec<PathBuf> {
    let mut left = MOST;
    let mut found = Vec::new();
    let mut dirs = vec![(dir.to_path_buf(), 0)];
    while let Some((dir, depth)) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            left = left.saturating_sub(1);
            if left == 0 || found.len() >= TOLD {
                break;
            }
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_dir() && depth < DEEPEST {
                dirs.push((entry.path(), depth + 1));
            }
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let is_one = kind.is_file() && ENDINGS.iter().any(|ending| name.ends_with(ending));
            // When it got this name: its content is as old as the package.
            if is_one && entry.metadata().is_ok_and(|meta| meta.ctime() >= since) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::clock;
    use crate::system::file::Files;
    use crate::system::root::Root;

    #[test]
    fn only_what_is_new_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(Root::under(dir.path()).unwrap());
        for name in ["ssl.conf", "ssl.conf.rpmnew"] {
            let path = Path::new("/httpd/conf.d").join(name);
            files.write(&path, b"x", 0o644).unwrap();
        }
        let now = clock::now().as_second();
        let found = since(dir.path(), now - 5);
        assert_eq!(found, [dir.path().join("httpd/conf.d/ssl.conf.rpmnew")]);
        assert!(since(dir.path(), now + 5).is_empty());
    }
}
