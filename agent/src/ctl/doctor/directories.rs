//! Where the agent keeps its own state: there, root's, and writable.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::examined_box::ExaminedBox;
use super::finding::Findings;
use crate::settings::{RUN_DIR, STATE_DIR};
use crate::system::disk;

pub fn check(examined: &ExaminedBox, found: &mut Findings) {
    for dir in [STATE_DIR, RUN_DIR] {
        look(examined, Path::new(dir), found);
    }
}

fn look(examined: &ExaminedBox, dir: &Path, found: &mut Findings) {
    let real = examined.root.real(dir);
    let meta = match real.symlink_metadata() {
        Ok(meta) => meta,
        // The daemon's unit makes both.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => return found.skip(format!("{}: {error}", dir.display())),
    };
    if !meta.is_dir() {
        return found.broken(
            format!(
                "{} is not a directory, and links are not followed",
                dir.display()
            ),
            format!(
                "move it away (mv {0} {0}.old), then systemctl restart agentd",
                dir.display()
            ),
        );
    }
    let mode = meta.mode() & 0o7777;
    if mode & 0o022 != 0 {
        found.broken(
            format!(
                "{} may be written by others than its owner (mode {mode:04o})",
                dir.display()
            ),
            format!("chmod go-w {}", dir.display()),
        );
    }
    if examined.root.is_machine() && meta.uid() != 0 {
        found.broken(
            format!(
                "{} belongs to user {}, not to root",
                dir.display(),
                meta.uid()
            ),
            format!("chown -R root:root {}", dir.display()),
        );
    }
    match disk::room(&real) {
        Ok(room) if room.read_only => found.broken(
            format!("{} is on a file system that is mounted read-only", dir.display()),
            format!("dmesg says why, where the kernel did that; then mount -o remount,rw $(findmnt -no TARGET -T {})", dir.display()),
        ),
        _ => {}
    }
    if disk::marks(&real).is_ok_and(|marks| marks.immutable) {
        found.broken(
            format!(
                "{} is immutable: nothing in it can be replaced",
                dir.display()
            ),
            format!("chattr -i {}", dir.display()),
        );
    }
}
