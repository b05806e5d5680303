//! The daemon: how soon a change is on the disk, and what it takes while nothing happens.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use node_agent_tests::documents;
use node_agent_tests::s3::S3Server;
use node_agent_tests::scratch::Scratch;
use serde_json::Value;

use crate::measure::{percentile, sorted};
use crate::table::{mib, table, time};
use crate::{Result, note};

/// How many boxes wait for each change: each asks in its own phase.
const BOXES: usize = 8;
/// The poll intervals in milliseconds, and how many changes are published at each.
const POLLS: [(u64, u64); 3] = [(200, 40), (1000, 30), (5000, 15)];
/// How often is looked whether a file has changed: the error of the figures.
const LOOK: Duration = Duration::from_millis(1);
/// Nothing may take longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a daemon at rest is watched.
const REST: Duration = Duration::from_mins(1);

/// A daemon on a scratch root. Dropped: killed.
struct Daemon {
    process: Child,
    scratch: Scratch,
}

impl Daemon {
    fn start(agentd: &Path, node: &str, server: &S3Server, poll_ms: u64) -> Result<Self> {
        let scratch = Scratch::with_agent(node, agentd)?;
        let config = format!(
            "fleet = \"s3://fleet/prod\"\nnode = \"{node}\"\ntrust = \"none\"\npoll = \"{poll_ms}ms\"\nhosts = \"fleet\"\n\
             [s3]\nendpoint = \"{}\"\npath_style = true\n",
            server.endpoint
        );
        scratch.write("etc/agentd/agentd.toml", &config)?;
        let process = Command::new(agentd)
            .arg("--root")
            .arg(scratch.root())
            .envs(server.env())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { process, scratch })
    }

    fn hosts(&self) -> PathBuf {
        self.scratch.root().join("etc/hosts")
    }

    fn proc(&self, name: &str) -> Result<String> {
        Ok(fs::read_to_string(format!(
            "/proc/{}/{name}",
            self.process.id()
        ))?)
    }

    /// Its memory in MiB: `VmRSS` now, `VmHWM` at the peak.
    fn memory(&self, what: &str) -> Result<f64> {
        let status = self.proc("status")?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(what))
            .ok_or("no such line")?;
        let kib: f64 = line
            .trim_matches([':', ' ', '\t'])
            .trim_end_matches(" kB")
            .parse()?;
        Ok(kib / 1024.0)
    }

    /// Its time on processors since it started, all its threads, to the nanosecond.
    fn cpu(&self) -> Result<Duration> {
        let mut total = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let spent = fs::read_to_string(task?.path().join("schedstat"))?;
            total += spent
                .split_whitespace()
                .next()
                .unwrap_or("0")
                .parse::<u64>()?;
        }
        Ok(Duration::from_nanos(total))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The usual document with an address that tells the version.
fn document(version: u64) -> (Value, String) {
    let address = format!("10.78.{}.{}", version / 250, version % 250 + 1);
    let document = documents::usual_but(version, "web-40", &address);
    (document, address)
}

pub fn latency(bin: &Path) -> Result<String> {
    let mut rows = Vec::new();
    for (poll_ms, changes) in POLLS {
        note(&format!("latency: polls of {poll_ms} ms"));
        let poll = Duration::from_millis(poll_ms);
        let server = S3Server::start()?;
        let publish = |version| {
            let (document, address) = document(version);
            server.put("prod/fleet.json", document.to_string());
            address
        };
        let mut address = publish(1);
        let boxes = (1..=BOXES)
            .map(|n| Daemon::start(&bin.join("agentd"), &format!("web-{n}"), &server, poll_ms))
            .collect::<Result<Vec<_>>>()?;
        let mut took = Vec::new();
        wait_for(&boxes, &address)?;
        for version in 2..2 + changes {
            // At another moment of the interval each time; the boxes have their phases besides.
            std::thread::sleep(
                poll.mul_f64(0.3 + f64::from(u8::try_from(version * 37 % 100)?) / 100.0),
            );
            address = publish(version);
            took.extend(wait_for(&boxes, &address)?);
        }
        let took = sorted(took);
        let beyond = |share| percentile(&took, share).saturating_sub(poll);
        rows.push(vec![
            time(poll),
            took.len().to_string(),
            time(percentile(&took, 50)),
            time(percentile(&took, 99)),
            time(percentile(&took, 100)),
            time(beyond(99)),
        ]);
    }
    let title =
        "From the publication of a change to the file on disk, through an S3 server on loopback";
    Ok(table(
        title,
        &[
            "poll interval",
            "changes seen",
            "median",
            "p99",
            "longest",
            "p99 less the interval",
        ],
        &rows,
    ))
}

/// How long each box took until its hosts file has `address`.
fn wait_for(boxes: &[Daemon], address: &str) -> Result<Vec<Duration>> {
    let clock = Instant::now();
    let mut took = Vec::new();
    let mut waiting: Vec<&Daemon> = boxes.iter().collect();
    while !waiting.is_empty() {
        waiting.retain(|waiting| {
            let there =
                fs::read_to_string(waiting.hosts()).is_ok_and(|text| text.contains(address));
            if there {
                took.push(clock.elapsed());
            }
            !there
        });
        if clock.elapsed() > PATIENCE {
            return Err(format!("{} boxes never got {address}", waiting.len()).into());
        }
        std::thread::sleep(LOOK);
    }
    Ok(took)
}

pub fn rest(bin: &Path) -> Result<String> {
    let server = S3Server::start()?;
    let (document, address) = document(1);
    server.put("prod/fleet.json", document.to_string());
    let daemon = Daemon::start(&bin.join("agentd"), "web-1", &server, 10_000)?;
    wait_for(std::slice::from_ref(&daemon), &address)?;
    // Past the start and what it leaves to do.
    std::thread::sleep(Duration::from_secs(12));
    server.take_requests();
    let (cpu, clock) = (daemon.cpu()?, Instant::now());
    std::thread::sleep(REST);
    let (spent, watched) = (daemon.cpu()?.saturating_sub(cpu), clock.elapsed());
    let polls = server.take_requests().len();
    let share = spent.as_secs_f64() / watched.as_secs_f64() * 100.0;
    Ok(table(
        "The daemon at rest: polls of 10 s through S3 on loopback, 31 managed files",
        &["watched", "polls", "CPU", "of one core", "RSS", "peak RSS"],
        &[vec![
            time(watched),
            polls.to_string(),
            time(spent),
            format!("{share:.3} %"),
            mib(daemon.memory("VmRSS")?),
            mib(daemon.memory("VmHWM")?),
        ]],
    ))
}
