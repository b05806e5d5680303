//! The agent without a machine: the real programs under a scratch root, where every path is and no command is run.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::machine::{Output, Trouble, built, wait_until};

/// How long `agentctl` may take.
const CTL: Duration = Duration::from_mins(1);

/// A directory that is a box: the agent's configuration, and what the agent makes of it. Removed on drop.
#[derive(Debug)]
pub struct Scratch {
    dir: TempDir,
}

impl Scratch {
    /// A box with an `agentd.toml` and an `/etc/hosts` as any has.
    pub fn new(config: &str) -> Result<Self, Trouble> {
        let dir = TempDir::new().map_err(|e| Trouble::caused("cannot make a scratch root", e))?;
        let scratch = Self { dir };
        scratch.write("/etc/agentd/agentd.toml", config)?;
        scratch.write("/etc/hosts", "127.0.0.1\tlocalhost\n")?;
        Ok(scratch)
    }

    /// What to give as `--root`.
    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// Where a path of the box is.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    /// A file's text; empty where there is none.
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_default()
    }

    /// Writes a file as a person would, directories in between included.
    #[expect(
        clippy::disallowed_methods,
        reason = "a person at work, who knows nothing of durable writes"
    )]
    pub fn write(&self, path: &str, text: &str) -> Result<(), Trouble> {
        let real = self.path(path);
        let parents = real.parent().map_or(Ok(()), fs::create_dir_all);
        parents
            .and_then(|()| fs::write(&real, text))
            .map_err(|e| Trouble::caused(format!("cannot write {path}"), e))
    }

    /// Runs `agentctl`.
    pub fn ctl(&self, arguments: &[&str]) -> Result<Output, Trouble> {
        let program = built("agentctl")?.display().to_string();
        let root = self.root().display().to_string();
        let argv = [
            &[program.as_str(), "--root", &root, "--color", "never"],
            arguments,
        ]
        .concat();
        crate::machine::run(&argv, b"", CTL)
    }

    /// The status file; null where there is none.
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.read("/run/agentd/status.json")).unwrap_or_default()
    }

    /// Every file, link and directory of the box, with what any write to it would change: inode, and the times of
    /// change in nanoseconds.
    pub fn stamps(&self) -> BTreeMap<PathBuf, (u64, i64, i64)> {
        let mut stamps = BTreeMap::new();
        self.walk(|path| {
            if let Ok(found) = path.symlink_metadata() {
                let changed = found.ctime() * 1_000_000_000 + found.ctime_nsec();
                let modified = found.mtime() * 1_000_000_000 + found.mtime_nsec();
                stamps.insert(path.into(), (found.ino(), changed, modified));
            }
        });
        stamps
    }

    /// Every file and link under a directory of the box, with its content or target.
    pub fn content(&self, under: &str) -> BTreeMap<PathBuf, String> {
        let under = self.path(under);
        let mut content = BTreeMap::new();
        self.walk(|path| {
            let text = match fs::read_link(path) {
                Ok(target) => format!("-> {}", target.display()),
                Err(_) if path.is_dir() => return,
                Err(_) => fs::read_to_string(path).unwrap_or_default(),
            };
            if let (true, Ok(name)) = (path.starts_with(&under), path.strip_prefix(self.root())) {
                content.insert(name.into(), text);
            }
        });
        content
    }

    fn walk(&self, mut visit: impl FnMut(&Path)) {
        let mut to_visit = vec![self.root().to_path_buf()];
        while let Some(dir) = to_visit.pop() {
            // What vanishes while we look was not there.
            for path in fs::read_dir(&dir).into_iter().flatten().flatten() {
                let path = path.path();
                visit(&path);
                if path.is_dir() && !path.is_symlink() {
                    to_visit.push(path);
                }
            }
        }
    }
}

/// A running agentd. Killed, by its pid, on drop.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    log: tempfile::NamedTempFile,
}

impl Agent {
    /// Starts `agentd --root ROOT ARGS` with these variables added to the environment.
    pub fn start(root: &Path, args: &[&str], env: &[(&str, String)]) -> Result<Self, Trouble> {
        Self::spawn(Command::new(built("agentd")?), root, args, env)
    }

    fn spawn(
        mut command: Command,
        root: &Path,
        args: &[&str],
        env: &[(&str, String)],
    ) -> Result<Self, Trouble> {
        let cannot = |e: std::io::Error| Trouble::caused("cannot start agentd", e);
        let log = tempfile::NamedTempFile::new().map_err(cannot)?;
        let copy = || log.as_file().try_clone().map_err(cannot);
        let child = command
            .arg("--root")
            .arg(root)
            .args(args)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(copy()?)
            .stderr(copy()?)
            .spawn()
            .map_err(cannot)?;
        Ok(Self { child, log })
    }

    /// The same, in a user namespace of its own that has so many inotify instances.
    pub fn start_with_inotify_instances(instances: u32, root: &Path) -> Result<Self, Trouble> {
        let limit = format!(
            "echo {instances} > /proc/sys/user/max_inotify_instances && exec \"$0\" \"$@\""
        );
        let mut command = Command::new("unshare");
        command
            .args(["--user", "--map-root-user", "sh", "-c", &limit])
            .arg(built("agentd")?);
        Self::spawn(command, root, &[], &[])
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<(), Trouble> {
        let pid = i32::try_from(self.pid()).map_err(|e| Trouble::caused("its pid", e))?;
        kill(Pid::from_raw(pid), signal).map_err(|e| Trouble::caused(signal, e))
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end: how it ended, and after how long.
    pub fn end(&mut self, within: Duration) -> Result<(ExitStatus, Duration), Trouble> {
        let start = Instant::now();
        wait_until("agentd to end", within, || !self.runs())
            .map_err(|e| Trouble::caused(e, self.said()))?;
        let status = self.child.wait();
        let status = status.map_err(|e| Trouble::caused("cannot wait for agentd", e))?;
        Ok((status, start.elapsed()))
    }

    /// What it has logged so far.
    pub fn said(&self) -> String {
        fs::read_to_string(self.log.path()).unwrap_or_default()
    }

    /// What the kernel says of it in `/proc/PID/status`, in KiB.
    pub fn kib(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with(field));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .unwrap_or_default()
    }

    /// How many files it has open.
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).map_or(0, Iterator::count)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
