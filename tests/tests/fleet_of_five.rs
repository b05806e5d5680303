//! Five machines of both layouts and one bucket: they converge, follow every change, go on without the bucket, and
//! stand up again whatever kills the agent.

#![cfg(test)]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use node_agent_tests::machine::{
    Fleet, FleetBucket, Image, Machine, MachineSpec, agent_config, ask_memcached, wait_until,
    with_agent, with_agent_and,
};
use serde_json::{Value, json};

/// Longer than any step should take on a busy host.
const SOON: Duration = Duration::from_secs(40);

/// The fleet of `fleets/five.json`, at a version, changed as the test wants.
fn document(version: u64, change: impl FnOnce(&mut Value)) -> Value {
    let mut document: Value =
        serde_json::from_str(include_str!("../fleets/five.json")).unwrap_or_default();
    change(&mut document["signed"]);
    document["signed"]["version"] = json!(version);
    document
}

/// The five, of both layouts.
fn specs() -> Vec<MachineSpec> {
    let web = |name, image: Image, address| {
        with_agent(
            MachineSpec::new(name, image, address)
                .enable(image.apache_unit())
                .file("/srv/shop/current/public/index.html", "the shop")
                .file("/srv/video/current/public/index.html", "the videos"),
        )
        .unwrap()
    };
    // A monitor carries no product: it wants to resolve everybody.
    let everybody = agent_config("").replacen("poll", "hosts = \"fleet\"\npoll", 1);
    let monitor = MachineSpec::new("monitor-1", Image::Debian, "10.77.0.5");
    vec![
        web("web-1", Image::CentosLayout, "10.77.0.11"),
        web("web-2", Image::Debian, "10.77.0.12"),
        with_agent(MachineSpec::new(
            "cache-1",
            Image::CentosLayout,
            "10.77.0.21",
        ))
        .unwrap(),
        with_agent(MachineSpec::new("db-1", Image::CentosLayout, "10.77.0.31")).unwrap(),
        with_agent_and(monitor, &everybody).unwrap(),
    ]
}

/// What a machine says of itself.
fn status(machine: &Machine) -> Value {
    machine
        .run(&["agentctl", "status", "--output", "json"])
        .ok()
        .and_then(|said| serde_json::from_str(&said.stdout).ok())
        .unwrap_or_default()
}

/// The machine stands on this version, all of it came true, and the bucket said just now that it is the present one.
fn converged(machine: &Machine, version: u64) -> bool {
    let status = status(machine);
    status["health"] == "converged" && status["document"]["version"] == version
}

fn story(machine: &Machine) -> String {
    let status = machine.run(&["agentctl", "status"]);
    let status = status.map_or_else(|e| e.to_string(), |said| said.stdout + &said.stderr);
    let log = machine.journal("agentd.service").unwrap_or_default();
    format!("{}\n{status}\n{log}", machine.name())
}

#[track_caller]
fn see(machine: &Machine, what: &str, holds: impl FnMut() -> bool) -> Duration {
    match wait_until(&format!("{}: {what}", machine.name()), SOON, holds) {
        Ok(took) => took,
        Err(e) => panic!("{e}\n{}", story(machine)),
    }
}

/// Does the same to all machines at once.
fn at_once(machines: &[Machine], act: impl Fn(usize, &Machine) + Sync) {
    std::thread::scope(|scope| {
        for (index, machine) in machines.iter().enumerate() {
            let act = &act;
            scope.spawn(move || act(index, machine));
        }
    });
}

#[track_caller]
fn see_all_converged(machines: &[Machine], version: u64, when: &str) {
    for machine in machines {
        let what = format!("version {version} to be true {when}");
        see(machine, &what, || converged(machine, version));
    }
}

/// Where `name` leads on a machine, by the resolver that programs use.
fn resolves(machine: &Machine, name: &str) -> Option<String> {
    let said = machine.run(&["getent", "hosts", name]).ok()?;
    said.stdout.split_whitespace().next().map(str::to_owned)
}

