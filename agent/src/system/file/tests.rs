use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use proptest::prelude::*;
use tempfile::TempDir;

use super::staged::is_temporary;
use super::*;

fn scratch() -> (TempDir, Files) {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::new(Root::under(dir.path()).unwrap());
    (dir, files)
}

#[expect(
    clippy::disallowed_methods,
    reason = "what is there before the agent comes is not written by the agent"
)]
fn lay(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
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

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
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
            attributes: Attributes::own(0o664)
        }
    );
    assert_eq!(names(&dir.path().join("etc/a")), ["b.conf"]);
}

#[test]
fn an_old_file_leaves_its_mode_owner_and_attributes_to_the_new_one() {
    let (dir, files) = scratch();
    let path = dir.path().join("hosts");
    lay(&path, "old");
    xattr::set(&path, "user.note", b"kept").unwrap();
    if is_root() {
        std::os::unix::fs::chown(&path, Some(12), Some(34)).unwrap();
    }
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let before = path.metadata().unwrap();

    files.write(Path::new("/hosts"), b"new", 0o600).unwrap();

    let after = path.metadata().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_ne!(after.ino(), before.ino(), "replaced, not rewritten");
    assert_eq!(after.mode(), before.mode());
    assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
    assert_eq!(
        xattr::get(&path, "user.note").unwrap(),
        Some(b"kept".to_vec())
    );
}

#[test]
fn no_privilege_passes_to_the_new_content() {
    let (dir, files) = scratch();
    let path = dir.path().join("nodes");
    lay(&path, "a hard link to a program, perhaps");
    if is_root() {
        // cap_net_raw=ep, as `setcap` writes it.
        let capability =
            b"\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
        xattr::set(&path, "security.capability", capability).unwrap();
    }
    fs::set_permissions(&path, Permissions::from_mode(0o6755)).unwrap();
    files.write(Path::new("/nodes"), b"new", 0o644).unwrap();
    assert_eq!(mode(&path), 0o755);
    assert_eq!(xattr::get(&path, "security.capability").unwrap(), None);
}

#[test]
fn what_is_not_committed_leaves_no_trace() {
    let (dir, files) = scratch();
    lay(&dir.path().join("hosts"), "old");
    let staged = files.stage(Path::new("/hosts"), b"new", 0o644).unwrap();
    let temporary = names(dir.path()).remove(0);
    assert!(temporary.starts_with(".hosts.agentd-"), "{temporary}");
    assert_eq!(fs::read(dir.path().join(&temporary)).unwrap(), b"new");
    drop(staged);
    assert_eq!(names(dir.path()), ["hosts"]);
    assert_eq!(fs::read(dir.path().join("hosts")).unwrap(), b"old");
}

#[test]
fn a_symlink_on_the_way_is_refused_by_every_operation() {
    let (dir, files) = scratch();
    lay(&dir.path().join("real/deep/file"), "untouched");
    symlink("real", dir.path().join("way")).unwrap();
    let path = Path::new("/way/deep/file");
    let results = [
        files.read(path).map(drop),
        files.stage(path, b"x", 0o644).map(drop),
        files.link(path, Path::new("x")),
        files.remove(path),
        files.list(Path::new("/way/deep")).map(drop),
        files.list(Path::new("/way")).map(drop),
        files.sweep(Path::new("/way")),
        files.create_dir(Path::new("/way/new"), 0o755),
        files.remove_empty_dir(Path::new("/way/deep")).map(drop),
    ];
    for (index, result) in results.into_iter().enumerate() {
        match result.unwrap_err() {
            FileError::SymlinkInTheWay { link, .. } => {
                assert_eq!(link, Path::new("/way"), "operation {index}");
            }
            error => panic!("operation {index}: {error}"),
        }
    }
    assert_eq!(names(&dir.path().join("real")), ["deep"]);
    assert_eq!(
        fs::read(dir.path().join("real/deep/file")).unwrap(),
        b"untouched"
    );
}

