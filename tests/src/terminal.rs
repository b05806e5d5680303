//! A person at a terminal of a box: the real `agentctl` and `agentd` on a scratch root, and what they say.
//!
//! A session reads like a terminal's scrollback, with whatever differs from run to run replaced: paths, times, process ids.

use std::fmt::Write;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::machine::built;

/// The sample fleet's document.
pub const HEAVY: &str = include_str!("../fleets/heavy.json");

/// A box under a scratch directory, and the directory that is its bucket.
#[derive(Debug)]
pub struct Terminal {
    dir: tempfile::TempDir,
    programs: PathBuf,
    said: String,
}

impl Terminal {
    /// A box that has nothing: no configuration, no document.
    pub fn bare() -> io::Result<Self> {
        let agentctl = built("agentctl").map_err(|error| io::Error::other(format!("{error:?}")))?;
        let programs = agentctl.parent().unwrap_or(&agentctl).to_path_buf();
        let terminal = Self {
            dir: tempfile::tempdir()?,
            programs,
            said: String::new(),
        };
        std::fs::create_dir_all(terminal.path("root/etc"))?;
        std::fs::create_dir_all(terminal.path("bucket"))?;
        Ok(terminal)
    }

    /// A box that is web-1 of the sample fleet, with the document published and nothing run yet.
    pub fn web_1() -> io::Result<Self> {
        let terminal = Self::bare()?;
        let bucket = terminal.path("bucket");
        terminal.write(
            "root/etc/agentd/agentd.toml",
            &format!(
                "fleet = \"file://{}\"\ntrust = \"none\"\nnode = \"web-1\"\npoll = \"1h\"\n",
                bucket.display()
            ),
        )?;
        terminal.write("root/etc/os-release", "ID=centos\n")?;
        terminal.write("root/etc/hosts", "127.0.0.1 localhost\n")?;
        terminal.write("bucket/fleet.json", HEAVY)?;
        Ok(terminal)
    }

    /// The same, converged: `agentd --once` was run.
    pub fn converged() -> io::Result<Self> {
        let mut terminal = Self::web_1()?;
        let root = terminal.root();
        let code = terminal
            .run("agentd", &["--root", &root, "--once"], None)?
            .0;
        if code != 2 {
            return Err(io::Error::other(format!(
                "agentd --once exits {code}:\n{}",
                terminal.said
            )));
        }
        terminal.said.clear();
        Ok(terminal)
    }

