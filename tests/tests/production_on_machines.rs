//! Promise: a machine is in DNS while it is ready and nobody has it drain, never empties a name, is left alone while a person
//! holds it, and its cron jobs are seen to run. Booted machines of both layouts, their own Apache and cron, and a real BIND.

#![cfg(test)]

use std::collections::BTreeSet;
use std::time::Duration;

use node_agent_tests::bind::{KEY, NAME, ZONE, Zone};
use node_agent_tests::machine::{
    Fleet, FleetBucket, Image, Machine, MachineSpec, TEST_ADDRESS, wait_until, with_agent,
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(40);
/// Smoke tests are asked, and names that could not be left looked at again, once a minute; cron wakes at the full one.
const A_MINUTE: Duration = Duration::from_secs(130);
const SECRET: &str = "/etc/agentd/secrets/dns.key";
const FIRST: &str = "198.51.100.11";
const SECOND: &str = "198.51.100.12";

fn document(version: u64, more: &Value) -> Value {
    let mut cron = json!({
        "good": {"schedule": "* * * * *", "user": "shop", "record": true, "command": "echo well; id -un"},
        "bad": {"schedule": "* * * * *", "user": "shop", "record": true, "command": "echo no database >&2; exit 3"},
        "slow": {"schedule": "* * * * *", "user": "root", "record": true, "timeout": "1s", "command": "sleep 300 & sleep 301"},
    });
    if let (Some(cron), Some(more)) = (cron.as_object_mut(), more.as_object()) {
        cron.extend(more.clone());
    }
    json!({"signatures": [], "signed": {
        "format": 1, "fleet": "test", "version": version,
        "issued": "2026-01-01T00:00:00Z", "expires": "2046-01-01T00:00:00Z",
        "servers": {
            "web-1": {"address": "10.77.0.11", "public": [FIRST], "roles": ["web"], "products": ["shop"]},
            "web-2": {"address": "10.77.0.12", "public": [SECOND], "roles": ["web"], "products": ["shop"]},
        },
        "roles": {"web": {}},
        "products": {"shop": {
            "users": {"shop": {"uid": 1510, "home": "/srv/shop", "shell": "/bin/sh"}},
            "files": {"/srv/shop/public/health": {"content": "ok\n", "mode": "0644"}},
            "sites": {"www": {"domains": [NAME], "root": "/srv/shop/public"}},
            "smoke": [{"site": "www", "path": "/health", "contains": "ok"}],
            "dns": {"zone": ZONE, "names": [NAME], "ttl": 30, "server": TEST_ADDRESS, "key": {"file": SECRET}},
            "cron": cron,
        }},
    }})
}

fn status(machine: &Machine) -> Value {
    let said = machine
        .run(&["agentctl", "status", "--output", "json"])
        .unwrap();
    serde_json::from_str(&said.stdout).unwrap_or_default()
}

/// What `agentctl jobs` says: each job's state and output.
fn job(machine: &Machine, name: &str) -> (String, String) {
    let said = machine
        .run(&["agentctl", "jobs", "--output", "json"])
        .unwrap();
    let said: Value = serde_json::from_str(&said.stdout).unwrap_or_default();
    let jobs = said["jobs"].as_array().cloned().unwrap_or_default();
    let found = jobs.into_iter().find(|job| job["job"] == name);
    let found = found.unwrap_or_default();
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    (text("state"), text("output"))
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

fn set(addresses: &[&str]) -> BTreeSet<String> {
    addresses.iter().map(|one| (*one).to_owned()).collect()
}

#[test]
fn a_day_in_production() {
    let fleet = Fleet::new().unwrap();
    let bucket = FleetBucket::start(&fleet).unwrap();
    let zone = Zone::new(TEST_ADDRESS, 53).unwrap();
    let command = zone.command();
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let _named = fleet.spawn_in_net(&command, &[]).unwrap();
    let specs = [
        ("web-1", Image::Debian, "10.77.0.11"),
        ("web-2", Image::CentosLayout, "10.77.0.12"),
    ];
    let specs = specs.map(|(name, image, address)| {
        let spec = MachineSpec::new(name, image, address).enable(image.apache_unit());
        with_agent(spec.file(SECRET, KEY)).unwrap()
    });
    let machines = fleet.boot_all(specs.into()).unwrap();
    let [one, two] = machines.as_slice() else {
        panic!("two machines");
    };
    bucket.publish(&document(1, &json!({}))).unwrap();
    let said =
        |machine: &Machine, words: &str| status(machine)["reasons"].to_string().contains(words);

    // A key that others may read is none.
    wait_until("the open key to be told", SOON, || {
        said(one, "others than root may read the key")
    })
    .unwrap_or_else(|e| panic!("{e}: {}", status(one)));
    assert_eq!(visitors_get(&fleet), set(&[]));
    for machine in &machines {
        machine.must(&["chmod", "0600", SECRET]).unwrap();
    }
    wait_until("both in DNS", A_MINUTE, || {
        visitors_get(&fleet) == set(&[FIRST, SECOND])
    })
    .unwrap_or_else(|e| panic!("{e}: {}\n{}", status(one), status(two)));

    // Drained it leaves, and serves; the last one stays, until another has come.
    let drain = ["agentctl", "drain", "--for", "1h", "--reason", "kernel"];
    one.must(&drain).unwrap();
    wait_until("web-1 to leave", SOON, || {
        visitors_get(&fleet) == set(&[SECOND])
    })
    .unwrap_or_else(|e| panic!("{e}: {}", status(one)));
    assert!(one.exists("/run/agentd/draining"));
    assert_eq!(
        one.get("http://10.77.0.11/health", Some(NAME)).unwrap(),
        (200, "ok\n".to_owned())
    );
    two.must(&drain).unwrap();
    wait_until("web-2 to say that it is the last", SOON, || {
        status(two)["dns"].to_string().contains("the last ones")
    })
    .unwrap_or_else(|e| panic!("{e}: {}", status(two)));
    assert_eq!(visitors_get(&fleet), set(&[SECOND]));
    let check = one.run(&["agentctl", "check"]).unwrap();
    assert!(
        check.code == Some(1) && check.stdout.contains("drained (kernel)"),
        "{check:?}"
    );
    one.must(&["agentctl", "undrain"]).unwrap();
    wait_until("web-1 instead of web-2", A_MINUTE, || {
        visitors_get(&fleet) == set(&[FIRST])
    })
    .unwrap_or_else(|e| panic!("{e}: {}", status(two)));
    assert!(!one.exists("/run/agentd/draining"));

    // Held it is left alone, over a restart too, and what waits comes at its end.
    one.must(&["agentctl", "hold", "--for", "1h", "--reason", "new disks"])
        .unwrap();
    bucket
        .publish(&document(
            2,
            &json!({"new": {"schedule": "@daily", "user": "root", "command": "true"}}),
        ))
        .unwrap();
    let table = "/etc/cron.d/agentd-shop_new";
    wait_until("web-2 to have the new job", SOON, || two.exists(table)).unwrap();
    wait_until("web-1 to know of it", SOON, || {
        let status = status(one);
        status["document"]["version"] == 2 && said(one, "new disks")
    })
    .unwrap_or_else(|e| panic!("{e}: {}", status(one)));
    one.must(&["rm", "/etc/cron.d/agentd-shop_good"]).unwrap();
    one.must(&["systemctl", "restart", "agentd"]).unwrap();
    wait_until("it to be up again", SOON, || said(one, "new disks")).unwrap();
    assert!(!one.exists(table) && !one.exists("/etc/cron.d/agentd-shop_good"));
    let plan = one.run(&["agentctl", "plan"]).unwrap();
    assert!(plan.stdout.contains("on hold"), "{plan:?}");
    one.must(&["agentctl", "hold", "--end"]).unwrap();
    wait_until("what waited", SOON, || {
        one.exists(table) && one.exists("/etc/cron.d/agentd-shop_good")
    })
    .unwrap_or_else(|e| panic!("{e}: {}", status(one)));

    // Jobs are seen to run: as who they are, with what they said, within their time.
    wait_until("the jobs", A_MINUTE, || {
        job(two, "shop_good").0 == "ok"
            && job(two, "shop_bad").0 == "failed"
            && job(two, "shop_slow").0 == "overran"
    })
    .unwrap_or_else(|e| panic!("{e}: {:?}", two.run(&["agentctl", "jobs"])));
    assert_eq!(job(two, "shop_good").1, "well\nshop\n");
    assert_eq!(job(two, "shop_bad").1, "no database\n");
    let left = two.run(&["pgrep", "-x", "-f", "sleep 30[01]"]).unwrap();
    assert_eq!(left.stdout, "", "what it had started goes on");
    wait_until("the status", A_MINUTE, || {
        let told = status(two)["jobs"].to_string();
        told.contains(r#""state":"failed""#) && !told.contains("no database")
    })
    .unwrap_or_else(|e| panic!("{e}: {}", status(two)));
    let check = two.run(&["agentctl", "check", "jobs"]).unwrap();
    assert_eq!(check.code, Some(1), "{check:?}");

    // With the agent dead they are recorded all the same; another account can neither read nor stop them.
    two.must(&["systemctl", "stop", "agentd"]).unwrap();
    let as_user = |user: &str, command: &str| {
        let line = ["runuser", "-u", user, "--", "sh", "-c", command];
        two.run(&line).unwrap()
    };
    let ran = as_user(
        "shop",
        "agentctl job shop_bad -- sh -c 'echo by hand; exit 4'",
    );
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert_eq!(job(two, "shop_bad").1, "by hand\n");
    let record = "/var/lib/agentd-jobs/shop_bad";
    for command in [
        format!("cat {record}"),
        format!("echo x > {record}"),
        format!("rm -f {record}"),
        format!("flock -n {record} true"),
        "touch /var/lib/agentd-jobs/mine".to_owned(),
    ] {
        let tried = as_user("nobody", &command);
        assert!(!tried.success(), "{command}: {tried:?}");
        // Nor can the job's own account make anything else of the file.
        if !command.starts_with("cat")
            && !command.starts_with("echo")
            && !command.starts_with("flock")
        {
            let tried = as_user("shop", &command);
            assert!(!tried.success(), "{command}: {tried:?}");
        }
    }
}
