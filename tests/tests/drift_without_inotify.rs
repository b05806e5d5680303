//! Where inotify's instances are used up (containers share them) edits are noticed some seconds later, which is told and
//! nothing worse; and at once again when there are some.

#![cfg(test)]

use std::time::{Duration, Instant};

use node_agent_tests::agent::{Agent, Scratch};
use node_agent_tests::machine::{run, wait_until};
use serde_json::Value;

/// Longer than anything should take on a busy host.
const SOON: Duration = Duration::from_secs(20);
/// A repair within this time was not waited for: paths that cannot be watched are looked at every 3 s.
const AT_ONCE: Duration = Duration::from_millis(1_500);

fn mended(scratch: &Scratch, agent: &Agent) -> Duration {
    let start = Instant::now();
    scratch
        .write("/etc/hosts", "127.0.0.1 localhost\n")
        .unwrap();
    wait_until("the repair", SOON, || {
        scratch.read("/etc/hosts").contains("node-agent")
    })
    .unwrap_or_else(|e| panic!("{e}\n{}", agent.said()));
    start.elapsed()
}

fn told(scratch: &Scratch) -> String {
    let said = scratch.ctl(&["status", "--output", "json"]).unwrap();
    let status: Value = serde_json::from_str(&said.stdout).unwrap_or_default();
    status["drift"].to_string()
}

#[test]
fn without_inotify_edits_are_mended_within_seconds_and_the_box_is_converged() {
    let bucket = Scratch::new("").unwrap();
    bucket
        .write("/fleet.json", include_str!("../fleets/heavy.json"))
        .unwrap();
    let scratch = Scratch::new(&format!(
        "fleet = \"file://{}\"\ntrust = \"none\"\nnode = \"web-1\"\n",
        bucket.root().display()
    ))
    .unwrap();
    let agent = Agent::start_with_inotify_instances(0, scratch.root()).unwrap();
    wait_until("the first run", SOON, || {
        scratch.status()["health"] == "converged"
    })
    .unwrap_or_else(|e| panic!("{e}\n{:#}\n{}", scratch.status(), agent.said()));
    for _ in 0..2 {
        let took = mended(&scratch, &agent);
        println!("without inotify: mended after {took:?}");
        std::thread::sleep(Duration::from_secs(4));
    }
    let said = told(&scratch);
    assert!(said.contains("max_user_instances"), "{said}");
    assert_eq!(scratch.status()["health"], "converged");
    let warnings = agent.said().matches("drift-unwatched").count();
    assert_eq!(warnings, 1, "told once:\n{}", agent.said());

    let raise = "echo 16 > /proc/sys/user/max_inotify_instances";
    let pid = agent.pid().to_string();
    let argv = ["nsenter", "--user", "--target", &pid, "sh", "-c", raise];
    let raised = run(&argv, b"", SOON).unwrap();
    assert_eq!(raised.code, Some(0), "{raised:?}");
    wait_until("it to be watched again", SOON, || told(&scratch) == "[]")
        .unwrap_or_else(|e| panic!("{e}\n{}", agent.said()));
    // It may have been noticed by a look by chance, but not three times.
    let slowest = (0..3).map(|_| {
        std::thread::sleep(Duration::from_secs(1));
        mended(&scratch, &agent)
    });
    let slowest = slowest.max().unwrap();
    println!("with inotify: mended after {slowest:?} at most");
    assert!(slowest < AT_ONCE, "{slowest:?}");
}
