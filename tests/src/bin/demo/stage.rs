//! The stage: a scratch root, a bucket on loopback, the daemon as a child, and an operator's terminal.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use node_agent_tests::s3::{Access, S3Server};
use node_agent_tests::signing::{KeyFile, trust_section};
use serde_json::Value;

/// How long anything in the demonstration may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// So long the reader has for each step, where nothing else is asked for.
const READING: Duration = Duration::from_secs(3);
/// The most columns that are used of a terminal, and those of an output that is none.
const WIDEST: usize = 120;
/// The columns before a line of an answer.
const INDENT: usize = 4;
/// The steps of the demonstration.
const STEPS: u32 = 8;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How the reader is waited for between two steps.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    Enter,
    Seconds,
    None,
}

impl Pace {
    /// Where nobody watches, nobody is waited for.
    pub fn new(pause: bool, fast: bool) -> Self {
        let watched = io::stdout().is_terminal();
        match (pause && io::stdin().is_terminal(), fast || !watched) {
            (true, _) => Self::Enter,
            (false, true) => Self::None,
            (false, false) => Self::Seconds,
        }
    }
}

pub struct Stage {
    scratch: tempfile::TempDir,
    bucket: Option<S3Server>,
    address: SocketAddr,
    agent: Option<Child>,
    bin: PathBuf,
    scenes: u32,
    color: bool,
    columns: usize,
    pace: Pace,
    verbose: bool,
}

impl Stage {
    /// Builds the programs, a scratch root and a bucket.
    pub fn build(pace: Pace, verbose: bool) -> Result<Self> {
        let bin = build_programs()?;
        let scratch = tempfile::Builder::new()
            .prefix("node-agent-demo-")
            .tempdir()?;
        let bucket = S3Server::start()?;
        let address = bucket.address;
        let stage = Self {
            scratch,
            bucket: Some(bucket),
            address,
            agent: None,
            bin,
            scenes: 0,
            color: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            columns: terminal_size::terminal_size()
                .map_or(WIDEST, |(width, _)| usize::from(width.0))
                .min(WIDEST),
            pace,
            verbose,
        };
        Self::print("node-agent: one document in a bucket; every machine makes itself so.");
        stage.tell(&format!(
            "The box of this demonstration is the directory {}, the bucket is on {address}; both go at its end.",
            stage.scratch.path().display()
        ));
        Ok(stage)
    }

    /// A heading and what happens. Waits for the reader of the step before.
    pub fn scene(&mut self, title: &str, story: &str) {
        if self.scenes > 0 {
            self.wait_for_reader();
        }
        self.scenes += 1;
        let heading = format!("{}/{STEPS}  {title}", self.scenes);
        Self::print(&format!("\n{}", self.bold(&heading)));
        self.tell(story);
    }

    /// Prose, in lines that fit.
    fn tell(&self, text: &str) {
        Self::print(&wrapped(text, self.columns));
    }

    /// What the step has shown, in a line.
    pub fn seen(&self, text: &str) {
        let text = wrapped(text, self.columns.saturating_sub(5)).replace('\n', "\n     ");
        Self::print(&self.bold(&format!("  => {text}")));
    }

    fn wait_for_reader(&self) {
        match self.pace {
            Pace::None => {}
            Pace::Seconds => std::thread::sleep(READING),
            Pace::Enter => {
                Self::print(&self.dim("  (Enter goes on)"));
                // At the end of the input nobody is there to wait for.
                let _ = io::stdin().read_line(&mut String::new());
            }
        }
    }

    /// Why the demonstration cannot go on, in words.
    #[expect(clippy::print_stderr, reason = "the error that ends the demonstration")]
    pub fn complain(error: &dyn Error) {
        eprintln!("demo: {error}");
        let mut source = error.source();
        while let Some(cause) = source {
            eprintln!("  caused by: {cause}");
            source = cause.source();
        }
        eprintln!("demo: `cargo demo -- --verbose` shows more");
    }

