//! `agentctl fleet` at a desk: what it publishes, agents take; what two do at once and what is cut short harms nobody; and
//! whatever OpenSSH signs with, it signs with.

#![cfg(test)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use node_agent_tests::desk::{Desk, SOON, document, put, sees};
use node_agent_tests::machine::{built, run, wait_until};
use node_agent_tests::signing::{KeyFile, software_token, trust_section};
use serde_json::{Value, json};

#[test]
fn a_fleet_is_begun_edited_published_looked_at_and_taken_back() {
    let desk = Desk::new();
    fs::remove_file(desk.path("desk.toml")).unwrap();
    let url = format!("file://{}", desk.bucket().display());
    let public = format!("{}.pub", desk.key.path.display());
    let first = desk.write("first.json", 7, "10.0.0.2");
    let begun = desk.fleet(&[
        "init",
        "--fleet",
        &url,
        "--name",
        "shop",
        "--signing-key",
        &public,
        "--document",
        &first,
    ]);
    assert!(begun.success(), "{}", begun.stderr);
    assert_eq!(desk.object("fleet.json")["signed"]["version"], 1);
    assert_eq!(desk.object("versions/1.json"), desk.object("fleet.json"));
    let again = desk.refused(&["init", "--fleet", &url, "--name", "shop"]);
    assert!(again.contains("this desk has a fleet"), "{again}");

    // What it says a machine needs is what a machine needs.
    let (_, trust) = begun.stderr.split_at(begun.stderr.find("[trust]").unwrap());
    let trust: Vec<&str> = trust
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Next"))
        .collect();
    let (scratch, _agent) = desk.agent(&trust.join("\n"));
    sees(&scratch, "version 1", |status| {
        status["document"]["version"] == 1
    });
    // The public key alone does not sign: from here on the private one does.
    desk.configure(
        &Desk::signs_with(&desk.key),
        &trust_section(&[&desk.key], 1),
    );
    desk.ssh_keygen_verifies(&desk.key.line);

    // Edited: the first try has a mistake, and the editor is opened again only where somebody can say so.
    let sed = |script: &str| format!("sed -i {script}");
    let broken = desk.fleet_with(
        &[("EDITOR", &sed("s/10.0.0.2/nowhere/"))],
        &["edit", "--yes"],
    );
    assert_eq!(broken.code, Some(1));
    assert!(
        broken.stderr.contains("nowhere") && broken.stderr.contains("is kept in"),
        "{}",
        broken.stderr
    );
    let edited = desk.fleet_with(
        &[("EDITOR", &sed("s/10.0.0.2/10.0.0.3/"))],
        &["edit", "--yes"],
    );
    assert!(edited.success(), "{}", edited.stderr);
    assert!(
        edited.stderr.contains("2 of 2 servers would change"),
        "{}",
        edited.stderr
    );
    let unchanged = desk.fleet_with(&[("EDITOR", "true")], &["edit", "--yes"]);
    assert!(
        unchanged.stderr.contains("nothing was changed"),
        "{}",
        unchanged.stderr
    );
    sees(&scratch, "version 2", |status| {
        status["document"]["version"] == 2
    });

    // By get and publish, with a plan before.
    let file = desk.path("fleet.json").display().to_string();
    desk.good(&["get", &file]);
    let text = fs::read_to_string(&file).unwrap();
    put(Path::new(&file), &text.replace("10.0.0.3", "10.0.0.4"));
    desk.good(&["validate", &file]);
    let plan = desk.fleet(&["plan", &file]);
    assert_eq!(plan.code, Some(2), "{}", plan.stderr);
    assert!(
        plan.stdout.contains("web-1") && plan.stdout.contains("web-2"),
        "{}",
        plan.stdout
    );
    let unasked = desk.refused(&["publish", &file]);
    assert!(unasked.contains("--yes"), "{unasked}");
    desk.good(&["publish", &file, "--yes", "--valid-for", "30d"]);
    sees(&scratch, "version 3", |status| {
        status["document"]["version"] == 3
    });
    desk.good(&["verify", desk.bucket().join("fleet.json").to_str().unwrap()]);
    let changed = desk.refused(&["verify", &file]);
    assert!(changed.is_empty() || changed.contains("note"), "{changed}");

    // Edited from what is not the newest any more.
    let stale = desk.refused(&["publish", &file, "--yes"]);
    assert!(
        stale.contains("was edited from version 2, and version 3, signed by alice is published"),
        "{stale}"
    );

    let log = desk.good(&["log"]);
    assert!(
        log.contains("version 3") && log.contains("alice") && log.contains("servers: ~web-2"),
        "{log}"
    );
    let log: Value = serde_json::from_str(&desk.good(&["--output", "json", "log"])).unwrap();
    assert_eq!(log["versions"].as_array().unwrap().len(), 3);
    let diff = desk.good(&["diff", "2", "3"]);
    assert!(diff.contains("10.0.0.4"), "{diff}");
    assert!(desk.good(&["show", "2"]).contains("10.0.0.3"));
    desk.good(&["rollback", "1", "--yes"]);
    assert_eq!(desk.object("fleet.json")["signed"]["version"], 4);
    assert_eq!(
        desk.object("fleet.json")["signed"]["servers"]["web-2"]["address"],
        "10.0.0.2"
    );
    sees(&scratch, "version 4", |status| {
        status["document"]["version"] == 4
    });
}

