//! The daemon at work: a change arrives, an edit is undone, a wish is heard, and nothing that happens around it,
//! a hanging bucket, a hostile client, a second daemon, a kill, keeps it from that.

#![cfg(test)]

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use node_agent_tests::agent::{Agent, Scratch};
use node_agent_tests::machine::{Output, wait_until};
use node_agent_tests::proxy::{Mode, Proxy};
use node_agent_tests::s3::S3Server;
use serde_json::{Value, json};

/// Longer than anything should take on a busy host.
const SOON: Duration = Duration::from_secs(20);
const KEY: &str = "prod/fleet.json";

/// A box, its bucket, and a proxy between them.
struct World {
    server: S3Server,
    proxy: Proxy,
    scratch: Scratch,
}

impl World {
    fn new(poll: &str) -> Self {
        let server = S3Server::start().unwrap();
        let proxy = Proxy::start(server.address).unwrap();
        let scratch = Scratch::new(&format!(
            "fleet = \"s3://fleet/prod\"\ntrust = \"none\"\nnode = \"web-1\"\npoll = \"{poll}\"\n\
             [s3]\nendpoint = \"{}\"\npath_style = true\ntimeout = \"5s\"\n",
            proxy.endpoint
        ))
        .unwrap();
        Self {
            server,
            proxy,
            scratch,
        }
    }

    /// A box that stands on version 1, and its daemon.
    fn converged(poll: &str) -> (Self, Agent) {
        let world = Self::new(poll);
        world.publish(1, |_| ());
        let agent = world.start();
        world.see(&agent, "the first run", |status| is_on(status, 1));
        (world, agent)
    }

    fn start(&self) -> Agent {
        Agent::start(self.scratch.root(), &[], &self.server.env()).unwrap()
    }

    /// Puts the sample fleet at a version, with an address of that number, and changed as the test wants.
    fn publish(&self, version: u8, change: impl FnOnce(&mut Value)) {
        let sample = include_str!("../fleets/heavy.json");
        let mut document: Value = serde_json::from_str(sample).unwrap();
        let signed = &mut document["signed"];
        signed["version"] = json!(version);
        signed["servers"]["cache-2"]["address"] = json!(mark(version));
        change(signed);
        self.server.put(KEY, document.to_string());
    }

    #[track_caller]
    fn see(&self, agent: &Agent, what: &str, holds: impl Fn(&Value) -> bool) -> Duration {
        let waited = wait_until(what, SOON, || holds(&self.scratch.status()));
        match waited {
            Ok(took) => took,
            Err(e) => panic!("{e}\n{:#}\n{}", self.scratch.status(), agent.said()),
        }
    }

    fn hosts(&self) -> String {
        self.scratch.read("/etc/hosts")
    }

    fn wait_for_hosts(&self, agent: &Agent, part: &str) -> Duration {
        self.see(agent, part, |_| self.hosts().contains(part))
    }

    fn ctl(&self, arguments: &[&str]) -> Output {
        self.scratch.ctl(arguments).unwrap()
    }
}

/// The address that only the document of that version has.
fn mark(version: u8) -> String {
    format!("10.77.9.{version}")
}

fn is_on(status: &Value, version: u8) -> bool {
    status["health"] == "converged" && status["document"]["version"] == version
}

fn reasons(status: &Value) -> String {
    status["reasons"].to_string()
}

