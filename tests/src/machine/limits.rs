//! What the kernel gives one user, and all machines of all fleets share: inotify. They run as the host's root, so each
//! systemd, cron and agent in them counts against one limit, which on most hosts lets some fifteen machines boot.

use std::path::Path;

use super::process::tell_kernel;

/// What machines need at most, far below what the kernel itself could bear: a systemd has some eight instances, an
/// agent one or two; fifty machines at once are more than any tests boot.
const WANTED: [(&str, u64); 2] = [
    ("/proc/sys/fs/inotify/max_user_instances", 4_096),
    ("/proc/sys/fs/inotify/max_user_watches", 524_288),
];

/// Raises the limits to what machines need; never lowers them. They stay so until the host starts again.
///
/// Where they may not be written (a container that sees them read-only), they stay as they are: few machines still
/// boot, and one that does not says why, see [`explained`].
pub(super) fn raise() {
    for (path, wanted) in WANTED {
        if limit(path).is_some_and(|now| now < wanted) {
            let _ = tell_kernel(Path::new(path), &wanted.to_string());
        }
    }
}

/// How many inotify instances root has open, of how many; a sentence where few are left.
pub(super) fn explained() -> Option<String> {
    let [(path, wanted), _] = WANTED;
    let limit = limit(path)?;
    let used = instances();
    shortage(used, limit).then(|| {
        format!("{used} of {limit} inotify instances are in use: a systemd without one does not boot; as root: echo {wanted} >{path}")
    })
}

/// Whether a machine may have failed for want of instances: those that it had itself are gone by now.
const fn shortage(used: u64, limit: u64) -> bool {
    used.saturating_add(16) > limit
}

fn limit(path: &str) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Those of all processes that can be seen; all of them are root's, more or less.
fn instances() -> u64 {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let open = processes.flat_map(|process| std::fs::read_dir(process.path().join("fd")));
    let watching = open.flatten().flatten().filter(|file| {
        std::fs::read_link(file.path()).is_ok_and(|what| what == Path::new("anon_inode:inotify"))
    });
    watching.count().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_told_before_the_last_instance_is_gone() {
        assert!(shortage(128, 128));
        assert!(shortage(113, 128));
        assert!(!shortage(112, 128));
        assert!(!shortage(0, 4_096));
    }
}
