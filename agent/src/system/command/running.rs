//! A command whose output is read, or whose input is written, while it runs: for what is too long to be kept.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::timeout;

use super::{
    CommandError, CommandLine, DRAIN, Group, LAST_WAIT, Tail, or_nothing, output, said, spawn,
};

/// A command that runs. Dropped, it is killed, with its process group.
///
/// The deadline of its line is that of each step: a read, a write, its end.
pub struct Running {
    line: CommandLine,
    child: Child,
    group: Group,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Tail,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Running({})", self.line)
    }
}

/// Which end of it is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// What it prints.
    Output,
    /// What it reads; what it prints is not kept.
    Input,
}

impl Running {
    /// Starts it. `secret` is a variable for its environment, which only root can read; arguments can be read by all.
    pub fn start(
        line: CommandLine,
        end: End,
        secret: Option<(&str, &str)>,
    ) -> Result<Self, CommandError> {
        let (input, output) = match end {
            End::Output => (Stdio::null(), Stdio::piped()),
            End::Input => (Stdio::piped(), Stdio::null()),
        };
        let mut child = spawn(&line, input, output, secret)?;
        Ok(Self {
            group: Group::of(child.id()),
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            stderr: Tail::of(child.stderr.take()),
            child,
            line,
        })
    }

    fn deadline(&self) -> Duration {
        Duration::from_millis(self.line.deadline_ms)
    }

    /// Reads the next of what it prints: how many bytes; 0 at the end.
    pub async fn read(&mut self, into: &mut [u8]) -> Result<usize, CommandError> {
        let deadline = self.deadline();
        let Some(stdout) = &mut self.stdout else {
            return Ok(0);
        };
        match timeout(deadline, stdout.read(into)).await {
            Ok(Ok(count)) => Ok(count),
            Ok(Err(source)) => Err(self.broke(source)),
            Err(_) => Err(self.late().await),
        }
    }

    /// Writes all of `bytes` to what it reads. Where it has ended, the error says how.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), CommandError> {
        let deadline = self.deadline();
        let Some(stdin) = &mut self.stdin else {
            return Ok(());
        };
        match timeout(deadline, stdin.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => {
                // It says itself why it reads no more.
                self.stdin = None;
                match self.ended().await {
                    Err(error) => Err(error),
                    Ok(()) => Err(self.broke(source)),
                }
            }
            Err(_) => Err(self.late().await),
        }
    }

    /// Whether it has ended, well or not, as far as is known without waiting.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Closes our end of it and waits until it has ended well.
    pub async fn finish(mut self) -> Result<(), CommandError> {
        self.stdin = None;
        self.stdout = None;
        self.ended().await
    }

    async fn ended(&mut self) -> Result<(), CommandError> {
        let Ok(ended) = timeout(self.deadline(), self.child.wait()).await else {
            return Err(self.late().await);
        };
        self.group.leave();
        let status = ended.map_err(|source| self.broke(source))?;
        let stderr = self.stderr.so_far(DRAIN).await;
        output(status, String::new(), stderr)
            .checked(&self.line)
            .map(drop)
    }

    async fn late(&mut self) -> CommandError {
        self.group.signal(nix::sys::signal::Signal::SIGKILL);
        let _ = timeout(LAST_WAIT, self.child.wait()).await;
        self.group.leave();
        CommandError::Deadline {
            command: self.line.to_string(),
            secs: self.deadline().as_secs_f64(),
            said: or_nothing(said("", &self.stderr.so_far(DRAIN).await)),
        }
    }

    fn broke(&self, source: io::Error) -> CommandError {
        CommandError::Wait {
            command: self.line.to_string(),
            source,
        }
    }
}
