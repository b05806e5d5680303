//! Promise: a desk sees the whole fleet at a glance, with a request for each report once and then only for what has changed; who is
//! silent is never shown as well, whatever its clock says; a bucket that goes away in the middle is told, and is seen again.

#![cfg(test)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use node_agent::bucket::phase;
use node_agent::overview::Summary;
use node_agent::report::fleet_status::Reports;
use node_agent_tests::agent::{Agent, Scratch};
use node_agent_tests::desk::{Desk, SOON, put};
use node_agent_tests::machine::{Output, built, run, wait_until};
use node_agent_tests::s3::{Access, S3Server};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Two lists: more than fit one page. `FLEET_SERVERS=10000` shows a large fleet.
const SERVERS: usize = 1200;

fn servers() -> usize {
    let said = std::env::var("FLEET_SERVERS").ok();
    said.map_or(SERVERS, |text| {
        text.parse().expect("FLEET_SERVERS is a number")
    })
}

fn document(number: usize) -> String {
    let servers: serde_json::Map<String, Value> = (0..number)
        .map(|index| {
            let zone = ["a", "b", "c"][index % 3];
            let server = json!({
                "address": format!("10.{}.{}.{}", index / 62500, index / 250 % 250, index % 250 + 1),
                "zone": zone, "roles": ["web"], "products": ["shop"],
            });
            (format!("web-{index}"), server)
        })
        .collect();
    let signed = json!({
        "format": 1, "fleet": "shop", "version": 1, "issued": "2026-01-01T00:00:00Z", "expires": "2126-01-01T00:00:00Z",
        "servers": servers, "roles": {"web": {}}, "products": {"shop": {}},
    });
    json!({"signatures": [], "signed": signed}).to_string()
}

fn report(document: &str, server: Option<&str>) -> Value {
    let document = node_agent::fleet::Document::read(document.as_bytes()).unwrap();
    let now = node_agent::system::clock::now();
    json!({
        "format": 1, "written": now, "server": server, "found_by": "the host name",
        "machine": {"instance": "i-0a11", "hostname": "ip-10-0-0-1"}, "agent": {"version": "0.1.0", "started": now},
        "document": {"fleet": "shop", "version": 1, "digest": document.id.digest, "trust": "none"},
        "health": "converged", "alarms": [], "steps": {}, "last_run": null,
    })
}

/// A desk whose bucket is an S3 server.
struct World {
    server: S3Server,
    dir: TempDir,
}

impl World {
    fn new() -> Self {
        let server = S3Server::start().unwrap();
        let dir = TempDir::new().unwrap();
        let settings = format!(
            "fleet = \"s3://fleet/prod\"\ntrust = \"none\"\n[s3]\nendpoint = \"{}\"\npath_style = true\ntimeout = \"20s\"\n",
            server.endpoint
        );
        put(&dir.path().join("desk.toml"), &settings);
        Self { server, dir }
    }

    fn argv(&self, arguments: &[&str]) -> Vec<String> {
        let desk = self.dir.path().join("desk.toml").display().to_string();
        let mut argv = vec!["env".to_owned()];
        argv.extend(
            self.server
                .env()
                .map(|(key, value)| format!("{key}={value}")),
        );
        argv.push(built("agentctl").unwrap().display().to_string());
        argv.extend(["--color", "never", "fleet", "--desk"].map(str::to_owned));
        argv.push(desk);
        argv.push("status".into());
        argv.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        argv
    }

    fn status(&self, arguments: &[&str]) -> Output {
        let argv = self.argv(arguments);
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        run(&argv, b"", Duration::from_mins(5)).unwrap()
    }

    fn asked(&self) -> Vec<String> {
        let requests = self.server.take_requests().into_iter();
        requests
            .map(|request| format!("{} {}", request.method, request.key))
            .collect()
    }
}

fn count(asked: &[String], of: &str) -> usize {
    asked.iter().filter(|request| request.contains(of)).count()
}

/// `agentctl fleet status --watch`, and what it prints, line by line. Killed by its pid on drop.
struct Watch {
    child: Child,
    lines: Receiver<String>,
}