#[test]
fn a_change_arrives_within_a_poll_and_idle_polls_cost_nothing() {
    let poll = Duration::from_millis(200);
    let (world, agent) = World::converged("200ms");
    let mut times = Vec::new();
    for version in 2..12 {
        let start = Instant::now();
        world.publish(version, |_| ());
        world.wait_for_hosts(&agent, &mark(version));
        times.push(start.elapsed());
        world.see(&agent, "the run's end", |status| is_on(status, version));
    }
    times.sort_unstable();
    println!("published to applied at a poll of {poll:?}: {times:?}");
    assert!(times[times.len() / 2] < poll + poll, "{times:?}");
    assert!(
        times[times.len() - 1] < poll + Duration::from_secs(1),
        "{times:?}"
    );

    // The run after the last change, and what it wakes, has passed.
    std::thread::sleep(Duration::from_secs(2));
    world.server.take_requests();
    let before = world.scratch.stamps();
    std::thread::sleep(Duration::from_secs(4));
    let mut requests = world.server.take_requests();
    // What the last change had to say, if that: never twice within ten seconds.
    let reports = requests.extract_if(.., |request| request.key.contains("/nodes/"));
    assert!(reports.count() <= 1);
    let (leases, asked): (Vec<_>, Vec<_>) = requests
        .into_iter()
        .partition(|request| request.key.contains("/leases/"));
    // Nobody has made a lease: it is looked for, at its own pace.
    assert!((1..=3).contains(&leases.len()), "{leases:?}");
    assert!(
        (12..=21).contains(&asked.len()),
        "{} polls in 4 s",
        asked.len()
    );
    for request in asked {
        assert_eq!((request.status, request.sent), (304, 0), "{request:?}");
    }
    assert_eq!(
        before,
        world.scratch.stamps(),
        "an idle daemon wrote something"
    );
    println!(
        "at rest: {} KiB resident, {} KiB of them its own, {} files open",
        agent.kib("VmRSS:"),
        agent.kib("RssAnon:"),
        agent.open_files()
    );
}

