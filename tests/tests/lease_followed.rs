//! A web server's `mysql-master` is whom the lease names: within a poll of leases, never back to a lower epoch, over
//! restarts, without the bucket.

#![cfg(test)]

use std::time::Duration;

use node_agent::database::lease::{self, Lease, LeaseState, Nonce, Previous};
use node_agent::fleet::Name;
use node_agent_tests::agent::{Agent, Scratch};
use node_agent_tests::machine::{
    Fleet, FleetBucket, Image, Machine, MachineSpec, agent_config, wait_until, with_agent_and,
};
use node_agent_tests::proxy::{Mode, Proxy};
use node_agent_tests::s3::S3Server;
use serde_json::{Value, json};

/// Longer than anything should take on a busy host.
const SOON: Duration = Duration::from_secs(20);
const KEY: &str = "prod/leases/shop.json";
const SAMPLE: &str = include_str!("../fleets/heavy.json");

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A lease of `shop`: `epoch`, who owns it, what he does.
fn lease(epoch: u64, owner: &str, state: LeaseState) -> Vec<u8> {
    let lease = Lease {
        format: lease::FORMAT,
        product: name("shop"),
        epoch,
        owner: name(owner),
        seq: 1,
        nonce: Nonce::fresh().unwrap(),
        state,
        gtid: format!("0-{epoch}-42"),
        armed: true,
        held: Vec::new(),
        to: (state == LeaseState::Switching).then(|| name("db-3")),
        since: "2026-11-22T20:00:00Z".parse().unwrap(),
        renewed: "2026-11-22T20:00:01Z".parse().unwrap(),
        ttl_ms: 10_000,
        planned: false,
        opening: false,
        observed: false,
        unopened: false,
        machine: Vec::new(),
        previous: (epoch > 1).then(|| Previous {
            owner: name("db-1"),
            epoch: epoch - 1,
            gtid: "0-1-41".into(),
            complete: false,
        }),
    };
    lease.bytes().unwrap()
}

/// A box, its bucket, and a proxy between them.
struct World {
    server: S3Server,
    proxy: Proxy,
    scratch: Scratch,
}

impl World {
    fn new() -> Self {
        let server = S3Server::start().unwrap();
        let proxy = Proxy::start(server.address).unwrap();
        let config = format!(
            "fleet = \"s3://fleet/prod\"\ntrust = \"none\"\nnode = \"web-1\"\npoll = \"1s\"\nlease_poll = \"500ms\"\n\
             [s3]\nendpoint = \"{}\"\npath_style = true\ntimeout = \"2s\"\n",
            proxy.endpoint
        );
        server.put("prod/fleet.json", SAMPLE);
        Self {
            server,
            proxy,
            scratch: Scratch::new(&config).unwrap(),
        }
    }

    fn start(&self) -> Agent {
        Agent::start(self.scratch.root(), &[], &self.server.env()).unwrap()
    }

    fn put(&self, epoch: u64, owner: &str, state: LeaseState) {
        self.server.put(KEY, lease(epoch, owner, state));
    }

    /// Where `mysql-master` leads.
    fn master(&self) -> String {
        let hosts = self.scratch.read("/etc/hosts");
        let line = hosts.lines().find(|line| line.ends_with("\tmysql-master"));
        let address = line.and_then(|line| line.split('\t').next());
        address.unwrap_or_default().to_owned()
    }

    fn database(&self) -> Value {
        self.scratch.status()["databases"][0].clone()
    }

    #[track_caller]
    fn see(&self, agent: &Agent, what: &str, holds: impl Fn() -> bool) -> Duration {
        match wait_until(what, SOON, holds) {
            Ok(took) => took,
            Err(e) => panic!("{e}\n{:#}\n{}", self.scratch.status(), agent.said()),
        }
    }

    #[track_caller]
    fn leads_to(&self, agent: &Agent, address: &str) -> Duration {
        let what = format!("mysql-master to be {address}");
        self.see(agent, &what, || self.master() == address)
    }

    fn said(&self, arguments: &[&str]) -> String {
        let said = self.scratch.ctl(arguments).unwrap();
        said.stdout + &said.stderr
    }
}

