//! Temporary files that a crash left and that nothing has swept away since.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::examined_box::ExaminedBox;
use super::finding::Findings;
use crate::converge::ledger::Ledger;
use crate::settings::{RUN_DIR, STATE_DIR};
use crate::system::clock;

/// What is younger may be somebody's work under way.
const OLD_SECS: i64 = 3600;

pub fn check(examined: &ExaminedBox, found: &mut Findings) {
    let mut dirs: BTreeSet<PathBuf> = [STATE_DIR, RUN_DIR, "/etc"].map(PathBuf::from).into();
    if let Ok(ledger) = Ledger::load(&examined.files) {
        let parents = ledger.paths().filter_map(|(path, _)| path.parent());
        dirs.extend(parents.map(Path::to_path_buf));
    }
    let now = clock::now().as_second();
    let mut old = Vec::new();
    for dir in dirs {
        for name in examined.files.temporaries(&dir).unwrap_or_default() {
            let path = dir.join(name);
            let meta = examined.root.real(&path).symlink_metadata();
            if meta.is_ok_and(|meta| now - meta.mtime() > OLD_SECS) {
                old.push(path);
            }
        }
    }
    if let Some(first) = old.first() {
        let others = match old.len() {
            1 => String::new(),
            many => format!(" and {} more", many - 1),
        };
        found.warn(
            format!(
                "{}{others}: temporary files of a run that was killed",
                first.display()
            ),
            "they harm nobody; the next start sweeps them (systemctl restart agentd), or rm them",
        );
    }
}