#[test]
fn of_two_who_publish_at_once_one_is_told_whose_version_came_between() {
    let desk = Desk::new();
    desk.publish(1, "10.0.0.2");
    for round in 0..5_u64 {
        let version = desk.object("fleet.json")["signed"]["version"]
            .as_u64()
            .unwrap();
        let files = [
            desk.write("a.json", version, &format!("10.0.1.{round}")),
            desk.write("b.json", version, &format!("10.0.2.{round}")),
        ];
        let publishers: Vec<_> = files
            .iter()
            .map(|file| {
                Command::new(built("agentctl").unwrap())
                    .args(["fleet", "--desk"])
                    .arg(desk.path("desk.toml"))
                    .args(["publish", file, "--yes"])
                    .stdin(Stdio::null())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        let ended: Vec<_> = publishers
            .into_iter()
            .map(|publisher| publisher.wait_with_output().unwrap())
            .collect();
        let winners = ended
            .iter()
            .filter(|output| output.status.success())
            .count();
        let said: Vec<_> = ended
            .iter()
            .map(|output| String::from_utf8_lossy(&output.stderr).into_owned())
            .collect();
        assert_eq!(winners, 1, "{said:?}");
        let loser = ended
            .iter()
            .position(|output| !output.status.success())
            .unwrap();
        let told = &said[loser];
        // Told by the bucket, or before, if the other one was quicker.
        assert!(
            told.contains("somebody else published while you did")
                || told.contains("was edited from version"),
            "{told}"
        );
        let now = desk.object("fleet.json");
        let next = now["signed"]["version"].as_u64().unwrap();
        // Who looks while the other one stands between its two writes passes that number over, and may still be first.
        assert!([version + 1, version + 2].contains(&next), "{next}");
        let address = format!("10.0.{}.{round}", if loser == 0 { 2 } else { 1 });
        assert_eq!(
            now["signed"]["servers"]["web-2"]["address"],
            address.as_str()
        );
        assert_eq!(desk.object(&format!("versions/{next}.json")), now);
    }
}

#[test]
fn a_publish_that_is_killed_at_any_step_leaves_a_bucket_that_works() {
    let desk = Desk::new();
    desk.publish(1, "10.0.0.2");
    let (scratch, _agent) = desk.agent(&trust_section(&[&desk.key], 1));
    let mut expected = 1;
    for (point, published) in [
        ("signed, and nothing of it in the bucket", false),
        ("the version is in the bucket, and is not published", false),
        ("published", true),
    ] {
        let crash = desk.path("crash");
        put(&crash, point);
        let file = desk.write("edited.json", expected, "10.0.0.66");
        let killed = desk.fleet_with(
            &[("AGENTD_CRASH_IF", crash.to_str().unwrap())],
            &["publish", &file, "--yes"],
        );
        assert!(
            !killed.success() && !crash.exists(),
            "{point}: {}",
            killed.stderr
        );
        let now = desk.object("fleet.json")["signed"]["version"]
            .as_u64()
            .unwrap();
        assert_eq!(now > expected, published, "{point}");
        // The next one copes with what it finds, and agents take it.
        desk.publish(now, "10.0.0.7");
        expected = desk.object("fleet.json")["signed"]["version"]
            .as_u64()
            .unwrap();
        assert!(expected > now, "{point}");
        sees(&scratch, point, |status| {
            status["document"]["version"] == expected
        });
        assert!(scratch.status()["refused"].is_null(), "{point}");
    }
    desk.good(&["log"]);
}

#[test]
fn two_people_at_two_desks_sign_one_version() {
    let desk = Desk::new();
    let bob = KeyFile::new(desk.dir(), "bob").unwrap();
    let trust = trust_section(&[&desk.key, &bob], 2);
    desk.configure(&Desk::signs_with(&desk.key), &trust);
    let file = desk.write("edited.json", 1, "10.0.0.2");
    let alone = desk.refused(&["publish", &file, "--yes"]);
    assert!(
        alone.contains("1 of the 2 that are needed count (alice)"),
        "{alone}"
    );
    assert!(!desk.bucket().join("fleet.json").exists() && !desk.bucket().join("versions").exists());
    let signed = desk.path("signed.json").display().to_string();
    desk.good(&["sign", &file, "--out", &signed, "--yes"]);
    assert!(
        desk.refused(&["publish", &signed, "--yes"])
            .contains("no machine would take it")
    );
    desk.configure(&Desk::signs_with(&bob), &trust);
    desk.good(&["cosign", &signed, "--yes"]);
    let verified = desk.good(&["verify", &signed]);
    assert!(verified.contains("signed by alice, bob"), "{verified}");
    desk.good(&["publish", &signed, "--yes"]);
    let (scratch, _agent) = desk.agent(&trust);
    sees(&scratch, "both", |status| {
        status["document"]["signers"] == json!(["alice", "bob"])
    });
}

#[test]
fn what_nobody_signed_is_not_published_over_unseen() {
    let desk = Desk::new();
    desk.publish(1, "10.0.0.2");
    put(&desk.bucket().join("fleet.json"), &document(9, "10.0.0.66"));
    let file = desk.write("edited.json", 1, "10.0.0.3");
    let told = desk.refused(&["publish", &file, "--yes"]);
    assert!(told.contains("nobody signed it"), "{told}");
    desk.good(&["publish", &file, "--yes", "--replace-unverified"]);
    assert_eq!(desk.object("fleet.json")["signed"]["version"], 2);
}

#[test]
fn whatever_openssh_signs_with_signs() {
    let desk = Desk::new();
    let trusted = |line: &str| format!("[trust]\nkeys = [{line:?}]\n");
    let mut version = 0;
    let mut check = |what: &str, line: &str, signer: &str, env: &[(&str, &str)]| {
        desk.configure(signer, &trusted(line));
        let _ = fs::remove_dir_all(desk.bucket().join("versions"));
        let _ = fs::remove_file(desk.bucket().join("fleet.json"));
        version += 1;
        let file = desk.write("edited.json", version, "10.0.0.2");
        let published = desk.fleet_with(env, &["publish", &file, "--yes"]);
        assert!(published.success(), "{what}: {}", published.stderr);
        desk.ssh_keygen_verifies(line);
        let (scratch, _agent) = desk.agent(&trusted(line));
        sees(&scratch, what, |status| status["document"]["version"] == 1);
    };

    check(
        "a key file",
        &desk.key.line,
        &Desk::signs_with(&desk.key),
        &[],
    );

    // An agent that has the private key, which nothing else has.
    let socket = desk.path("agent.sock");
    let agent = Command::new("ssh-agent")
        .args(["-D", "-a"])
        .arg(&socket)
        .stdout(Stdio::null())
        .spawn();
    let mut agent = agent.unwrap();
    wait_until("ssh-agent", SOON, || socket.exists()).unwrap();
    let held = KeyFile::new(desk.dir(), "held").unwrap();
    let socket = socket.display().to_string();
    let key = held.path.display().to_string();
    let added = run(
        &[
            "env",
            &format!("SSH_AUTH_SOCK={socket}"),
            "ssh-add",
            "-q",
            &key,
        ],
        b"",
        SOON,
    );
    assert!(added.unwrap().success());
    fs::remove_file(&held.path).unwrap();
    let by_agent = format!("key = {:?}", format!("{key}.pub"));
    check(
        "ssh-agent",
        &held.line,
        &by_agent,
        &[("SSH_AUTH_SOCK", &socket)],
    );
    agent.kill().unwrap();
    agent.wait().unwrap();

    // A program of the operator's.
    let program = desk.path("sign");
    let key = desk.key.path.display();
    put(
        &program,
        &format!("#!/bin/sh\nexec ssh-keygen -q -Y sign -n node-agent-fleet -f {key}\n"),
    );
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let by_program = format!("signer = [{:?}]", program.display().to_string());
    check("a program", &desk.key.line, &by_program, &[]);
    put(&program, "#!/bin/sh\necho no\n");
    desk.configure(&by_program, &trusted(&desk.key.line));
    let file = desk.write("edited.json", 1, "10.0.0.3");
    let told = desk.refused(&["publish", &file, "--yes", "--any-version"]);
    assert!(told.contains("printed is no signature"), "{told}");

    // A token.
    let token = desk.path("token");
    let text = token.display().to_string();
    let library = software_token().unwrap().display().to_string();
    let provider = format!("SSH_SK_PROVIDER={library}");
    let argv = [
        "env",
        &provider,
        "ssh-keygen",
        "-q",
        "-t",
        "ed25519-sk",
        "-N",
        "",
        "-C",
        "token",
        "-f",
        &text,
    ];
    let made = run(&argv, b"", SOON).unwrap();
    assert!(made.success(), "{}", made.stderr);
    let line = fs::read_to_string(token.with_extension("pub")).unwrap();
    let by_token = format!("key = {text:?}");
    check(
        "a token",
        line.trim_end(),
        &by_token,
        &[("SSH_SK_PROVIDER", &library)],
    );
}
