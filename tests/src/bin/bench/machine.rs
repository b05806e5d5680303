//! What was measured on, and what was measured: the machine, the programs' size, the crates in them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use node_agent_tests::machine::run;

use crate::table::{mib, table};
use crate::{Result, repository};

const PATIENCE: Duration = Duration::from_mins(1);

/// What a command says, trimmed; empty where it cannot be had.
fn said(line: &[&str]) -> String {
    run(line, b"", PATIENCE)
        .map(|output| output.stdout.trim().to_owned())
        .unwrap_or_default()
}

fn field(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_once([':', '=']));
    value.map_or_else(String::new, |(_, value)| {
        value.trim().trim_matches('"').to_owned()
    })
}

/// The machine in a sentence or two.
pub fn describe(bin: &Path) -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let scratch = std::env::temp_dir().display().to_string();
    let version = said(&[&bin.join("agentd").display().to_string(), "--version"]);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    Ok(format!(
        "{version}, {}, on {cores} × {} with {} of memory; {}, Linux {}; scratch files on {}; load when started: {}.",
        said(&["rustc", "--version"]),
        field("/proc/cpuinfo", "model name"),
        field("/proc/meminfo", "MemTotal"),
        field("/etc/os-release", "PRETTY_NAME"),
        said(&["uname", "-r"]),
        said(&["findmnt", "-no", "FSTYPE", "-T", &scratch]),
        load.split_whitespace().next().unwrap_or_default(),
    ))
}

/// The programs and what is in them.
pub fn sizes(bin: &Path) -> Result<String> {
    let mut rows = Vec::new();
    for program in ["agentd", "agentctl"] {
        let bytes = fs::metadata(bin.join(program))?.len();
        rows.push(vec![
            program.into(),
            mib(f64::from(u32::try_from(bytes)?) / 1024.0 / 1024.0),
        ]);
    }
    let manifest = repository().join("Cargo.toml").display().to_string();
    let tree = |more: &[&str]| {
        let line = [
            "cargo",
            "tree",
            "--offline",
            "--manifest-path",
            &manifest,
            "-p",
            "node-agent",
            "-e",
            "normal",
        ];
        let all: Vec<&str> = line.into_iter().chain(more.iter().copied()).collect();
        said(&all)
    };
    let crates: BTreeSet<String> = tree(&["--prefix", "none", "--format", "{p}"])
        .lines()
        .map(|line| {
            let line = line.trim_end_matches(" (*)");
            line.trim_end_matches(" (proc-macro)").to_owned()
        })
        .filter(|line| !line.is_empty())
        .collect();
    let twice: BTreeSet<&str> = crates
        .iter()
        .filter_map(|name| name.split_once(' ').map(|(name, _)| name))
        .filter(|name| {
            crates
                .iter()
                .filter(|other| {
                    other
                        .split_once(' ')
                        .is_some_and(|(other, _)| other == *name)
                })
                .count()
                > 1
        })
        .collect();
    let named: Vec<&str> = twice.iter().copied().collect();
    let named = if named.is_empty() {
        "none".to_owned()
    } else {
        named.join(", ")
    };
    Ok(format!(
        "{}\n{} crates go into them, procedural macros included; in more than one version: {named}.\n",
        table("The programs", &["program", "size"], &rows),
        crates.len()
    ))
}
