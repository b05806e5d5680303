//! Promise: `agentctl fleet release` looks at an archive as machines will, puts it into the bucket once and for all, and prints what the
//! document has to say of it.

#![cfg(test)]

use node_agent_tests::desk::Desk;
use node_agent_tests::machine::run;
use serde_json::Value;

/// Packs what a script makes in a directory of its own.
fn pack(desk: &Desk, name: &str, script: &str) -> String {
    let archive = desk.path(name).display().to_string();
    let script = format!("set -e; cd \"$(mktemp -d)\"; {script}; tar --auto-compress -cf \"$1\" .");
    let packed = run(
        &["bash", "-c", &script, "bash", &archive],
        b"",
        node_agent_tests::desk::SOON,
    );
    let packed = packed.unwrap();
    assert!(packed.success(), "{packed:?}");
    archive
}

#[test]
fn an_archive_goes_into_the_bucket_once_and_the_document_s_part_is_printed() {
    let desk = Desk::new();
    let archive = pack(
        &desk,
        "2026-11-30.1.tar.gz",
        "mkdir public; echo one > public/index.html",
    );
    let said = desk.good(&["release", "shop", &archive, "--output", "json"]);
    let release: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(release["version"], "2026-11-30.1");
    let object = release["object"].as_str().unwrap();
    assert_eq!(object, "releases/shop/2026-11-30.1.tar.gz");
    let uploaded = std::fs::read(desk.bucket().join(object)).unwrap();
    assert_eq!(uploaded, std::fs::read(&archive).unwrap());
    let sha256 = node_agent::system::digest::sha256_hex(&uploaded);
    assert_eq!(release["sha256"], sha256.as_str());

    // The same again is no harm; another one under the same name is refused, and what is there stays.
    let again = desk.good(&["release", "shop", &archive]);
    assert!(again.contains(&sha256), "{again}");
    let other = pack(
        &desk,
        "2026-11-30.1.tar.gz",
        "mkdir public; echo other > public/index.html",
    );
    let refused = desk.refused(&["release", "shop", &other]);
    assert!(refused.contains("2026-11-30.1"), "{refused}");
    assert_eq!(std::fs::read(desk.bucket().join(object)).unwrap(), uploaded);

    let zst = pack(&desk, "anything.tar.zst", "echo x > y");
    let said = desk.good(&[
        "release",
        "shop",
        &zst,
        "--version",
        "2",
        "--output",
        "json",
    ]);
    assert!(said.contains("releases/shop/2.tar.zst"), "{said}");
}

#[test]
fn what_machines_would_refuse_is_refused_at_the_desk() {
    let desk = Desk::new();
    for (script, why) in [
        ("ln -s /etc/passwd out", "out"),
        ("mkfifo pipe", "pipe"),
        ("touch a A", "differs in case"),
        ("echo x > program; chmod 4755 program", "program"),
    ] {
        let archive = pack(&desk, "bad.tar.gz", script);
        let said = desk.refused(&["release", "shop", &archive]);
        assert!(
            said.contains("machines would not take this archive"),
            "{said}"
        );
        assert!(said.contains(why), "{script}: {said}");
    }
    let said = desk.refused(&["release", "shop", "/nowhere/1.zip"]);
    assert!(said.contains(".tar.zst"), "{said}");
    assert!(!desk.bucket().join("releases").exists());
}
