//! Running a package manager as a unit of its own: outside of the agent's sandbox and memory limit, not ended by the agent's
//! own end, and ended as a whole, scripts of packages included, at its deadline.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::system::chain;
use crate::system::command::{self, CommandLine};
use crate::system::systemd;

/// The unit. Its name is its lock: there is one at a time, whoever started it.
const UNIT: &str = "agentd-packages.service";
/// There where systemd is the machine's init. Where it is not, in a container, a manager is a child as any other.
const SYSTEMD: &str = "/run/systemd/system";
/// Between SIGTERM and SIGKILL at the deadline, and a little for systemd.
const STOP: Duration = Duration::from_secs(10);
const MARGIN: Duration = Duration::from_secs(10);
/// Between two looks at a unit that somebody else started.
const PAUSE: Duration = Duration::from_millis(500);
/// Asking systemd is answered at once, unless it is stuck.
const ASK: Duration = Duration::from_secs(10);
/// So much of the end of what it said is read, in bytes.
const READ: u64 = 64 * 1024;

/// Runs its arguments and keeps the first 4 MiB of what they print beside their exit code. Whoever started it may be gone by
/// then: nothing that it writes to is a pipe of the agent's.
const SCRIPT: &str = r#": >"$0.log"; chmod 600 "$0.log"; { "$@" 2>&1; echo "$?" >"$0.ended"; } | { dd of="$0.log" bs=65536 count=4194304 iflag=count_bytes 2>/dev/null; exec cat >/dev/null; }"#;

/// What every package manager finds in its environment: nobody to ask, and nothing that restarts services by itself.
const ENVIRONMENT: [&str; 9] = [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "LANG=C.UTF-8",
    "LC_ALL=C",
    "DEBIAN_FRONTEND=noninteractive",
    "APT_LISTCHANGES_FRONTEND=none",
    "NEEDRESTART_SUSPEND=1",
    "UCF_FORCE_CONFFOLD=1",
    "COLUMNS=200",
];

/// Runs package managers one after the other, all of them within one deadline.
pub(super) struct Runner<'a> {
    /// `systemctl`, absolute.
    pub systemctl: &'a Path,
    /// Where its output and exit code are kept, without their endings.
    pub kept: &'a Path,
    /// When all must have ended.
    pub until: Instant,
}

/// How a command ended that was not killed at the deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    /// Its exit code. `None`: somebody killed all of it.
    pub code: Option<i32>,
    /// The end of what it printed, both streams in one.
    pub said: String,
}

impl Ended {
    /// Whether a signal ended it.
    pub fn was_killed(&self) -> bool {
        self.code.is_none_or(is_signal)
    }
}

/// It did not end, or could not begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoEnd {
    /// It was killed at the deadline, with all that it had started.
    Late(String),
    /// systemd did not start it.
    NotStarted(String),
}

impl Runner<'_> {
    /// Runs a command to its end or the deadline.
    pub async fn run(&self, argv: &[String]) -> Result<Ended, NoEnd> {
        let (log, ended) = (self.file("log"), self.file("ended"));
        let _ = std::fs::remove_file(&ended);
        let left = self.left();
        let seconds = left.as_secs().max(1);
        let script = ["/bin/sh", "-c", SCRIPT].map(str::to_owned);
        let kept = self.kept.display().to_string();
        let script = script.into_iter().chain([kept]).chain(argv.iter().cloned());
        let started = Instant::now();
        let line = if Path::new(SYSTEMD).exists() {
            CommandLine::new(as_unit(script, seconds), left + STOP + MARGIN)
        } else {
            let variables = ENVIRONMENT.iter().map(|pair| (*pair).to_owned());
            let env = std::iter::once("/usr/bin/env".to_owned()).chain(variables);
            CommandLine::new(env.chain(script), left)
        };
        let output = command::run(&line).await;
        let said = tail(&log);
        let code = std::fs::read_to_string(&ended).ok();
        if let Some(code) = code.and_then(|text| text.trim().parse().ok()) {
            return Ok(Ended {
                code: Some(code),
                said,
            });
        }
        if started.elapsed() + Duration::from_secs(1) >= left {
            // systemd's own deadline was to end it; where it did not, nothing is left undone here.
            self.stop().await;
            return Err(NoEnd::Late(said));
        }
        match output {
            Ok(output) if !output.success && said.is_empty() && !output.stderr.is_empty() => {
                Err(NoEnd::NotStarted(output.said()))
            }
            Err(error) => Err(NoEnd::NotStarted(chain(&error))),
            Ok(_) => Ok(Ended { code: None, said }),
        }
    }

    fn file(&self, ending: &str) -> PathBuf {
        self.kept.with_extension(ending)
    }

    /// How much time is left.
    pub fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    async fn stop(&self) {
        let systemctl = self.systemctl.display().to_string();
        for verb in [&["stop"][..], &["kill", "--signal=SIGKILL"]] {
            let words = [&[systemctl.as_str()], verb, &["--", UNIT]].concat();
            let _ = command::run(&CommandLine::new(words, STOP + MARGIN)).await;
        }
    }

    /// Waits until what somebody else started has ended: an agent that was replaced in the middle of it. Whether it has.
    pub async fn wait(&self) -> bool {
        while is_running(self.systemctl).await {
            if self.left().is_zero() {
                return false;
            }
            sleep(PAUSE).await;
        }
        true
    }

    /// Whether the last command is not known to have ended by itself.
    pub fn was_cut_off(&self) -> bool {
        let code = std::fs::read_to_string(self.file("ended"));
        let code: Option<i32> = code.ok().and_then(|text| text.trim().parse().ok());
        code.is_none_or(is_signal)
    }
}

/// Whether the unit runs. What systemd does not say counts as no.
pub(super) async fn is_running(systemctl: &Path) -> bool {
    let systemctl = systemctl.display().to_string();
    let words = [&systemctl, "show", "--property=ActiveState", "--", UNIT];
    let output = command::run(&CommandLine::new(words, ASK)).await;
    let said = output.map(|output| output.stdout).unwrap_or_default();
    systemd::property(&said, "ActiveState")
        .is_some_and(|state| !matches!(state, "inactive" | "failed"))
}

/// `script` as a unit that systemd ends after `seconds`, with all that it has started.
fn as_unit(script: impl Iterator<Item = String>, seconds: u64) -> Vec<String> {
    let options = [
        "/usr/bin/systemd-run".to_owned(),
        format!("--unit={UNIT}"),
        "--description=node-agent changes packages".into(),
        "--quiet".into(),
        "--wait".into(),
        "--collect".into(),
        format!("--property=RuntimeMaxSec={seconds}"),
        format!("--property=TimeoutStopSec={}", STOP.as_secs()),
    ];
    let variables = ENVIRONMENT.iter().map(|pair| format!("--setenv={pair}"));
    // systemd puts variables of the unit's environment in the place of words with a dollar.
    let script = script.map(|word| word.replace('$', "$$"));
    let end = std::iter::once("--".to_owned());
    options
        .into_iter()
        .chain(variables)
        .chain(end)
        .chain(script)
        .collect()
}

/// A shell's exit code for what a signal ended. dnf has codes of its own above those.
fn is_signal(code: i32) -> bool {
    (129..=192).contains(&code)
}

/// The end of a file, as far as it can be read.
fn tail(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = std::fs::File::open(path) {
        let length = file.metadata().map_or(0, |meta| meta.len());
        let from = std::io::SeekFrom::Start(length.saturating_sub(READ));
        let _ = std::io::Seek::seek(&mut file, from);
        let _ = file.take(READ).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
