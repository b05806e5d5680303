//! A running agent takes what those have signed who must, and nothing else that somebody puts into the bucket. Keys and
//! signatures are made by OpenSSH's own programs.

#![cfg(test)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use node_agent_tests::agent::{Agent, Scratch};
use node_agent_tests::machine::wait_until;
use node_agent_tests::signing::{KeyFile, envelope, signed_by, trust_section};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longer than anything should take on a busy host.
const SOON: Duration = Duration::from_secs(20);

/// A signed part of this version, in which `web-1` has this address.
fn signed(fleet: &str, version: u64, address: &str) -> String {
    let signed = json!({
        "format": 1, "fleet": fleet, "version": version,
        "issued": "2026-01-01T00:00:00Z", "expires": "2126-01-01T00:00:00Z",
        "servers": {
            "web-1": {"address": "10.0.0.1", "products": ["shop"]},
            "web-2": {"address": address, "products": ["shop"]}
        },
        "products": {"shop": {}}
    });
    serde_json::to_string_pretty(&signed).unwrap()
}

/// A box that trusts two keys of which both must sign, its bucket, and keys.
struct World {
    dir: TempDir,
    alice: KeyFile,
    bob: KeyFile,
    stranger: KeyFile,
    scratch: Scratch,
}

impl World {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("bucket")).unwrap();
        let key = |name| KeyFile::new(dir.path(), name).unwrap();
        let (alice, bob, stranger) = (key("alice"), key("bob"), key("mallory"));
        let scratch = Scratch::new("").unwrap();
        let world = Self {
            dir,
            alice,
            bob,
            stranger,
            scratch,
        };
        world.configure(&[&world.alice, &world.bob], 2);
        world
    }

    fn configure(&self, keys: &[&KeyFile], threshold: usize) {
        let config = format!(
            "fleet = \"file://{}\"\nnode = \"web-1\"\npoll = \"100ms\"\n{}",
            self.bucket().display(),
            trust_section(keys, threshold)
        );
        self.scratch
            .write("/etc/agentd/agentd.toml", &config)
            .unwrap();
    }

    fn bucket(&self) -> std::path::PathBuf {
        self.dir.path().join("bucket")
    }

    fn publish(&self, text: &str) {
        // As aws s3 cp does it: whole, under another name first.
        let (new, key) = (
            self.dir.path().join("new"),
            self.bucket().join("fleet.json"),
        );
        put(&new, text);
        fs::rename(new, key).unwrap();
    }

    fn both(&self, signed: &str) -> String {
        signed_by(signed, &[&self.alice, &self.bob]).unwrap()
    }

    fn start(&self) -> Agent {
        Agent::start(self.scratch.root(), &[], &[]).unwrap()
    }

    fn see(&self, what: &str, so: impl Fn(&Value) -> bool) -> Value {
        let seen = wait_until(what, SOON, || so(&self.scratch.status()));
        let status = self.scratch.status();
        assert!(seen.is_ok(), "{what}: {status:#}");
        status
    }

    /// Publishes what must be refused for this reason, and then again what the box stands on.
    fn refuses(&self, what: &str, text: &str, reason: &str, stands: &str) {
        self.publish(text);
        let status = self.see(what, |status| {
            let error = status["refused"]["errors"][0].as_str();
            error.is_some_and(|error| error.contains(reason))
        });
        assert_eq!(status["document"]["version"], 5, "{what}");
        self.publish(stands);
        self.see(what, |status| status["refused"].is_null());
    }
}

