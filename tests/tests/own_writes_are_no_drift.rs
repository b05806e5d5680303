//! What the daemon writes itself is no drift, and what it could not mend is no news: neither makes it run again and again.

#![cfg(test)]

use std::time::Duration;

use node_agent_tests::agent::{Agent, Scratch};
use node_agent_tests::machine::{Fleet, Image, wait_until};
use node_agent_tests::web::WebBox;
use serde_json::{Value, json};

/// Longer than anything should take on a busy host.
const SOON: Duration = Duration::from_secs(20);
/// So long is watched how often the agent runs.
const WHILE: Duration = Duration::from_secs(20);
/// More runs than that in [`WHILE`] are no retries that become rarer.
const A_HANDFUL: u64 = 8;

fn publish(bucket: &Scratch, version: u64) {
    let sample = include_str!("../fleets/heavy.json");
    let mut document: Value = serde_json::from_str(sample).unwrap();
    let signed = &mut document["signed"];
    signed["version"] = json!(version);
    signed["servers"]["cache-2"]["address"] = json!(format!("10.77.9.{version}"));
    // Aside and renamed: a reader sees no half document.
    bucket.write("/new.json", &document.to_string()).unwrap();
    std::fs::rename(bucket.path("/new.json"), bucket.path("/fleet.json")).unwrap();
}

/// How many runs the daemon has made, by its own word.
fn runs(scratch: &Scratch) -> u64 {
    let said = scratch.ctl(&["status", "--output", "json"]).unwrap();
    let status: Value = serde_json::from_str(&said.stdout).unwrap();
    status["counters"]["runs"].as_u64().unwrap()
}

