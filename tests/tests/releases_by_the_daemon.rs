//! Promise: a download that was cut off goes on where it was while the release before serves, and whether a machine is ready is a fact
//! that its daemon asks for again and again. A booted machine with the agent in its sandbox, and an S3-protocol server.

#![cfg(test)]

use std::time::Duration;

use node_agent_tests::machine::{
    Fleet, FleetBucket, Image, MachineSpec, run, wait_until, with_agent,
};
use serde_json::{Value, json};

/// Smoke tests are asked each minute.
const SOON: Duration = Duration::from_mins(1);
const HOST: &str = "shop.example.com";

fn shop(version: &str, sha256: &str) -> Value {
    json!({
        "sites": {"www": {"domains": [HOST], "root": "/srv/shop/current/public"}},
        "release": {"version": version, "object": format!("releases/shop/{version}.tar.gz"), "sha256": sha256},
        "smoke": [{"site": "www", "path": "/health", "contains": "ok"}],
    })
}

/// An archive of three pieces, as the bucket has it.
fn large(version: &str) -> (Vec<u8>, String) {
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("archive.tar.gz").display().to_string();
    let script = format!(
        "set -e; cd \"$(mktemp -d)\"; mkdir public; echo 'release {version}' > public/index.html; echo 'ok {version}' > public/health
         head -c 20000000 /dev/urandom > noise; tar -czf \"$1\" .; rm -r \"$PWD\""
    );
    let packed = run(&["bash", "-c", &script, "bash", &archive], b"", SOON).unwrap();
    assert!(packed.success(), "{packed:?}");
    let bytes = std::fs::read(archive).unwrap();
    let sha256 = node_agent::system::digest::sha256_hex(&bytes);
    (bytes, sha256)
}

#[test]
fn a_cut_download_goes_on_where_it_was_and_readiness_is_a_fact_in_the_status() {
    let fleet = Fleet::new().unwrap();
    let bucket = FleetBucket::start_behind_proxy(&fleet).unwrap();
    let spec = MachineSpec::new("web-1", Image::Debian, "10.77.0.11");
    let spec = spec.enable(Image::Debian.apache_unit());
    let machine = fleet.boot(with_agent(spec).unwrap()).unwrap();
    let publish = |number: u64, version: &str| {
        let (archive, sha256) = large(version);
        bucket
            .put(&format!("prod/releases/shop/{version}.tar.gz"), &archive)
            .unwrap();
        let document = json!({"signatures": [], "signed": {
            "format": 1, "fleet": "test", "version": number,
            "issued": "2026-11-22T20:00:00Z", "expires": "2046-11-22T20:00:00Z",
            "servers": {"web-1": {"address": "10.77.0.11", "roles": ["web"], "products": ["shop"]}},
            "roles": {"web": {}}, "products": {"shop": shop(version, &sha256)},
        }});
        bucket.publish(&document).unwrap();
    };
    let serves = |version: &str| {
        let page = machine.get("http://10.77.0.11/", Some(HOST));
        page.is_ok_and(|page| page == (200, format!("release {version}\n")))
    };
    let status = || -> Value {
        let said = machine
            .run(&["agentctl", "status", "--output", "json"])
            .unwrap();
        serde_json::from_str(&said.stdout).unwrap_or_default()
    };
    let is_ready = |words: &str| status()["readiness"][0]["ready"] == words;
    publish(1, "1");
    wait_until("the first release", SOON, || serves("1")).unwrap();
    wait_until("readiness", SOON, || is_ready("true")).unwrap();
    assert_eq!(status()["readiness"][0]["release"], "1");

    // The bucket fails once a part of the archive has come.
    let partial =
        "ls -s --block-size=1 /var/lib/agentd/archives/*.partial 2>/dev/null | cut -d' ' -f1";
    let came = || -> u64 {
        let said = machine.run(&["sh", "-c", partial]).unwrap();
        said.stdout.trim().parse().unwrap_or_default()
    };
    let treat = |how: &str| bucket.treat(&[("*".to_owned(), how.to_owned())]).unwrap();
    treat("delay:700");
    publish(2, "2");
    wait_until("a piece", SOON, || came() >= 8 << 20).unwrap();
    treat("status:503");
    wait_until("the trouble in the status", SOON, || {
        status()["reasons"]
            .to_string()
            .contains("could not be fetched")
    })
    .unwrap();
    assert!(serves("1") && is_ready("true"));
    assert!(came() >= 8 << 20, "what had come stays");
    treat("pass");
    wait_until("the second release", SOON, || serves("2")).unwrap();
    wait_until("its readiness", SOON, || {
        is_ready("true") && status()["readiness"][0]["release"] == "2"
    })
    .unwrap();

    // What a smoke test finds later is told, though nobody has switched anything.
    machine
        .must(&["sh", "-c", "echo down > /srv/shop/releases/2/public/health"])
        .unwrap();
    wait_until("the failing test", 2 * SOON, || is_ready("false")).unwrap();
    let check = machine.run(&["agentctl", "check"]).unwrap();
    assert_eq!(check.code, Some(2), "{check:?}");
    assert!(check.stdout.contains("not ready: shop"), "{check:?}");
    assert!(
        serves("2"),
        "there is nothing to go back to: it was shown to work"
    );
}