fn serves(machine: &Machine, domain: &str, body: &str) -> bool {
    let url = format!("http://{}/", machine.address());
    machine.get(&url, Some(domain)).ok() == Some((200, body.to_owned()))
}

/// How much memory the instance of a port on cache-1 may use, as its clients on the web servers see it.
fn megabytes(from: &Machine, port: u16) -> Option<u64> {
    let stats = ask_memcached(from, "10.77.0.21", port, "stats").ok()?;
    let line = stats
        .lines()
        .find_map(|line| line.strip_prefix("STAT limit_maxbytes "))?;
    line.trim().parse::<u64>().ok().map(|bytes| bytes >> 20)
}

#[test]
fn five_machines_follow_one_document_through_every_trouble() {
    let fleet = Fleet::new().unwrap();
    let bucket = FleetBucket::start(&fleet).unwrap();
    bucket.publish(&document(1, |_| ())).unwrap();
    let machines = fleet.boot_all(specs()).unwrap();
    see_all_converged(&machines, 1, "after the first boot");
    each_is_what_it_should_be(&machines);

    everybody_follows_a_change(&bucket, &machines);
    they_go_on_without_the_bucket(&fleet, &bucket, &machines);
    one_reboots(&machines);
    the_agent_is_killed_everywhere(&bucket, &machines);
    the_agent_is_killed_in_the_middle_of_a_change(&bucket, &machines);
    the_power_fails_everywhere(&bucket, &machines);
    each_is_what_it_should_be(&machines);
}

/// What each role is for, seen from where it is used.
#[track_caller]
fn each_is_what_it_should_be(machines: &[Machine]) {
    let [web_1, web_2, cache, db, monitor] = machines else {
        panic!("asked for five machines");
    };
    for web in [web_1, web_2] {
        assert!(
            serves(web, "shop.example.com", "the shop"),
            "{}",
            story(web)
        );
        assert_eq!(resolves(web, "mysql-master").as_deref(), Some("10.77.0.31"));
        assert_eq!(megabytes(web, 11211), Some(64));
        let list = web.read("/etc/shop/memcached.json").unwrap();
        assert!(list.contains("10.77.0.21"), "{list}");
        assert!(web.exists("/etc/cron.d/agentd-shop_tick"));
    }
    // Each machine has its own part and nothing of another's.
    assert!(serves(web_1, "video.example.com", "the videos"));
    assert!(!serves(web_2, "video.example.com", "the videos"));
    assert!(web_1.exists("/etc/cron.d/agentd-shop_digest"));
    assert!(!web_2.exists("/etc/cron.d/agentd-shop_digest"));
    assert_eq!(megabytes(web_1, 11311), Some(64));
    assert!(cache.is_active("agentd-memcached@shop.service"));
    assert!(db.exists("/etc/cron.d/agentd-shop_purge"));
    for (name, address) in [
        ("web-1", "10.77.0.11"),
        ("web-2", "10.77.0.12"),
        ("cache-1", "10.77.0.21"),
        ("db-1", "10.77.0.31"),
    ] {
        assert_eq!(resolves(monitor, name).as_deref(), Some(address));
    }
    assert!(!db.exists("/etc/cron.d/agentd-shop_tick"));
    assert!(!monitor.exists("/etc/shop/memcached.json"));
}

