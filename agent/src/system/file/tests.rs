use std::fs;
use std::os::unix::fs::MetadataExt as _;

use tempfile::TempDir;

use super::*;

fn scratch() -> (TempDir, Files) {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::new(Root::under(dir.path()).unwrap());
    (dir, files)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().mode() & 0o7777
}

#[test]
fn a_new_file_gets_its_mode_and_its_parents_whatever_the_umask() {
    let (dir, files) = scratch();
    let written = files
        .write(Path::new("/etc/a/b.conf"), b"x", 0o664)
        .unwrap();
    assert_eq!(written, Written::Renamed);
    assert_eq!(mode(&dir.path().join("etc/a/b.conf")), 0o664);
    assert_eq!(mode(&dir.path().join("etc/a")), 0o755);
    assert_eq!(
        files.read(Path::new("/etc/a/b.conf")).unwrap(),
        Found::File {
            bytes: b"x".to_vec(),
            mode: 0o664
        }
    );
    assert_eq!(names(&dir.path().join("etc/a")), ["b.conf"]);
}
