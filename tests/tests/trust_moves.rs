//! Who may sign changes without anybody touching a machine: one that runs, one that slept through all of it and one that lost its
//! state find their way; nobody else can lead them; and what is lost for good can be mended on the box.

#![cfg(test)]

use std::fs;

use node_agent_tests::agent::{Agent, Scratch};
use node_agent_tests::desk::{Desk, put, sees};
use node_agent_tests::signing::{KeyFile, signed_by, trust_section};
use serde_json::json;

fn public(key: &KeyFile) -> String {
    format!("{}.pub", key.path.display())
}

/// Has the desk sign with this key from now on; what it trusts first stays.
fn signs_with(desk: &Desk, key: &KeyFile) {
    desk.configure(&Desk::signs_with(key), &trust_section(&[&desk.key], 1));
}

/// Publishes the present document with this address of web-2.
fn publish(desk: &Desk, address: &str) {
    let version = desk.object("fleet.json")["signed"]["version"]
        .as_u64()
        .unwrap_or(1);
    let _ = desk.publish(version, address);
}

fn is_at(scratch: &Scratch, what: &str, generation: u64, address: &str) {
    sees(scratch, what, |status| {
        status["trust"]["generation"] == generation
            && status["refused"].is_null()
            && status["health"] == "converged"
    });
    sees(scratch, what, |_| {
        scratch.read("/etc/hosts").contains(address)
    });
}

fn start(scratch: &Scratch) -> Agent {
    Agent::start(scratch.root(), &[], &[]).unwrap()
}

#[test]
fn five_generations_reach_a_box_that_runs_one_that_slept_and_one_without_state() {
    let desk = Desk::new();
    let key = |name| KeyFile::new(desk.dir(), name).unwrap();
    let (bob, carol, dave) = (key("bob"), key("carol"), key("dave"));
    publish(&desk, "10.0.0.2");
    let first = trust_section(&[&desk.key], 1);
    let (runs, _agent) = desk.agent(&first);
    let (slept, asleep) = desk.agent(&first);
    let (wiped, gone) = desk.agent(&first);
    for scratch in [&runs, &slept, &wiped] {
        is_at(scratch, "at first", 0, "10.0.0.2");
    }
    drop((asleep, gone));

    desk.good(&["key", "add", &public(&bob), "--yes"]);
    signs_with(&desk, &bob);
    // What alice had signed is signed anew: a box that comes now takes it.
    desk.good(&["key", "remove", "alice", "--yes"]);
    assert_eq!(desk.object("fleet.json")["signatures"][0]["key"], "bob");
    is_at(&runs, "after two", 2, "10.0.0.2");
    desk.good(&["key", "add", &public(&carol), "--yes"]);
    signs_with(&desk, &carol);
    desk.good(&["key", "remove", "bob", "--yes"]);
    desk.good(&["key", "add", &public(&dave), "--yes"]);
    let listed = desk.good(&["key", "list"]);
    assert!(
        listed.contains("trust 5: 1 of these must sign")
            && listed.contains("dave")
            && !listed.contains("alice"),
        "{listed}"
    );
    signs_with(&desk, &dave);
    publish(&desk, "10.0.0.5");

    is_at(&runs, "one that runs", 5, "10.0.0.5");
    let _woken = start(&slept);
    is_at(&slept, "one that slept", 5, "10.0.0.5");
    fs::remove_dir_all(wiped.path("/var/lib/agentd")).unwrap();
    let _wiped = start(&wiped);
    is_at(&wiped, "one without state", 5, "10.0.0.5");
    assert_eq!(runs.status()["document"]["signers"], json!(["dave"]));

    // Who signed once does so no longer, neither documents nor who signs.
    let version = desk.object("fleet.json")["signed"]["version"]
        .as_u64()
        .unwrap()
        + 1;
    let text = fs::read_to_string(desk.bucket().join("fleet.json")).unwrap();
    let (_, signed) = text.split_once("\"signed\": ").unwrap();
    let signed = signed.strip_suffix("\n}\n").unwrap();
    let signed = signed.replace(
        &format!("\"version\": {}", version - 1),
        &format!("\"version\": {version}"),
    );
    for old in [&desk.key, &bob] {
        put(
            &desk.bucket().join("fleet.json"),
            &signed_by(&signed, &[old]).unwrap(),
        );
        sees(&runs, "refused", |status| {
            let error = status["refused"]["errors"][0].as_str();
            error.is_some_and(|error| error.contains("is not among the trusted ones"))
        });
        put(&desk.bucket().join("fleet.json"), &text);
        sees(&runs, "as before", |status| status["refused"].is_null());
    }
}