    /// Begins the fleet at the operator's desk, and tells the box where it is and whose signatures count.
    pub fn begin(&self, document: &str) -> Result<()> {
        let key = KeyFile::new(self.scratch.path(), "operator").map_err(|error| {
            format!("the operator's key: {error} (ssh-keygen is in the package openssh-client)")
        })?;
        let s3 = format!(
            "[s3]\nendpoint = \"http://{}\"\npath_style = true\ntimeout = \"2s\"\n",
            self.address
        );
        let trust = format!("{}\n{s3}", trust_section(&[&key], 1));
        let key = key.path.display().to_string();
        self.write(
            "/etc/agentd/agentd.toml",
            &format!("fleet = \"s3://fleet/prod\"\nnode = \"web-1\"\npoll = \"500ms\"\n\n{trust}"),
        )?;
        self.show_if_verbose("/etc/agentd/agentd.toml")?;
        let desk = format!("fleet = \"s3://fleet/prod\"\nkey = {key:?}\n\n{trust}");
        self.file("desk.toml", &desk)?;
        self.publish(document)
    }

    /// The operator at the desk: checks, signs and publishes the document.
    pub fn publish(&self, document: &str) -> Result<()> {
        let file = self.file("fleet.json", document)?;
        let output = self.fleet(&["publish", &file, "--yes", "--any-version"])?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        Self::print(&self.dim("  $ agentctl fleet publish fleet.json"));
        let said = String::from_utf8_lossy(&output.stdout);
        Self::print(&self.dim(&format!("  │ {}", said.trim_end())));
        Ok(())
    }

    /// Puts a document into the bucket by hand, as whoever can write there may; the desk's own attempt says why it would not.
    pub fn publish_by_hand(&self, document: &str) -> Result<()> {
        let bucket = self.bucket.as_ref().ok_or("the bucket is away")?;
        bucket.put("prod/fleet.json", document.to_owned());
        Self::print(&self.dim("  $ aws s3 cp broken.json s3://fleet/prod/fleet.json"));
        Ok(())
    }

    /// What was published last, byte for byte.
    pub fn published(&self) -> Result<Vec<u8>> {
        let bucket = self.bucket.as_ref().ok_or("the bucket is away")?;
        let bytes = bucket
            .get("prod/fleet.json")
            .ok_or("nothing is published")?;
        Ok(bytes.to_vec())
    }

    /// Puts back what was published.
    pub fn put_back(&self, published: &[u8]) -> Result<()> {
        let bucket = self.bucket.as_ref().ok_or("the bucket is away")?;
        bucket.put("prod/fleet.json", published.to_vec());
        Ok(())
    }

