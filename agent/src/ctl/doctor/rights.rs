//! Whether whoever asks may see everything.

use super::examined_box::ExaminedBox;
use super::finding::Findings;

pub fn check(_: &ExaminedBox, found: &mut Findings) {
    if !nix::unistd::geteuid().is_root() {
        found.warn(
            "not run as root: what only root may read is not seen, and may be told as missing",
            "sudo agentctl doctor",
        );
    }
}
