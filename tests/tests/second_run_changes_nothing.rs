//! Promise: a second run changes nothing. Not one write, not one time stamp, no other process; from S3, one request that
//! is answered 304. Shown by strace and by the files' inodes and times, not by the agent's own word.

#![cfg(test)]

use node_agent_tests::documents::{self, MANAGED_FILES};
use node_agent_tests::machine::{Output, Trouble};
use node_agent_tests::s3::S3Server;
use node_agent_tests::scratch::{Scratch, Stands};
use node_agent_tests::strace::{self, Offence};

const LOCK: &str = ".lock";

/// Runs a command line under strace. A machine without strace fails here.
fn traced(
    scratch: &Scratch,
    before: &[&str],
    line: &[String],
) -> Result<(Output, String), Trouble> {
    let log =
        tempfile::NamedTempFile::new().map_err(|e| Trouble::caused("cannot keep a log", e))?;
    let path = log.path().display().to_string();
    let words: Vec<&str> = before
        .iter()
        .copied()
        .chain(["strace"])
        .chain(strace::OPTIONS)
        .chain(["-o", &path])
        .collect();
    let output = scratch.run(&words, line)?;
    let log =
        std::fs::read_to_string(log.path()).map_err(|e| Trouble::caused("cannot keep a log", e))?;
    Ok((output, log))
}

/// How many of the managed files are there.
fn managed(scratch: &Scratch) -> Result<usize, Trouble> {
    let tree = scratch.tree()?;
    Ok(tree
        .iter()
        .filter(|(path, stands)| matches!(stands, Stands::File(..)) && documents::is_managed(path))
        .count())
}

fn listed(offences: &[Offence]) -> String {
    let lines: Vec<String> = offences.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

#[test]
fn a_second_run_makes_not_one_writing_call_and_leaves_every_inode_and_time() {
    let scratch = Scratch::new("web-1").unwrap();
    scratch.publish(&documents::usual(1)).unwrap();

    let (first, log) = traced(&scratch, &[], &scratch.once()).unwrap();
    assert_eq!(first.code, Some(2), "{}{}", first.stdout, first.stderr);
    assert_eq!(managed(&scratch).unwrap(), MANAGED_FILES);
    // The checker can fail: it sees what a run that has work does.
    let seen: Vec<String> = strace::offences(&log, LOCK)
        .into_iter()
        .map(|offence| offence.call)
        .collect();
    for call in [
        "openat",
        "write",
        "fsync",
        "renameat",
        "mkdirat",
        "symlinkat",
        "fchmod",
    ] {
        assert!(
            seen.iter().any(|seen| seen == call),
            "strace saw no {call} in the first run: {seen:?}"
        );
    }

    let before = scratch.stamps().unwrap();
    let (second, log) = traced(&scratch, &[], &scratch.once()).unwrap();
    assert_eq!(second.code, Some(0), "{}{}", second.stdout, second.stderr);
    assert!(
        strace::calls(&log) > 100,
        "strace saw next to nothing:\n{log}"
    );
    let offences = strace::offences(&log, LOCK);
    assert!(
        offences.is_empty(),
        "the second run wrote:\n{}",
        listed(&offences)
    );
    assert_eq!(scratch.stamps().unwrap(), before);

    // One byte of somebody else's in one of the 31, and the checker sees the repair, and nothing but it.
    let hosts = scratch.root().join("etc/hosts");
    let text = std::fs::read_to_string(&hosts)
        .unwrap()
        .replace("web-9", "web-99");
    scratch.write("etc/hosts", &text).unwrap();
    let (third, log) = traced(&scratch, &[], &scratch.once()).unwrap();
    assert_eq!(third.code, Some(2), "{}{}", third.stdout, third.stderr);
    let offences = strace::offences(&log, LOCK);
    assert!(listed(&offences).contains("hosts"), "{}", listed(&offences));
    let after = scratch.stamps().unwrap();
    let changed: Vec<_> = before
        .iter()
        .filter(|(path, stamp)| after.get(*path) != Some(*stamp))
        .map(|(path, _)| path.display().to_string())
        .filter(|path| path.starts_with("etc/"))
        .collect();
    assert_eq!(changed, ["etc/hosts"]);
}

#[test]
fn from_s3_a_second_run_costs_one_request_answered_304() {
    let server = S3Server::start().unwrap();
    server.put("prod/fleet.json", documents::usual(1).to_string());
    let scratch = Scratch::new("web-1").unwrap();
    let config = format!(
        "fleet = \"s3://fleet/prod\"\n[s3]\nendpoint = \"{}\"\npath_style = true\n",
        server.endpoint
    );
    scratch.write("etc/agentd/agentd.toml", &config).unwrap();
    let environment = server.env().map(|(name, value)| format!("{name}={value}"));
    let before: Vec<&str> = ["env"]
        .into_iter()
        .chain(environment.iter().map(String::as_str))
        .collect();
    let line = scratch.once_with(&[]);

    let first = scratch.run(&before, &line).unwrap();
    assert_eq!(first.code, Some(2), "{}{}", first.stdout, first.stderr);
    let asked: Vec<u16> = server
        .take_requests()
        .iter()
        .map(|request| request.status)
        .collect();
    assert_eq!(asked, [200]);

    let stamps = scratch.stamps().unwrap();
    let (second, log) = traced(&scratch, &before, &line).unwrap();
    assert_eq!(second.code, Some(0), "{}{}", second.stdout, second.stderr);
    let asked = server.take_requests();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(
        (
            asked[0].method.as_str(),
            asked[0].key.as_str(),
            asked[0].status,
            asked[0].sent
        ),
        ("GET", "prod/fleet.json", 304, 0)
    );
    let offences = strace::offences(&log, LOCK);
    assert!(
        offences.is_empty(),
        "the second run wrote:\n{}",
        listed(&offences)
    );
    assert_eq!(scratch.stamps().unwrap(), stamps);
}