    /// A file of this test: `root/…`, `bucket/…`, or another.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.dir.path().join(inside)
    }

    /// The root, as an argument.
    pub fn root(&self) -> String {
        self.path("root").display().to_string()
    }

    /// Writes a file.
    #[expect(clippy::disallowed_methods, reason = "a scratch file of a test")]
    pub fn write(&self, inside: &str, text: &str) -> io::Result<()> {
        let path = self.path(inside);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, text)
    }

    /// Reads a file.
    pub fn read(&self, inside: &str) -> io::Result<String> {
        std::fs::read_to_string(self.path(inside))
    }

    /// Types `agentctl --root ROOT …`: the exit code and standard output. All of it goes into the session.
    pub fn ctl(&mut self, args: &[&str]) -> io::Result<(i32, String)> {
        let root = self.root();
        self.run("agentctl", &[&["--root", &root], args].concat(), None)
    }

    /// The same as another user, who is nobody.
    pub fn ctl_as_nobody(&mut self, args: &[&str]) -> io::Result<(i32, String)> {
        // Nobody may not enter the home directory in which the programs may lie, nor this scratch directory.
        let program = self.path("agentctl");
        if !program.exists() {
            std::fs::copy(self.programs.join("agentctl"), &program)?;
            for dir in ["", "root"] {
                let all = std::fs::Permissions::from_mode(0o755);
                std::fs::set_permissions(self.path(dir), all)?;
            }
        }
        let (root, program) = (self.root(), program.display().to_string());
        let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
        let words = [&nobody[..], &[&program, "--root", &root], args].concat();
        self.run("setpriv", &words, None)
    }

    /// Types a program's name and arguments in the scratch directory, with `input` piped into it.
    pub fn run(
        &mut self,
        program: &str,
        args: &[&str],
        input: Option<&str>,
    ) -> io::Result<(i32, String)> {
        let own = self.programs.join(program);
        let real = if own.is_file() { own } else { program.into() };
        let mut child = Command::new("timeout")
            .args(["--kill-after=5", "60"])
            .arg(real)
            .args(args)
            .current_dir(self.dir.path())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env_remove("NO_COLOR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
            stdin.write_all(input.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        let code = output.status.code().unwrap_or(-1);
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let root = self.root();
        let typed: Vec<&str> = args
            .iter()
            .copied()
            .filter(|word| *word != "--root" && *word != root)
            .collect();
        let _ = writeln!(self.said, "$ {program} {}", typed.join(" "));
        for line in stderr.lines() {
            let _ = writeln!(self.said, "! {line}");
        }
        self.said.push_str(&stdout);
        let _ = writeln!(self.said, "[exit {code}]\n");
        Ok((code, stdout))
    }

    /// Starts the daemon; returns when it answers. It is killed when the handle is dropped.
    pub fn start_daemon(&mut self) -> io::Result<Daemon> {
        let log = std::fs::File::create(self.path("agentd.log"))?;
        let root = self.root();
        let daemon = Daemon(
            Command::new(self.programs.join("agentd"))
                .args(["--root", &root])
                .env("AWS_EC2_METADATA_DISABLED", "true")
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()?,
        );
        let said = self.said.len();
        for _ in 0..100 {
            let (_, status) = self.ctl(&["status", "--output", "json"])?;
            if status.contains("\"heard\": \"live\"") && !status.contains("\"health\": \"waiting\"")
            {
                self.said.truncate(said);
                return Ok(daemon);
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let log = self.read("agentd.log").unwrap_or_default();
        Err(io::Error::other(format!("agentd does not come up:\n{log}")))
    }

    /// What was typed and said since the last time, with what differs from run to run replaced.
    pub fn said(&mut self) -> String {
        let said = std::mem::take(&mut self.said);
        let said = said.replace(&self.root(), "ROOT");
        let said = said.replace(&self.path("").display().to_string(), "DIR/");
        let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups DIR/agentctl";
        let said = said.replace(nobody, "(as nobody) agentctl");
        said.lines().map(steady).collect()
    }
}

/// A running `agentd`.
#[derive(Debug)]
pub struct Daemon(Child);

impl Daemon {
    /// Stops it in its tracks: it neither runs nor ends.
    pub fn freeze(&self) -> io::Result<()> {
        let pid = i32::try_from(self.0.id()).map_err(io::Error::other)?;
        let pid = nix::unistd::Pid::from_raw(pid);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP)?;
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Gone already: fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A line with its times, ages and process ids replaced.
fn steady(line: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in line.split(' ') {
        let bare = word.trim_matches(|c: char| "(),;:\"".contains(c));
        let before = words.last().cloned().unwrap_or_default();
        let (open, last) = match before.strip_prefix('(') {
            Some(last) => ("(", last),
            None => ("", before.as_str()),
        };
        let joined = match bare {
            "ms" | "s" | "min" | "h" | "day" | "days" if is_number(last) => Some("SPAN"),
            "ago" if last == "SPAN" => Some("AGO"),
            "now" if last == "just" => Some("AGO"),
            _ => None,
        };
        let now = if let Some(joined) = joined {
            words.pop();
            format!("{open}{}", word.replace(bare, joined))
        } else if is_moment(bare) {
            word.replace(bare, "TIME")
        } else if last == "process" && is_number(bare) {
            word.replace(bare, "PID")
        } else {
            word.to_owned()
        };
        words.push(now);
    }
    let mut line = words.join(" ");
    // A column is as wide as its ages are long.
    while line.contains("AGO   ") {
        line = line.replace("AGO   ", "AGO  ");
    }
    line.push('\n');
    line
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_digit() || c == '.')
}

/// `2026-11-23T02:57:00Z`, or the two halves that people read.
fn is_moment(word: &str) -> bool {
    let year = word.get(..2) == Some("20") && word.matches('-').count() == 2;
    let shape = |c: char| c.is_ascii_digit() || "-:.TZ".contains(c);
    (year && word.len() >= 10 && word.chars().all(shape))
        || (word.len() == 9 && word.ends_with('Z') && word.matches(':').count() == 2)
}
