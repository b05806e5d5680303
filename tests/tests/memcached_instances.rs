//! Promise: what the agent writes for a product's memcached is a real instance, at boot too, and for nobody else's eyes.
//!
//! A machine boots with the files that the resource rendered and the unit that the package brings.
//! Needs what `tests/setup` makes.

use std::collections::BTreeMap;
use std::time::Duration;

use node_agent::fleet::{Name, Pointer};
use node_agent::node::{CacheName, CacheView, View};
use node_agent::resource::{CacheInstances, Resource, Step, Wish};
use node_agent::system::platform::{Family, Platform};
use node_agent_tests::machine::{Fleet, Image, Machine, MachineSpec, Trouble, wait_until};

const UNIT: &str = include_str!("../../systemd/agentd-memcached@.service");

/// The instances of a memcached server at `address`, by product and what the document says of its cache.
fn instances(
    family: Family,
    address: &str,
    caches: &[(&str, &str)],
) -> Result<Vec<Step>, serde_json::Error> {
    let mut views = BTreeMap::new();
    for (product, cache) in caches {
        let (of, name) = product
            .split_once('_')
            .map_or((*product, None), |(of, name)| (of, Some(name)));
        let product_name: Name = serde_json::from_value(of.into())?;
        let name = name
            .map(|name| serde_json::from_value(name.into()))
            .transpose()?;
        views.insert(
            CacheName {
                product: product_name,
                name,
            },
            CacheView {
                cache: serde_json::from_str(cache)?,
                nodes: Vec::new(),
                left_out: BTreeMap::new(),
                instance: true,
                origin: Pointer(format!("/signed/products/{product}/cache")),
            },
        );
    }
    let view = View {
        name: serde_json::from_value("cache-1".into())?,
        server: serde_json::from_value(serde_json::json!({ "address": address }))?,
        groups: Vec::new(),
        users: Vec::new(),
        hosts: Vec::new(),
        withheld: Vec::new(),
        caches: views,
        sites: Vec::new(),
        php: Vec::new(),
        cron: Vec::new(),
        packages: Vec::new(),
        services: Vec::new(),
        releases: Vec::new(),
        smoke: Vec::new(),
        masters: Vec::new(),
        files: Vec::new(),
    };
    Ok(CacheInstances
        .desired(&view, &Platform::of(family), &())
        .steps)
}

/// Asks an instance, from `machine`; empty where nobody answers.
fn ask(machine: &Machine, address: &str, port: u16, question: &str) -> String {
    let talk = format!(
        "exec 3<>/dev/tcp/{address}/{port}; printf '{question}\\r\\nquit\\r\\n' >&3; timeout 5 cat <&3"
    );
    machine
        .run(&["bash", "-c", &talk])
        .map(|output| output.stdout)
        .unwrap_or_default()
}

/// The same through a Unix socket.
fn ask_socket(machine: &Machine, path: &str, question: &str) -> String {
    let perl = r#"use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "$!"; print $s "$ARGV[1]\r\nquit\r\n"; $s->flush; alarm 5; print while <$s>;"#;
    machine
        .run(&[
            "setpriv",
            "--reuid=65534",
            "--clear-groups",
            "perl",
            "-e",
            perl,
            path,
            question,
        ])
        .map(|output| output.stdout + &output.stderr)
        .unwrap_or_default()
}

fn check(machine: &Machine, address: &str) -> Result<Duration, Trouble> {
    let soon = Duration::from_secs(15);
    wait_until("both instances to answer", soon, || {
        ask(machine, address, 11211, "version").starts_with("VERSION ")
            && ask(machine, "::1", 11311, "version").starts_with("VERSION ")
    })
}