#[test]
fn an_edit_is_undone_also_while_the_bucket_hangs() {
    let (world, agent) = World::converged("100ms");
    let good = world.hosts();
    // At the shortest poll that can be set: the polls must not keep the watch from what it saw.
    for _ in 0..3 {
        world
            .scratch
            .write("/etc/hosts", "127.0.0.1\tlocalhost\n")
            .unwrap();
        let took = world.wait_for_hosts(&agent, &mark(1));
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    world.proxy.set(Mode::Stall);
    let taken = world.proxy.taken();
    wait_until("a poll that hangs", SOON, || world.proxy.taken() > taken).unwrap();
    std::fs::remove_file(world.scratch.path("/etc/hosts")).unwrap();
    let took = world.wait_for_hosts(&agent, &mark(1));
    assert!(
        took < Duration::from_secs(1),
        "{took:?}: it waited for the bucket"
    );
    world.see(&agent, "the repairs", |status| {
        status["counters"]["repairs"] == 4
    });
    assert!(good.contains(&mark(1)));
    assert_eq!(
        world.ctl(&["status"]).code,
        Some(0),
        "it answers while it asks"
    );
    assert!(world.ctl(&["history"]).stdout.contains("drift"));
}

#[test]
fn sighup_asks_the_bucket_now() {
    let (world, agent) = World::converged("1h");
    world.publish(2, |_| ());
    agent.signal(Signal::SIGHUP).unwrap();
    world.see(&agent, "version 2", |status| is_on(status, 2));
    // Many at once are no harm.
    for _ in 0..50 {
        agent.signal(Signal::SIGHUP).unwrap();
    }
    world.publish(3, |_| ());
    agent.signal(Signal::SIGHUP).unwrap();
    world.see(&agent, "version 3", |status| is_on(status, 3));
}

#[test]
fn sigterm_ends_it_at_once_also_while_the_bucket_hangs() {
    let (world, mut agent) = World::converged("100ms");
    world.proxy.set(Mode::Stall);
    let taken = world.proxy.taken();
    wait_until("a poll that hangs", SOON, || world.proxy.taken() > taken).unwrap();
    std::thread::scope(|scope| {
        let asker = scope.spawn(|| world.ctl(&["apply"]));
        let taken = world.proxy.taken();
        wait_until("its question", SOON, || world.proxy.taken() > taken).unwrap();
        agent.signal(Signal::SIGTERM).unwrap();
        let (status, took) = agent.end(SOON).unwrap();
        assert_eq!(status.code(), Some(0), "{}", agent.said());
        assert!(took < Duration::from_secs(1), "{took:?}");
        let said = asker.join().unwrap();
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.stderr.contains("agentd is stopping"), "{said:?}");
    });
    assert!(!world.scratch.path("/run/agentd/agentd.sock").exists());
    let said = world.ctl(&["status"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.stdout.contains("NOT RUNNING"), "{said:?}");
}

#[test]
fn a_run_of_somebody_else_is_waited_for_and_does_not_keep_the_daemon_from_ending() {
    let (world, mut agent) = World::converged("200ms");
    let file = std::fs::File::open(world.scratch.path("/run/agentd/run.lock")).unwrap();
    let held = Flock::lock(file, FlockArg::LockExclusive).unwrap();
    world.publish(2, |_| ());
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(
        world.ctl(&["status"]).code,
        Some(0),
        "a busy daemon answers"
    );
    assert!(!world.hosts().contains(&mark(2)), "two runs at a time");
    drop(held);
    world.see(&agent, "version 2", |status| is_on(status, 2));

    let file = std::fs::File::open(world.scratch.path("/run/agentd/run.lock")).unwrap();
    let _held = Flock::lock(file, FlockArg::LockExclusive).unwrap();
    world.publish(3, |_| ());
    std::thread::sleep(Duration::from_secs(1));
    agent.signal(Signal::SIGTERM).unwrap();
    let (status, took) = agent.end(SOON).unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_second_daemon_is_refused_and_the_first_stays() {
    let (world, mut agent) = World::converged("200ms");
    let mut second = world.start();
    let (status, _) = second.end(SOON).unwrap();
    assert_eq!(status.code(), Some(1));
    let said = second.said();
    assert!(
        said.contains("agentd runs already on this machine"),
        "{said}"
    );
    assert!(said.contains("agentctl --root"), "{said}");
    assert!(agent.runs());
    assert_eq!(
        world.ctl(&["status"]).code,
        Some(0),
        "its socket was taken away"
    );
}

#[test]
fn a_document_that_is_refused_changes_nothing_and_is_told() {
    let (world, agent) = World::converged("200ms");
    let good = world.scratch.content("/etc");
    world.publish(2, |signed| {
        signed["servers"]["web-1"]["adress"] = json!("10.0.0.1");
    });
    world.see(&agent, "the refusal", |status| !status["refused"].is_null());
    let said = world.ctl(&["status"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stdout.contains("adress"), "{said:?}");
    // What was good is still kept.
    world
        .scratch
        .write("/etc/hosts", "127.0.0.1\tlocalhost\n")
        .unwrap();
    world.wait_for_hosts(&agent, &mark(1));
    assert_eq!(good, world.scratch.content("/etc"));
    // What was asked for is the newest, and that cannot be had.
    let said = world.ctl(&["apply"]);
    assert_eq!(said.code, Some(4), "{said:?}");
    assert!(said.stderr.contains("refused"), "{said:?}");
    let refused = agent.said().matches("document-refused").count();
    assert_eq!(refused, 1, "told once, not at each poll\n{}", agent.said());

    world.publish(3, |_| ());
    world.see(&agent, "version 3", |status| is_on(status, 3));
    assert!(world.scratch.status()["refused"].is_null());
}

#[test]
fn a_box_that_no_document_names_waits_says_so_and_goes_on() {
    let world = World::new("200ms");
    let agent = world.start();
    world.see(&agent, "the missing document", |status| {
        status["health"] == "waiting" && reasons(status).contains("no document yet")
    });
    let said = world.ctl(&["apply"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.stderr.contains("s3://fleet/prod/fleet.json"),
        "{said:?}"
    );

    world.publish(1, |signed| {
        let servers = signed["servers"].as_object_mut().unwrap();
        servers.remove("web-1");
    });
    world.see(&agent, "the box to be unknown", |status| {
        status["health"] == "waiting" && reasons(status).contains("has no server web-1")
    });
    let said = world.ctl(&["status"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stdout.contains("add it to the document"), "{said:?}");
    assert_eq!(world.hosts(), "127.0.0.1\tlocalhost\n");
    std::thread::sleep(Duration::from_secs(1));
    let told = agent.said().matches("has no server web-1").count();
    assert_eq!(told, 1, "told once, not at each poll\n{}", agent.said());

    world.publish(2, |_| ());
    world.see(&agent, "version 2", |status| is_on(status, 2));
    world.scratch.write("/etc/hosts", "").unwrap();
    world.wait_for_hosts(&agent, &mark(2));
}

#[test]
fn what_is_right_already_is_watched_all_the_same() {
    let world = World::new("200ms");
    world.publish(1, |_| ());
    let mut once = Agent::start(world.scratch.root(), &["--once"], &world.server.env()).unwrap();
    assert_eq!(once.end(SOON).unwrap().0.code(), Some(2), "{}", once.said());
    // The box is as the document says, but its daemon does not know the document yet.
    std::fs::remove_file(world.scratch.path("/var/lib/agentd/document.json")).unwrap();
    world.proxy.set(Mode::Status(503));
    let agent = world.start();
    world.see(&agent, "the missing document", |status| {
        status["health"] == "waiting"
    });
    world.proxy.set(Mode::Pass);
    world.see(&agent, "version 1", |status| is_on(status, 1));
    world.scratch.write("/etc/hosts", "").unwrap();
    let took = world.wait_for_hosts(&agent, &mark(1));
    assert!(
        took < Duration::from_secs(2),
        "{took:?}: it was not watched"
    );
}

#[test]
fn askers_are_served_together_and_by_the_newest_document() {
    let (world, agent) = World::converged("1h");
    world.publish(2, |_| ());
    world.server.take_requests();
    world.proxy.set(Mode::Delay(Duration::from_millis(700)));
    let said: Vec<Output> = std::thread::scope(|scope| {
        let askers: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| world.ctl(&["apply"])))
            .collect();
        // Who only looks is not kept waiting.
        let start = Instant::now();
        assert_eq!(world.ctl(&["status"]).code, Some(0));
        println!("a status beside four askers took {:?}", start.elapsed());
        askers
            .into_iter()
            .map(|asker| asker.join().unwrap())
            .collect()
    });
    let changed = said.iter().filter(|said| said.code == Some(2)).count();
    assert!(
        said.iter().all(|said| matches!(said.code, Some(0 | 2))),
        "{said:?}"
    );
    assert!(changed >= 1, "{said:?}");
    assert!(world.hosts().contains(&mark(2)), "{}", agent.said());
    let mut asked = world.server.take_requests();
    asked.retain(|request| {
        !["/leases/", "/nodes/"]
            .iter()
            .any(|of| request.key.contains(of))
    });
    let asked = asked.len();
    assert!(asked <= 2, "{asked} requests for four askers");

    // A wish that comes while a routine poll hangs is not answered by that poll.
    world.proxy.set(Mode::Status(503));
    let said = world.ctl(&["apply"]);
    assert_eq!(said.code, Some(4), "{said:?}");
    assert!(
        said.stderr.contains("the bucket did not give its document"),
        "{said:?}"
    );
}

#[test]
fn a_hostile_client_does_not_hold_the_daemon_up() {
    let (world, mut agent) = World::converged("200ms");
    let socket = world.scratch.path("/run/agentd/agentd.sock");
    let connect = || UnixStream::connect(&socket);
    let mut garbage = connect().unwrap();
    garbage.write_all(&vec![0xff; 100_000]).ok();
    let mut half = connect().unwrap();
    half.write_all(br#"{"format": 1, "ask": "sta"#).unwrap();
    // Asks for a long answer, again and again, and never reads.
    let deaf: Vec<_> = (0..50)
        .map(|_| {
            let mut stream = connect().unwrap();
            stream
                .write_all(b"{\"format\": 1, \"ask\": \"status\"}\n")
                .unwrap();
            stream
        })
        .collect();
    let mut idle = Vec::new();
    for _ in 0..1000 {
        idle.push(connect().unwrap());
        if idle.len() % 200 == 0 {
            let said = world.ctl(&["status"]);
            assert_eq!(said.code, Some(0), "{said:?}");
        }
    }
    world.scratch.write("/etc/hosts", "").unwrap();
    let took = world.wait_for_hosts(&agent, &mark(1));
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(
        agent.open_files() < 100,
        "{} files open",
        agent.open_files()
    );
    world.publish(2, |_| ());
    world.see(&agent, "version 2", |status| is_on(status, 2));
    let mut answer = String::new();
    half.set_read_timeout(Some(SOON)).unwrap();
    // Told, or thrown out.
    half.read_to_string(&mut answer).ok();
    drop((garbage, half, deaf, idle));
    wait_until("its files to be closed", SOON, || agent.open_files() < 40).unwrap();
    assert!(agent.runs());
}

#[test]
fn a_fight_is_slowed_and_told() {
    let (world, agent) = World::converged("200ms");
    let other = |until: Duration| {
        let start = Instant::now();
        while start.elapsed() < until {
            world
                .scratch
                .write("/etc/hosts", "127.0.0.1\tlocalhost\n10.9.9.9\tother\n")
                .unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    other(Duration::from_secs(8));
    let status = world.scratch.status();
    let repairs = status["counters"]["repairs"].as_u64().unwrap();
    assert!(
        (5..=8).contains(&repairs),
        "{repairs} repairs in 8 s of fight"
    );
    assert_eq!(status["health"], "degraded");
    assert!(
        reasons(&status).contains("somebody rewrites /etc/hosts again and again"),
        "{status:#}"
    );
    assert!(agent.said().contains("(fight)"), "{}", agent.said());
    let said = world.ctl(&["status"]);
    assert!(
        said.code == Some(1) && said.stdout.contains("/etc/hosts"),
        "{said:?}"
    );
    // Others are mended at once all the same; and when the other side gives up, so is this.
    std::fs::remove_file(world.scratch.path("/etc/shop/memcached.json")).unwrap();
    wait_until("another file", Duration::from_secs(1), || {
        world.scratch.path("/etc/shop/memcached.json").exists()
    })
    .unwrap();
    let _ = wait_until("peace", Duration::from_secs(30), || {
        world.hosts().contains(&mark(1))
    });
    assert!(world.hosts().contains(&mark(1)));
}

#[test]
fn a_bucket_that_is_away_is_told_after_its_third_silence() {
    let (world, agent) = World::converged("200ms");
    let files = world.scratch.content("/etc");
    world.proxy.set(Mode::Refuse);
    for failures in 1..=2 {
        world.see(&agent, "a failure", |status| {
            status["bucket"]["failures"].as_u64() >= Some(failures)
        });
    }
    let status = world.scratch.status();
    if status["bucket"]["failures"] == 2 {
        assert_eq!(status["health"], "converged", "{status:#}");
    }
    world.see(&agent, "the third", |status| {
        status["bucket"]["failures"].as_u64() >= Some(3) && status["health"] == "degraded"
    });
    let said = world.ctl(&["status"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stdout.contains("the last good document"), "{said:?}");
    assert_eq!(files, world.scratch.content("/etc"));
    assert_eq!(agent.said().matches("bucket-unreachable").count(), 1);
    world.proxy.set(Mode::Pass);
    world.see(&agent, "the bucket's return", |status| is_on(status, 1));
    assert!(agent.said().contains("bucket-answers"));
}

#[test]
fn killed_at_any_moment_it_converges_at_its_next_start() {
    let world = World::new("100ms");
    let mut random = RandomState::new().build_hasher();
    let mut version = 0;
    for _ in 0..25 {
        version += 1;
        world.publish(version, |signed| {
            if version % 2 == 0 {
                signed["products"]["shop"]["sites"]["beta"] =
                    json!({"domains": ["beta.example.com"], "root": "/srv/beta"});
            }
        });
        let agent = world.start();
        random.write_u8(version);
        std::thread::sleep(Duration::from_micros(random.finish() % 150_000));
        version += 1;
        world.publish(version, |_| ());
        random.write_u8(version);
        std::thread::sleep(Duration::from_micros(random.finish() % 150_000));
        drop(agent); // With SIGKILL, its socket left behind.
    }
    let agent = world.start();
    world.see(&agent, "the last version", |status| {
        is_on(status, version) && status["agent"]["pid"] == agent.pid()
    });
    assert_eq!(
        world.ctl(&["status"]).code,
        Some(0),
        "a dead daemon's socket was replaced"
    );

    // As a box that nothing ever happened to.
    let fresh = World::new("100ms");
    fresh.publish(version, |_| ());
    let mut once = Agent::start(fresh.scratch.root(), &["--once"], &fresh.server.env()).unwrap();
    assert_eq!(once.end(SOON).unwrap().0.code(), Some(2), "{}", once.said());
    let plain = |world: &World| {
        let mut files = world.scratch.content("/etc");
        files.retain(|path, _| !path.starts_with("etc/agentd"));
        files
    };
    let left = world.scratch.content("/");
    let left: Vec<_> = left
        .keys()
        .filter(|path| path.to_string_lossy().contains(".agentd-"))
        .collect();
    assert!(left.is_empty(), "half-written files stay: {left:?}");
    let (lived, fresh) = (plain(&world), plain(&fresh));
    let names = |files: &BTreeMap<PathBuf, String>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&lived), names(&fresh));
    assert_eq!(lived, fresh);
    assert!(!world.scratch.path("/var/lib/agentd/pending").exists());
}

/// The document that is being taken, as long as it is.
const CONSIDERED: &str = "/var/lib/agentd/considered.json";

#[test]
fn a_large_wrong_document_keeps_nobody_waiting() {
    let (world, agent) = World::converged("200ms");
    // How long reading takes is the machine's to say: it is tried until something was done meanwhile.
    for attempt in 0..5 {
        let roles: Vec<String> = (0..400_000)
            .map(|n| format!("\"r{attempt}-{n}\""))
            .collect();
        let document = format!(
            "{{\"signed\": {{\"format\": 1, \"fleet\": \"heavy\", \"version\": 9, \"issued\": \"2026-01-01T00:00:00Z\", \
             \"expires\": \"2126-01-01T00:00:00Z\", \"servers\": {{\"web-1\": {{\"address\": \"10.0.0.1\", \"roles\": [{}]}}}}}}}}",
            roles.join(",")
        );
        assert!(document.len() < 8 << 20);
        world.server.put(KEY, document);
        let reading = || world.scratch.path(CONSIDERED).exists();
        if wait_until("it to be read", Duration::from_secs(3), reading).is_err() {
            continue;
        }
        world
            .scratch
            .write("/etc/hosts", "127.0.0.1 localhost\n")
            .unwrap();
        let asked = Instant::now();
        let answer = world.ctl(&["status", "--output", "json"]);
        let answered = asked.elapsed();
        world.wait_for_hosts(&agent, &mark(1));
        let was_meanwhile = reading();
        world.see(&agent, "the refusal", |status| {
            reasons(status).contains("refused")
        });
        assert_eq!(world.scratch.status()["document"]["version"], 1);
        if was_meanwhile {
            assert!(answer.stdout.contains("\"web-1\""), "{answer:?}");
            assert!(answered < Duration::from_secs(5), "{answered:?}");
            assert!(!reading(), "it was settled when it was refused");
            return;
        }
    }
    panic!(
        "nothing was ever done while a document was being read: {}",
        agent.said()
    );
}
