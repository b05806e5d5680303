//! `agentd --once` beside the daemon: what it has accepted and written stays, and monitors see the daemon.

#![cfg(test)]

use std::time::Duration;

use node_agent_tests::agent::{Agent, Scratch};
use node_agent_tests::machine::{Output, built, run, wait_until};
use serde_json::{Value, json};

/// Longer than anything should take on a busy host.
const SOON: Duration = Duration::from_secs(20);

fn publish(bucket: &Scratch, version: u64) {
    let sample = include_str!("../fleets/heavy.json");
    let mut document: Value = serde_json::from_str(sample).unwrap();
    let signed = &mut document["signed"];
    signed["version"] = json!(version);
    signed["servers"]["cache-2"]["address"] = json!(format!("10.77.9.{version}"));
    bucket.write("/fleet.json", &document.to_string()).unwrap();
}

fn once(scratch: &Scratch) -> Output {
    let program = built("agentd").unwrap().display().to_string();
    let root = scratch.root().display().to_string();
    let argv = [program.as_str(), "--root", &root, "--once"];
    run(&argv, b"", SOON).unwrap()
}

/// The version that the daemon stands on, by its own word.
fn version(scratch: &Scratch) -> Value {
    let said = scratch.ctl(&["status", "--output", "json"]).unwrap();
    let status: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(status["running"], true);
    status["document"]["version"].clone()
}

#[test]
fn the_daemon_goes_on_from_what_another_process_has_accepted() {
    let bucket = Scratch::new("").unwrap();
    publish(&bucket, 1);
    let scratch = Scratch::new(&format!(
        "fleet = \"file://{}\"\ntrust = \"none\"\nnode = \"web-1\"\npoll = \"1h\"\n",
        bucket.root().display()
    ))
    .unwrap();
    let agent = Agent::start(scratch.root(), &[], &[]).unwrap();
    wait_until("the first run", SOON, || {
        scratch.status()["health"] == "converged"
    })
    .unwrap_or_else(|e| panic!("{e}\n{}", agent.said()));

    // It asks the bucket once an hour, and knows nothing of this version by itself.
    publish(&bucket, 2);
    let made = once(&scratch);
    assert_eq!(made.code, Some(2), "{made:?}");
    assert!(scratch.read("/etc/hosts").contains("10.77.9.2"));
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(200));
        let hosts = scratch.read("/etc/hosts");
        assert!(hosts.contains("10.77.9.2"), "{hosts}\n{}", agent.said());
        assert_eq!(scratch.status()["agent"]["pid"], agent.pid());
        let check = scratch.ctl(&["check"]).unwrap();
        assert!(!check.stdout.contains("not running"), "{check:?}");
    }
    assert_eq!(version(&scratch), 2, "{}", agent.said());

    // And a repair is one to the present version.
    scratch
        .write("/etc/hosts", "127.0.0.1 localhost\n")
        .unwrap();
    wait_until("the repair", SOON, || {
        scratch.read("/etc/hosts").contains("10.77.9.2")
    })
    .unwrap_or_else(|e| panic!("{e}\n{}", agent.said()));
}

#[test]
fn without_a_daemon_the_status_is_that_of_the_run() {
    let bucket = Scratch::new("").unwrap();
    publish(&bucket, 1);
    let scratch = Scratch::new(&format!(
        "fleet = \"file://{}\"\ntrust = \"none\"\nnode = \"web-1\"\n",
        bucket.root().display()
    ))
    .unwrap();
    assert_eq!(once(&scratch).code, Some(2));
    assert_eq!(scratch.status()["health"], "converged");
    assert_eq!(scratch.status()["document"]["version"], 1);
}