#[test]
fn a_dangling_symlink_on_the_way_is_not_a_missing_directory() {
    let (dir, files) = scratch();
    symlink("nowhere", dir.path().join("way")).unwrap();
    let error = files.write(Path::new("/way/a"), b"", 0o644).unwrap_err();
    assert_eq!(
        error.to_string(),
        "refusing to follow the symlink /way on the way to /way/a: name the real path instead"
    );
}

#[test]
fn a_symlink_at_the_path_itself_is_read_as_one_and_never_written_through() {
    let (dir, files) = scratch();
    lay(&dir.path().join("real"), "untouched");
    symlink("real", dir.path().join("link")).unwrap();
    let path = Path::new("/link");
    assert_eq!(files.read(path).unwrap(), Found::Link("real".into()));
    let error = files.write(path, b"x", 0o644).unwrap_err();
    assert!(
        matches!(error, FileError::SymlinkInTheWay { .. }),
        "{error}"
    );
    assert_eq!(names(dir.path()), ["link", "real"]);

    // Put there between the two halves of a write, it is replaced, and still not followed.
    files.remove(path).unwrap();
    let staged = files.stage(path, b"new", 0o644).unwrap();
    symlink("real", dir.path().join("link")).unwrap();
    staged.commit().unwrap();
    assert_eq!(fs::read(dir.path().join("real")).unwrap(), b"untouched");
    assert_eq!(fs::read(dir.path().join("link")).unwrap(), b"new");
}

