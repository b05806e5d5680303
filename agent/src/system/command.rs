//! Running commands: with a deadline, bounded output, and the whole process group killed when it overruns.

mod running;
mod supervised;
#[cfg(test)]
mod tests;

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use running::{End, Running};
pub use supervised::{Supervised, Supervision, supervise};

/// The most that is kept of each of standard output and standard error, in bytes: the last ones.
pub const KEPT: usize = 64 * 1024;

/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// After SIGKILL, before the child is given up.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// After the child ended, for output that is still in the pipes. A background process that keeps them
/// open (a daemon that was just started) gets no longer than this.
const DRAIN: Duration = Duration::from_millis(200);

const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// A command as data, so that a plan can show it and a run execute it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandLine {
    /// Program (absolute path) and arguments. No shell.
    pub argv: Vec<String>,
    /// How long it may take before its process group is killed, in milliseconds.
    pub deadline_ms: u64,
}

impl CommandLine {
    /// A command with a deadline.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>, deadline: Duration) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            deadline_ms: u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl std::fmt::Display for CommandLine {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.argv.join(" "))
    }
}

/// The same command, which gives way to whatever else wants the processor or the disk.
pub fn in_the_background(line: CommandLine) -> CommandLine {
    const WAYS: [&[&str]; 2] = [
        &["/usr/bin/nice", "-n", "19"],
        // As the last of those who are served, so that it comes to its end; what cannot be set is left.
        &["/usr/bin/ionice", "-c", "2", "-n", "7", "-t"],
    ];
    let there = |way: &&[&str]| {
        let program = way.first().copied().unwrap_or_default();
        std::path::Path::new(program).exists()
    };
    let before = WAYS.iter().copied().filter(there).flatten();
    let argv = before.map(|&word| word.to_owned()).chain(line.argv);
    CommandLine {
        argv: argv.collect(),
        deadline_ms: line.deadline_ms,
    }
}

/// What a command that ended by itself, in time, left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit code 0.
    pub success: bool,
    /// The exit code, or `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Standard output, its last [`KEPT`] bytes.
    pub stdout: String,
    /// Standard error, its last [`KEPT`] bytes.
    pub stderr: String,
}

impl Output {
    /// What to quote in a report: standard error, then standard output, trimmed. May be empty.
    pub fn said(&self) -> String {
        said(&self.stdout, &self.stderr)
    }

    /// Itself where it succeeded, [`CommandError::Failed`] where not. `command` is what was run.
    pub fn checked(self, command: &CommandLine) -> Result<Self, CommandError> {
        if self.success {
            return Ok(self);
        }
        Err(CommandError::Failed {
            command: command.to_string(),
            ended: self.ended(),
            said: or_nothing(self.said()),
        })
    }

    /// How it ended: `exit code 1`, `killed by SIGSEGV`.
    pub fn ended(&self) -> String {
        match (self.code, self.signal) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => match Signal::try_from(signal) {
                Ok(signal) => format!("killed by {signal}"),
                Err(_) => format!("killed by signal {signal}"),
            },
            (None, None) => "ended for no known reason".to_owned(),
        }
    }
}

