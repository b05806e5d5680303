//! Promise: what a crash cuts off is made good, also where it is no file. `kill -9` of the agent at any point of a change of a
//! real memcached under a real systemd: the next start has the instance run, enabled, with what the document says.

#![cfg(test)]

use std::time::Duration;

use node_agent_tests::machine::{Fleet, Image, Machine, MachineSpec, ask_memcached, wait_until};
use serde_json::json;

const UNIT: &str = "agentd-memcached@shop.service";
const ADDRESS: &str = "10.77.0.21";
const BUCKET: &str = "/srv/bucket/fleet.json";
const SOON: Duration = Duration::from_secs(20);
/// More points than a change of one instance has.
const MOST_POINTS: u32 = 200;

fn boot(fleet: &Fleet, image: Image) -> Machine {
    let config = "fleet = \"file:///srv/bucket\"\ntrust = \"none\"\nnode = \"cache-1\"\n";
    let spec = MachineSpec::new("cache-1", image, ADDRESS)
        .with_agent_installed(config)
        .unwrap();
    fleet.boot(spec).unwrap()
}

fn publish(machine: &Machine, version: u32, megabytes: u32, port: u16) {
    let document = json!({"signatures": [], "signed": {
        "format": 1, "fleet": "test", "version": version,
        "issued": "2026-11-22T20:00:00Z", "expires": "2046-11-22T20:00:00Z",
        "servers": {"cache-1": {"address": ADDRESS, "roles": ["memcached"], "products": ["shop"]}},
        "roles": {"memcached": {}},
        "products": {"shop": {"cache": {"port": port, "memory": format!("{megabytes}M")}}},
    }});
    machine
        .write(BUCKET, document.to_string().as_bytes())
        .unwrap();
}

/// `agentd --once`; its exit code, 137 where it was killed.
fn once(machine: &Machine, environment: &str) -> i32 {
    let script = format!("env {environment} /usr/sbin/agentd --once >/tmp/said 2>&1; echo $?");
    machine
        .must(&["bash", "-c", &script])
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

/// What the instance that runs was started with.
fn runs_with(machine: &Machine, port: u16) -> Option<u64> {
    let stats = ask_memcached(machine, ADDRESS, port, "stats").ok()?;
    let line = stats
        .lines()
        .find_map(|line| line.strip_prefix("STAT limit_maxbytes "))?;
    line.trim().parse::<u64>().ok().map(|bytes| bytes >> 20)
}

fn is_enabled(machine: &Machine) -> bool {
    machine.property(UNIT, "UnitFileState").unwrap() == "enabled"
}

#[track_caller]
fn is_true(machine: &Machine, megabytes: u32, port: u16, how: &str) {
    assert_eq!(
        runs_with(machine, port),
        Some(megabytes.into()),
        "{how}: {}",
        machine.read("/tmp/said").unwrap()
    );
    assert!(is_enabled(machine), "{how}");
    assert!(!machine.exists("/var/lib/agentd/pending"), "{how}");
    assert!(!machine.exists("/var/lib/agentd/quarantine.json"), "{how}");
    assert_eq!(once(machine, ""), 0, "{how}: something was left to do");
}

#[test]
fn killed_at_any_point_of_a_change_of_an_instance() {
    // A sample of the points: all of them take three minutes, and what happens at them is the same for both layouts.
    for (image, stride) in [(Image::Debian, 3), (Image::CentosLayout, 7)] {
        let fleet = Fleet::new().unwrap();
        let machine = boot(&fleet, image);
        let (mut version, mut megabytes, mut port) = (1, 64, 11211);
        publish(&machine, version, megabytes, port);
        assert_eq!(once(&machine, ""), 2);
        is_true(&machine, megabytes, port, "at first");
        let mut points = 0;
        for point in (1..MOST_POINTS).step_by(stride) {
            version += 1;
            megabytes = if megabytes == 64 { 128 } else { 64 };
            // Each fourth time it listens elsewhere as well: an instance of before would not answer there at all.
            if points % 4 == 0 {
                port = if port == 11211 { 11311 } else { 11211 };
            }
            publish(&machine, version, megabytes, port);
            let code = once(&machine, &format!("AGENTD_CRASH_AT={point}"));
            let how = format!("{image:?}, killed at point {point}");
            if code == 2 {
                is_true(&machine, megabytes, port, &how);
                break;
            }
            assert_eq!(code, 137, "{how}");
            let code = once(&machine, "");
            assert!(
                matches!(code, 0 | 2),
                "{how}: {code}: {}",
                machine.read("/tmp/said").unwrap()
            );
            is_true(&machine, megabytes, port, &how);
            points += 1;
        }
        println!("{image:?}: killed at {points} points");
        assert!((5..MOST_POINTS / 3).contains(&points), "{points}");
    }
}

#[test]
fn killed_while_systemd_is_at_work_on_the_restart() {
    let fleet = Fleet::new().unwrap();
    let machine = boot(&fleet, Image::Debian);
    publish(&machine, 1, 64, 11211);
    assert_eq!(once(&machine, ""), 2);
    // A restart that takes a while: it does not come to its end.
    let dir = "/etc/systemd/system/agentd-memcached@.service.d";
    machine
        .write(
            &format!("{dir}/slow.conf"),
            b"[Service]\nExecStartPre=/bin/sleep 3\n",
        )
        .unwrap();
    machine.must(&["systemctl", "daemon-reload"]).unwrap();
    publish(&machine, 2, 128, 11211);
    let killed = "/usr/sbin/agentd --once & agent=$!; sleep 1.5; kill -9 $agent; systemctl --no-block stop agentd-memcached@shop; systemctl cancel; sleep 1; \
        sed -i s/128/64/ /etc/agentd/memcached/shop.env; systemctl start agentd-memcached@shop; sed -i s/64/128/ /etc/agentd/memcached/shop.env";
    machine.run(&["bash", "-c", killed]).unwrap();
    // Now it runs with what it had before, and the file says otherwise: nobody can see that it has not read it.
    wait_until("the old instance", SOON, || {
        runs_with(&machine, 11211) == Some(64)
    })
    .unwrap();
    assert!(
        machine
            .read("/etc/agentd/memcached/shop.env")
            .unwrap()
            .contains("128")
    );
    assert_eq!(once(&machine, ""), 2);
    is_true(&machine, 128, 11211, "after the restart was cut off");
}

#[test]
fn a_running_instance_that_somebody_has_disabled_gets_what_it_is_to_read() {
    let fleet = Fleet::new().unwrap();
    let machine = boot(&fleet, Image::Debian);
    publish(&machine, 1, 64, 11211);
    assert_eq!(once(&machine, ""), 2);
    machine.must(&["systemctl", "disable", UNIT]).unwrap();
    publish(&machine, 2, 256, 11211);
    assert_eq!(once(&machine, ""), 2);
    is_true(&machine, 256, 11211, "disabled, and changed");
    // Only disabled: it goes on running.
    let pid = machine.property(UNIT, "MainPID").unwrap();
    machine.must(&["systemctl", "disable", UNIT]).unwrap();
    assert_eq!(once(&machine, ""), 2);
    is_true(&machine, 256, 11211, "disabled");
    assert_eq!(machine.property(UNIT, "MainPID").unwrap(), pid);
}