#[test]
fn what_is_no_file_is_never_touched_nor_waited_for() {
    let (dir, files) = scratch();
    nix::unistd::mkfifo(&dir.path().join("fifo"), Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    fs::create_dir(dir.path().join("dir")).unwrap();
    for (name, found) in [
        ("fifo", Found::Other),
        ("socket", Found::Other),
        ("dir", Found::Directory(Attributes::own(0o755))),
    ] {
        let path = Path::new("/").join(name);
        assert_eq!(files.read(&path).unwrap(), found);
        for result in [
            files.write(&path, b"x", 0o644).map(drop),
            files.link(&path, Path::new("x")),
            files.remove(&path),
        ] {
            let error = result.unwrap_err();
            assert!(matches!(error, FileError::NotAFile { .. }), "{error}");
        }
    }
    assert_eq!(names(dir.path()), ["dir", "fifo", "socket"]);
}

#[test]
fn absence_is_not_an_error() {
    let (dir, files) = scratch();
    lay(&dir.path().join("file"), "");
    for path in ["/no", "/no/such/file", "/file/below"] {
        let path = Path::new(path);
        assert_eq!(files.read(path).unwrap(), Found::Absent);
        assert_eq!(files.list(path).unwrap(), [""; 0]);
        files.remove(path).unwrap();
        assert!(!files.remove_empty_dir(path).unwrap());
        files.sweep(path).unwrap();
    }
    let error = files
        .write(Path::new("/file/below"), b"", 0o644)
        .unwrap_err();
    assert_eq!(error.to_string(), "cannot write /file/below");
    assert_eq!(names(dir.path()), ["file"]);
}

#[test]
fn a_file_above_the_limit_is_refused() {
    let (dir, files) = scratch();
    let file = File::create(dir.path().join("big")).unwrap();
    file.set_len(Files::READ_LIMIT).unwrap();
    assert!(files.read(Path::new("/big")).is_ok());
    file.set_len(Files::READ_LIMIT + 1).unwrap();
    let error = files.read(Path::new("/big")).unwrap_err();
    assert_eq!(error.to_string(), "/big is larger than 16777216 bytes");
}

#[test]
fn nothing_leads_out_of_the_root() {
    let (dir, files) = scratch();
    files
        .write(Path::new("/../../a/../b"), b"x", 0o644)
        .unwrap();
    assert_eq!(fs::read(dir.path().join("a/b")).unwrap(), b"x");
    assert!(files.write(Path::new("/.."), b"x", 0o644).is_err());
}

#[test]
fn links_replace_links_and_files_and_are_left_alone_when_right() {
    let (dir, files) = scratch();
    let path = Path::new("/agentd/current");
    let real = dir.path().join("agentd/current");
    files.link(path, Path::new("1")).unwrap();
    assert_eq!(fs::read_link(&real).unwrap(), Path::new("1"));
    let inode = real.symlink_metadata().unwrap().ino();
    files.link(path, Path::new("1")).unwrap();
    assert_eq!(real.symlink_metadata().unwrap().ino(), inode);
    files.link(path, Path::new("2")).unwrap();
    assert_eq!(fs::read_link(&real).unwrap(), Path::new("2"));
    files.remove(path).unwrap();
    lay(&real, "a file");
    files.link(path, Path::new("3")).unwrap();
    assert_eq!(fs::read_link(&real).unwrap(), Path::new("3"));
    assert_eq!(names(&dir.path().join("agentd")), ["current"]);
}

#[test]
fn directories_are_made_listed_and_removed() {
    let (dir, files) = scratch();
    let path = Path::new("/a/b");
    files.create_dir(path, 0o2770).unwrap();
    assert_eq!(mode(&dir.path().join("a")), 0o755);
    assert_eq!(mode(&dir.path().join("a/b")), 0o2770);
    files.create_dir(path, 0o700).unwrap();
    assert_eq!(mode(&dir.path().join("a/b")), 0o2770, "left as it is");
    for name in ["b", "a", ".hidden", ".a.agentd-abcdefgh"] {
        lay(&dir.path().join("a/b").join(name), "");
    }
    assert_eq!(files.list(path).unwrap(), [".hidden", "a", "b"]);
    assert!(!files.remove_empty_dir(path).unwrap());
    for name in ["b", "a", ".hidden", ".a.agentd-abcdefgh"] {
        files.remove(&path.join(name)).unwrap();
    }
    assert!(files.remove_empty_dir(path).unwrap());
    assert!(!files.remove_empty_dir(path).unwrap());
}

#[test]
fn sweeping_takes_only_the_agents_leftovers() {
    let (dir, files) = scratch();
    for name in [
        ".hosts.agentd-abcdefgh",
        ".hosts.agentd-abc",
        ".hosts.agentd-ABCDEFGH",
        "hosts.agentd-abcdefgh",
        ".agentd-abcdefgh",
        "hosts",
    ] {
        lay(&dir.path().join(name), "");
    }
    symlink("x", dir.path().join(".current.agentd-zzzzzzzz")).unwrap();
    fs::create_dir(dir.path().join(".dir.agentd-aaaaaaaa")).unwrap();
    files.sweep(Path::new("/")).unwrap();
    assert_eq!(
        names(dir.path()),
        [
            ".agentd-abcdefgh",
            ".dir.agentd-aaaaaaaa",
            ".hosts.agentd-ABCDEFGH",
            ".hosts.agentd-abc",
            "hosts",
            "hosts.agentd-abcdefgh",
        ]
    );
}

#[test]
fn on_the_machine_a_directory_open_to_all_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    // A temporary directory may lie behind a symlink; the agent would refuse that first.
    let shared = dir.path().canonicalize().unwrap().join("shared");
    fs::create_dir(&shared).unwrap();
    let machine = Files::new(Root::machine());
    let write = |mode| {
        fs::set_permissions(&shared, Permissions::from_mode(mode)).unwrap();
        machine.write(&shared.join("file"), b"x", 0o644)
    };
    for mode in [0o1777, 0o775, 0o2775, 0o755] {
        assert!(write(mode).is_ok(), "{mode:o}");
    }
    let error = write(0o777).unwrap_err();
    let FileError::OpenToAll {
        dir: named, mode, ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!((named, *mode), (&shared, 0o777));
    assert!(error.to_string().contains("chmod o-w"), "{error}");
    // Reading is harmless, and another root is its owner's business.
    assert!(machine.read(&shared.join("file")).is_ok());
    let files = Files::new(Root::under(&shared).unwrap());
    files.write(Path::new("/a/b"), b"x", 0o644).unwrap();
}

proptest! {
    #[test]
    fn temporary_names_are_hidden_known_and_fit(name in "[a-zA-Z0-9._-]{1,255}") {
        let temporary = temporary_name(OsStr::new(&name));
        prop_assert!(is_temporary(&temporary));
        let temporary = temporary.into_string().unwrap();
        prop_assert!(temporary.len() <= 255);
        prop_assert!(temporary.starts_with('.'));
        prop_assert!(!temporary.contains(['/', '~']));
        // What globs like conf.d/*.conf would pick up.
        prop_assert_ne!(Path::new(&temporary).extension(), Some(OsStr::new("conf")));
    }
}

#[test]
fn a_file_gets_the_owner_and_mode_that_are_wanted_whatever_stands_there() {
    let (dir, files) = scratch();
    let path = dir.path().join("list");
    lay(&path, "old");
    fs::set_permissions(&path, Permissions::from_mode(0o6600)).unwrap();
    let wanted = Attributes::own(0o644);
    let staged = files.stage_as(Path::new("/list"), b"new", Keep::Nothing(wanted));
    staged.unwrap().commit().unwrap();
    let Found::File { attributes, bytes } = files.read(Path::new("/list")).unwrap() else {
        panic!("no file");
    };
    assert_eq!((attributes, bytes.as_slice()), (wanted, b"new".as_slice()));
}

#[test]
fn ones_own_writes_are_known_and_somebody_elses_are_not() {
    let (dir, files) = scratch();
    let files = files.remembering();
    let (list, link) = (Path::new("/list"), Path::new("/link"));
    assert_eq!(files.sighting(list), None, "never seen");
    let is_known = |path: &Path| files.sighting(path) == Some(files.look(path).unwrap());
    files.read(list).unwrap();
    assert!(is_known(list), "read, and absent");
    files.write(list, b"ours", 0o644).unwrap();
    files.link(link, Path::new("list")).unwrap();
    assert!(is_known(list) && is_known(link), "written");
    fs::set_permissions(dir.path().join("list"), Permissions::from_mode(0o664)).unwrap();
    assert!(!is_known(list), "somebody gave others rights");
    files.read(list).unwrap();
    assert!(is_known(list), "read again");
    lay(&dir.path().join("list"), "theirs, and longer");
    assert!(!is_known(list), "somebody wrote");
    files.remove(list).unwrap();
    assert!(is_known(list), "removed");
    lay(&dir.path().join("list"), "back");
    assert!(!is_known(list), "somebody put it back");
    fs::remove_file(dir.path().join("link")).unwrap();
    assert!(!is_known(link), "somebody removed it");
    files.forget_sightings_but(|path| path == link);
    assert_eq!(files.sighting(list), None);
}

/// Takes the flag off again, whatever becomes of the test: nobody could remove the directory.
struct Immutable(PathBuf);

impl Immutable {
    fn set(path: &Path, on: bool) {
        use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
        let file = File::open(path).unwrap();
        let mut flags = ioctl_getflags(&file).unwrap();
        flags.set(IFlags::IMMUTABLE, on);
        ioctl_setflags(&file, flags).unwrap();
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        Self::set(&self.0, false);
    }
}

#[test]
fn what_is_immutable_is_told_as_that_with_what_to_do() {
    let (dir, files) = scratch();
    for what in ["file", "dir"] {
        let place = dir.path().join("dir");
        let path = place.join("hosts");
        fs::create_dir_all(&place).unwrap();
        lay(&path, "old");
        let locked = if what == "file" { &path } else { &place };
        Immutable::set(locked, true);
        let _guard = Immutable(locked.clone());
        let path = Path::new("/dir/hosts");
        for error in [
            files.write(path, b"new", 0o644).unwrap_err(),
            files.remove(path).unwrap_err(),
            files.link(path, Path::new("x")).unwrap_err(),
        ] {
            let said = error.to_string();
            let named = if what == "file" {
                "chattr -i /dir/hosts"
            } else {
                "chattr -i /dir`"
            };
            assert!(said.contains(named), "{said}");
        }
        assert_eq!(names(&place), ["hosts"]);
    }
}
