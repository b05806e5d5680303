//! SELinux: whether it enforces, and whether the agent's files have the labels that its policy gives them.

use std::path::Path;
use std::time::Duration;

use super::examined_box::ExaminedBox;
use super::finding::Findings;
use crate::settings::{CONFIG_FILE, RUN_DIR, STATE_DIR};

const ENFORCE: &str = "/sys/fs/selinux/enforce";
const RESTORECON: &str = "/usr/sbin/restorecon";
const AUSEARCH: &str = "/usr/sbin/ausearch";
const DEADLINE: Duration = Duration::from_secs(10);
/// Files with a wrong label that are named; the rest is counted.
const NAMED: usize = 3;

pub fn check(examined: &ExaminedBox, found: &mut Findings) {
    // Not there: no SELinux in this kernel, or switched off.
    let Ok(mode) = examined.text(Path::new(ENFORCE)) else {
        return;
    };
    let enforcing = mode.trim() == "1";
    labels(examined, enforcing, found);
    if enforcing {
        denials(examined, found);
    }
}

fn labels(examined: &ExaminedBox, enforcing: bool, found: &mut Findings) {
    if !examined.has(Path::new(RESTORECON)) {
        return found.skip(format!(
            "labels: {RESTORECON} is not installed (policycoreutils)"
        ));
    }
    let apache = examined.platform.apache.dir.display().to_string();
    let cron = examined.platform.cron_dir.display().to_string();
    let paths = [
        CONFIG_FILE,
        STATE_DIR,
        RUN_DIR,
        "/usr/sbin/agentd",
        "/etc/hosts",
        &apache,
        &cron,
    ];
    let there = paths
        .into_iter()
        .filter(|path| examined.has(Path::new(path)));
    // -n: only says what it would do.
    let words = [RESTORECON, "-n", "-v", "-R"].into_iter().chain(there);
    match examined.run(words, DEADLINE) {
        Ok(output) => {
            let wrong = mislabelled(&output.stdout);
            if let Some(first) = wrong.first() {
                let message = format!(
                    "{} of the agent's files have a label that SELinux's policy does not give them: {}",
                    wrong.len(),
                    wrong
                        .iter()
                        .take(NAMED)
                        .copied()
                        .collect::<Vec<_>>()
                        .join(", ")
                );
                let hint = format!("restorecon -Rv {first} (and the others)");
                if enforcing {
                    found.broken(message, hint);
                } else {
                    found.warn(format!("{message} (permissive: only logged)"), hint);
                }
            }
        }
        Err(error) => found.skip(format!("labels: {error}")),
    }
}

/// The paths of which restorecon says that their label is wrong: `Would relabel PATH from A to B`, in old versions
/// `restorecon reset PATH context A->B`.
pub(super) fn mislabelled(said: &str) -> Vec<&str> {
    let path = |line: &'_ str| -> Option<(usize, usize)> {
        let (before, after) = [
            ("Would relabel ", " from "),
            ("restorecon reset ", " context "),
        ]
        .into_iter()
        .find(|(before, _)| line.starts_with(before))?;
        let end = line.rfind(after)?;
        Some((before.len(), end))
    };
    said.lines()
        .filter_map(|line| {
            let (start, end) = path(line)?;
            line.get(start..end)
        })
        .collect()
}

fn denials(examined: &ExaminedBox, found: &mut Findings) {
    if !examined.has(Path::new(AUSEARCH)) {
        return;
    }
    let recent = [
        AUSEARCH,
        "--message",
        "AVC",
        "--comm",
        "agentd",
        "--start",
        "recent",
    ];
    // It ends with 1 where nothing was found.
    if let Ok(output) = examined.run(recent, DEADLINE)
        && let Some(denied) = output.stdout.lines().rfind(|line| line.contains("denied"))
    {
        found.broken(
            format!("SELinux denied the agent something within the last 10 minutes: {denied}"),
            "ausearch -m AVC -c agentd | audit2why explains it; a local policy made by audit2allow lets it through",
        );
    }
}