#[test]
fn four_changes_make_four_runs() {
    let bucket = Scratch::new("").unwrap();
    publish(&bucket, 1);
    let scratch = Scratch::new(&format!(
        "fleet = \"file://{}\"\ntrust = \"none\"\nnode = \"web-1\"\npoll = \"200ms\"\n",
        bucket.root().display()
    ))
    .unwrap();
    let agent = Agent::start(scratch.root(), &[], &[]).unwrap();
    let is_on = |version: u64| {
        let status = scratch.status();
        status["health"] == "converged" && status["document"]["version"] == version
    };
    wait_until("the first run", SOON, || is_on(1))
        .unwrap_or_else(|e| panic!("{e}\n{}", agent.said()));
    // Once more after the first run: what was edited before anybody watched.
    std::thread::sleep(Duration::from_secs(3));
    let before = runs(&scratch);
    for version in 2..=5 {
        publish(&bucket, version);
        wait_until("a change", SOON, || is_on(version))
            .unwrap_or_else(|e| panic!("{e}\n{}", agent.said()));
        std::thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(runs(&scratch) - before, 4, "{}", agent.said());
    // And an edit by somebody else is still mended.
    scratch
        .write("/etc/hosts", "127.0.0.1 localhost\n")
        .unwrap();
    wait_until("the repair", SOON, || {
        scratch.read("/etc/hosts").contains("10.77.9.5")
    })
    .unwrap_or_else(|e| panic!("{e}\n{}", agent.said()));
}

/// A web server whose agent runs and is content.
fn web(fleet: &Fleet, image: Image) -> WebBox {
    let web = WebBox::boot(fleet, image, |spec| {
        spec.file("/srv/www/index.html", "the shop")
            .file("/srv/next/index.html", "the next shop")
    })
    .unwrap();
    web.publish(&sites(&json!({}))).unwrap();
    let run = web.once().unwrap();
    assert_eq!(run.code, 2, "{}", run.said);
    web
}

fn start(web: &WebBox) {
    let machine = &web.machine;
    machine.must(&["systemctl", "restart", "agentd"]).unwrap();
    wait_until("agentd to be content", SOON, || {
        machine
            .run(&["agentctl", "status"])
            .is_ok_and(|said| said.code == Some(0))
    })
    .unwrap_or_else(|e| {
        panic!(
            "{e}\n{}",
            machine.journal("agentd.service").unwrap_or_default()
        )
    });
    // Once more after the first run: what was edited before anybody watched.
    std::thread::sleep(Duration::from_secs(3));
}

fn sites(more: &Value) -> Value {
    let mut sites = json!({"www": {"domains": ["shop.example.com"], "root": "/srv/www"}});
    if let (Value::Object(sites), Value::Object(more)) = (&mut sites, more.clone()) {
        sites.extend(more);
    }
    sites
}

/// Runs so far, records of them, and backups.
fn work(web: &WebBox) -> (u64, u64, u64) {
    let machine = &web.machine;
    let text = machine
        .run(&["agentctl", "status", "--output", "json"])
        .unwrap();
    let status: Value = serde_json::from_str(&text.stdout).unwrap();
    let count = |dir: &str| {
        let script = format!("ls {dir} 2>/dev/null | wc -l");
        let text = machine.must(&["sh", "-c", &script]).unwrap();
        text.trim().parse::<u64>().unwrap()
    };
    (
        status["counters"]["runs"].as_u64().unwrap(),
        count("/var/lib/agentd/runs"),
        count("/var/lib/agentd/backups"),
    )
}

#[track_caller]
fn makes_a_handful(web: &WebBox, since: (u64, u64, u64)) {
    std::thread::sleep(WHILE);
    let now = work(web);
    let (runs, records, backups) = (now.0 - since.0, now.1 - since.1, now.2 - since.2);
    println!("{runs} runs, {records} records, {backups} backups in {WHILE:?}");
    assert!(
        (1..=A_HANDFUL).contains(&runs) && records <= A_HANDFUL && backups <= A_HANDFUL,
        "{runs} runs, {records} records, {backups} backups\n{}",
        web.machine.journal("agentd.service").unwrap_or_default()
    );
}

#[test]
fn a_vhost_beside_a_broken_apache_is_not_tried_without_end() {
    let fleet = Fleet::new().unwrap();
    let web = web(&fleet, Image::Debian);
    start(&web);
    let machine = &web.machine;
    let broken = "/etc/apache2/conf-enabled/by-hand.conf";
    machine.write(broken, b"NoSuchDirective on\n").unwrap();
    let before = work(&web);
    let next = json!({"next": {"domains": ["next.example.com"], "root": "/srv/next"}});
    web.publish(&sites(&next)).unwrap();
    machine
        .must(&["systemctl", "kill", "--signal=HUP", "agentd"])
        .unwrap();
    makes_a_handful(&web, before);
    machine.must(&["rm", broken]).unwrap();
    let retried = machine.run(&["agentctl", "apply", "--retry"]).unwrap();
    println!("{retried:?}");
    assert_eq!(
        web.ask(80, "next.example.com", "/"),
        Some((200, "the next shop".to_owned()))
    );
}

#[test]
fn an_edit_that_cannot_be_undone_does_not_fill_the_journal() {
    let fleet = Fleet::new().unwrap();
    let web = web(&fleet, Image::CentosLayout);
    let machine = &web.machine;
    machine
        .write(
            "/etc/systemd/system/agentd.service.d/read-only.conf",
            b"[Service]\nReadOnlyPaths=/etc/httpd/conf.d\n",
        )
        .unwrap();
    machine.must(&["systemctl", "daemon-reload"]).unwrap();
    start(&web);
    let before = work(&web);
    let edit = "for file in /etc/httpd/conf.d/*agentd*; do echo '# by hand' >> $file; done; ls -l /etc/httpd/conf.d";
    println!("{}", machine.must(&["sh", "-c", edit]).unwrap());
    let next = json!({"next": {"domains": ["next.example.com"], "root": "/srv/next"}});
    web.publish(&sites(&next)).unwrap();
    machine
        .must(&["systemctl", "kill", "--signal=HUP", "agentd"])
        .unwrap();
    makes_a_handful(&web, before);
}
