//! Running host commands with a deadline, and what goes wrong with machines.

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a machine, or the making of one, could not do. `Debug` reads like `Display`: tests unwrap it.
pub struct Trouble(String);

impl Trouble {
    /// Trouble of these words.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    /// Trouble, and why.
    pub fn caused(what: impl fmt::Display, cause: impl fmt::Display) -> Self {
        Self(format!("{what}: {cause}"))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for Trouble {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Trouble {}

/// What a command that ended left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The exit code; 124 or 137 when the deadline ended it; `None` when another signal did.
    pub code: Option<i32>,
    /// Standard output, whole.
    pub stdout: String,
    /// Standard error, whole.
    pub stderr: String,
}

impl Output {
    /// Exit code 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }
}

/// Runs `argv` with `input` to its end; at the deadline its process group gets SIGTERM, a second later SIGKILL.
pub fn run(argv: &[&str], input: &[u8], deadline: Duration) -> Result<Output, Trouble> {
    let said = || shown(argv);
    let mut child = Command::new("timeout")
        .args(["--kill-after=1", &format!("{}", deadline.as_secs_f64())])
        .args(argv)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| Trouble::caused(format!("cannot start {}", said()), e))?;
    let stdin = child.stdin.take();
    let ended = std::thread::scope(|scope| {
        scope.spawn(move || {
            // A command that does not read its input is no trouble of ours.
            stdin.map(|mut pipe| pipe.write_all(input))
        });
        child.wait_with_output()
    })
    .map_err(|e| Trouble::caused(format!("cannot wait for {}", said()), e))?;
    Ok(Output {
        code: ended.status.code(),
        stdout: String::from_utf8_lossy(&ended.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&ended.stderr).into_owned(),
    })
}

/// As [`run`], for commands that must succeed: their standard output.
pub(crate) fn must(argv: &[&str], input: &[u8], deadline: Duration) -> Result<String, Trouble> {
    let output = run(argv, input, deadline)?;
    if output.success() {
        Ok(output.stdout)
    } else {
        Err(failed(argv, &output))
    }
}

pub(crate) fn failed(argv: &[&str], output: &Output) -> Trouble {
    let code = match output.code {
        Some(124 | 137) => "overran its deadline".into(),
        Some(code) => format!("ended with {code}"),
        None => "was killed".into(),
    };
    let said = format!("{}{}", output.stdout, output.stderr);
    Trouble::new(format!("{} {code}: {}", shown(argv), said.trim()))
}

/// A command line for people: scripts are left out.
fn shown(argv: &[&str]) -> String {
    let words = argv.iter().map(|word| {
        if word.contains('\n') {
            "(script)"
        } else {
            word
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Calls `holds` until it is true; the time that took. An error names `what` when the deadline passes.
pub fn wait_until(
    what: &str,
    deadline: Duration,
    mut holds: impl FnMut() -> bool,
) -> Result<Duration, Trouble> {
    let start = Instant::now();
    while !holds() {
        if start.elapsed() > deadline {
            let secs = deadline.as_secs_f64();
            return Err(Trouble::new(format!("waited {secs} s in vain for {what}")));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(start.elapsed())
}

/// Writes into one of the kernel's own files, which know nothing of temporary files and renames.
pub(crate) fn tell_kernel(path: &Path, words: &str) -> Result<(), Trouble> {
    std::fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(words.as_bytes()))
        .map_err(|e| Trouble::caused(format!("cannot write {words} to {}", path.display()), e))
}