#[test]
fn the_master_of_the_lease_within_a_poll_and_never_one_of_a_lower_epoch() {
    let world = World::new();
    let agent = world.start();
    world.leads_to(&agent, "10.77.0.31");
    assert!(!world.scratch.path("/var/lib/agentd/epochs.json").exists());

    // The master's own lease changes nothing.
    world.put(1, "db-1", LeaseState::Serving);
    world.see(&agent, "the first lease", || {
        world.database()["lease"]["epoch"] == 1
    });
    assert_eq!(world.master(), "10.77.0.31");

    // Taken over, but not serving yet.
    world.put(2, "db-2", LeaseState::Promoting);
    world.see(&agent, "the promotion to be known", || {
        world.database()["lease"]["state"] == "promoting"
    });
    assert_eq!(world.master(), "10.77.0.31");
    let took = {
        world.put(2, "db-2", LeaseState::Serving);
        world.leads_to(&agent, "10.77.0.32")
    };
    println!("from the lease to /etc/hosts: {took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    let asks_why = || world.said(&["why", "/etc/hosts", "mysql-master"]);
    world.see(&agent, "the run's record", || {
        asks_why().contains("by a change of master")
    });
    let why = asks_why();
    assert!(why.contains("leases/shop.json, epoch 2: db-2"), "{why}");
    assert!(why.contains("by a change of master"), "{why}");

    // An old copy of the object: refused, told, not followed; also by an agent that was started again.
    world.put(1, "db-1", LeaseState::Serving);
    let refused = || {
        world.scratch.status()["reasons"]
            .to_string()
            .contains("epoch 1, and this machine has seen epoch 2")
    };
    world.see(&agent, "the refusal", refused);
    assert_eq!(world.master(), "10.77.0.32");
    assert_eq!(world.scratch.status()["health"], "degraded");
    drop(agent);
    let agent = world.start();
    world.see(&agent, "the refusal after the restart", refused);
    assert_eq!(world.master(), "10.77.0.32");

    // A switchover goes on to the next epoch.
    world.put(2, "db-2", LeaseState::Switching);
    world.see(&agent, "the switchover", || !refused());
    assert_eq!(world.master(), "10.77.0.32");
    world.put(3, "db-3", LeaseState::Serving);
    world.leads_to(&agent, "10.77.0.33");
    let status = world.said(&["status"]);
    assert!(status.contains("shop: master db-3, epoch 3"), "{status}");
}

#[test]
fn without_the_bucket_the_last_known_master_stays_and_its_age_is_told() {
    let world = World::new();
    world.put(4, "db-2", LeaseState::Serving);
    let agent = world.start();
    // From the first run on: a new box never leads to a master of the past.
    world.leads_to(&agent, "10.77.0.32");
    world.see(&agent, "the run's record", || {
        world.said(&["history"]).contains("hosts")
    });
    let runs = world.said(&["history"]);
    assert_eq!(runs.matches("hosts").count(), 1, "{runs}");
    drop(agent);

    world.proxy.set(Mode::Refuse);
    let agent = world.start();
    world.see(&agent, "the trouble", || {
        world.scratch.status()["reasons"]
            .to_string()
            .contains("no good answer from the bucket")
    });
    assert_eq!(world.master(), "10.77.0.32");
    world
        .scratch
        .write("/etc/hosts", "127.0.0.1\tlocalhost\n")
        .unwrap();
    world.leads_to(&agent, "10.77.0.32");

    world.proxy.set(Mode::Pass);
    world.put(5, "db-1", LeaseState::Serving);
    world.leads_to(&agent, "10.77.0.31");
}

#[test]
fn one_run_asks_for_the_lease_too_and_a_look_writes_nothing() {
    let world = World::new();
    world.put(2, "db-2", LeaseState::Serving);
    let ended = |arguments: &[&str]| {
        let mut once = Agent::start(world.scratch.root(), arguments, &world.server.env()).unwrap();
        let (status, _) = once.end(SOON).unwrap();
        (status.code(), once.said())
    };
    let (_, said) = ended(&["--noop"]);
    assert!(said.contains("+10.77.0.32\tmysql-master"), "{said}");
    assert!(!world.scratch.path("/var/lib/agentd/epochs.json").exists());
    let (code, said) = ended(&["--once"]);
    assert!(code.is_some(), "{said}");
    assert_eq!(world.master(), "10.77.0.32", "{said}");
    assert_eq!(world.database()["lease"]["epoch"], 2);
}

/// Where `mysql-master` leads on a machine, by the resolver that programs use.
fn resolved(machine: &Machine) -> String {
    let said = machine.run(&["getent", "hosts", "mysql-master"]);
    let said = said.map(|said| said.stdout).unwrap_or_default();
    said.split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// Takes connections on a port and keeps them, without a word.
const LISTEN: &str = "my @kept; my ($port) = @ARGV; my $server = IO::Socket::INET->new(LocalPort => $port, Listen => 9, ReuseAddr => 1) or die; while (my $client = $server->accept) { push @kept, $client }";

/// Holds a connection from a machine to db-1's database port, in the background, and says when it has ended.
const HOLD: &str = r#"
systemctl is-active --quiet "held-$1" && exit
systemctl reset-failed "held-$1" 2>/dev/null
exec 3<>"/dev/tcp/10.77.0.31/$1" || exit
exec 3>&-
systemd-run --quiet --unit "held-$1" bash -c 'exec 3<>"/dev/tcp/10.77.0.31/$0"; read -r _ <&3; echo ended' "$1"
"#;

fn connections(machine: &Machine, port: u16) -> usize {
    let port = port.to_string();
    let listed = machine
        .must(&[
            "ss",
            "-Hnt",
            "state",
            "established",
            "dst",
            "10.77.0.31",
            "dport",
            "=",
            &port,
        ])
        .unwrap();
    listed.lines().count()
}

#[test]
fn every_machine_of_the_product_follows_and_cuts_what_still_talks_to_the_old_master() {
    let fleet = Fleet::new().unwrap();
    let bucket = FleetBucket::start(&fleet).unwrap();
    let mut document: Value = serde_json::from_str(include_str!("../fleets/five.json")).unwrap();
    let signed = &mut document["signed"];
    signed["servers"]["db-2"] =
        json!({"address": "10.77.0.32", "roles": ["database"], "products": ["shop"]});
    signed["products"]["shop"]["database"]["chain"] = json!(["db-1", "db-2"]);
    bucket.publish(&document).unwrap();
    let config = agent_config("").replacen("poll", "lease_poll = \"500ms\"\npoll", 1);
    let machine = |name, image, address| {
        with_agent_and(MachineSpec::new(name, image, address), &config).unwrap()
    };
    let machines = fleet
        .boot_all(vec![
            machine("web-1", Image::CentosLayout, "10.77.0.11"),
            machine("web-2", Image::Debian, "10.77.0.12"),
            machine("db-1", Image::Debian, "10.77.0.31"),
        ])
        .unwrap();
    let [web_1, web_2, db_1] = &machines[..] else {
        panic!("asked for three machines");
    };
    let see = |machine: &Machine, what: &str, holds: &dyn Fn() -> bool| -> Duration {
        wait_until(&format!("{}: {what}", machine.name()), SOON * 2, holds).unwrap_or_else(|e| {
            let status = machine.run(&["agentctl", "status"]).map(|said| said.stdout);
            let log = machine.journal("agentd.service").unwrap_or_default();
            panic!("{e}\n{}\n{log}", status.unwrap_or_default());
        })
    };
    let put = |epoch, owner| {
        bucket
            .put(
                "prod/leases/shop.json",
                &lease(epoch, owner, LeaseState::Serving),
            )
            .unwrap();
    };
    for machine in &machines {
        see(machine, "the document", &|| {
            resolved(machine) == "10.77.0.31"
        });
    }
    put(1, "db-1");

    // Who takes connections and keeps them does for a database here; the port beside it is somebody else's.
    for port in ["3306", "3307"] {
        db_1.must(&[
            "systemd-run",
            "--quiet",
            "perl",
            "-MIO::Socket::INET",
            "-e",
            LISTEN,
            port,
        ])
        .unwrap();
    }
    for (web, port) in [(web_1, "3306"), (web_1, "3307"), (web_2, "3306")] {
        let number = port.parse().unwrap();
        see(web, "a connection", &|| {
            let _ = web.run(&["bash", "-c", HOLD, "hold", port]);
            connections(web, number) == 1
        });
    }

    put(2, "db-2");
    for machine in &machines {
        see(machine, "the new master", &|| {
            resolved(machine) == "10.77.0.32"
        });
    }
    for web in [web_1, web_2] {
        let took = see(web, "the old connection to end", &|| {
            connections(web, 3306) == 0
        });
        println!(
            "{}: old connections were gone {took:?} after the name had moved",
            web.name()
        );
    }
    assert_eq!(connections(web_1, 3307), 1, "it leads to another port");
    assert!(db_1.is_active("agentd.service"));

    // Back to the past: nobody goes there.
    put(1, "db-1");
    for machine in &machines {
        see(machine, "the refusal", &|| {
            let said = machine.run(&["agentctl", "status"]).map(|said| said.stdout);
            said.unwrap_or_default()
                .contains("epoch 1, and this machine has seen epoch 2")
        });
        assert_eq!(resolved(machine), "10.77.0.32");
    }

    // A machine that was cut off when the master changed follows as soon as it hears of it.
    put(2, "db-2");
    fleet.cut(web_1).unwrap();
    put(3, "db-1");
    see(web_2, "the third epoch", &|| {
        resolved(web_2) == "10.77.0.31"
    });
    assert_eq!(resolved(web_1), "10.77.0.32");
    fleet.heal(web_1).unwrap();
    see(web_1, "the third epoch, late", &|| {
        resolved(web_1) == "10.77.0.31"
    });
}

/// `web-1` alone, on the document of five machines with a second database server, with the usual pace of polls.
fn one_web_machine<'fleet>(
    fleet: &'fleet Fleet,
    document: &Value,
) -> (FleetBucket<'fleet>, Machine) {
    let bucket = FleetBucket::start(fleet).unwrap();
    bucket.publish(document).unwrap();
    let spec = MachineSpec::new("web-1", Image::Debian, "10.77.0.11")
        // Asked for a reload, it takes its time.
        .file("/srv/shop/current/public/index.html", "the shop")
        .file("/srv/video/current/public/index.html", "the videos")
        .file("/etc/systemd/system/apache2.service.d/slow.conf", "[Service]\nExecReload=\nExecReload=/bin/sh -c 'test ! -e /run/slow || sleep 25; /usr/sbin/apachectl graceful'\n");
    let machine = with_agent_and(spec, &agent_config("")).unwrap();
    let machine = fleet.boot_all(vec![machine]).unwrap().remove(0);
    (bucket, machine)
}

fn two_databases() -> Value {
    let mut document: Value = serde_json::from_str(include_str!("../fleets/five.json")).unwrap();
    let signed = &mut document["signed"];
    signed["servers"]["db-2"] =
        json!({"address": "10.77.0.32", "roles": ["database"], "products": ["shop"]});
    signed["products"]["shop"]["database"]["chain"] = json!(["db-1", "db-2"]);
    document
}

fn soon(machine: &Machine, what: &str, holds: impl Fn() -> bool) -> Duration {
    wait_until(what, SOON * 2, holds).unwrap_or_else(|e| {
        let log = machine.journal("agentd.service").unwrap_or_default();
        panic!("{e}\n{log}");
    })
}

#[test]
fn a_run_that_hangs_in_a_step_does_not_keep_the_name_of_the_old_master() {
    let fleet = Fleet::new().unwrap();
    let mut document = two_databases();
    let (bucket, web) = one_web_machine(&fleet, &document);
    let put = |epoch, owner| {
        let lease = lease(epoch, owner, LeaseState::Serving);
        bucket.put("prod/leases/shop.json", &lease).unwrap();
    };
    put(1, "db-1");
    soon(&web, "the document", || resolved(&web) == "10.77.0.31");
    let status = || {
        web.run(&["agentctl", "status"])
            .map_or_else(|_| String::new(), |it| it.stdout)
    };
    soon(&web, "the first run's end", || status().contains("epoch 1"));

    // A new version whose sites take long to be taken on.
    web.must(&["touch", "/run/slow"]).unwrap();
    document["signed"]["version"] = json!(2);
    document["signed"]["products"]["shop"]["sites"]["www"]["domains"] = json!([
        "shop.example.com",
        "www.shop.example.com",
        "new.shop.example.com"
    ]);
    bucket.publish(&document).unwrap();
    let hangs = || {
        let said = web.run(&["systemctl", "show", "-p", "ActiveState", "apache2"]);
        said.is_ok_and(|said| said.stdout.contains("reloading"))
    };
    soon(&web, "the step that hangs", hangs);

    for (epoch, owner, address) in [
        (2, "db-2", "10.77.0.32"),
        (3, "db-1", "10.77.0.31"),
        (4, "db-2", "10.77.0.32"),
    ] {
        put(epoch, owner);
        let took = soon(&web, owner, || resolved(&web) == address);
        assert!(hangs(), "the run has ended: this shows nothing");
        println!("epoch {epoch}: {took:?}");
        assert!(took < Duration::from_secs(4), "{took:?}");
    }
    // The status is not that of before the run either.
    assert!(status().contains("epoch 4"), "{}", status());
    // Nothing is undone by the run's own end, and both runs are told of.
    soon(&web, "the run's end", || !hangs());
    let told = || web.must(&["agentctl", "history"]).unwrap();
    soon(&web, "the run's record", || told().contains("sites"));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(resolved(&web), "10.77.0.32");
    let why = web
        .must(&["agentctl", "why", "/etc/hosts", "mysql-master"])
        .unwrap();
    assert!(why.contains("leases/shop.json, epoch 4: db-2"), "{why}");
    assert!(status().contains("converged"), "{}", status());
}

#[test]
fn a_change_that_is_announced_is_followed_within_a_fraction_of_a_poll() {
    let fleet = Fleet::new().unwrap();
    let (bucket, web) = one_web_machine(&fleet, &two_databases());
    let put = |epoch, owner, state, to: Option<&str>| {
        let bytes = lease(epoch, owner, state);
        let mut lease: Value = serde_json::from_slice(&bytes).unwrap();
        if let Some(to) = to {
            lease["to"] = json!(to);
        }
        let bytes = serde_json::to_vec(&lease).unwrap();
        bucket.put("prod/leases/shop.json", &bytes).unwrap();
    };
    put(1, "db-1", LeaseState::Serving, None);
    soon(&web, "the document", || resolved(&web) == "10.77.0.31");
    let mut worst = Duration::ZERO;
    for epoch in 1..6 {
        let (old, new, address) = if epoch % 2 == 1 {
            ("db-1", "db-2", "10.77.0.32")
        } else {
            ("db-2", "db-1", "10.77.0.31")
        };
        // As a master does: it announces for two seconds, closes, and the other one takes the lease.
        put(epoch, old, LeaseState::Serving, Some(new));
        std::thread::sleep(Duration::from_millis(2200));
        put(epoch, old, LeaseState::Switching, Some(new));
        std::thread::sleep(Duration::from_millis(200));
        put(epoch + 1, new, LeaseState::Promoting, None);
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(
            resolved(&web),
            if epoch % 2 == 1 {
                "10.77.0.31"
            } else {
                "10.77.0.32"
            }
        );
        put(epoch + 1, new, LeaseState::Serving, None);
        let took = soon(&web, new, || resolved(&web) == address);
        println!("from the lease to the name: {took:?}");
        worst = worst.max(took);
    }
    assert!(worst < Duration::from_millis(900), "{worst:?}");
}

/// A client that asks for the name again as soon as its connection is cut.
const CLIENT: &str = r"
exec 3<>/dev/tcp/10.77.0.31/3306 || exit 1
read -r _ <&3
getent hosts mysql-master > /run/then
";

#[test]
fn nobody_is_cut_off_while_the_name_still_leads_to_the_old_master() {
    let fleet = Fleet::new().unwrap();
    let bucket = FleetBucket::start(&fleet).unwrap();
    bucket.publish(&two_databases()).unwrap();
    let config = agent_config("").replacen("poll", "lease_poll = \"500ms\"\npoll", 1);
    let machine =
        |name, address| with_agent_and(MachineSpec::new(name, Image::Debian, address), &config);
    let machines = fleet
        .boot_all(vec![
            machine("web-1", "10.77.0.11").unwrap(),
            machine("db-1", "10.77.0.31").unwrap(),
        ])
        .unwrap();
    let [web, db_1] = &machines[..] else {
        panic!("asked for two machines");
    };
    let put = |epoch, owner| {
        let lease = lease(epoch, owner, LeaseState::Serving);
        bucket.put("prod/leases/shop.json", &lease).unwrap();
    };
    put(1, "db-1");
    soon(web, "the first epoch", || {
        let status = web.run(&["agentctl", "status"]);
        resolved(web) == "10.77.0.31" && status.is_ok_and(|said| said.stdout.contains("epoch 1"))
    });
    // Who takes connections and keeps them does for a database here; the real one ends those of strangers.
    let _ = db_1.run(&["systemctl", "stop", "mariadb.socket", "mariadb.service"]);
    let listen = ["systemd-run", "--quiet", "memcached", "-u", "nobody"];
    let listen = [&listen[..], &["-l", "0.0.0.0", "-p", "3306"]].concat();
    db_1.must(&listen).unwrap();
    let client = ["systemd-run", "--quiet", "bash", "-c", CLIENT];
    soon(web, "a connection", || {
        let _ = web.run(&client);
        connections(web, 3306) > 0
    });

    // Somebody else writes the agent's lines, for longer than the daemon waits for that.
    let busy = ["systemd-run", "--quiet", "--unit", "busy"];
    let busy = [
        &busy[..],
        &["flock", "/run/agentd/hosts.lock", "sleep", "2"],
    ]
    .concat();
    web.must(&busy).unwrap();
    put(2, "db-2");
    let then = || {
        let said = web.run(&["cat", "/run/then"]).map(|said| said.stdout);
        said.unwrap_or_default()
    };
    soon(web, "the client to be cut off", || !then().is_empty());
    assert!(
        then().starts_with("10.77.0.32"),
        "cut off, it asked for the name and got {}\n{}",
        then(),
        web.journal("agentd.service").unwrap_or_default()
    );
}
