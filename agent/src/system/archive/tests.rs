#![expect(clippy::disallowed_methods, reason = "tests play the part of others")]

use std::io::{Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;

use tar::{Builder, EntryType, Header};

use super::*;
use crate::system::digest::sha256_hex;
use crate::system::root::Root;

const AT: &str = "/srv/shop/releases/.1.partial";

struct Place {
    dir: tempfile::TempDir,
    files: Files,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(Root::machine_at(dir.path()));
        Self { dir, files }
    }

    fn real(&self, path: &str) -> PathBuf {
        self.dir.path().join(path.trim_start_matches('/'))
    }

    fn unpack(
        &self,
        packed: &[u8],
        packing: Packing,
        limits: Limits,
    ) -> Result<Unpacked, UnpackError> {
        self.unpack_without(packed, packing, limits, &[])
    }

    fn unpack_without(
        &self,
        packed: &[u8],
        packing: Packing,
        limits: Limits,
        stand_ins: &[(String, String)],
    ) -> Result<Unpacked, UnpackError> {
        let mut file = tempfile::tempfile_in(self.dir.path()).unwrap();
        file.write_all(packed).unwrap();
        file.rewind().unwrap();
        let terms = Terms {
            limits,
            owner: None,
            stand_ins,
            progress: &Progressing::default(),
        };
        unpack(file, packing, &self.files, Path::new(AT), &terms)
    }
}

/// One entry: its kind, its name as the header has it, its bits, its link's target, its content.
type Made<'m> = (EntryType, &'m [u8], u32, &'m str, &'m [u8]);

