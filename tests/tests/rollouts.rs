//! Promise: one bad version takes its wave, and never more. Servers open the next wave themselves when those before stand well,
//! halt where one cannot live with the version or says nothing, and meanwhile agree on who belongs to the fleet.

#![cfg(test)]

use std::fmt::Write as _;
use std::time::Duration;

use node_agent_tests::agent::{Agent, Scratch};
use node_agent_tests::desk::{Desk, put};
use node_agent_tests::machine::{
    Fleet, FleetBucket, Image, Machine, MachineSpec, wait_until, with_agent,
};
use node_agent_tests::signing::trust_section;
use serde_json::{Value, json};

/// Reports come each ten seconds, and are looked at each five.
const SOON: Duration = Duration::from_mins(1);
/// A server that is missing may be so for 20 s; before that the others wait 30 s for whoever watches before them.
const LATE: Duration = Duration::from_mins(2);

/// Agents on boxes of their own, and the desk of their fleet.
struct World {
    desk: Desk,
    boxes: Vec<(Scratch, Option<Agent>)>,
}

fn cron(minute: u8) -> Value {
    json!({"tick": {"schedule": format!("{minute} * * * *"), "user": "root", "command": "true"}})
}

/// Four web servers; `minute` is what a version changes on them, web-4's address what it changes for all at once.
fn document(minute: u8, rollout: &Value) -> Value {
    let server =
        |address: String| json!({"address": address, "roles": ["web"], "products": ["shop"]});
    json!({
        "format": 1, "fleet": "shop", "version": 0, "rollout": rollout,
        "issued": "2026-01-01T00:00:00Z", "expires": "2126-01-01T00:00:00Z",
        "servers": {
            "web-1": server("10.0.0.1".into()), "web-2": server("10.0.0.2".into()),
            "web-3": server("10.0.0.3".into()), "web-4": server(format!("10.0.0.{}", 100 + minute)),
        },
        "roles": {"web": {}}, "products": {"shop": {"cron": cron(minute)}}
    })
}

impl World {
    /// All stand on version 1, the minute 1.
    fn new() -> Self {
        let desk = Desk::new();
        let mut world = Self {
            desk,
            boxes: Vec::new(),
        };
        world.publish(1, &Value::Null, &[]);
        for number in 1..=4 {
            let config = format!(
                "fleet = \"file://{}\"\nnode = \"web-{number}\"\npoll = \"300ms\"\n{}",
                world.desk.bucket().display(),
                trust_section(&[&world.desk.key], 1)
            );
            let scratch = Scratch::new(&config).unwrap();
            let agent = Agent::start(scratch.root(), &[], &[]).unwrap();
            world.boxes.push((scratch, Some(agent)));
        }
        world.see_minutes([1, 1, 1, 1], SOON);
        world
    }

    /// Returns what the desk said.
    fn publish(&self, minute: u8, rollout: &Value, flags: &[&str]) -> String {
        let mut signed = document(minute, rollout);
        if rollout.is_null() {
            signed.as_object_mut().unwrap().remove("rollout");
        }
        let text = json!({"signatures": [], "signed": signed}).to_string();
        put(&self.desk.path("edited.json"), &text);
        let file = self.desk.path("edited.json").display().to_string();
        let arguments = [&["publish", &file, "--yes", "--any-version"], flags].concat();
        let said = self.desk.fleet(&arguments);
        assert!(said.success(), "{}", said.stderr);
        said.stderr
    }

    fn minute(&self, index: usize) -> Option<u8> {
        let (scratch, _) = &self.boxes[index];
        let text = scratch.read("/etc/cron.d/agentd-shop_tick");
        let line = text.lines().find(|line| line.contains(" * * * * "))?;
        line.split(' ').next()?.parse().ok()
    }

    /// Whether `index` leads web-4 to where the version of this minute has it.
    fn leads_to(&self, index: usize, minute: u8) -> bool {
        let hosts = self.boxes[index].0.read("/etc/hosts");
        hosts.contains(&format!("10.0.0.{}", 100 + minute))
    }

    #[track_caller]
    fn see_minutes(&self, minutes: [u8; 4], within: Duration) {
        let seen = || [0, 1, 2, 3].map(|index| self.minute(index).unwrap_or_default());
        wait_until(&format!("{minutes:?}"), within, || seen() == minutes)
            .unwrap_or_else(|e| panic!("{e}: {:?}\n{}", seen(), self.story()));
    }