/// One change that concerns every machine.
#[track_caller]
fn everybody_follows_a_change(bucket: &FleetBucket<'_>, machines: &[Machine]) {
    bucket
        .publish(&document(2, |signed| {
            signed["products"]["shop"]["cache"]["memory"] = json!("96M");
            signed["products"]["shop"]["sites"]["www"]["domains"] = json!([
                "shop.example.com",
                "www.shop.example.com",
                "m.shop.example.com"
            ]);
            // A name that stands in everybody's hosts.
            signed["servers"]["web-3"] =
                json!({"address": "10.77.0.13", "roles": ["web"], "products": ["shop"]});
        }))
        .unwrap();
    see_all_converged(machines, 2, "after the change");
    let [web_1, web_2, ..] = machines else {
        panic!("asked for five machines");
    };
    for web in [web_1, web_2] {
        assert!(serves(web, "m.shop.example.com", "the shop"));
        assert_eq!(megabytes(web, 11211), Some(96));
    }
    for machine in machines {
        assert_eq!(
            resolves(machine, "web-3").as_deref(),
            Some("10.77.0.13"),
            "{}",
            story(machine)
        );
    }
    bucket.publish(&document(3, |_| ())).unwrap();
    see_all_converged(machines, 3, "after the change was taken back");
    for machine in machines {
        assert_eq!(resolves(machine, "web-3"), None, "{}", story(machine));
    }
}

/// It hangs, then the network swallows everything, then each cable is pulled: each time drift is repaired meanwhile.
#[track_caller]
fn they_go_on_without_the_bucket(fleet: &Fleet, bucket: &FleetBucket<'_>, machines: &[Machine]) {
    bucket.freeze().unwrap();
    they_repair_and_tell(machines, "the bucket hangs");
    bucket.thaw().unwrap();
    see_all_converged(machines, 3, "after the bucket hung");

    bucket.cut().unwrap();
    they_repair_and_tell(machines, "the network swallows the bucket");
    bucket.heal().unwrap();
    see_all_converged(machines, 3, "after the network swallowed the bucket");

    for machine in machines {
        fleet.cut(machine).unwrap();
    }
    they_repair_and_tell(machines, "every cable is pulled");
    for machine in machines {
        fleet.heal(machine).unwrap();
    }
    see_all_converged(machines, 3, "after the cables were pulled");
}

#[track_caller]
fn they_repair_and_tell(machines: &[Machine], when: &str) {
    at_once(machines, |_, machine| {
        see(
            machine,
            &format!("the bucket's absence to be told, {when}"),
            || {
                let status = status(machine);
                status["health"] == "degraded" && !status["bucket"]["error"].is_null()
            },
        );
        let said = machine.run(&["agentctl", "status"]).unwrap();
        assert_eq!(said.code, Some(1), "{said:?}");
        // How old the document's confirmation is stands in the first line, which is all that some read.
        let first = said.stdout.lines().next().unwrap_or_default().to_owned();
        assert!(
            first.contains("version 3, confirmed ") && first.ends_with(" ago"),
            "{first}"
        );

        let before = machine.read("/etc/hosts").unwrap();
        let (ours, theirs): (Vec<&str>, Vec<&str>) = before
            .lines()
            .partition(|line| line.starts_with("10.77.0."));
        assert!(!ours.is_empty(), "{before}");
        machine
            .write("/etc/hosts", format!("{}\n", theirs.join("\n")).as_bytes())
            .unwrap();
        let took = see(machine, &format!("the hosts to be mended, {when}"), || {
            machine.read("/etc/hosts").is_ok_and(|now| now == before)
        });
        println!("{}: mended after {took:?} while {when}", machine.name());
    });
}

#[track_caller]
fn one_reboots(machines: &[Machine]) {
    let [web, ..] = machines else {
        panic!("asked for five machines");
    };
    let took = web.reboot().unwrap();
    let converged = see(web, "version 3 to be true after a reboot", || {
        converged(web, 3)
    });
    println!("rebooted in {took:?}, converged {converged:?} later");
    assert!(serves(web, "shop.example.com", "the shop"));
}

/// How often systemd has started the agent again since the machine booted.
fn restarts(machine: &Machine) -> u32 {
    machine
        .property("agentd.service", "NRestarts")
        .unwrap()
        .parse()
        .unwrap()
}

