//! The files that the agent writes: whether it can.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::examined_box::ExaminedBox;
use super::finding::Findings;
use crate::converge::ledger::Ledger;
use crate::resource;
use crate::system::disk;
use crate::system::file::FileError;
use crate::system::mounts;

/// Findings of one kind; more of them would say the same.
const TOLD: usize = 5;

pub fn check(examined: &ExaminedBox, found: &mut Findings) {
    let mounted = mounts::points();
    let mut told = 0;
    let mut dirs = BTreeSet::new();
    for path in paths(examined, found) {
        if told >= TOLD {
            found.skip("more files: mend these first");
            break;
        }
        let before = found.found.len();
        file(examined, &path, found);
        // Only of the machine itself: where a root lies is not what the box will see.
        if examined.root.is_machine() && mounted.contains(&path) {
            found.warn(
                format!("{} is a mount of its own (a container's?): it is written in place, and a crash can leave half of it", path.display()),
                format!("umount {0}, or mount its directory instead", path.display()),
            );
        }
        if let Some(dir) = path.parent()
            && dirs.insert(dir.to_path_buf())
        {
            directory(examined, dir, found);
        }
        told += found.found.len() - before;
    }
}

/// What the agent owns, and what it would own.
fn paths(examined: &ExaminedBox, found: &mut Findings) -> BTreeSet<PathBuf> {
    let platform = &examined.platform;
    let mut paths = BTreeSet::from([PathBuf::from(resource::HOSTS)]);
    // Made-up names: what counts is the directory.
    paths.insert(platform.cron_dir.join("agentd-any"));
    if examined.has(&platform.apache.main_config) {
        paths.insert(platform.apache.include.clone());
        paths.insert(platform.apache.dir.join("current"));
    }
    if let Some(view) = examined.view() {
        let lists = view
            .caches
            .values()
            .filter_map(|cache| cache.cache.list.as_ref());
        paths.extend(lists.map(|list| PathBuf::from(list.path.as_str())));
    }
    match Ledger::load(&examined.files) {
        Ok(ledger) => paths.extend(ledger.paths().map(|(path, _)| path.to_path_buf())),
        Err(error) => found.skip(format!("what the agent owns: {error}")),
    }
    paths
}

fn file(examined: &ExaminedBox, path: &Path, found: &mut Findings) {
    let real = examined.root.real(path);
    if let Err(error @ (FileError::SymlinkInTheWay { .. } | FileError::TooLarge { .. })) =
        examined.files.read(path)
    {
        found.broken(
            error.to_string(),
            format!("namei -l {} shows the way to it", path.display()),
        );
        return;
    }
    let Ok(marks) = disk::marks(&real) else {
        return;
    };
    if marks.immutable || marks.append_only {
        let (what, flag) = if marks.immutable {
            ("immutable", "i")
        } else {
            ("append-only", "a")
        };
        found.broken(
            format!("{} is {what}: the agent cannot replace it", path.display()),
            format!(
                "chattr -{flag} {}, or take what it says into the document",
                path.display()
            ),
        );
    }
    if path == Path::new(resource::HOSTS)
        && real.symlink_metadata().is_ok_and(|meta| meta.is_symlink())
    {
        found.broken(
            format!(
                "{} is a symlink, and links are not followed",
                path.display()
            ),
            format!(
                "cp --remove-destination $(readlink -f {0}) {0}",
                path.display()
            ),
        );
    }
}

/// A directory, or the nearest above it that is there.
fn directory(examined: &ExaminedBox, dir: &Path, found: &mut Findings) {
    let there = dir.ancestors().find(|dir| examined.has(dir));
    let Some((dir, meta)) = there.and_then(|dir| {
        let meta = examined.root.real(dir).metadata().ok()?;
        Some((dir, meta))
    }) else {
        return;
    };
    let real = examined.root.real(dir);
    let shown = dir.display();
    if disk::room(&real).is_ok_and(|room| room.read_only) {
        found.broken(
            format!("{shown} is on a file system that is mounted read-only"),
            format!("dmesg says why, where the kernel did that; then mount -o remount,rw $(findmnt -no TARGET -T {shown})"),
        );
    }
    if disk::marks(&real).is_ok_and(|marks| marks.immutable) {
        found.broken(
            format!("{shown} is immutable: no file in it can be replaced"),
            format!("chattr -i {shown}"),
        );
    }
    let mode = meta.mode() & 0o7777;
    if mode & 0o1002 == 0o0002 {
        found.broken(
            format!(
                "everybody may write to {shown} (mode {mode:04o}): the agent writes nothing there"
            ),
            format!("chmod o-w {shown}"),
        );
    }
}