    /// Runs `agentctl fleet` at the desk.
    #[expect(
        clippy::disallowed_methods,
        reason = "each request of it has a deadline, and it asks nothing"
    )]
    fn fleet(&self, arguments: &[&str]) -> Result<std::process::Output> {
        let env = self.bucket.as_ref().ok_or("the bucket is away")?.env();
        let desk = self.scratch.path().join("desk.toml");
        let mut command = Command::new(self.bin.join("agentctl"));
        command
            .args(["--color", "never", "fleet", "--desk"])
            .arg(desk)
            .args(arguments)
            .envs(env)
            .stdin(Stdio::null());
        Ok(command.output()?)
    }

    /// Publishes and waits until the box stands on that version.
    pub fn publish_and_wait(&self, document: &str) -> Result<()> {
        let version = version_of(document)?;
        self.publish(document)?;
        self.wait(&format!("version {version} to be applied"), |status| {
            at(status, "/document/version") == version
                && at(status, "/last_run/document/version") == version
        })
    }

    /// The next version of a document, with pieces of its text replaced. Shows them as the operator's diff.
    pub fn edit(&self, document: &str, replacements: &[(&str, &str)]) -> Result<String> {
        let version = version_of(document)?;
        let mut edited = document.replace(
            &format!("\"version\": {version},"),
            &format!("\"version\": {},", version + 1),
        );
        for (old, new) in replacements {
            if !edited.contains(old) {
                return Err(format!("the sample document has no {old}").into());
            }
            edited = edited.replacen(old, new, 1);
        }
        let mut diff = String::new();
        let mut line = |mark: char, color: &str, text: &str| {
            let line = self.clipped(&format!("  fleet.json {mark} {}", text.trim()), 0);
            let (color, plain) = if self.color {
                (color, "\x1b[0m")
            } else {
                ("", "")
            };
            diff.extend([color, &line, plain, "\n"]);
        };
        for (old, new) in replacements {
            for change in similar::TextDiff::from_lines(*old, *new).iter_all_changes() {
                match change.tag() {
                    similar::ChangeTag::Delete => line('-', "\x1b[31m", change.value()),
                    similar::ChangeTag::Insert => line('+', "\x1b[32m", change.value()),
                    similar::ChangeTag::Equal => {}
                }
            }
        }
        Self::print(&diff);
        Ok(edited)
    }

    /// A file at the operator's desk. Returns its path.
    pub fn file(&self, name: &str, text: &str) -> Result<String> {
        let path = self.scratch.path().join(name);
        write_file(&path, text)?;
        Ok(path.display().to_string())
    }

    pub fn start_agent(&mut self) -> Result<()> {
        let bucket = self.bucket.as_ref().ok_or("the bucket is away")?;
        let log = fs::File::create(self.scratch.path().join("agentd.log"))?;
        Self::print(&self.command("agentd", &[]));
        let agent = Command::new(self.bin.join("agentd"))
            .arg("--root")
            .arg(self.scratch.path())
            .envs(bucket.env())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.agent = Some(agent);
        Ok(())
    }

    /// Runs agentctl as an operator would, and shows what it says: so many lines of it, unless all is asked for.
    #[expect(
        clippy::disallowed_methods,
        reason = "agentctl has deadlines of its own"
    )]
    pub fn ctl(&self, arguments: &[&str], lines: usize) -> Result<()> {
        let shown: Vec<String> = arguments
            .iter()
            .map(|word| {
                word.strip_prefix(&format!("{}/", self.scratch.path().display()))
                    .unwrap_or(word)
                    .to_owned()
            })
            .collect();
        let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
        Self::print(&self.command("agentctl", &shown));
        let output = Command::new(self.bin.join("agentctl"))
            .arg("--root")
            .arg(self.scratch.path())
            .args(["--color", if self.color { "always" } else { "never" }])
            .args(arguments)
            .output()?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said)
            .replace(&format!("{}/", self.scratch.path().display()), "");
        self.print_lines(&said, lines);
        Ok(())
    }

    /// Shows a file of the box, where all is asked for.
    pub fn show_if_verbose(&self, path: &str) -> Result<()> {
        if !self.verbose {
            return Ok(());
        }
        let text =
            fs::read_to_string(self.path(path)).map_err(|error| format!("{path}: {error}"))?;
        Self::print(&format!(
            "{}\n{}",
            self.dim(&format!("  {path}")),
            indent(&text)
        ));
        Ok(())
    }

    /// Shows the lines of a file of the box that have `text` in them.
    pub fn grep(&self, text: &str, path: &str) -> Result<()> {
        let whole =
            fs::read_to_string(self.path(path)).map_err(|error| format!("{path}: {error}"))?;
        let lines: Vec<&str> = whole.lines().filter(|line| line.contains(text)).collect();
        Self::print(&self.command("grep", &[text, path]));
        Self::print(&indent(&lines.join("\n")));
        Ok(())
    }

    /// Shows the names of files under a directory of the box.
    pub fn tree(&self, dir: &str, lines: usize) -> Result<()> {
        let mut names = Vec::new();
        walk(&self.path(dir), &mut |path| {
            let link = fs::read_link(path)
                .map(|target| format!(" -> {}", target.display()))
                .unwrap_or_default();
            let name = path.strip_prefix(self.scratch.path()).unwrap_or(path);
            // The agent's settings are the operator's.
            if !name.starts_with("etc/agentd") {
                names.push(format!("/{}{link}\n", name.display()));
            }
        })?;
        names.sort();
        self.print_lines(&names.concat(), lines);
        Ok(())
    }

    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        write_file(&self.path(path), text)
    }

    /// The content of every file under /etc.
    pub fn fingerprint(&self) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
        let mut files = BTreeMap::new();
        walk(&self.path("/etc"), &mut |path| {
            files.insert(path.to_path_buf(), fs::read(path).unwrap_or_default());
        })?;
        Ok(files)
    }

    pub fn expect_unchanged(&self, before: &BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
        if *before == self.fingerprint()? {
            Ok(())
        } else {
            Err("a refused document changed something under /etc".into())
        }
    }

    pub fn stop_bucket(&mut self) {
        self.bucket = None;
        Self::print(&self.dim("  (the bucket refuses connections now)"));
    }

    pub fn start_bucket(&mut self, published: &[u8]) -> Result<()> {
        let bucket = S3Server::start_at(self.address, Access::default())?;
        bucket.put("prod/fleet.json", published.to_vec());
        self.bucket = Some(bucket);
        Ok(())
    }

    pub fn wait_for_run(&self, id: u64) -> Result<()> {
        self.wait("the first run", |status| {
            at(status, "/last_run/id").as_u64() >= Some(id)
        })
    }

    pub fn wait_for_refusal(&self) -> Result<()> {
        self.wait("the document to be refused", |status| {
            !at(status, "/refused").is_null()
        })
    }

    pub fn wait_converged(&self) -> Result<()> {
        self.wait("the box to be converged", |status| {
            at(status, "/health") == "converged" && at(status, "/bucket/error").is_null()
        })
    }

    pub fn wait_for_bucket_error(&self) -> Result<()> {
        self.wait("the bucket's absence to be noticed", |status| {
            at(status, "/health") == "degraded"
        })
    }

    /// Waits until a file of the box has `text` in it; returns how long that took.
    pub fn wait_for_text(&self, path: &str, text: &str) -> Result<Duration> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if fs::read_to_string(self.path(path)).is_ok_and(|content| content.contains(text)) {
                let took = start.elapsed();
                // The journal is written a moment after the file.
                std::thread::sleep(Duration::from_millis(150));
                return Ok(took);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Err(self.in_vain(&format!("{path} to be repaired")))
    }

    /// Stops the daemon as systemd would, and sweeps the stage.
    pub fn finish(mut self) -> Result<()> {
        let start = Instant::now();
        if let Some(mut agent) = self.agent.take() {
            let pid = i32::try_from(agent.id())?;
            nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGTERM,
            )?;
            let status = agent.wait()?;
            if !status.success() {
                return Err(format!("agentd was asked to stop and ended with {status}").into());
            }
            Self::print(&format!(
                "\nAll of it happened on the real programs; agentd stopped within {} ms. Next:",
                start.elapsed().as_millis()
            ));
        }
        Self::print(
            "  cargo demo -- --pause --verbose  the same slowly, with files and answers whole\n  \
               target/debug/agentctl validate tests/fleets/heavy.json   check a document\n  \
               tests/run                        every test, on machines that boot (as root)\n  \
               README.md, \"Use it\"              a document and a machine of your own",
        );
        Ok(())
    }

    fn wait(&self, what: &str, done: impl Fn(&Value) -> bool) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let text = fs::read_to_string(self.path("/run/agentd/status.json")).unwrap_or_default();
            if serde_json::from_str(&text).is_ok_and(|status| done(&status)) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(self.in_vain(what))
    }

    fn in_vain(&self, what: &str) -> Box<dyn Error> {
        let log = self.log();
        let whole: Vec<&str> = log.lines().collect();
        let shown = if self.verbose { whole.len() } else { 3 };
        let last = whole.get(whole.len().saturating_sub(shown)..);
        format!(
            "waited {} s in vain for {what}. The end of the daemon's log:\n{}",
            PATIENCE.as_secs(),
            last.unwrap_or_default().join("\n")
        )
        .into()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.scratch.path().join("agentd.log")).unwrap_or_default()
    }

    fn path(&self, path: &str) -> PathBuf {
        self.scratch.path().join(path.trim_start_matches('/'))
    }

    fn command(&self, program: &str, arguments: &[&str]) -> String {
        let line = format!("  $ {program} {}", arguments.join(" "));
        self.bold(line.trim_end())
    }

    fn bold(&self, text: &str) -> String {
        if self.color {
            format!("\x1b[1m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// So many lines of a text, and how many more there are.
    fn print_lines(&self, text: &str, most: usize) {
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        if self.verbose || lines.len() <= most {
            return Self::print(&indent(text));
        }
        let shown = lines.get(..most).unwrap_or_default();
        let shown: Vec<String> = shown
            .iter()
            .map(|line| self.clipped(line, INDENT))
            .collect();
        Self::print(&indent(&shown.join("\n")));
        let more = lines.len() - most;
        let lines = if more == 1 { "line" } else { "lines" };
        Self::print(&self.dim(&format!("  │ … {more} {lines} more: --verbose")));
    }

    /// A line that fits behind an indent of so many columns, unless all is asked for. Colours take no room.
    fn clipped(&self, line: &str, indent: usize) -> String {
        let room = self.columns.saturating_sub(indent);
        if self.verbose || visible(line).count() <= room {
            return line.to_owned();
        }
        let Some((end, _)) = visible(line).nth(room.saturating_sub(1)) else {
            return line.to_owned();
        };
        let cut = line.get(..end).unwrap_or_default();
        let plain = if self.color { "\x1b[0m" } else { "" };
        format!("{cut}{plain}…")
    }

    fn dim(&self, text: &str) -> String {
        if self.color {
            format!("\x1b[2m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// Prints a line. Where the reader has gone (`| head`), the demonstration goes on unseen to its end.
    fn print(text: &str) {
        let mut out = io::stdout().lock();
        // Not fatal: the daemon must still be stopped when nobody reads any more.
        let _ = writeln!(out, "{}", text.trim_end_matches('\n'));
    }
}

/// The characters of a line that take room on a terminal, with where they stand.
fn visible(line: &str) -> impl Iterator<Item = (usize, char)> {
    let mut in_escape = false;
    line.char_indices().filter(move |(_, character)| {
        let escape = in_escape || *character == '\x1b';
        in_escape = escape && *character != 'm';
        !escape
    })
}

/// Words in lines of at most so many columns.
fn wrapped(text: &str, columns: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(agent) = &mut self.agent {
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}

/// Builds the programs with the cargo that runs us; returns where they are.
#[expect(
    clippy::disallowed_methods,
    reason = "how long a build takes is not for us to say"
)]
fn build_programs() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Not quiet: where there is something to build, minutes without a word look like a fault.
    let status = Command::new(&cargo)
        .args(["build", "--bins", "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"))
        .status()
        .map_err(|error| format!("{} does not start: {error}", cargo.display()))?;
    if !status.success() {
        return Err("the programs do not build".into());
    }
    let me = std::env::current_exe()?;
    Ok(me.parent().ok_or("no directory")?.to_path_buf())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a person at work in a scratch directory"
)]
fn write_file(path: &Path, text: &str) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    Ok(fs::write(path, text)?)
}

/// A value of a status or a document; null where there is none.
fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

fn version_of(document: &str) -> Result<u64> {
    let parsed: Value = serde_json::from_str(document)?;
    at(&parsed, "/signed/version")
        .as_u64()
        .ok_or_else(|| "the document has no version".into())
}

fn indent(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        out.extend(["  │ ", line, "\n"]);
    }
    out
}

fn walk(dir: &Path, visit: &mut dyn FnMut(&Path)) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.symlink_metadata()?.is_dir() {
            walk(&path, visit)?;
        } else {
            visit(&path);
        }
    }
    Ok(())
}