/// A command could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It could not be started.
    #[error("cannot start {program}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It overran its deadline; its process group was killed.
    #[error("{command} did not end within {secs} s and was killed; it had said: {said}")]
    Deadline {
        /// The command line.
        command: String,
        /// The deadline, in seconds.
        secs: f64,
        /// The tail of what it had printed, `nothing` where it had printed nothing.
        said: String,
    },
    /// It ended in time, but not well.
    #[error("{command} failed ({ended}): {said}")]
    Failed {
        /// The command line.
        command: String,
        /// `exit code 1`, `killed by SIGSEGV`.
        ended: String,
        /// The tail of what it had printed, `nothing` where it had printed nothing.
        said: String,
    },
    /// It was started, but its end could not be learnt.
    #[error("cannot wait for {command}")]
    Wait {
        /// The command line.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Runs a command to its end or its deadline.
///
/// It gets no input, the directory `/`, and an environment of its own: a fixed `PATH` and the C locale.
///
/// At the deadline its process group gets SIGTERM, two seconds later SIGKILL; a child that survives
/// even that (uninterruptible sleep) is abandoned, so that nothing can hang the agent. Dropping the
/// future kills the group too. What a command that ended in time left in the background stays.
pub async fn run(command: &CommandLine) -> Result<Output, CommandError> {
    let mut child = spawn(command, Stdio::null(), Stdio::piped(), None)?;
    let mut group = Group::of(child.id());
    let stdout = Tail::of(child.stdout.take());
    let stderr = Tail::of(child.stderr.take());

    let deadline = Duration::from_millis(command.deadline_ms);
    let Ok(ended) = timeout(deadline, child.wait()).await else {
        group.signal(Signal::SIGTERM);
        let in_grace = timeout(GRACE, child.wait()).await;
        // Also where the child itself obeyed: its own children may not have.
        group.signal(Signal::SIGKILL);
        if in_grace.is_err() {
            let _ = timeout(LAST_WAIT, child.wait()).await;
        }
        group.leave();
        let (stdout, stderr) = tokio::join!(stdout.text(), stderr.text());
        return Err(CommandError::Deadline {
            command: command.to_string(),
            secs: deadline.as_secs_f64(),
            said: or_nothing(said(&stdout, &stderr)),
        });
    };
    group.leave();
    let status = ended.map_err(|source| CommandError::Wait {
        command: command.to_string(),
        source,
    })?;
    let (stdout, stderr) = tokio::join!(stdout.text(), stderr.text());
    Ok(output(status, stdout, stderr))
}

/// Starts a command in a process group of its own, with the environment that every command gets.
///
/// `secret` is one variable more. Standard error is always ours to read.
fn spawn(
    command: &CommandLine,
    stdin: Stdio,
    stdout: Stdio,
    secret: Option<(&str, &str)>,
) -> Result<Child, CommandError> {
    let start_error = |source| CommandError::Start {
        program: command.argv.first().cloned().unwrap_or_default(),
        source,
    };
    let Some((program, arguments)) = command.argv.split_first() else {
        return Err(start_error(io::ErrorKind::InvalidInput.into()));
    };
    Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("LANG", "C.UTF-8")
        .env("LC_ALL", "C")
        .envs(secret)
        .current_dir("/")
        .process_group(0)
        .stdin(stdin)
        .stdout(stdout)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(start_error)
}

fn output(status: ExitStatus, stdout: String, stderr: String) -> Output {
    Output {
        success: status.success(),
        code: status.code(),
        signal: status.signal(),
        stdout,
        stderr,
    }
}

fn said(stdout: &str, stderr: &str) -> String {
    match (stderr.trim(), stdout.trim()) {
        (stderr, "") => stderr.to_owned(),
        ("", stdout) => stdout.to_owned(),
        (stderr, stdout) => format!("{stderr}\n{stdout}"),
    }
}

fn or_nothing(said: String) -> String {
    if said.is_empty() {
        "nothing".to_owned()
    } else {
        said
    }
}

/// A child's process group, killed on drop unless left: a cancelled run leaves no children.
struct Group {
    leader: Option<Pid>,
}

impl Group {
    fn of(child: Option<u32>) -> Self {
        Self {
            leader: child
                .and_then(|id| i32::try_from(id).ok())
                .map(Pid::from_raw),
        }
    }

    /// The number stays the group's as long as any member lives, so that it cannot hit strangers,
    /// save in the moment between the last member's end and this call; numbers are not reused that fast.
    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.leader {
            let _ = killpg(leader, signal);
        }
    }

    fn leave(&mut self) {
        self.leader = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

/// The end of a stream, read by a task of its own so that the child never waits for us.
struct Tail {
    kept: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Tail {
    fn of<R: AsyncRead + Unpin + Send + 'static>(stream: Option<R>) -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&kept);
        let reader = tokio::spawn(async move {
            let Some(mut stream) = stream else { return };
            let mut buffer = vec![0; 8 * 1024];
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                let mut kept = sink.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend(buffer.iter().take(count));
                // Cut rarely, not at every read.
                if kept.len() > 2 * KEPT {
                    cut(&mut kept);
                }
            }
        });
        Self { kept, reader }
    }

    /// What came, waiting a moment for the rest.
    async fn text(mut self) -> String {
        self.so_far(DRAIN).await
    }

    /// What came until the stream's end, or until `patience` is over.
    async fn so_far(&mut self, patience: Duration) -> String {
        if !self.reader.is_finished() {
            let _ = timeout(patience, &mut self.reader).await;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        cut(&mut kept);
        String::from_utf8_lossy(&kept).into_owned()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

fn cut(kept: &mut Vec<u8>) {
    let surplus = kept.len().saturating_sub(KEPT);
    kept.drain(..surplus);
}
