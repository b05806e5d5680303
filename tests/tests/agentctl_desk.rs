//! `agentctl` at a desk: no root, no state, no configuration, no agent.

use node_agent_tests::terminal::{HEAVY, Terminal};

fn desk() -> std::io::Result<Terminal> {
    let desk = Terminal::bare()?;
    desk.write("fleet.json", HEAVY)?;
    Ok(desk)
}

#[test]
fn any_box_of_the_fleet_can_be_planned() {
    let mut desk = desk().unwrap();
    for (platform, vhost, named) in [
        (
            "centos",
            "/etc/httpd/agentd/current/shop_www.conf",
            "files as on CentOS",
        ),
        (
            "debian",
            "/etc/apache2/agentd/current/shop_www.conf",
            "files as on Debian",
        ),
    ] {
        let args = [
            "plan",
            "--as",
            "web-1",
            "--document",
            "fleet.json",
            "--platform",
            platform,
        ];
        let (code, out) = desk.run("agentctl", &args, None).unwrap();
        assert_eq!(code, 2);
        assert!(
            out.starts_with("web-1: ")
                && out.contains(&format!(
                    "(fleet.json, on a machine that has nothing yet; {named})"
                )),
            "{out}"
        );
        assert!(out.contains(&format!("+++ {vhost}\n")), "{out}");
        assert!(out.contains("+    ServerName shop.example.com\n"), "{out}");
        // What is reloaded is shown, and how the agent does it is not, unless it is asked for.
        assert!(out.contains("  then reload "), "{out}");
        let internal = |out: &str| {
            let made = |line: &&str| line.starts_with("  create ");
            let mut made = out.lines().filter(made);
            made.any(|line| line.contains(".probe") || line.contains("/staged"))
        };
        assert!(!internal(&out), "{out}");
        let args = [&args[..], &["--verbose"]].concat();
        let (_, out) = desk.run("agentctl", &args, None).unwrap();
        assert!(internal(&out), "{out}");
        let args = [&args[..args.len() - 1], &["--summary"]].concat();
        let (_, out) = desk.run("agentctl", &args, None).unwrap();
        assert!(
            out.contains("  create /etc/hosts") && !out.contains("+++"),
            "{out}"
        );
    }
}

#[test]
fn all_boxes_of_the_fleet_are_planned_in_a_table() {
    let mut desk = desk().unwrap();
    let new = HEAVY
        .replace(
            "\"port\": 11311, \"memory\": \"128M\"",
            "\"port\": 11311, \"memory\": \"256M\"",
        )
        .replace("shop.example.com\", \"www", "new.example.com\", \"www")
        .replace("\"version\": 1,", "\"version\": 2,");
    desk.write("new.json", &new).unwrap();
    desk.write(
        "same.json",
        &new.replace("\"version\": 2,", "\"version\": 1,"),
    )
    .unwrap();
    desk.write(
        "other.json",
        &HEAVY.replace("\"fleet\": \"heavy\"", "\"fleet\": \"light\""),
    )
    .unwrap();
    let all = |document: &'static str, against: &'static str| {
        [
            "plan",
            "--all",
            "--document",
            document,
            "--against",
            against,
        ]
    };
    let args = all("new.json", "fleet.json");
    let (code, out) = desk.run("agentctl", &args, None).unwrap();
    assert_eq!(code, 2);
    assert!(
        out.contains("restart agentd-memcached@video.service"),
        "{out}"
    );
    assert!(
        out.lines().skip(1).all(|line| line.chars().count() <= 80),
        "{out}"
    );
    // A version that did not rise, and another fleet's document: no box would take them.
    for (document, against) in [("same.json", "fleet.json"), ("other.json", "fleet.json")] {
        let code = desk
            .run("agentctl", &all(document, against), None)
            .unwrap()
            .0;
        assert_eq!(code & 4, 4, "{document}");
        let args = ["validate", document, "--against", against];
        assert_eq!(desk.run("agentctl", &args, None).unwrap().0, 1);
    }
    let args = ["validate", "new.json", "--against", "fleet.json"];
    assert_eq!(desk.run("agentctl", &args, None).unwrap().0, 0);
    // A restart of a cache says what it means.
    let args = [
        "plan",
        "--as",
        "cache-1",
        "--document",
        "new.json",
        "--against",
        "fleet.json",
        "--summary",
    ];
    let (_, out) = desk.run("agentctl", &args, None).unwrap();
    let restart = "restart agentd-memcached@video.service: the cache is emptied";
    assert!(out.contains(restart), "{out}");
    insta::assert_snapshot!(desk.said());
}

#[test]
fn what_is_easily_mistyped_is_told_in_words_of_its_own() {
    let mut desk = desk().unwrap();
    for (name, from, to) in [
        (
            "typographic.json",
            "\"fleet\": \"heavy\"",
            "\"fleet\": “heavy”",
        ),
        ("half.json", "\"fleet\": \"heavy\"", "\"fleet\": \"heavy”"),
        ("comma.json", "\"version\": 1,", "\"version\": 1"),
        (
            "capitals.json",
            "\"video.example.com\"",
            "\"Video.Example.com\"",
        ),
        (
            "unicode.json",
            "\"video.example.com\"",
            "\"vidéo.example.com\"",
        ),
        (
            "clash.json",
            "\"video.example.com\"",
            "\"shop.example.com\"",
        ),
        (
            "renamed.json",
            "\"roles\": [\"web\"]",
            "\"roles\": [\"webserver\"]",
        ),
    ] {
        let mut text = HEAVY.replace(from, to);
        if name == "renamed.json" {
            text = text.replace("\"encoder\": {}", "\"encoder\": {}, \"webserver\": {}");
        }
        assert_ne!(text, HEAVY, "{name}");
        desk.write(name, &text).unwrap();
        desk.run("agentctl", &["validate", name], None).unwrap();
    }
    insta::assert_snapshot!(desk.said());
}