#[track_caller]
fn the_agent_is_killed_everywhere(bucket: &FleetBucket<'_>, machines: &[Machine]) {
    let before: Vec<u32> = machines.iter().map(restarts).collect();
    at_once(machines, |_, machine| {
        machine.kill_unit("agentd.service", "KILL").unwrap();
    });
    // Nobody is there to hear of it.
    bucket
        .publish(&document(4, |signed| {
            signed["products"]["shop"]["cache"]["memory"] = json!("80M");
        }))
        .unwrap();
    for (machine, before) in machines.iter().zip(before) {
        see(machine, "the agent to be started again", || {
            restarts(machine) > before
        });
    }
    see_all_converged(machines, 4, "after the agent was killed everywhere");
    assert_eq!(
        machines.first().map(|web| megabytes(web, 11211)),
        Some(Some(80))
    );
}

/// Each dies at another point of the same change, as if by SIGKILL, and only once.
#[track_caller]
fn the_agent_is_killed_in_the_middle_of_a_change(bucket: &FleetBucket<'_>, machines: &[Machine]) {
    // A start passes about twenty points though it changes nothing; what follows is within the change.
    let dies_at = [80, 60, 60, 50, 45];
    at_once(machines, |index, machine| {
        let point = dies_at.get(index).copied().unwrap_or(45);
        let unit = "[Service]\nEnvironmentFile=-/run/agentd-dies\nExecStartPost=/bin/rm -f /run/agentd-dies\n";
        machine
            .write(
                "/run/systemd/system/agentd.service.d/dies.conf",
                unit.as_bytes(),
            )
            .unwrap();
        let environment = format!("AGENTD_CRASH_AT={point}\n");
        machine
            .write("/run/agentd-dies", environment.as_bytes())
            .unwrap();
        machine.must(&["systemctl", "daemon-reload"]).unwrap();
        machine
            .must(&["systemctl", "restart", "agentd.service"])
            .unwrap();
        see(machine, "the agent to be back", || converged(machine, 4));
        assert_eq!(restarts(machine), 0, "died too early: {}", story(machine));
    });
    bucket
        .publish(&document(5, |signed| {
            signed["products"]["shop"]["cache"]["memory"] = json!("64M");
            signed["products"]["shop"]["sites"]["www"]["domains"] =
                json!(["shop.example.com", "later.shop.example.com"]);
            signed["servers"]["web-3"] =
                json!({"address": "10.77.0.13", "roles": ["web"], "products": ["shop"]});
        }))
        .unwrap();
    let unfinished = AtomicU32::new(0);
    at_once(machines, |_, machine| {
        // For two seconds nobody is there; then systemd starts it again. Or the change had fewer points than that.
        see(machine, "the agent to die in the change", || {
            machine
                .property("agentd.service", "SubState")
                .is_ok_and(|state| state == "auto-restart")
                || converged(machine, 5)
        });
        if machine.exists("/var/lib/agentd/pending") {
            unfinished.fetch_add(1, Ordering::Relaxed);
        }
    });
    let unfinished = unfinished.into_inner();
    println!("{unfinished} of five died with a step under way");
    assert!(unfinished >= 1, "nobody died in the middle of a step");
    see_all_converged(machines, 5, "after the agent died in the middle");
    let [web_1, web_2, ..] = machines else {
        panic!("asked for five machines");
    };
    for web in [web_1, web_2] {
        assert!(
            serves(web, "later.shop.example.com", "the shop"),
            "{}",
            story(web)
        );
    }
    for machine in machines {
        see(machine, "nothing to be pending", || {
            !machine.exists("/var/lib/agentd/pending")
        });
    }
    assert_eq!(megabytes(web_1, 11211), Some(64));
}

#[track_caller]
fn the_power_fails_everywhere(bucket: &FleetBucket<'_>, machines: &[Machine]) {
    bucket.publish(&document(6, |_| ())).unwrap();
    at_once(machines, |_, machine| machine.power_off().unwrap());
    at_once(machines, |_, machine| machine.power_on().unwrap());
    see_all_converged(machines, 6, "after the power failed everywhere");
}
