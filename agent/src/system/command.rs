//! Running commands: with a deadline, bounded output, and the whole process group killed when it overruns.

use std::time::Duration;

use serde::{Deserialize, Serialize};

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

/// What a command that ended by itself, in time, left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit code 0.
    pub success: bool,
    /// The exit code, or `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output, capped.
    pub stdout: String,
    /// Standard error, capped.
    pub stderr: String,
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
        source: std::io::Error,
    },
    /// It overran its deadline; its process group was killed.
    #[error("{command} did not end within {secs} s and was killed; it had said: {said}")]
    Deadline {
        /// The command line.
        command: String,
        /// The deadline, in seconds.
        secs: f64,
        /// The tail of what it had printed.
        said: String,
    },
}

/// Runs a command to its end or its deadline.
///
/// At the deadline its process group gets SIGTERM, two seconds later SIGKILL; a child that survives
/// even that (uninterruptible sleep) is abandoned, so that nothing can hang the agent.
pub async fn run(_command: &CommandLine) -> Result<Output, CommandError> {
    Err(CommandError::Start {
        program: String::new(),
        source: std::io::Error::other("not built yet"),
    })
}