    fn story(&self) -> String {
        let rollout = self.desk.fleet(&["rollout", "status"]);
        let mut story = format!("{}{}", rollout.stdout, rollout.stderr);
        for (scratch, agent) in &self.boxes {
            let said = agent.as_ref().map(Agent::said).unwrap_or_default();
            let _ = write!(story, "\n{:#}\n{said}", scratch.status()["rollout"]);
        }
        story
    }

    fn progress(&self, version: u64) -> Value {
        self.desk.object(&format!("rollouts/{version}.json"))
    }

    #[track_caller]
    fn see_halted(&self, version: u64, why: &str, within: Duration) {
        let reason = || self.progress(version)["halted"]["reason"].to_string();
        wait_until("the rollout to be halted", within, || {
            reason().contains(why)
        })
        .unwrap_or_else(|e| panic!("{e}: {}\n{}", reason(), self.story()));
    }
}

#[test]
fn a_version_goes_out_in_waves_and_one_that_breaks_its_canary_no_further() {
    let world = World::new();
    let rollout = json!({"canaries": ["web-1"], "waves": ["50%", "100%"], "bake": "5s"});
    let said = world.publish(2, &rollout, &[]);
    assert!(
        said.contains("wave 1: web-1, at once") && said.contains("at once everywhere"),
        "{said}"
    );
    // The canary first; who belongs to the fleet is known to all at once.
    wait_until("the canary", SOON, || world.minute(0) == Some(2)).unwrap();
    wait_until("the new address on all", SOON, || {
        (0..4).all(|index| world.leads_to(index, 2))
    })
    .unwrap();
    let waits = |index: usize| {
        let (scratch, _) = &world.boxes[index];
        let rollout = &scratch.status()["rollout"];
        rollout["version"] == 2 && rollout["taken"] == false
    };
    assert!((1..4).all(waits), "{}", world.story());
    assert_eq!([1, 2, 3].map(|index| world.minute(index)), [Some(1); 3]);
    // Then one more, then all, by their own doing.
    world.see_minutes([2, 2, 2, 2], LATE);
    let progress = world.progress(2);
    assert_eq!(progress["opened"][0]["wave"], 1, "{progress:#}");
    assert_eq!(progress["opened"][1]["wave"], 2);
    let evidence = progress["opened"][1]["evidence"].to_string();
    assert!(
        evidence.contains("web-1") && evidence.contains("stood well"),
        "{evidence}"
    );

    // The canary cannot write what the next one asks for: nobody else takes it.
    let (canary, _) = &world.boxes[0];
    let cron_d = canary.path("/etc/cron.d");
    std::fs::remove_dir_all(&cron_d).unwrap();
    put(&cron_d, "in the way");
    world.publish(3, &rollout, &[]);
    world.see_halted(3, "web-1 is not well with it", LATE);
    let others = [1, 2, 3].map(|index| world.minute(index));
    assert_eq!(others, [Some(2); 3], "{}", world.story());
    let status = world.desk.fleet(&["rollout", "status"]);
    assert_eq!(status.code, Some(1), "{}", status.stdout);
    assert!(
        status.stdout.contains("halted") && status.stdout.contains("web-1"),
        "{}",
        status.stdout
    );
    let told = |(scratch, _): &(Scratch, Option<Agent>)| {
        let reasons = scratch.status()["reasons"].to_string();
        reasons.contains("the rollout of version 3 was halted")
    };
    wait_until("one server to tell", SOON, || world.boxes.iter().any(told)).unwrap();
    assert_eq!(world.boxes.iter().filter(|one| told(one)).count(), 1);

    // A person goes back: to the last version that all had.
    std::fs::remove_file(&cron_d).unwrap();
    std::fs::create_dir(&cron_d).unwrap();
    let said = world.desk.fleet(&["rollout", "abort", "--yes"]);
    assert!(said.success(), "{}", said.stderr);
    world.see_minutes([2, 2, 2, 2], SOON);
    let version = |(scratch, _): &(Scratch, Option<Agent>)| {
        let status = scratch.status();
        status["document"]["version"] == 4 && status["stands_on"] == 4
    };
    wait_until("version 4 everywhere", SOON, || {
        world.boxes.iter().all(version)
    })
    .unwrap_or_else(|e| panic!("{e}\n{}", world.story()));
}