/// An archive with headers that no sane packer writes.
fn tar(entries: &[Made<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, name, mode, link, content) in entries {
        let mut header = Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name);
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        header.set_size(content.len() as u64);
        header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn zst(entries: &[Made<'_>]) -> Vec<u8> {
    zstd::encode_all(tar(entries).as_slice(), 1).unwrap()
}

fn file<'m>(name: &'m str, content: &'m str) -> Made<'m> {
    (
        EntryType::Regular,
        name.as_bytes(),
        0o644,
        "",
        content.as_bytes(),
    )
}

#[test]
fn what_is_packed_comes_out_with_its_bits_and_links() {
    let entries = [
        (EntryType::Directory, &b"./"[..], 0o777, "", &b""[..]),
        (EntryType::Directory, b"bin/", 0o700, "", b""),
        (
            EntryType::Regular,
            b"bin/migrate",
            0o777,
            "",
            b"#!/bin/sh\n",
        ),
        file("public/index.php", "<?php"),
        (EntryType::Symlink, b"public/bin", 0o777, "../bin", b""),
        (
            EntryType::Link,
            b"public/again.php",
            0o644,
            "public/index.php",
            b"",
        ),
    ];
    let tar = tar(&entries);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(tar.as_slice(), 1).unwrap();
    for (packed, packing) in [(gzip, Packing::Gzip), (zstd, Packing::Zstd)] {
        let place = Place::new();
        let unpacked = place.unpack(&packed, packing, Limits::RELEASE).unwrap();
        assert_eq!((unpacked.bytes, unpacked.entries), (15, 6));
        let real = |path: &str| place.real(AT).join(path);
        let mode =
            |path: &str| std::fs::metadata(real(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(
            (mode("bin/migrate"), mode("bin"), mode(".")),
            (0o755, 0o700, 0o755)
        );
        assert_eq!(
            std::fs::read_to_string(real("public/again.php")).unwrap(),
            "<?php"
        );
        assert_eq!(
            std::fs::read_link(real("public/bin")).unwrap(),
            PathBuf::from("../bin")
        );
        assert_eq!(
            std::fs::metadata(real("public/index.php")).unwrap().nlink(),
            2
        );

        let list = unpacked.list.unwrap();
        let compared = || compare(&place.files, Path::new(AT), &list, 10).unwrap();
        assert_eq!(compared(), (3, Vec::new()));
        std::fs::write(real("public/index.php"), "<?php evil").unwrap();
        std::fs::remove_file(real("public/bin")).unwrap();
        let said: Vec<String> = (compared().1.into_iter())
            .map(|one| format!("{} {}", one.path, one.what))
            .collect();
        assert_eq!(
            said,
            [
                "public/index.php is otherwise than it was unpacked",
                "public/bin is gone"
            ]
        );
    }
}

#[test]
fn what_is_shared_is_stand_ins() {
    let place = Place::new();
    let packed = zst(&[
        file("storage/a", "a"),
        file("storage-b", "b"),
        file("c", "c"),
    ]);
    let shared = [("storage".to_owned(), "../../shared/storage".to_owned())];
    place
        .unpack_without(&packed, Packing::Zstd, Limits::RELEASE, &shared)
        .unwrap();
    let link = std::fs::read_link(place.real(AT).join("storage")).unwrap();
    assert_eq!(link, PathBuf::from("../../shared/storage"));
    assert!(place.real(AT).join("storage-b").exists());
}

#[test]
fn nothing_reaches_out_of_the_release_or_runs_as_somebody_else() {
    let long = "x".repeat(99);
    let cases: &[(&str, Vec<Made<'_>>)] = &[
        ("absolute", vec![file("/etc/cron.d/evil", "x")]),
        (".. in it", vec![file("../../evil", "x")]),
        (".. in it", vec![file("a/../../../evil", "x")]),
        (
            "leads out",
            vec![(EntryType::Symlink, b"a", 0o777, "/etc", b"")],
        ),
        (
            "leads out",
            vec![(EntryType::Symlink, b"a", 0o777, "../..", b"")],
        ),
        // A link to the top, and one that climbs out of it.
        (
            "leads out",
            vec![
                (EntryType::Directory, b"d", 0o755, "", b""),
                (EntryType::Symlink, b"d/up", 0o777, "../", b""),
                (EntryType::Symlink, b"d/out", 0o777, "up/..", b""),
            ],
        ),
        (
            "is a link or a file",
            vec![
                (EntryType::Directory, b"d", 0o755, "", b""),
                (EntryType::Symlink, b"a", 0o777, "d", b""),
                file("a/evil", "x"),
            ],
        ),
        (
            "is a link or a file",
            vec![file("a", "x"), file("a/b", "x")],
        ),
        (
            "leads out",
            vec![(EntryType::Link, b"a", 0o644, "/etc/shadow", b"")],
        ),
        (
            "leads out",
            vec![(EntryType::Link, b"a", 0o644, "../../etc/shadow", b"")],
        ),
        (
            "no file of before",
            vec![(EntryType::Link, b"a", 0o644, "b", b"")],
        ),
        (
            "which is no file",
            vec![
                (EntryType::Symlink, b"b", 0o777, "c", b""),
                (EntryType::Link, b"a", 0o644, "b", b""),
            ],
        ),
        ("a device", vec![(EntryType::Block, b"sda", 0o644, "", b"")]),
        ("a device", vec![(EntryType::Char, b"mem", 0o644, "", b"")]),
        ("a FIFO", vec![(EntryType::Fifo, b"pipe", 0o644, "", b"")]),
        ("setuid", vec![(EntryType::Regular, b"su", 0o4755, "", b"")]),
        ("setgid", vec![(EntryType::Regular, b"su", 0o2755, "", b"")]),
        (
            "setgid",
            vec![(EntryType::Directory, b"d", 0o2755, "", b"")],
        ),
        ("twice", vec![file("a", "x"), file("a", "y")]),
        (
            "in case",
            vec![file("a/README", "x"), file("A/readme", "y")],
        ),
        ("Unicode", vec![file("\u{e9}", "x"), file("e\u{301}", "y")]),
        ("control character", vec![file("a\nb", "x")]),
        ("control character", vec![file("\u{1b}[2J", "x")]),
        (
            "UTF-8",
            vec![(EntryType::Regular, b"\xff\xfe", 0o644, "", b"")],
        ),
        ("sparse", vec![(EntryType::GNUSparse, b"a", 0o644, "", b"")]),
        (
            "sparse",
            vec![
                (
                    EntryType::XHeader,
                    b"pax",
                    0o644,
                    "",
                    b"22 GNU.sparse.major=1\n",
                ),
                file("a", "x"),
            ],
        ),
        (
            "absolute",
            vec![
                (
                    EntryType::XHeader,
                    b"pax",
                    0o644,
                    "",
                    b"18 path=/etc/evil\n",
                ),
                file("a", "x"),
            ],
        ),
        (
            "leads out",
            vec![
                (EntryType::GNULongLink, b"l", 0o644, "", b"/etc/shadow\0"),
                (EntryType::Symlink, b"a", 0o777, "", b""),
            ],
        ),
        (
            ".. in it",
            vec![
                (EntryType::GNULongName, b"l", 0o644, "", b"../evil\0"),
                file(&long, "x"),
            ],
        ),
        (
            "larger than 8 GiB",
            vec![
                (
                    EntryType::XHeader,
                    b"pax",
                    0o644,
                    "",
                    b"19 size=9999999999\n",
                ),
                file("a", "x"),
            ],
        ),
    ];
    for (why, entries) in cases {
        let place = Place::new();
        let before = place.dir.path().join("etc");
        let error = place
            .unpack(&zst(entries), Packing::Zstd, Limits::RELEASE)
            .unwrap_err();
        assert!(error.is_of_archive(), "{why}: {error}");
        assert!(error.to_string().contains(why), "{why}: {error}");
        assert!(!error.to_string().contains(char::is_control), "{error}");
        assert!(!before.exists() && !place.real("/srv/shop/evil").exists());
        place.files.remove_tree(Path::new(AT)).unwrap();
        assert!(!place.real(AT).exists());
    }
}

#[test]
fn bombs_are_bounded_in_bytes_entries_and_headers() {
    let small = Limits {
        bytes: 1024 * 1024,
        entries: 10,
        ..Limits::RELEASE
    };
    let zeros = "\0".repeat(2 * 1024 * 1024);
    let error = Place::new()
        .unpack(&zst(&[file("a", &zeros)]), Packing::Zstd, small)
        .unwrap_err();
    assert!(matches!(error, UnpackError::TooMuch(_)), "{error}");

    let names: Vec<String> = (0..11).map(|n| format!("f{n}")).collect();
    let many: Vec<Made<'_>> = names.iter().map(|name| file(name, "")).collect();
    let error = Place::new()
        .unpack(&zst(&many), Packing::Zstd, small)
        .unwrap_err();
    assert!(matches!(error, UnpackError::TooMuch(_)), "{error}");

    // A name of hundreds of kilobytes.
    let name = "n".repeat(500 * 1024);
    let long = (
        EntryType::GNULongName,
        &b"l"[..],
        0o644,
        "",
        name.as_bytes(),
    );
    let error = Place::new()
        .unpack(&zst(&[long, file("a", "")]), Packing::Zstd, small)
        .unwrap_err();
    assert!(matches!(error, UnpackError::Damaged(_)), "{error}");

    let no_time = Limits {
        time: Duration::ZERO,
        ..small
    };
    let error = Place::new()
        .unpack(&zst(&[file("a", "")]), Packing::Zstd, no_time)
        .unwrap_err();
    assert!(matches!(error, UnpackError::Stopped(_)), "{error}");
}

#[test]
fn what_is_no_archive_or_ends_early_is_damaged() {
    let whole = zst(&[file("a", "some text that is longer than nothing")]);
    let cut = &whole[..whole.len() - 10];
    for (bytes, packing) in [
        (&b"<html>"[..], Packing::Zstd),
        (b"<html>", Packing::Gzip),
        (b"", Packing::Gzip),
        (cut, Packing::Zstd),
        (&whole, Packing::Gzip),
    ] {
        let error = Place::new()
            .unpack(bytes, packing, Limits::RELEASE)
            .unwrap_err();
        assert!(error.is_of_archive(), "{error}");
    }
    let empty = zst(&[]);
    assert!(
        Place::new()
            .unpack(&empty, Packing::Zstd, Limits::RELEASE)
            .is_err()
    );
}

#[test]
fn the_directory_must_be_new_and_no_link_leads_to_it() {
    let packed = zst(&[file("a", "x")]);
    let place = Place::new();
    std::fs::create_dir_all(place.real(AT)).unwrap();
    place
        .unpack(&packed, Packing::Zstd, Limits::RELEASE)
        .unwrap_err();

    let place = Place::new();
    std::fs::create_dir_all(place.real("/srv/shop")).unwrap();
    std::fs::create_dir_all(place.real("/etc")).unwrap();
    symlink(place.real("/etc"), place.real("/srv/shop/releases")).unwrap();
    place
        .unpack(&packed, Packing::Zstd, Limits::RELEASE)
        .unwrap_err();
    assert_eq!(std::fs::read_dir(place.real("/etc")).unwrap().count(), 0);
}

#[test]
fn a_tree_is_removed_and_what_its_links_lead_to_is_not() {
    let place = Place::new();
    let tree = place.real("/srv/shop/releases/1/a/b");
    std::fs::create_dir_all(&tree).unwrap();
    std::fs::create_dir_all(place.real("/keep")).unwrap();
    std::fs::write(place.real("/keep/file"), "x").unwrap();
    symlink(place.real("/keep"), tree.join("link")).unwrap();
    place
        .files
        .remove_tree(Path::new("/srv/shop/releases/1"))
        .unwrap();
    place
        .files
        .remove_tree(Path::new("/srv/shop/releases/1"))
        .unwrap();
    assert!(!place.real("/srv/shop/releases/1").exists());
    assert!(place.real("/keep/file").exists());
}

#[test]
fn what_was_cut_off_goes_on_from_there() {
    let place = Place::new();
    let path = Path::new("/var/lib/agentd/releases/archives/x");
    let mut arriving = Arriving::open(&place.files, path, 100).unwrap();
    arriving.add(b"one ").unwrap();
    drop(arriving);
    let mut arriving = Arriving::open(&place.files, path, 100).unwrap();
    assert_eq!(arriving.size(), 4);
    arriving.add(b"two").unwrap();
    let arrived = arriving.end();
    assert_eq!(arrived.sha256, sha256_hex(b"one two"));
    arrived.keep().unwrap();
    assert_eq!(
        std::fs::read(place.real("/var/lib/agentd/releases/archives/x")).unwrap(),
        b"one two"
    );

    let mut arriving = Arriving::open(&place.files, path, 100).unwrap();
    arriving.add(&[0; 200]).unwrap();
    drop(arriving);
    let arriving = Arriving::open(&place.files, path, 100).unwrap();
    assert_eq!(
        arriving.size(),
        0,
        "more than there could be is somebody else's"
    );
    arriving.end().forget().unwrap();
}