#[test]
fn nobody_leads_a_box_whom_it_does_not_trust() {
    let desk = Desk::new();
    let bob = KeyFile::new(desk.dir(), "bob").unwrap();
    let mallory = KeyFile::new(desk.dir(), "mallory").unwrap();
    publish(&desk, "10.0.0.2");
    let both = trust_section(&[&desk.key, &bob], 2);
    // Signed by one of two who must: the desk does not publish it, and a thief with one key does it by hand.
    let attack = desk.path("attack.json").display().to_string();
    desk.configure(&Desk::signs_with(&desk.key), &both);
    let told = desk.refused(&["key", "add", &public(&mallory), "--yes"]);
    assert!(
        told.contains("1 of the 2 that are needed count (alice)"),
        "{told}"
    );
    desk.good(&["key", "add", &public(&mallory), "--yes", "--out", &attack]);
    let file = fs::read_to_string(&attack).unwrap();

    let unsigned = desk.path("signed.json").display().to_string();
    let document = desk.write("both.json", 1, "10.0.0.3");
    desk.good(&[
        "sign",
        &document,
        "--out",
        &unsigned,
        "--yes",
        "--replace-unverified",
    ]);
    desk.configure(&Desk::signs_with(&bob), &both);
    desk.good(&["cosign", &unsigned, "--yes"]);
    desk.good(&["publish", &unsigned, "--yes", "--replace-unverified"]);
    fs::create_dir_all(desk.bucket().join("trust")).unwrap();
    put(&desk.bucket().join("trust/1.json"), &file);
    let (scratch, agent) = desk.agent(&both);
    sees(&scratch, "the refusal", |status| {
        let refused = status["trust"]["refused"].as_str();
        refused.is_some_and(|why| why.contains("trust/1.json") && why.contains("1 of the 2"))
    });
    assert_eq!(scratch.status()["trust"]["generation"], 0);
    assert_eq!(scratch.status()["document"]["trust"], "2 of 2 keys");
    assert!(
        desk.refused(&["key", "list"])
            .contains("machines do not follow")
    );

    // The same, signed by the other one too, is followed.
    fs::remove_file(desk.bucket().join("trust/1.json")).unwrap();
    desk.good(&["key", "cosign", &attack, "--yes"]);
    desk.good(&["key", "publish", &attack, "--yes"]);
    drop(agent);
    let _agent = start(&scratch);
    sees(&scratch, "the third key", |status| {
        status["document"]["trust"] == "2 of 3 keys"
    });
}

#[test]
fn a_version_by_far_too_high_is_undone_by_moving_trust() {
    let desk = Desk::new();
    let far = 1_u64 << 62;
    let file = desk.write("far.json", far, "10.0.0.66");
    // Nothing is published yet, so the first box takes whatever is signed.
    let signed = desk.path("signed.json").display().to_string();
    desk.good(&[
        "sign",
        &file,
        "--out",
        &signed,
        "--yes",
        "--replace-unverified",
    ]);
    desk.good(&["publish", &signed, "--yes"]);
    let trust = trust_section(&[&desk.key], 1);
    let (scratch, agent) = desk.agent(&trust);
    is_at(&scratch, "far ahead", 0, "10.0.0.66");
    drop(agent);
    let agent = start(&scratch);

    desk.good(&["key", "renew", "--version-floor", "43", "--yes"]);
    assert_eq!(desk.object("fleet.json")["signed"]["version"], 44);
    sees(&scratch, "version 44", |status| {
        status["document"]["version"] == 44
    });
    publish(&desk, "10.0.0.3");
    is_at(&scratch, "and on", 1, "10.0.0.3");
    // Also after a restart.
    drop(agent);
    let _agent = start(&scratch);
    is_at(&scratch, "restarted", 1, "10.0.0.3");
    // A replay of what is below the floor, or of the high one, is refused.
    put(
        &desk.bucket().join("fleet.json"),
        &fs::read_to_string(&signed).unwrap(),
    );
    sees(&scratch, "refused", |status| {
        let error = status["refused"]["errors"][0].as_str();
        error.is_some_and(|error| error.contains("at most"))
    });
}

#[test]
fn where_too_many_keys_are_lost_a_box_is_told_whom_to_trust() {
    let desk = Desk::new();
    let bob = KeyFile::new(desk.dir(), "bob").unwrap();
    publish(&desk, "10.0.0.2");
    let (scratch, agent) = desk.agent(&trust_section(&[&desk.key], 1));
    desk.good(&["key", "add", &public(&bob), "--yes"]);
    signs_with(&desk, &bob);
    desk.good(&["key", "remove", "alice", "--yes"]);
    is_at(&scratch, "bob alone", 2, "10.0.0.2");

    // Bob's key is gone, and with it all that counted. A new one, named on the box and at the desk.
    let spare = KeyFile::new(desk.dir(), "spare").unwrap();
    let section = format!("{}generation = 2\n", trust_section(&[&spare], 1));
    desk.configure(&Desk::signs_with(&spare), &section);
    let version = desk.object("fleet.json")["signed"]["version"]
        .as_u64()
        .unwrap();
    let file = desk.write("edited.json", version, "10.0.0.7");
    assert!(
        desk.refused(&["publish", &file, "--yes"])
            .contains("--replace-unverified")
    );
    desk.good(&["publish", &file, "--yes", "--replace-unverified"]);
    sees(&scratch, "refused", |status| !status["refused"].is_null());
    let config = scratch.read("/etc/agentd/agentd.toml");
    let (head, _) = config.split_once("[trust]").unwrap();
    scratch
        .write("/etc/agentd/agentd.toml", &format!("{head}{section}"))
        .unwrap();

    let running = scratch.ctl(&["trust-reset"]).unwrap();
    assert!(
        !running.success() && running.stderr.contains("agentd runs here"),
        "{}",
        running.stderr
    );
    // The settings alone do not lead back.
    drop(agent);
    let agent = start(&scratch);
    sees(&scratch, "still refused", |status| {
        status["trust"]["generation"] == 2 && !status["refused"].is_null()
    });
    drop(agent);
    let reset = scratch.ctl(&["trust-reset"]).unwrap();
    assert!(
        reset.stdout.contains("/var/lib/agentd/trust.json"),
        "{}",
        reset.stdout
    );
    let _agent = start(&scratch);
    is_at(&scratch, "the spare key", 2, "10.0.0.7");
    assert_eq!(scratch.status()["document"]["signers"], json!(["spare"]));
    desk.good(&["key", "add", &public(&desk.key), "--yes"]);
    publish(&desk, "10.0.0.8");
    is_at(&scratch, "and on from there", 3, "10.0.0.8");
}