#[test]
fn instances_run_as_the_document_says_in_both_layouts() {
    let fleet = Fleet::new().unwrap();
    for (image, family, address) in [
        (Image::Debian, Family::Debian, "10.77.0.21"),
        (Image::CentosLayout, Family::Centos, "10.77.0.22"),
    ] {
        let steps = instances(
            family,
            address,
            &[
                ("shop", r#"{"port": 11211, "memory": "96M"}"#),
                (
                    "my-video",
                    r#"{"port": 11311, "memory": "64M", "listen": "::1"}"#,
                ),
            ],
        )
        .unwrap();
        let mut spec =
            MachineSpec::new(&format!("cache-{family:?}").to_lowercase(), image, address)
                .file("/usr/lib/systemd/system/agentd-memcached@.service", UNIT);
        for step in &steps {
            for want in &step.wants {
                spec = match &want.wish {
                    Wish::File { text, .. } => {
                        spec.file(want.thing.as_path().to_str().unwrap(), text.exposed())
                    }
                    Wish::Running { .. } => spec.enable(want.thing.unit().unwrap()),
                    other => panic!("an instance has no {other:?}"),
                };
            }
        }
        let machine = fleet.boot(spec).unwrap();
        check(&machine, address).unwrap();

        let stats = ask(&machine, address, 11211, "stats settings");
        assert!(stats.contains("STAT maxbytes 100663296\r"), "{stats}");
        assert!(stats.contains("STAT maxconns 4096\r"), "{stats}");
        assert!(stats.contains("STAT udpport 0\r"), "{stats}");
        // Its own address only: not even the loopback.
        assert_eq!(ask(&machine, "127.0.0.1", 11211, "version"), "");
        assert_eq!(ask(&machine, address, 11311, "version"), "");

        // Neither root nor anybody who is there when no instance runs.
        for unit in [
            "agentd-memcached@shop.service",
            "agentd-memcached@my-video.service",
        ] {
            let pid = machine.property(unit, "MainPID").unwrap();
            let status = format!("/proc/{}/status", pid.trim());
            let uid = machine
                .must(&["awk", "/^Uid:/ {print $2}", &status])
                .unwrap();
            let uid: u32 = uid.trim().parse().unwrap();
            assert!((61184..=65519).contains(&uid), "{uid} is no dynamic user");
        }

        // Killed, it comes back by itself.
        machine
            .kill_unit("agentd-memcached@shop.service", "KILL")
            .unwrap();
        check(&machine, address).unwrap();
        assert_ne!(
            machine
                .property("agentd-memcached@shop.service", "NRestarts")
                .unwrap()
                .trim(),
            "0"
        );

        // Without its file it does not start on memcached's defaults.
        machine
            .must(&["rm", "/etc/agentd/memcached/shop.env"])
            .unwrap();
        let started = machine
            .run(&["systemctl", "restart", "agentd-memcached@shop.service"])
            .unwrap();
        assert!(!started.success());
        assert_eq!(ask(&machine, address, 11211, "version"), "");
    }
}

#[test]
fn instances_take_what_the_document_says_more() {
    let fleet = Fleet::new().unwrap();
    for (image, family, address) in [
        (Image::Debian, Family::Debian, "10.77.0.23"),
        (Image::CentosLayout, Family::Centos, "10.77.0.24"),
    ] {
        let full = format!(
            r#"{{"port": 11212, "memory": "64M", "listen": ["{address}", "127.0.0.1", "::1"], "item_size": "2560K", "connections": 10000, "threads": 8}}"#
        );
        let steps = instances(
            family,
            address,
            &[
                ("shop", r#"{"port": 11211, "memory": "64M"}"#),
                ("shop_sessions", &full),
                // Exactly half of the memory, the most.
                (
                    "shop_local",
                    r#"{"socket": true, "memory": "4M", "item_size": "2M"}"#,
                ),
            ],
        )
        .unwrap();
        let name = format!("cache-more-{family:?}").to_lowercase();
        let mut spec = MachineSpec::new(&name, image, address)
            .file("/usr/lib/systemd/system/agentd-memcached@.service", UNIT);
        for want in steps.iter().flat_map(|step| &step.wants) {
            spec = match &want.wish {
                Wish::File { text, .. } => {
                    spec.file(want.thing.as_path().to_str().unwrap(), text.exposed())
                }
                Wish::Running { .. } => spec.enable(want.thing.unit().unwrap()),
                other => panic!("an instance has no {other:?}"),
            };
        }
        let machine = fleet.boot(spec).unwrap();
        let socket = "/run/agentd-memcached/shop_local/memcached.sock";
        let soon = Duration::from_secs(15);
        for place in [address, "127.0.0.1", "::1"] {
            wait_until("the sessions to answer", soon, || {
                ask(&machine, place, 11212, "version").starts_with("VERSION ")
            })
            .unwrap();
        }
        let stats = ask(&machine, address, 11212, "stats settings");
        for line in [
            "maxconns 10000",
            "num_threads 8",
            "item_size_max 2621440",
            "maxbytes 67108864",
        ] {
            assert!(stats.contains(&format!("STAT {line}\r")), "{line}: {stats}");
        }
        let plain = ask(&machine, address, 11211, "stats settings");
        assert!(plain.contains("STAT maxconns 4096\r"), "{plain}");
        assert!(plain.contains("STAT item_size_max 1048576\r"), "{plain}");
        // Any account of the machine, and no port.
        let local = ask_socket(&machine, socket, "stats settings");
        for line in ["item_size_max 2097152", "maxbytes 4194304"] {
            assert!(local.contains(&format!("STAT {line}\r")), "{line}: {local}");
        }
        let pid = machine
            .property("agentd-memcached@shop_local.service", "MainPID")
            .unwrap();
        let listens = machine.must(&["ss", "-Hltnp"]).unwrap();
        assert!(!listens.contains(&format!("pid={pid},")), "{listens}");
        // One that ends leaves the others their sockets.
        machine
            .must(&["systemctl", "stop", "agentd-memcached@shop.service"])
            .unwrap();
        assert!(ask_socket(&machine, socket, "version").starts_with("VERSION "));
    }
}
