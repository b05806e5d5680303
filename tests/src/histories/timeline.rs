//! What happened when: the agents' journals beside what was done to their machines.

use std::fmt::Write as _;

use serde_json::Value;

use super::stage::Stage;
use crate::machine::Machine;

/// What would bury the rest.
const NOISE: [&str; 4] = [
    // Each look at the process behind the socket is one.
    "Aborted connection",
    "InnoDB:",
    "[Note] Plugin",
    // One for each thread.
    "mariadb.service: Sen",
];

/// One line of it, at a moment in microseconds of the wall clock.
type Line = (u64, String);

impl Stage<'_> {
    /// The agents' and the servers' words on all database machines since `since` (microseconds of the wall clock), and `done`
    /// among them, in the order of time, milliseconds first.
    pub(super) fn timeline(&self, since: u64, done: &[Line]) -> String {
        let databases = self.databases();
        let mut lines: Vec<Line> = std::thread::scope(|scope| {
            let all: Vec<_> = databases
                .iter()
                .map(|machine| scope.spawn(|| journal(machine, since)))
                .collect();
            all.into_iter()
                .filter_map(|one| one.join().ok())
                .flatten()
                .collect()
        });
        lines.extend(done.iter().cloned());
        lines.sort();
        let mut out = String::new();
        for (at, line) in lines {
            let _ = writeln!(out, "{:>7} {line}", at.saturating_sub(since) / 1000);
        }
        out
    }
}

fn journal(machine: &Machine, since: u64) -> Vec<Line> {
    let from = format!("@{}", since / 1_000_000);
    let said = machine.run(&[
        "journalctl",
        "--no-pager",
        "--output=json",
        "--unit=agentd",
        "--unit=mariadb",
        "--since",
        &from,
    ]);
    let said = said.map(|said| said.stdout).unwrap_or_default();
    said.lines()
        .filter_map(|line| read(machine.name(), line))
        .collect()
}

/// The line's text, and what belongs to it.
fn read(name: &str, line: &str) -> Option<Line> {
    let value: Value = serde_json::from_str(line).ok()?;
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let message = text("MESSAGE")?;
    if NOISE.iter().any(|words| message.contains(words)) {
        return None;
    }
    let at = text("__REALTIME_TIMESTAMP")?.parse().ok()?;
    let mut words = vec![name.to_owned(), message.to_owned()];
    // The daemon's own fields; all others are the journal's.
    for (key, value) in value.as_object()? {
        let own = key.strip_prefix("F_");
        if let Some(key) = own.filter(|key| !["EVENT", "PRODUCT"].contains(key)) {
            let plain = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            words.push(format!("{}={plain}", key.to_lowercase()));
        }
    }
    Some((at, words.join("  ")))
}
