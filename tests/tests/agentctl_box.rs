//! `agentctl` on a box, as somebody woken at 3 a.m. types it: one session a situation.

use node_agent_tests::terminal::{HEAVY, Terminal};

fn version(number: u32, edit: (&str, &str)) -> String {
    let document = HEAVY.replace("\"version\": 1,", &format!("\"version\": {number},"));
    assert!(document.contains(edit.0));
    document.replace(edit.0, edit.1)
}

#[test]
fn a_box_without_anything_says_where_to_begin() {
    let mut terminal = Terminal::bare().unwrap();
    for args in [
        &["status"][..],
        &["plan"],
        &["apply"],
        &["history"],
        &["show", "last"],
        &["why", "/etc/hosts"],
    ] {
        terminal.ctl(args).unwrap();
    }
    insta::assert_snapshot!(terminal.said());
}

#[test]
fn without_an_agent_a_change_is_planned_applied_and_explained() {
    let mut terminal = Terminal::converged().unwrap();
    terminal
        .write(
            "bucket/fleet.json",
            &version(2, ("10.77.0.22", "10.77.0.23")),
        )
        .unwrap();
    assert_eq!(terminal.ctl(&["plan"]).unwrap().0, 2);
    assert_eq!(terminal.ctl(&["plan", "--offline"]).unwrap().0, 0);
    assert_eq!(terminal.ctl(&["apply"]).unwrap().0, 2);
    assert_eq!(terminal.ctl(&["apply"]).unwrap().0, 0);
    for args in [
        &["history"][..],
        &["show", "2"],
        &["show", "3"],
        &["why", "/etc/hosts", "cache-2"],
        &["why", "/etc/cron.d/agentd-shop-tick"],
        &["status"],
    ] {
        terminal.ctl(args).unwrap();
    }
    insta::assert_snapshot!(terminal.said());
}

#[test]
fn a_vhost_is_explained_by_the_name_that_people_see() {
    let mut terminal = Terminal::converged().unwrap();
    let shown = "/etc/httpd/agentd/current/shop_www.conf";
    let (code, out) = terminal.ctl(&["why", shown]).unwrap();
    assert_eq!(code, 0);
    for part in [
        &format!("{shown}: the whole file is the agent's (sites)"),
        "ServerName shop.example.com ",
        "/signed/products/shop/sites/www/domains/0",
        "as the agent wrote it",
    ] {
        assert!(out.contains(part), "{part} is not in:\n{out}");
    }
}

#[test]
fn a_plan_touches_nothing() {
    let mut terminal = Terminal::web_1().unwrap();
    let before = tree(&terminal);
    assert_eq!(terminal.ctl(&["plan"]).unwrap().0, 2);
    assert_eq!(tree(&terminal), before);
}

#[test]
fn drift_is_shown_before_and_after_its_repair() {
    let mut terminal = Terminal::converged().unwrap();
    let hosts = terminal.read("root/etc/hosts").unwrap();
    terminal
        .write(
            "root/etc/hosts",
            &hosts.replace("10.77.0.31\tmysql-master", "10.9.9.9\tmysql-master"),
        )
        .unwrap();
    std::fs::remove_file(terminal.path("root/etc/cron.d/agentd-shop_tick")).unwrap();
    assert_eq!(terminal.ctl(&["why", "mysql-master"]).unwrap().0, 0);
    assert_eq!(
        terminal
            .ctl(&["why", "/etc/cron.d/agentd-shop_tick"])
            .unwrap()
            .0,
        0
    );
    assert_eq!(terminal.ctl(&["plan"]).unwrap().0, 2);
    assert_eq!(terminal.ctl(&["apply"]).unwrap().0, 2);
    assert_eq!(terminal.ctl(&["why", "mysql-master"]).unwrap().0, 0);
    assert_eq!(terminal.read("root/etc/hosts").unwrap(), hosts);
    insta::assert_snapshot!(terminal.said());
}

#[test]
fn a_document_that_is_refused_is_told_by_every_command() {
    let mut terminal = Terminal::converged().unwrap();
    let wrong = version(
        2,
        ("\"web-1\":     {\"address\"", "\"web-1\":     {\"adress\""),
    );
    terminal.write("bucket/fleet.json", &wrong).unwrap();
    assert_eq!(terminal.ctl(&["plan"]).unwrap().0, 4);
    assert_eq!(terminal.ctl(&["apply"]).unwrap().0, 4);
    std::fs::remove_file(terminal.path("bucket/fleet.json")).unwrap();
    assert_eq!(terminal.ctl(&["plan"]).unwrap().0, 4);
    assert_eq!(terminal.ctl(&["apply"]).unwrap().0, 4);
    insta::assert_snapshot!(terminal.said());
}

