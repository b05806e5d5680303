//! Promise: what a job's fields say is what cron does: environment, shell, time zone, lock, timeout, account, `@reboot`.
//!
//! The agent on booted machines of both layouts, with their own cron. Needs what `tests/setup` makes.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests, and what they share"
)]

use std::time::{Duration, Instant};

use node_agent_tests::machine::{
    Fleet, FleetBucket, Image, Machine, MachineSpec, wait_until, with_agent,
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
/// cron wakes at the full minute.
const A_MINUTE: Duration = Duration::from_secs(100);

fn document(version: u64, cron: &Value) -> Value {
    json!({"signatures": [], "signed": {
        "format": 1, "fleet": "test", "version": version,
        "issued": "2026-01-01T00:00:00Z", "expires": "2036-01-01T00:00:00Z",
        "servers": {
            "web-1": {"address": "10.77.0.11", "roles": ["web"], "products": ["shop"]},
            "web-2": {"address": "10.77.0.12", "roles": ["web"], "products": ["shop"]},
        },
        "roles": {"web": {}},
        "products": {"shop": {"cron": cron}},
    }})
}

/// The line of a job's table, as cron hands it to the shell: only `%` stands in it otherwise.
fn line(machine: &Machine, job: &str) -> String {
    let table = machine
        .read(&format!("/etc/cron.d/agentd-shop_{job}"))
        .unwrap();
    let line = table.lines().last().unwrap().to_owned();
    let command = line.splitn(7, ' ').nth(6).unwrap();
    command.replace("\\%", "%")
}

#[track_caller]
fn converged(machine: &Machine, version: u64) {
    let told = format!("version {version},");
    let said = || machine.run(&["agentctl", "status"]).unwrap();
    wait_until("agentctl status to be 0", SOON, || {
        let said = said();
        said.success() && said.stdout.contains(&told)
    })
    .unwrap_or_else(|e| panic!("{e}: {:?}", said()));
}

fn out(machine: &Machine, file: &str) -> String {
    machine
        .read(&format!("/var/tmp/{file}"))
        .unwrap_or_default()
}

#[test]
fn jobs_run_as_their_fields_say() {
    let fleet = Fleet::new().unwrap();
    let bucket = FleetBucket::start(&fleet).unwrap();
    let specs = [
        ("web-1", Image::Debian, "10.77.0.11"),
        ("web-2", Image::CentosLayout, "10.77.0.12"),
    ];
    let specs = specs
        .map(|(name, image, address)| with_agent(MachineSpec::new(name, image, address)).unwrap());
    let machines = fleet.boot_all(specs.into()).unwrap();
    for machine in &machines {
        machine
            .must(&["useradd", "--badname", "--no-create-home", "Deploy.User"])
            .unwrap();
    }
    // An hour that it is in Kathmandu, a quarter of an hour off everybody else's, and one that it is not.
    let hour = |plus: u32| {
        let date = ["env", "TZ=Asia/Kathmandu", "date", "+%-H"];
        let now: u32 = machines[0].must(&date).unwrap().trim().parse().unwrap();
        (now + plus) % 24
    };
    let (now, next) = (hour(0), hour(1));
    let elsewhere = format!("* {},{} * * *", hour(6), hour(7));
    bucket
        .publish(&document(1, &json!({
            "environment": {
                "schedule": "* * * * *", "user": "Deploy.User",
                "environment": {"A": " it's 100% $HOME \\n", "B": "say \"x\" # y", "EMPTY": "", "PATH": "/opt/bin:/usr/bin:/bin"},
                "command": "printf '[%s]' \"$A\" \"$B\" \"$EMPTY\" \"$PATH\" \"$(id -un)\" > /var/tmp/environment",
            },
            "bash": {
                "schedule": "* * * * *", "user": "root", "shell": "/bin/bash", "mailto": "",
                "command": "[[ -n $BASH_VERSION ]] && ls /nowhere &>> /var/tmp/bash",
            },
            "bash-escaped": {
                "schedule": "* * * * *", "user": "root", "shell": "/bin/bash", "mailto": "ops@example.com,root",
                "command": "printf '50\\%%\\\\n' &>> /var/tmp/escaped",
            },
            "there": {
                "schedule": format!("* {now},{next} * * *"), "user": "root", "timezone": "Asia/Kathmandu",
                "command": "date +%H:%M > /var/tmp/there",
            },
            "elsewhere": {
                "schedule": elsewhere, "user": "root", "timezone": "Asia/Kathmandu",
                "command": "touch /var/tmp/elsewhere",
            },
            "boot": {"schedule": "@reboot", "user": "root", "command": "echo booted >> /var/tmp/boot"},
            "spread": {"schedule": "H H(2-4) * * *", "user": "root", "command": "true"},
            "alone": {"schedule": "0 0 1 1 *", "user": "root", "lock": true, "command": "echo begun >> /var/tmp/alone; sleep 20"},
            "bounded": {"schedule": "0 0 1 1 *", "user": "root", "timeout": "1s", "lock": true, "command": "sleep 300; echo late"},
        })))
        .unwrap();
    for machine in &machines {
        converged(machine, 1);
        // Two at once: one runs. Its lock is its own even where the job's table is written anew.
        let alone = line(machine, "alone");
        let both =
            format!("({alone}) >/dev/null 2>&1 & sleep 1; ({alone}); echo $?; cat /var/tmp/alone");
        let before = Instant::now();
        let said = machine.run(&["sh", "-c", &both]).unwrap();
        assert_eq!(said.stdout, "1\nbegun\n", "{alone}: {said:?}");
        assert!(
            before.elapsed() < Duration::from_secs(10),
            "{alone}: waited"
        );
        let before = Instant::now();
        let bounded = machine
            .run(&["sh", "-c", &line(machine, "bounded")])
            .unwrap();
        assert_eq!(bounded.code, Some(124), "{bounded:?}");
        assert!(before.elapsed() < Duration::from_secs(15));
    }
    for machine in &machines {
        wait_until("cron to run the jobs", A_MINUTE, || {
            ["environment", "bash", "escaped", "there"]
                .iter()
                .all(|file| !out(machine, file).is_empty())
        })
        .unwrap_or_else(|e| {
            panic!(
                "{e}: {}",
                machine.journal(machine.image().cron_unit()).unwrap()
            )
        });
        assert_eq!(
            out(machine, "environment"),
            "[ it's 100% $HOME \\n][say \"x\" # y][][/opt/bin:/usr/bin:/bin][Deploy.User]"
        );
        assert!(
            out(machine, "bash").contains("/nowhere"),
            "{}",
            out(machine, "bash")
        );
        assert!(
            out(machine, "escaped").starts_with("50\\%\\n"),
            "{}",
            out(machine, "escaped")
        );
        assert!(!machine.exists("/var/tmp/elsewhere"));
        let log = machine.journal(machine.image().cron_unit()).unwrap();
        for complaint in ["bad", "Error", "ORPHAN", "missing newline", "unsafe"] {
            assert!(!log.contains(complaint), "{log}");
        }
        assert!(!machine.exists("/var/tmp/boot"));
        machine.reboot().unwrap();
        wait_until("the job of the boot", SOON, || {
            out(machine, "boot") == "booted\n"
        })
        .unwrap();
    }
    let spread = machines.iter().map(|machine| {
        let table = machine.read("/etc/cron.d/agentd-shop_spread").unwrap();
        table.lines().last().unwrap().to_owned()
    });
    let spread: Vec<String> = spread.collect();
    assert_ne!(spread[0], spread[1], "both begin at once");

    // What a box cannot do is told, and what another shell takes otherwise.
    bucket
        .publish(&document(2, &json!({
            "fish": {"schedule": "@daily", "user": "root", "shell": "/usr/bin/fish", "command": "true"},
            "mars": {"schedule": "@daily", "user": "root", "timezone": "Mars/Olympus", "command": "true"},
            "dash": {"schedule": "@daily", "user": "root", "command": "true &>> /var/log/x"},
        })))
        .unwrap();
    for machine in &machines {
        let mut said = String::new();
        wait_until("the status to tell", SOON, || {
            said = machine.run(&["agentctl", "status"]).unwrap().stdout;
            [
                "/usr/bin/fish",
                "/usr/share/zoneinfo/Mars/Olympus",
                "has `&>>`, which is bash's",
            ]
            .iter()
            .all(|words| said.contains(words))
        })
        .unwrap_or_else(|e| panic!("{e}: {said}"));
        assert!(machine.exists("/etc/cron.d/agentd-shop_dash"));
        assert!(!machine.exists("/etc/cron.d/agentd-shop_mars"));
        assert!(
            !machine.exists("/etc/agentd/cron/shop_alone.lock"),
            "its job is gone"
        );
    }
}
