//! Room on the disks that the agent writes to.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::examined_box::ExaminedBox;
use super::finding::Findings;
use crate::settings::{RUN_DIR, STATE_DIR};
use crate::system::disk::{self, Room};

/// With less than this no document and no journal can be written.
const NOTHING: u64 = 1 << 20;
/// Less than this will soon be nothing.
const LITTLE: u64 = 64 << 20;

pub fn check(examined: &ExaminedBox, found: &mut Findings) {
    let mut seen = BTreeSet::new();
    for dir in ["/etc", STATE_DIR, RUN_DIR] {
        let there = existing(examined, Path::new(dir));
        let Ok(meta) = there.metadata() else {
            continue;
        };
        if !seen.insert(meta.dev()) {
            continue;
        }
        match disk::room(&there) {
            Ok(room) => judge(dir, room, found),
            Err(error) => found.skip(format!("{dir}: {error}")),
        }
    }
}

/// The nearest directory on the way to `dir` that is there.
fn existing(examined: &ExaminedBox, dir: &Path) -> PathBuf {
    dir.ancestors()
        .map(|dir| examined.root.real(dir))
        .find(|dir| dir.exists())
        .unwrap_or_else(|| PathBuf::from("/"))
}

pub(super) fn judge(dir: &str, room: Room, found: &mut Findings) {
    let hint = format!("make room: du -xh $(findmnt -no TARGET -T {dir}) | sort -h | tail");
    if room.free < NOTHING {
        found.broken(
            format!(
                "the disk of {dir} is full: {} KiB are free",
                room.free / 1024
            ),
            hint,
        );
    } else if room.free < LITTLE.min(room.size / 20) {
        found.warn(
            format!(
                "the disk of {dir} is nearly full: {} MiB are free",
                room.free >> 20
            ),
            hint,
        );
    }
    // Some file systems count none.
    if room.inodes > 0 && room.free_inodes == 0 {
        found.broken(
            format!("the disk of {dir} has no inodes left: no file can be made"),
            format!("find what has so many small files: du --inodes -x $(findmnt -no TARGET -T {dir}) | sort -n | tail"),
        );
    }
}