#[test]
fn what_is_quarantined_stays_so_until_a_person_says_retry() {
    let mut terminal = Terminal::converged().unwrap();
    let new = version(2, ("10.77.0.22", "10.77.0.23"));
    terminal.write("bucket/fleet.json", &new).unwrap();
    let (_, plan) = terminal.ctl(&["plan", "--output", "json"]).unwrap();
    let _ = terminal.said();
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    // As a run leaves it whose reload failed: under a root none is done.
    let failed = serde_json::json!({
        "digest": plan["document"]["digest"],
        "steps": {"hosts": {"since": "2026-11-23T02:57:00Z", "error": "the disk was full"}},
    });
    terminal
        .write("root/var/lib/agentd/quarantine.json", &failed.to_string())
        .unwrap();
    let hosts = terminal.read("root/etc/hosts").unwrap();
    assert_eq!(terminal.ctl(&["plan"]).unwrap().0, 6);
    assert_eq!(terminal.ctl(&["apply"]).unwrap().0, 6);
    assert_eq!(terminal.ctl(&["apply"]).unwrap().0, 4);
    assert_eq!(terminal.read("root/etc/hosts").unwrap(), hosts);
    assert_eq!(
        terminal.ctl(&["why", "/etc/hosts", "cache-2"]).unwrap().0,
        0
    );
    assert_eq!(terminal.ctl(&["history"]).unwrap().0, 0);
    assert_eq!(terminal.ctl(&["apply", "--retry"]).unwrap().0, 2);
    assert_eq!(terminal.ctl(&["apply"]).unwrap().0, 0);
    insta::assert_snapshot!(terminal.said());
}

#[test]
fn damaged_state_is_named_and_stops_nothing() {
    let mut terminal = Terminal::converged().unwrap();
    for file in [
        "lib/agentd/ledger.json",
        "lib/agentd/document.json",
        "lib/agentd/runs/1.json",
    ] {
        terminal
            .write(&format!("root/var/{file}"), "{\"half")
            .unwrap();
    }
    terminal.write("root/run/agentd/status.json", "").unwrap();
    for args in [
        &["status"][..],
        &["history"],
        &["show"],
        &["why", "/etc/hosts"],
        &["plan"],
    ] {
        terminal.ctl(args).unwrap();
    }
    assert_eq!(terminal.ctl(&["apply"]).unwrap().0, 0);
    assert_eq!(terminal.ctl(&["why", "/etc/hosts", "web-1"]).unwrap().0, 0);
    insta::assert_snapshot!(terminal.said());
}

#[test]
fn whoever_is_not_root_is_told_so() {
    let mut terminal = Terminal::converged().unwrap();
    let _daemon = terminal.start_daemon().unwrap();
    for args in [
        &["status"][..],
        &["history"],
        &["show"],
        &["why", "/etc/hosts"],
        &["plan"],
        &["apply"],
    ] {
        terminal.ctl_as_nobody(args).unwrap();
    }
    insta::assert_snapshot!(terminal.said());
}

#[test]
fn a_running_agent_answers_applies_and_is_missed_when_it_hangs() {
    let mut terminal = Terminal::converged().unwrap();
    let daemon = terminal.start_daemon().unwrap();
    assert_eq!(terminal.ctl(&["status"]).unwrap().0, 0);
    terminal
        .write(
            "bucket/fleet.json",
            &version(2, ("10.77.0.22", "10.77.0.23")),
        )
        .unwrap();
    let (code, out) = terminal.ctl(&["apply"]).unwrap();
    assert_eq!(code, 2);
    assert!(out.contains("+10.77.0.23\tcache-2"));
    let _ = terminal.said();
    terminal
        .write(
            "bucket/fleet.json",
            &version(
                3,
                ("\"web-1\":     {\"address\"", "\"web-1\":     {\"adress\""),
            ),
        )
        .unwrap();
    assert_eq!(terminal.ctl(&["apply"]).unwrap().0, 4);
    assert_eq!(terminal.ctl(&["status"]).unwrap().0, 1);
    daemon.freeze().unwrap();
    let asked = std::time::Instant::now();
    assert_eq!(terminal.ctl(&["status"]).unwrap().0, 1);
    assert!(asked.elapsed().as_secs() < 4);
    drop(daemon);
    assert_eq!(terminal.ctl(&["status"]).unwrap().0, 3);
    let said = terminal.said();
    for needed in [
        "DEGRADED",
        "REFUSED    version 3",
        "AGENT DOES NOT ANSWER",
        "AGENT NOT RUNNING",
        "unsigned documents are accepted",
    ] {
        assert!(said.contains(needed), "{needed} is not in:\n{said}");
    }
}

/// What stands under the root, but for the lock and socket directory: path, size and time of change.
fn tree(terminal: &Terminal) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![terminal.path("root")];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(about) = entry.metadata() else {
                continue;
            };
            if about.is_dir() {
                left.push(entry.path());
            }
            found.push(format!(
                "{} {} {:?}",
                entry.path().display(),
                about.len(),
                about.modified().ok()
            ));
        }
    }
    found.sort();
    found
}