#[test]
fn two_documents_are_compared_for_a_box() {
    let mut desk = desk().unwrap();
    let new = HEAVY
        .replace("10.77.0.22", "10.77.0.23")
        .replace("\"version\": 1,", "\"version\": 2,");
    desk.write("new.json", &new).unwrap();
    let args = [
        "plan",
        "--as",
        "web-1",
        "--document",
        "-",
        "--against",
        "fleet.json",
    ];
    assert_eq!(desk.run("agentctl", &args, Some(&new)).unwrap().0, 2);
    let same = [
        "plan",
        "--as",
        "web-1",
        "--document",
        "fleet.json",
        "--against",
        "fleet.json",
    ];
    assert_eq!(desk.run("agentctl", &same, None).unwrap().0, 0);
    // It shares no product with the cache node that moved.
    let other = [
        "plan",
        "--as",
        "monitor-1",
        "--document",
        "new.json",
        "--against",
        "fleet.json",
    ];
    assert_eq!(desk.run("agentctl", &other, None).unwrap().0, 0);
    let all = [
        "plan",
        "--as",
        "monitor-1",
        "--document",
        "new.json",
        "--against",
        "fleet.json",
        "--hosts",
        "fleet",
    ];
    assert_eq!(desk.run("agentctl", &all, None).unwrap().0, 2);
    insta::assert_snapshot!(desk.said());
}

#[test]
fn mistakes_are_told_with_their_lines() {
    let mut desk = desk().unwrap();
    let wrong = HEAVY
        .replace("\"web-1\":     {\"address\"", "\"web-1\":     {\"adress\"")
        .replace("\"roles\": [\"cache\"]", "\"roles\": [\"cach\"]");
    desk.write("wrong.json", &wrong).unwrap();
    for args in [
        &["validate", "fleet.json"][..],
        &["validate", "wrong.json"],
        &["validate", "missing.json"],
        &["plan", "--as", "web-1", "--document", "wrong.json"],
        &["plan", "--as", "web-33", "--document", "fleet.json"],
    ] {
        desk.run("agentctl", args, None).unwrap();
    }
    let (code, _) = desk
        .run("agentctl", &["validate", "-"], Some("{\"signed\": {"))
        .unwrap();
    assert_eq!(code, 1);
    insta::assert_snapshot!(desk.said());
}

#[test]
fn programs_get_json_with_the_version_of_its_layout() {
    let mut desk = desk().unwrap();
    for (args, wanted) in [
        (&["validate", "fleet.json"][..], 0),
        (&["validate", "-"], 1),
        (&["plan", "--as", "web-1", "--document", "fleet.json"], 2),
        (&["status"], 3),
        (&["history"], 0),
        (&["why", "/etc/hosts"], 1),
    ] {
        let root = desk.root();
        let args = [&["--root", &root, "--output", "json"], args].concat();
        let (code, out) = desk.run("agentctl", &args, Some("nonsense")).unwrap();
        assert_eq!(code, wanted, "{args:?}");
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(value["format"], 1, "{args:?}");
    }
    let (_, schema) = desk.run("agentctl", &["schema"], None).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert!(schema["$schema"].is_string());
    // Of the whole file, envelope included: an editor must accept what the agent accepts.
    assert!(schema["properties"]["signed"].is_object());
    assert!(schema["properties"]["servers"].is_null());
}

#[test]
fn wrong_usage_is_64_and_says_what_is_right() {
    let mut desk = desk().unwrap();
    for args in [
        &[][..],
        &["statsu"],
        &["plan", "--as", "web-1"],
        &["show", "latest"],
        &["--root"],
    ] {
        let (code, out) = desk.run("agentctl", args, None).unwrap();
        assert_eq!((code, out.as_str()), (64, ""), "{args:?}");
    }
    assert!(
        desk.said()
            .contains("tip: a similar subcommand exists: 'status'")
    );
    for args in [
        &["--help"][..],
        &["--version"],
        &["plan", "--help"],
        &["completions", "bash"],
    ] {
        let (code, out) = desk.run("agentctl", args, None).unwrap();
        assert!(code == 0 && out.contains("agentctl"), "{args:?}");
    }
}

#[test]
fn a_reader_who_has_seen_enough_is_no_error() {
    let mut desk = desk().unwrap();
    let agentctl = node_agent_tests::machine::built("agentctl").unwrap();
    let line = format!(
        "set -o pipefail; '{0}' schema | head -n 1 > /dev/null && \
         '{0}' plan --as web-1 --document fleet.json | head -n 1 > /dev/null",
        agentctl.display()
    );
    // 2: the plan's own code; 141 would be SIGPIPE, 101 a panic.
    let (code, _) = desk.run("bash", &["-c", &line], None).unwrap();
    assert_eq!(code, 2);
    assert!(!desk.said().contains("! "));
    let full = format!("'{}' schema > /dev/full", agentctl.display());
    assert_eq!(desk.run("bash", &["-c", &full], None).unwrap().0, 1);
    assert!(
        desk.said()
            .contains("! error: cannot write to standard output")
    );
}