#[expect(clippy::disallowed_methods, reason = "the operator at work")]
fn put(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

#[test]
fn who_can_write_the_bucket_and_has_one_key_of_two_changes_nothing() {
    let world = World::new();
    let five = world.both(&signed("shop", 5, "10.0.0.2"));
    world.publish(&five);
    let _agent = world.start();
    let status = world.see("version 5", |status| status["document"]["version"] == 5);
    assert_eq!(status["document"]["signers"], json!(["alice", "bob"]));
    assert_eq!(status["document"]["trust"], "2 of 2 keys");
    world.see("converged", |status| status["health"] == "converged");
    let hosts = world.scratch.read("/etc/hosts");
    assert!(hosts.contains("10.0.0.2"), "{hosts}");

    let six = signed("shop", 6, "10.0.0.66");
    let good = world.both(&six);
    let namespace = |key: &KeyFile| {
        let sshsig = key.sign("file", six.as_bytes()).unwrap();
        json!({"key": key.name(), "sshsig": sshsig})
    };
    let compact: Value = serde_json::from_str(&six).unwrap();
    let signatures = |document: &str| {
        let document: Value = serde_json::from_str(document).unwrap();
        document["signatures"].as_array().unwrap().clone()
    };
    let renamed = {
        let mut twice = signatures(&signed_by(&six, &[&world.alice, &world.alice]).unwrap());
        twice[1]["key"] = "bob".into();
        envelope(&six, &twice)
    };
    for (what, text, reason) in [
        ("no signature", envelope(&six, &[]), "nobody signed it"),
        (
            "an unknown key",
            signed_by(&six, &[&world.stranger]).unwrap(),
            "is not among the trusted ones",
        ),
        (
            "one of two",
            signed_by(&six, &[&world.alice]).unwrap(),
            "1 of the 2 that are needed count (alice)",
        ),
        (
            "one key under two names",
            renamed,
            "1 of the 2 that are needed count (alice)",
        ),
        (
            "one of two and an unknown key",
            signed_by(&six, &[&world.alice, &world.stranger]).unwrap(),
            "is not among the trusted ones",
        ),
        (
            "made for something else",
            envelope(&six, &[namespace(&world.alice), namespace(&world.bob)]),
            "made for the namespace \"file\"",
        ),
        (
            "reformatted",
            envelope(&compact.to_string(), &signatures(&good)),
            "it is not of these bytes",
        ),
        (
            "signatures of another version",
            envelope(&six, &signatures(&five)),
            "it is not of these bytes",
        ),
        (
            "cut off",
            good.split_at(good.len() / 2).0.to_owned(),
            "half uploaded",
        ),
        (
            "replayed",
            world.both(&signed("shop", 4, "10.0.0.66")),
            "rollback",
        ),
        (
            "another one of this version",
            world.both(&signed("shop", 5, "10.0.0.66")),
            "equivocation",
        ),
        (
            "of another fleet",
            world.both(&signed("other", 6, "10.0.0.66")),
            "of fleet other",
        ),
        (
            "far ahead",
            world.both(&signed("shop", 1 << 62, "10.0.0.66")),
            "may be at most 1000000 above",
        ),
        (
            "expired",
            world.both(&six.replace("2126-01-01", "2026-01-02")),
            "expired at 2026-01-02",
        ),
    ] {
        world.refuses(what, &text, reason, &five);
        assert_eq!(world.scratch.read("/etc/hosts"), hosts, "{what}");
    }

    world.publish(&good);
    world.see("version 6", |status| status["document"]["version"] == 6);
    world.see("its hosts", |_| {
        world.scratch.read("/etc/hosts").contains("10.0.0.66")
    });
}

#[test]
fn people_see_who_signed() {
    let world = World::new();
    world.publish(&world.both(&signed("shop", 5, "10.0.0.2")));
    let agent = world.start();
    world.see("converged", |status| status["health"] == "converged");
    for (command, words) in [
        (
            &["status"][..],
            "signed by alice, bob (needed: 2 of 2 keys)",
        ),
        (&["history"], "signed by"),
        (&["show", "last"], "signed by alice, bob"),
        (
            &["why", "/etc/hosts"],
            "version 5 of the document, signed by alice, bob",
        ),
    ] {
        let said = world.scratch.ctl(command).unwrap().stdout;
        let joined = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            said.contains(words) || joined.contains(words),
            "{command:?}: {said}"
        );
    }
    let meta = world.scratch.read("/var/lib/agentd/document.meta.json");
    assert!(meta.contains("\"alice\""), "{meta}");
    let log = agent.said();
    assert!(log.contains("signed by alice, bob"), "{log}");
}

#[test]
fn a_persisted_document_is_verified_again_at_a_start() {
    let world = World::new();
    world.publish(&world.both(&signed("shop", 5, "10.0.0.2")));
    let agent = world.start();
    world.see("converged", |status| status["health"] == "converged");
    drop(agent);
    // A person trusts others now; what nobody of them signed is nothing to stand on, and what is there stays.
    fs::remove_file(world.bucket().join("fleet.json")).unwrap();
    world.configure(&[&world.stranger], 1);
    let hosts = world.scratch.read("/etc/hosts");
    let agent = world.start();
    world.see("waiting", |status| status["health"] == "waiting");
    assert_eq!(world.scratch.read("/etc/hosts"), hosts);
    let log = agent.said();
    assert!(log.contains("is not among the trusted ones"), "{log}");
}

#[test]
fn a_box_that_dies_twice_of_a_document_goes_on_with_the_one_before_and_says_so() {
    for point in ["a new document is about to be read", "before the ledger"] {
        let world = World::new();
        world.publish(&world.both(&signed("shop", 5, "10.0.0.2")));
        let agent = world.start();
        world.see("version 5", |status| status["health"] == "converged");
        world.see("its hosts", |_| {
            world.scratch.read("/etc/hosts").contains("10.0.0.2")
        });
        drop(agent);

        let crash = world.dir.path().join("crash");
        let env = [("AGENTD_CRASH_IF", crash.display().to_string())];
        world.publish(&world.both(&signed("shop", 6, "10.0.0.66")));
        for _ in 0..2 {
            put(&crash, point);
            let mut agent = Agent::start(world.scratch.root(), &[], &env).unwrap();
            agent.end(SOON).unwrap();
            assert!(!crash.exists(), "{point}");
        }
        if point.contains("read") {
            // It is not read any more: nobody dies of it.
            put(&crash, point);
        }
        let agent = Agent::start(world.scratch.root(), &[], &env).unwrap();
        let status = world.see(point, |status| {
            let error = status["refused"]["errors"][0].as_str();
            error.is_some_and(|error| error.contains("died 2 times"))
        });
        assert_eq!(status["document"]["version"], 5, "{point}");
        world.see("the hosts of before", |_| {
            world.scratch.read("/etc/hosts").contains("10.0.0.2")
        });
        // Another version is taken; an older one still is not.
        let _ = fs::remove_file(&crash);
        world.publish(&world.both(&signed("shop", 7, "10.0.0.7")));
        world.see("version 7", |status| status["document"]["version"] == 7);
        world.see("converged", |status| status["health"] == "converged");
        assert!(
            !world
                .scratch
                .path("/var/lib/agentd/considered.json")
                .exists(),
            "{point}"
        );
        drop(agent);
    }
}

#[test]
fn an_agent_that_is_told_to_stop_died_of_nothing() {
    let world = World::new();
    world.publish(&world.both(&signed("shop", 5, "10.0.0.2")));
    for _ in 0..4 {
        let mut agent = world.start();
        world.see("version 5", |status| status["document"]["version"] == 5);
        agent.signal(nix::sys::signal::Signal::SIGTERM).unwrap();
        agent.end(SOON).unwrap();
    }
    assert!(
        !world
            .scratch
            .path("/var/lib/agentd/considered.json")
            .exists()
    );
    assert_eq!(world.scratch.status()["document"]["version"], 5);
}
