//! Whether whoever asks may see everything.

use super::finding::Findings;
use super::patient::Patient;

pub fn check(_: &Patient, found: &mut Findings) {
    if !nix::unistd::geteuid().is_root() {
        found.warn(
            "not run as root: what only root may read is not seen, and may be told as missing",
            "sudo agentctl doctor",
        );
    }
}
