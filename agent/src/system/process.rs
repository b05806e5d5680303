//! Processes of others: which one listens on a socket, whether it is still the same one, and its certain end.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::Pid;

use super::socket;

/// Between two looks at a process that is to end.
const PAUSE: Duration = Duration::from_millis(5);

/// A process that cannot be taken for another: numbers are used again, but not with the same start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its number.
    pub pid: i32,
    /// When it started, in the kernel's ticks since boot.
    start: u64,
    /// Its name, at most 15 characters.
    pub name: String,
}

/// The process of this number, if there is one that still runs. A zombie does not: it holds no file any more.
pub fn identity(pid: i32) -> Option<Identity> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(pid, &stat)
}

/// The name stands in parentheses and may hold some itself; the rest are numbers, the state first.
fn parse_stat(pid: i32, stat: &str) -> Option<Identity> {
    let (_, rest) = stat.split_once('(')?;
    let (name, rest) = rest.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    // The 22nd field of all is the 20th after the name.
    let start = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then(|| Identity {
        pid,
        start,
        name: name.to_owned(),
    })
}

/// What a process has open, and how much that may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenFiles {
    /// A path each; for what is no file the kernel's word for it.
    pub paths: Vec<PathBuf>,
    /// How many it may have open at a time.
    pub limit: usize,
}

/// What a process has open. `None`: there is no such process, or it is none of this account's business.
pub fn open_files(pid: i32) -> Option<OpenFiles> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let limit = open_files_limit(&limits)?;
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let paths = open.flatten().map(|entry| {
        // One that was closed in this moment counts all the same.
        std::fs::read_link(entry.path()).unwrap_or_default()
    });
    Some(OpenFiles {
        paths: paths.collect(),
        limit,
    })
}

/// `Max open files            1024                 524288               files`: the first number counts.
fn open_files_limit(limits: &str) -> Option<usize> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files "))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(usize::MAX),
        number => number.parse().ok(),
    }
}

/// The process that listens on the unix socket at `path`, asked of the kernel: also one that is stopped, or too busy to
/// answer. An error where nobody listens.
pub fn listener(path: &Path) -> io::Result<Option<Identity>> {
    let stream: UnixStream = socket::connect(path)?;
    let credentials = getsockopt(&stream, PeerCredentials)?;
    Ok(identity(credentials.pid()))
}

impl Identity {
    /// When it started, in the kernel's ticks since boot.
    pub const fn ticks(&self) -> u64 {
        self.start
    }

    /// Whether it still runs.
    pub fn runs(&self) -> bool {
        identity(self.pid).is_some_and(|now| now.start == self.start)
    }

    /// Kills it and waits until it is gone: nothing that it was about to do will be done. False where it is not gone
    /// within `patience`: it waits for a disk that does not answer, and may still finish one write when that does.
    pub fn kill(&self, patience: Duration) -> io::Result<bool> {
        let start = Instant::now();
        loop {
            if !self.runs() {
                return Ok(true);
            }
            match kill(Pid::from_raw(self.pid), Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(error.into()),
            }
            if start.elapsed() >= patience {
                return Ok(!self.runs());
            }
            std::thread::sleep(PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_line_reads() {
        let line = "42 (a) b(c) S 1 42 42 0 -1 4194560 100 0 0 0 1 2 3 4 20 0 1 0 98765 1 2 3";
        let identity = parse_stat(42, line).unwrap();
        assert_eq!(identity.name, "a) b(c");
        assert_eq!(identity.start, 98765);
        assert!(parse_stat(42, &line.replace(" S ", " Z ")).is_none());
        assert!(parse_stat(42, "nonsense").is_none());
    }

    #[test]
    fn open_files_are_seen_with_their_limit() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let open = open_files(own).unwrap();
        assert!(open.paths.iter().any(|path| path == file.path()));
        assert!(open.limit >= open.paths.len());
        let text = "Limit                     Soft Limit           Hard Limit           Units\nMax open files            1024                 524288               files\n";
        assert_eq!(open_files_limit(text), Some(1024));
        assert_eq!(open_files_limit("nonsense"), None);
        assert_eq!(open_files(0), None);
    }

    #[test]
    fn the_listener_of_a_socket_is_found_and_a_killed_process_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let _listening = socket::listen(&path).unwrap();
        let own = listener(&path).unwrap().unwrap();
        assert_eq!(u32::try_from(own.pid).unwrap(), std::process::id());
        assert!(own.runs());

        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let victim = identity(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(victim.kill(Duration::from_secs(5)).unwrap());
        assert!(!victim.runs());
        child.wait().unwrap();
    }
}
