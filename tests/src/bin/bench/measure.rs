//! One process measured from outside: its time on the wall and on processors, and its memory at the peak.

use std::io::Write;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use node_agent_tests::machine::run;

use crate::Result;

/// The longest that a measured process may take.
const PATIENCE: Duration = Duration::from_mins(5);

/// What one process took.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// From its start to its end.
    pub wall: Duration,
    /// On processors: the program's own work and the kernel's for it, children included.
    pub cpu: Duration,
    /// The most memory that was resident, in KiB.
    pub peak_kib: u64,
    /// Its exit code; -1: a signal.
    pub code: i32,
}

/// Runs `command` as the only child of a small process, which then knows what it took, and prints that.
pub fn trampoline(command: &[String]) -> ExitCode {
    let Some((program, arguments)) = command.split_first() else {
        return ExitCode::FAILURE;
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let clock = Instant::now();
    let Ok(status) = command.spawn().and_then(|mut child| child.wait()) else {
        return ExitCode::FAILURE;
    };
    let wall = clock.elapsed();
    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else {
        return ExitCode::FAILURE;
    };
    let micros = |time: TimeVal| i128::from(time.tv_sec()) * 1_000_000 + i128::from(time.tv_usec());
    let line = format!(
        "{} {} {} {}\n",
        wall.as_micros(),
        micros(usage.user_time()) + micros(usage.system_time()),
        usage.max_rss(),
        status.code().unwrap_or(-1)
    );
    match std::io::stdout().lock().write_all(line.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Runs `line`, which must end with `code`, and says what it took.
pub fn once(line: &[String], code: i32) -> Result<Cost> {
    let own = std::env::current_exe()?.display().to_string();
    let words: Vec<&str> = [own.as_str(), "measure"]
        .into_iter()
        .chain(line.iter().map(String::as_str))
        .collect();
    let output = run(&words, b"", PATIENCE)?;
    let mut numbers = output.stdout.split_whitespace();
    let mut next = || numbers.next().ok_or_else(|| format!("cannot run {line:?}"));
    let cost = Cost {
        wall: Duration::from_micros(next()?.parse()?),
        cpu: Duration::from_micros(next()?.parse()?),
        peak_kib: next()?.parse()?,
        code: next()?.parse()?,
    };
    if cost.code == code {
        Ok(cost)
    } else {
        Err(format!("{line:?} ended with {}, not with {code}", cost.code).into())
    }
}

/// Many runs of one thing.
#[derive(Debug, Default)]
pub struct Costs(Vec<Cost>);

impl Costs {
    /// Adds one.
    pub fn add(&mut self, cost: Cost) {
        self.0.push(cost);
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Times on the wall, shortest first.
    pub fn walls(&self) -> Vec<Duration> {
        sorted(self.0.iter().map(|cost| cost.wall).collect())
    }

    /// Times on processors, shortest first.
    pub fn cpus(&self) -> Vec<Duration> {
        sorted(self.0.iter().map(|cost| cost.cpu).collect())
    }

    /// The highest peak, in MiB.
    pub fn peak_mib(&self) -> f64 {
        let kib = self.0.iter().map(|cost| cost.peak_kib).max().unwrap_or(0);
        f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0
    }
}

/// Sorts.
pub fn sorted(mut all: Vec<Duration>) -> Vec<Duration> {
    all.sort_unstable();
    all
}

/// The time that `share` percent of the sorted ones do not exceed (nearest rank).
pub fn percentile(sorted: &[Duration], share: usize) -> Duration {
    let rank = (sorted.len() * share).div_ceil(100).max(1) - 1;
    sorted
        .get(rank)
        .or(sorted.last())
        .copied()
        .unwrap_or_default()
}
