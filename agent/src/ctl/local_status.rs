//! The status of this box as it is known without asking its daemon: the status file, and whether its process lives.
//!
//! For monitors, which must neither wait for a busy daemon nor be root.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use super::args::Global;
use super::failure::Failure;
use super::place;
use crate::control::SOCKET;
use crate::report::Status;
use crate::report::watch::Seen;
use crate::settings::RUN_DIR;
use crate::system::chain;
use crate::system::file::{Files, Found};
use crate::system::root::Root;

/// The status file, and whether the daemon that wrote it runs.
#[derive(Debug, Default)]
pub struct LocalStatus {
    /// What the agent last wrote of the box.
    pub status: Option<Status>,
    /// Why it cannot be read, though it is there.
    pub trouble: Option<String>,
    /// Whether the agent runs; `None`: this user may not see it.
    pub running: Option<bool>,
}

impl LocalStatus {
    /// Looks. Fails only where it is not clear where to look.
    pub fn read(global: &Global) -> Result<Self, Failure> {
        let root = place::root(global)?;
        let (status, trouble) = match last_written(&Files::new(root.clone())) {
            Ok(status) => (status, None),
            Err(why) => (None, Some(why)),
        };
        let running = match &status {
            Some(status) => is_running(status.agent.pid),
            None if trouble.is_some() => None,
            None => Some(may_be_starting(&root)),
        };
        Ok(Self {
            status,
            trouble,
            running,
        })
    }

    /// The same, as the watch takes it.
    pub fn seen(&self) -> Seen<'_> {
        Seen {
            status: self.status.as_ref(),
            trouble: self.trouble.as_deref(),
            running: self.running,
        }
    }
}

/// What the agent last wrote of itself; an error says why that cannot be told.
pub fn last_written(files: &Files) -> Result<Option<Status>, String> {
    let path = Path::new(RUN_DIR).join("status.json");
    match files.read(&path) {
        Ok(Found::File { bytes, .. }) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| format!("{} is not understood: {error}", path.display())),
        Ok(Found::Absent) => Ok(None),
        Ok(_) => Err(format!("{} is no file", path.display())),
        Err(error) => Err(chain(&error)),
    }
}

/// Whether this process is an agentd; `None` where this user may not see others' processes.
///
/// A pid alone may be somebody else's by now.
pub fn is_running(pid: u32) -> Option<bool> {
    let name = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm"));
    match name(pid) {
        Ok(name) => Some(name.trim_end() == "agentd"),
        // Mounted with hidepid, /proc does not show the first process either.
        Err(_) => name(1).is_ok().then_some(false),
    }
}

/// Before its first status the daemon listens already.
fn may_be_starting(root: &Root) -> bool {
    root.real(Path::new(SOCKET)).exists()
}

/// Does something that might hang, in so long a time; `None`: it did hang.
pub fn within<T: Send + 'static>(
    deadline: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (answer, answered) = mpsc::channel();
    // Left behind where it hangs: the end of the process takes it along.
    std::thread::spawn(move || answer.send(work()));
    answered.recv_timeout(deadline).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_given_up() {
        let start = std::time::Instant::now();
        let slept = within(Duration::from_millis(50), || {
            std::thread::sleep(Duration::from_secs(30));
        });
        assert_eq!(slept, None);
        assert!(start.elapsed() < Duration::from_secs(10));
        assert_eq!(within(Duration::from_secs(10), || 7), Some(7));
    }

    #[test]
    fn another_process_is_no_agent() {
        assert_eq!(is_running(std::process::id()), Some(false));
        // Above the largest pid that Linux gives.
        assert_eq!(is_running(4_194_305), Some(false));
    }
}