impl Watch {
    fn start(argv: &[String]) -> Self {
        let mut child = Command::new(&argv[0])
            .args(&argv[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let other = sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = other.send(line);
            }
        });
        Self { child, lines }
    }

    fn until(&self, what: &str) -> String {
        let begun = Instant::now();
        let mut said = Vec::new();
        // A large fleet takes its time in a build for tests.
        let patience = SOON * u32::try_from(1 + servers() / 1000).unwrap();
        while begun.elapsed() < patience {
            if let Ok(line) = self.lines.recv_timeout(Duration::from_millis(100)) {
                if line.contains(what) {
                    return line;
                }
                said.push(line);
            }
        }
        panic!("waited in vain for {what:?}: {said:#?}");
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_large_fleet_is_read_once_and_then_only_what_has_changed() {
    let number = servers();
    let world = World::new();
    let document = document(number);
    world.server.put("prod/fleet.json", document.clone());
    let template = report(&document, None);
    for index in 0..number {
        let mut report = template.clone();
        report["server"] = json!(format!("web-{index}"));
        if index == 7 {
            report["health"] = json!("degraded");
            report["alarms"] = json!(["sites: put back: Invalid command"]);
        }
        let key = format!("prod/nodes/web-{index}.json");
        world.server.put(&key, report.to_string());
    }
    world
        .server
        .put("prod/nodes/unknown/i-0a11.json", template.to_string());
    world.asked();

    let begun = Instant::now();
    let output = world.status(&["--output", "json"]);
    let took = begun.elapsed();
    assert_eq!(output.code, Some(1), "{}", output.stderr);
    let status: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(
        status["tally"],
        json!({"servers": number, "problems": 1, "draining": 0})
    );
    assert_eq!(status["servers"][0]["server"], "web-7");
    assert_eq!(status["unknown"][0]["id"], "i-0a11");
    assert_eq!(status["balance"][0]["remain"], number - number.div_ceil(3));
    let asked = world.asked();
    assert_eq!(count(&asked, "/nodes/"), number + 1, "each report once");
    // Lists, the document, its date, the summary that is not there.
    let others = asked.len() - number - 1;
    assert!(others <= number / 1000 + 1 + 4, "{others}");
    println!("{number} servers: {} requests, {took:?}", asked.len());

    // Only what has changed is asked for again.
    let watch = Watch::start(&world.argv(&["--watch=1s", "--problems", "--direct"]));
    watch.until("web-7");
    world.asked();
    watch.until("web-7");
    watch.until("web-7");
    let asked = world.asked();
    assert_eq!(count(&asked, "/nodes/"), 0, "{asked:?}");
    let mut good = template;
    good["server"] = json!("web-7");
    world.server.put("prod/nodes/web-7.json", good.to_string());
    watch.until(&format!("{number} servers are well"));
    assert_eq!(count(&world.asked(), "/nodes/web-7.json"), 1);
    let well = world.status(&["--direct", "--problems"]);
    assert!(well.success(), "{}{}", well.stdout, well.stderr);
}

#[test]
fn a_bucket_that_goes_away_is_told_and_seen_again() {
    let world = World::new();
    let document = document(2);
    world.server.put("prod/fleet.json", document.clone());
    for name in ["web-0", "web-1"] {
        let report = report(&document, Some(name));
        world
            .server
            .put(&format!("prod/nodes/{name}.json"), report.to_string());
    }
    let page = world.dir.path().join("status.html");
    let watch = Watch::start(&world.argv(&["--watch=1s"]));
    watch.until("2 servers: 2 good");
    let made = world.status(&["--html", &page.display().to_string()]);
    assert!(made.success(), "{}", made.stderr);
    let html = fs::read_to_string(&page).unwrap();
    assert!(html.starts_with("<!DOCTYPE html>") && html.contains("web-1"));
    // Away, and back at the same address.
    let (address, objects) = (
        world.server.address,
        world.server.get("prod/fleet.json").unwrap(),
    );
    drop(world.server);
    watch.until("not seen at");
    let server = S3Server::start_at(address, Access::default()).unwrap();
    server.put("prod/fleet.json", objects);
    watch.until("2 servers: 2 never heard");
}

#[test]
fn whoever_is_silent_is_not_well_whatever_its_clock_says() {
    let desk = Desk::new();
    desk.publish(1, "10.0.0.2");
    let published = fs::read_to_string(desk.bucket().join("fleet.json")).unwrap();
    let nodes = desk.bucket().join("nodes");
    fs::create_dir_all(nodes.join("unknown")).unwrap();
    let write = |name: &str, server: Option<&str>, change: &dyn Fn(&mut Value)| {
        let mut report = report(&published, server);
        change(&mut report);
        put(&nodes.join(name), &report.to_string());
    };
    write("web-1.json", Some("web-1"), &|_| {});
    // Put an hour ago, by a machine that believes that it is next year.
    write("web-2.json", Some("web-2"), &|report| {
        report["written"] = json!("2027-12-01T00:00:00Z");
    });
    let path = nodes.join("web-2.json").display().to_string();
    run(&["touch", "-d", "1 hour ago", &path], b"", SOON).unwrap();
    write("unknown/i-0a11.json", None, &|_| {});
    // It says that it is another machine: who may write one key does not speak for another.
    write("unknown/web-1.json", Some("web-1"), &|_| {});

    let said = desk.fleet(&["status"]);
    assert_eq!(said.code, Some(1));
    for part in [
        "2 servers: 1 silent, 1 good, 1 unknown machine",
        "last heard 60 min ago, when it was converged",
        "i-0a11  ip-10-0-0-1",
        "nodes/unknown/web-1.json: it says that it is of web-1",
    ] {
        assert!(said.stdout.contains(part), "{part}\n{}", said.stdout);
    }
    let none = desk.fleet(&["status", "--product", "other"]);
    assert!(
        none.success() && none.stdout.contains("0 servers"),
        "{}",
        none.stdout
    );
}

#[test]
fn a_monitor_puts_all_reports_together_and_a_desk_reads_that_while_it_is_fresh() {
    // Each monitor has its own second of the minute: one that does not wait long.
    let name = (1..10_000)
        .map(|number| format!("monitor-{number}"))
        .find(|name| phase(name, Duration::from_mins(1)) < Duration::from_secs(1))
        .unwrap();
    let world = World::new();
    let mut document: Value = serde_json::from_str(&document(1)).unwrap();
    document["signed"]["roles"]["monitor"] = json!({});
    document["signed"]["servers"][name.as_str()] =
        json!({"address": "10.0.9.9", "roles": ["monitor"], "products": []});
    let document = document.to_string();
    world.server.put("prod/fleet.json", document.clone());
    let report = report(&document, Some("web-0"));
    world
        .server
        .put("prod/nodes/web-0.json", report.to_string());
    let scratch = Scratch::new(&format!(
        "fleet = \"s3://fleet/prod\"\ntrust = \"none\"\nnode = \"{name}\"\npoll = \"300ms\"\n[s3]\nendpoint = \"{}\"\npath_style = true\n",
        world.server.endpoint
    ))
    .unwrap();
    let agent = Agent::start(scratch.root(), &[], &world.server.env()).unwrap();
    let key = "prod/summaries/nodes.json.zst";
    wait_until("the summary", SOON, || world.server.get(key).is_some())
        .unwrap_or_else(|e| panic!("{e}\n{}", agent.said()));
    drop(agent);
    let look = |arguments: &[&str]| {
        world.asked();
        let output = world.status(&[&["--output", "json"], arguments].concat());
        let status: Value = serde_json::from_str(&output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}{}", output.stdout, output.stderr));
        let known = status["servers"].as_array().unwrap().iter();
        let web = known.clone().find(|row| row["server"] == "web-0").unwrap();
        assert_eq!(web["health"], "good", "{status:#}");
        (status["source"].clone(), count(&world.asked(), "/nodes/"))
    };
    let (source, asked) = look(&[]);
    assert_eq!(
        (&source["from"], &source["by"]),
        (&json!("summary"), &json!(name))
    );
    assert_eq!(asked, 0);
    let (source, asked) = look(&["--direct"]);
    assert_eq!(source, json!({"from": "reports"}));
    assert!(asked > 0);

    // One of long ago says nothing of now.
    let old = Summary {
        format: 1,
        written: node_agent::system::clock::now() - Duration::from_secs(200),
        by: name.parse().unwrap(),
        reports: Reports::default(),
    };
    let bucket = world.server.store().agent_under("prod", SOON);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(old.put(&bucket)).unwrap();
    assert_eq!(look(&[]).0, json!({"from": "reports"}));
    // Nor does what is none.
    world.server.put(key, "no summary");
    assert_eq!(look(&[]).0, json!({"from": "reports"}));
}
