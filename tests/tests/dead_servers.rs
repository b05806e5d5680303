//! Promise: a web server and a memcached that lose power leave DNS and every node list within the time of the document and half a
//! minute, by what others of their product agree on, and come back when they have been well for a while. Booted machines, their own
//! Apache and memcached, a real BIND, and visitors who use it.

#![cfg(test)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use node_agent_tests::bind::{KEY, NAME, ZONE, Zone};
use node_agent_tests::machine::{
    Fleet, FleetBucket, Image, Machine, MachineSpec, TEST_ADDRESS, wait_until, with_agent,
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_mins(1);
const AFTER_SECS: u64 = 20;
const SECRET: &str = "/etc/agentd/secrets/dns.key";
const LIST: &str = "/etc/shop/memcached.txt";

fn document() -> Value {
    let server = |host: u8, zone: &str, role: &str| json!({"address": format!("10.77.0.{host}"), "zone": zone, "roles": [role], "products": ["shop"]});
    json!({"signatures": [], "signed": {
        "format": 1, "fleet": "test", "version": 1,
        "issued": "2026-01-01T00:00:00Z", "expires": "2046-01-01T00:00:00Z",
        "servers": {
            "web-1": server(11, "a", "web"), "web-2": server(12, "b", "web"), "web-3": server(13, "b", "web"),
            "cache-1": server(21, "a", "memcached"), "cache-2": server(22, "b", "memcached"),
        },
        "roles": {"web": {}, "memcached": {}},
        "products": {"shop": {
            "files": {"/srv/shop/public/health": {"content": "ok\n", "mode": "0644"}},
            "sites": {"www": {"domains": [NAME], "root": "/srv/shop/public"}},
            "smoke": [{"site": "www", "path": "/health", "contains": "ok"}],
            "dns": {"zone": ZONE, "names": [NAME], "ttl": 1, "server": TEST_ADDRESS, "key": {"file": SECRET}},
            "cache": {"port": 11211, "memory": "64M", "list": {"path": LIST, "format": "text"}},
            "evict": {"web": format!("{AFTER_SECS}s"), "cache": format!("{AFTER_SECS}s")},
        }},
    }})
}

fn story(machine: &Machine) -> String {
    let status = machine.run(&["agentctl", "status"]);
    let status = status.map_or_else(|e| e.to_string(), |said| said.stdout + &said.stderr);
    let log = machine.journal("agentd.service").unwrap_or_default();
    format!("{}\n{status}\n{log}", machine.name())
}

/// The addresses that the name server gives visitors.
fn visitors_get(fleet: &Fleet) -> BTreeSet<String> {
    let said = fleet.run(&["host", "-t", "A", NAME, TEST_ADDRESS], SOON);
    let said = said.map(|said| said.stdout).unwrap_or_default();
    let lines = said.lines();
    lines
        .filter_map(|line| Some(line.split_once(" has address ")?.1.to_owned()))
        .collect()
}

fn addresses(hosts: &[u8]) -> BTreeSet<String> {
    hosts.iter().map(|host| format!("10.77.0.{host}")).collect()
}

/// The hosts of the node list of a machine, in its order.
fn listed(machine: &Machine) -> Vec<String> {
    let list = machine.read(LIST).unwrap_or_default();
    let nodes = list.lines().filter(|line| !line.starts_with('#'));
    nodes.map(str::to_owned).collect()
}

/// A visitor's request to one of the addresses that DNS gives; whether it was answered.
fn visit(fleet: &Fleet, turn: usize) -> bool {
    let standing: Vec<String> = visitors_get(fleet).into_iter().collect();
    let Some(address) = standing.get(turn % standing.len().max(1)) else {
        return false;
    };
    let url = format!("http://{NAME}/health");
    let to = format!("{NAME}:80:{address}");
    let line = ["curl", "-sf", "--max-time", "1", "--resolve", &to, &url];
    fleet.run(&line, SOON).is_ok_and(|said| said.success())
}

/// The five, of both layouts.
fn specs() -> Vec<MachineSpec> {
    let spec = |name: &str, host: u8| {
        let image = if host.is_multiple_of(2) {
            Image::Debian
        } else {
            Image::CentosLayout
        };
        let mut spec = MachineSpec::new(name, image, &format!("10.77.0.{host}"));
        if name.starts_with("web") {
            spec = spec.enable(image.apache_unit());
        }
        let mut spec = with_agent(spec.file(SECRET, KEY)).unwrap();
        for file in spec.files.iter_mut().filter(|file| file.path == SECRET) {
            file.mode = 0o600;
        }
        spec
    };
    vec![
        spec("web-1", 11),
        spec("web-2", 12),
        spec("web-3", 13),
        spec("cache-1", 21),
        spec("cache-2", 22),
    ]
}

/// All know who saw what; those who saw it alarm.
fn all_know_who_saw_what(one: &Machine, others: &[&Machine]) {
    let status = one.run(&["agentctl", "status"]).unwrap().stdout;
    assert!(
        status.contains("web-3 (web of shop) is left out since")
            && status.contains("found it dead"),
        "{status}"
    );
    let alarms = others.iter().filter(|machine| {
        let check = machine.run(&["agentctl", "check"]).unwrap();
        check.stdout.contains("dead: ")
    });
    assert!(alarms.count() >= 2);
    let plan = one.run(&["agentctl", "plan"]).unwrap().stdout;
    assert!(
        plan.contains("cache-2 is left out of the node list"),
        "{plan}"
    );
}

#[test]
fn dead_servers_leave_dns_and_node_lists_and_come_back_when_they_are_well() {
    let fleet = Fleet::new().unwrap();
    let bucket = FleetBucket::start(&fleet).unwrap();
    let zone = Zone::new(TEST_ADDRESS, 53).unwrap();
    let command = zone.command();
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let _named = fleet.spawn_in_net(&command, &[]).unwrap();
    bucket.publish(&document()).unwrap();
    let machines = fleet.boot_all(specs()).unwrap();
    let [web_1, web_2, web_3, cache_1, cache_2] = machines.as_slice() else {
        panic!("five machines")
    };
    let all = addresses(&[11, 12, 13]);
    let both = ["10.77.0.21:11211", "10.77.0.22:11211"];
    wait_until("all to be there", SOON, || {
        visitors_get(&fleet) == all && [web_1, web_2].iter().all(|it| listed(it) == both)
    })
    .unwrap_or_else(|e| {
        panic!(
            "{e}: {:?} {:?}\n{}",
            visitors_get(&fleet),
            listed(web_1),
            story(web_1)
        )
    });
    assert_eq!(
        bucket.get("prod/health/shop.json").unwrap(),
        None,
        "nothing is said while all is well"
    );

    web_3.power_off().unwrap();
    cache_2.power_off().unwrap();
    let died = Instant::now();
    let (mut failed, mut turn) = (0, 0);
    let mut gone = None;
    let left = wait_until("the dead ones to be gone everywhere", SOON, || {
        turn += 1;
        failed += usize::from(!visit(&fleet, turn));
        let in_dns = visitors_get(&fleet);
        assert!(in_dns.len() >= 2, "{in_dns:?}");
        if gone.is_none() && in_dns == addresses(&[11, 12]) {
            gone = Some(died.elapsed());
        }
        let everywhere = [web_1, web_2, cache_1]
            .iter()
            .all(|it| listed(it) == both[..1]);
        gone.is_some() && everywhere
    });
    let left = left.unwrap_or_else(|e| {
        panic!(
            "{e}: {:?}\n{}\n{}",
            bucket.get("prod/health/shop.json"),
            story(web_1),
            story(web_2)
        )
    });
    println!(
        "web-3 out of DNS after {:.1} s, cache-2 out of all lists after {:.1} s; {failed} of {turn} requests of a visitor failed",
        gone.unwrap_or_default().as_secs_f64(),
        left.as_secs_f64()
    );
    assert!(left.as_secs() <= AFTER_SECS + 30, "after {left:?}");
    for turn in 0..6 {
        assert!(visit(&fleet, turn), "a visitor after that");
    }
    all_know_who_saw_what(web_1, &[web_1, web_2, cache_1]);

    web_3.power_on().unwrap();
    cache_2.power_on().unwrap();
    wait_until(
        "both to be back",
        Duration::from_secs(AFTER_SECS + 70),
        || visitors_get(&fleet) == all && [web_1, web_2].iter().all(|it| listed(it) == both),
    )
    .unwrap_or_else(|e| {
        panic!(
            "{e}: {:?}\n{}\n{}",
            bucket.get("prod/health/shop.json"),
            story(web_3),
            story(cache_2)
        )
    });
}
