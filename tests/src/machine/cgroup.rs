//! The fleet's own branch of the control groups: what lets a whole machine be killed, frozen and found at once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::process::{Trouble, tell_kernel, wait_until};

const PREFIX: &str = "node-agent-fleet-";

/// A control group (version 2). Everything in it is killed, and it is removed, on drop.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// A new one for a fleet of this process, below the group that this process is in.
    pub(crate) fn of_fleet(number: u32) -> Result<Self, Trouble> {
        let parent = own()?;
        sweep(&parent);
        Self::make(parent.join(format!("{PREFIX}{}-{number}", std::process::id())))
    }

    /// A new one below this.
    pub(crate) fn child(&self, name: &str) -> Result<Self, Trouble> {
        Self::make(self.path.join(name))
    }

    fn make(path: PathBuf) -> Result<Self, Trouble> {
        std::fs::create_dir(&path).map_err(|e| {
            Trouble::caused(
                format!("cannot make the control group {}", path.display()),
                e,
            )
        })?;
        Ok(Self { path })
    }

    /// Where its process list is: a shell joins by writing 0 there.
    pub(crate) fn procs(&self) -> String {
        self.path.join("cgroup.procs").display().to_string()
    }

    /// The first process of the machine that systemd-nspawn runs in this group, once it has come up far enough.
    pub(crate) fn machine_init(&self) -> Option<u32> {
        let procs = self.path.join("payload/init.scope/cgroup.procs");
        let listed = std::fs::read_to_string(procs).ok()?;
        listed.lines().next()?.parse().ok()
    }

    /// Stops all its processes where they are, or lets them run on.
    pub(crate) fn freeze(&self, frozen: bool) -> Result<(), Trouble> {
        let wanted = if frozen { "1" } else { "0" };
        tell_kernel(&self.path.join("cgroup.freeze"), wanted)?;
        let what = format!("{} to be frozen: {wanted}", self.path.display());
        wait_until(&what, Duration::from_secs(5), || {
            self.event("frozen").is_none_or(|value| value == wanted)
        })
        .map(drop)
    }

    /// SIGKILL to all its processes, at once; returns when they are gone.
    pub(crate) fn kill(&self) -> Result<(), Trouble> {
        tell_kernel(&self.path.join("cgroup.kill"), "1")?;
        let what = format!("the processes in {} to end", self.path.display());
        wait_until(&what, Duration::from_secs(10), || {
            self.event("populated").is_none_or(|value| value == "0")
        })?;
        // What an earlier boot left would be taken for the next one's.
        for child in children(&self.path) {
            remove(&child);
        }
        Ok(())
    }

    fn event(&self, name: &str) -> Option<String> {
        let events = std::fs::read_to_string(self.path.join("cgroup.events")).ok()?;
        let value = events.lines().find_map(|line| line.strip_prefix(name))?;
        Some(value.trim().to_owned())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Nothing more can be done about a failure here; the next fleet's sweep tries again.
        let _ = self.kill();
        remove(&self.path);
    }
}

/// The group that this process is in, as a directory.
fn own() -> Result<PathBuf, Trouble> {
    let read = |path: &str| {
        std::fs::read_to_string(path).map_err(|e| Trouble::caused(format!("cannot read {path}"), e))
    };
    let mounts = read("/proc/self/mounts")?;
    let mount = mounts
        .lines()
        .map(|line| line.split(' '))
        .find_map(|mut words| {
            let path = words.nth(1)?;
            (words.next()? == "cgroup2").then(|| PathBuf::from(path))
        })
        .ok_or_else(|| Trouble::new("no cgroup2 file system is mounted; machines cannot boot"))?;
    let groups = read("/proc/self/cgroup")?;
    let group = groups
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .unwrap_or_default();
    Ok(mount.join(group))
}

/// Removes what fleets of processes that were killed left behind.
fn sweep(parent: &Path) {
    for path in children(parent) {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            drop(Cgroup { path });
        }
    }
}

fn children(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.path()).collect()
}

fn remove(path: &Path) {
    for child in children(path) {
        remove(&child);
    }
    // Busy or gone: the sweep of a later fleet finds it.
    let _ = std::fs::remove_dir(path);
}
