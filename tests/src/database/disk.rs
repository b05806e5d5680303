//! Disks that misbehave.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::machine::{Trouble, run};

const SOON: Duration = Duration::from_secs(10);

/// A small file system of its own in a file, for disks that hang or are full. Unmounted on drop.
#[derive(Debug)]
pub struct Disk {
    dir: TempDir,
}

impl Disk {
    /// An empty one, of a size as `truncate` has it: `64M`.
    pub fn new(size: &str) -> Result<Self, Trouble> {
        let dir = TempDir::with_prefix("agentd-disk-")
            .map_err(|e| Trouble::caused("cannot make a disk", e))?;
        let disk = Self { dir };
        let image = disk.dir.path().join("image").display().to_string();
        std::fs::create_dir(disk.place()).map_err(|e| Trouble::caused("cannot make a disk", e))?;
        let place = disk.place().display().to_string();
        for argv in [
            &["truncate", "-s", size, &image][..],
            &["mkfs.ext4", "-q", "-F", &image],
            &["mount", "-o", "loop", &image, &place],
        ] {
            let made = run(argv, b"", SOON)?;
            if !made.success() {
                return Err(Trouble::caused(argv.join(" "), made.stderr));
            }
        }
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn place(&self) -> PathBuf {
        self.dir.path().join("place")
    }

    /// Stops every write to it, or lets them go on.
    pub fn freeze(&self, on: bool) -> Result<(), Trouble> {
        let place = self.place().display().to_string();
        let option = if on { "-f" } else { "-u" };
        run(&["fsfreeze", option, &place], b"", SOON).map(drop)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Thawed already, in the good case.
        let _ = self.freeze(false);
        let place = self.place().display().to_string();
        let _ = run(&["umount", "--lazy", &place], b"", SOON);
    }
}