#[test]
fn silence_is_not_health_and_a_person_lets_it_go_on_or_hurries() {
    let mut world = World::new();
    // The canary is gone, and nobody has heard of it since.
    world.boxes[0].1 = None;
    let rollout = json!({"canaries": ["web-1"], "bake": "5s", "patience": "20s"});
    world.publish(2, &rollout, &[]);
    world.see_halted(2, "web-1 did not report version 2", LATE);
    assert_eq!([0, 1, 2, 3].map(|index| world.minute(index)), [Some(1); 4]);

    // It comes back, and a person lets the version go on.
    let (scratch, agent) = &mut world.boxes[0];
    *agent = Some(Agent::start(scratch.root(), &[], &[]).unwrap());
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(
        world.minute(0),
        Some(1),
        "halted is halted for the canary too"
    );
    world.desk.good(&["rollout", "resume"]);
    world.see_minutes([2, 2, 2, 2], LATE);

    // In an emergency nobody waits.
    let said = world.publish(3, &rollout, &["--urgent"]);
    assert!(said.contains("--urgent"), "{said}");
    world.see_minutes([3, 3, 3, 3], Duration::from_secs(20));
}

fn page(machine: &Machine) -> Option<String> {
    let url = format!("http://{}/", machine.address());
    let (status, body) = machine.get(&url, Some("shop.example.com")).ok()?;
    (status == 200).then_some(body)
}

#[test]
fn on_booted_machines_a_site_that_the_canarys_apache_refuses_reaches_nobody_else() {
    let fleet = Fleet::new().unwrap();
    let bucket = FleetBucket::start(&fleet).unwrap();
    let wrong = "<VirtualHost *:{{ port }}>\n    ServerName {{ server_name }}\n    NoSuchDirective on\n{{ probe }}\n</VirtualHost>\n";
    let specs = [
        (Image::Debian, "10.77.0.11"),
        (Image::CentosLayout, "10.77.0.12"),
        (Image::Debian, "10.77.0.13"),
    ];
    let specs = specs
        .into_iter()
        .enumerate()
        .map(|(index, (image, address))| {
            let spec = MachineSpec::new(&format!("web-{}", index + 1), image, address)
                .enable(image.apache_unit())
                .file("/srv/old/index.html", "old")
                .file("/srv/new/index.html", "new")
                .file("/etc/agentd/templates/wrong.conf.j2", wrong);
            with_agent(spec).unwrap()
        });
    let machines = fleet.boot_all(specs.collect()).unwrap();
    let publish = |version: u64, site: Value| {
        let server =
            |address: &str| json!({"address": address, "roles": ["web"], "products": ["shop"]});
        let document = json!({"signatures": [], "signed": {
            "format": 1, "fleet": "test", "version": version,
            "issued": "2026-11-22T20:00:00Z", "expires": "2046-11-22T20:00:00Z",
            "rollout": {"canaries": ["web-1"], "bake": "5s"},
            "servers": {"web-1": server("10.77.0.11"), "web-2": server("10.77.0.12"), "web-3": server("10.77.0.13")},
            "roles": {"web": {}}, "products": {"shop": {"sites": {"www": site}}},
        }});
        bucket
            .put(
                &format!("prod/versions/{version}.json"),
                document.to_string().as_bytes(),
            )
            .unwrap();
        bucket.publish(&document).unwrap();
    };
    let story = || -> String {
        let logs = machines
            .iter()
            .map(|machine| machine.journal("agentd.service").unwrap_or_default());
        logs.collect::<Vec<_>>().join("\n---\n")
    };
    let pages = || [0, 1, 2].map(|index| page(&machines[index]).unwrap_or_default());
    // The first version of a fleet has nothing to wait for.
    publish(
        1,
        json!({"domains": ["shop.example.com"], "root": "/srv/old"}),
    );
    wait_until("the first version", SOON, || {
        pages() == ["old", "old", "old"]
    })
    .unwrap_or_else(|e| panic!("{e}: {:?}\n{}", pages(), story()));
    publish(
        2,
        json!({"domains": ["shop.example.com"], "root": "/srv/new", "template": "wrong"}),
    );
    let halted = || {
        let progress = bucket.get("prod/rollouts/2.json").unwrap();
        progress.is_some_and(|text| text.contains("web-1 could not take it"))
    };
    wait_until("the halt", LATE, halted).unwrap_or_else(|e| panic!("{e}\n{}", story()));
    assert_eq!(pages(), ["old", "old", "old"], "{}", story());
    publish(
        3,
        json!({"domains": ["shop.example.com"], "root": "/srv/new"}),
    );
    wait_until("the mended version", LATE, || {
        pages() == ["new", "new", "new"]
    })
    .unwrap_or_else(|e| panic!("{e}: {:?}\n{}", pages(), story()));
    let opened = bucket
        .get("prod/rollouts/3.json")
        .unwrap()
        .unwrap_or_default();
    assert!(opened.contains("web-1 stood well"), "{opened}");
}
