//! What monitors read of a running agent, read by parsers that are not ours where there are any.

#![cfg(test)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use node_agent_tests::agent::{Agent, Scratch};
use node_agent_tests::machine::{Output, built, repository, run, wait_until};
use serde_json::{Value, json};

/// Longer than anything should take on a busy host.
const SOON: Duration = Duration::from_secs(20);

/// A box whose bucket is a directory beside it, and the document in it.
struct World {
    scratch: Scratch,
    bucket: tempfile::TempDir,
}

impl World {
    fn new(more: &str) -> Self {
        let bucket = tempfile::tempdir().unwrap();
        let config = format!(
            "fleet = \"file://{}\"\ntrust = \"none\"\nnode = \"web-1\"\npoll = \"200ms\"\n{more}",
            bucket.path().display()
        );
        Self {
            scratch: Scratch::new(&config).unwrap(),
            bucket,
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a scratch bucket needs no durability"
    )]
    fn put(&self, text: &str) {
        // Whole, as a bucket would have it.
        let (new, path) = (
            self.bucket.path().join("new"),
            self.bucket.path().join("fleet.json"),
        );
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, path).unwrap();
    }

    fn publish(&self, version: u64) {
        self.put(
            &json!({"signatures": [], "signed": {
                "format": 1, "fleet": "test", "version": version,
                "issued": "2026-01-01T00:00:00Z", "expires": "2126-01-01T00:00:00Z",
                "servers": {"web-1": {"address": "10.0.0.1"}}, "roles": {}, "products": {},
            }})
            .to_string(),
        );
    }

    fn start(&self, version: u64) -> Agent {
        self.publish(version);
        let agent = Agent::start(self.scratch.root(), &[], &[]).unwrap();
        wait_until("the first run", SOON, || {
            self.scratch.status()["document"]["version"] == json!(version)
                && self.scratch.status()["latest_run"].is_object()
        })
        .unwrap();
        agent
    }

    fn check(&self, more: &[&str]) -> Output {
        self.scratch.ctl(&[&["check"], more].concat()).unwrap()
    }
}

/// Has a Python script of the tests' own environment read `text`: what it prints.
fn python(script: &str, text: &str) -> String {
    let python = repository().join(".cache/moto/bin/python");
    assert!(
        python.exists(),
        "no {}: run tests/setup-moto.sh",
        python.display()
    );
    let argv = [python.to_str().unwrap(), "-c", script];
    let said = run(&argv, text.as_bytes(), SOON).unwrap();
    assert!(said.success(), "{said:?}\n{text}");
    said.stdout
}

const OPEN_METRICS: &str = "
import sys, json
from prometheus_client.openmetrics.parser import text_string_to_metric_families
families = {}
for family in text_string_to_metric_families(sys.stdin.read()):
    assert family.name not in families, family.name
    families[family.name] = {'type': family.type, 'unit': family.unit, 'help': family.documentation,
        'samples': [[s.name, s.labels, s.value] for s in family.samples]}
print(json.dumps(families))
";

/// The older format, which `node_exporter`'s textfile collector reads: it knows of no more types than these.
const TEXT_FORMAT: &str = "
import sys, json
from prometheus_client.parser import text_string_to_metric_families
text = sys.stdin.read()
for line in text.splitlines():
    if line.startswith('# TYPE'):
        assert line.split()[3] in ('counter', 'gauge', 'histogram', 'summary', 'untyped'), line
samples = {}
for family in text_string_to_metric_families(text):
    for s in family.samples:
        samples[s.name + json.dumps(s.labels, sort_keys=True)] = s.value
print(json.dumps(samples))
";

#[test]
fn metrics_are_open_metrics_by_somebody_elses_parser() {
    let world = World::new("");
    let agent = world.start(7);
    let said = world.scratch.ctl(&["metrics"]).unwrap();
    assert_eq!(said.code, Some(0), "{said:?}");
    let families: Value = serde_json::from_str(&python(OPEN_METRICS, &said.stdout)).unwrap();
    let families = families.as_object().unwrap();
    assert!(families.len() > 25, "{families:?}");
    for (name, family) in families {
        assert!(name.starts_with("agentd_"), "{name}");
        assert!(!family["help"].as_str().unwrap().is_empty(), "{name}");
        let unit = family["unit"].as_str().unwrap();
        for suffix in ["seconds", "bytes"] {
            assert_eq!(name.ends_with(suffix), unit == suffix, "{name} {unit}");
        }
    }
    let sample = |family: &str, name: &str| {
        let samples = families[family]["samples"].as_array().unwrap();
        let sample = samples.iter().find(|sample| sample[0] == name);
        sample.unwrap_or_else(|| panic!("{family} {name}"))[2]
            .as_f64()
            .unwrap()
    };
    let gauge = |name: &str| sample(name, name);
    assert_eq!(families["agentd_runs"]["type"], "counter");
    assert!(sample("agentd_runs", "agentd_runs_total") >= 1.0);
    let started = gauge("agentd_start_timestamp_seconds");
    assert!((sample("agentd_runs", "agentd_runs_created") - started).abs() < 1.0);
    assert!((gauge("agentd_document_version") - 7.0).abs() < 0.1);
    assert!((gauge("agentd_up") - 1.0).abs() < 0.1);
    assert!(gauge("agentd_resident_memory_bytes") > 1e6);
    let labels = &families["agentd_build_info"]["samples"][0][1];
    assert_eq!(labels["node"], "web-1");
    assert_eq!(labels["fleet"], "test");

    // Into a file: the same, and for all to read.
    let file = "/var/lib/prometheus/node-exporter/agentd.prom";
    let written = world.scratch.ctl(&["metrics", "--write", file]).unwrap();
    assert_eq!(
        (written.code, written.stdout.as_str()),
        (Some(0), ""),
        "{written:?}"
    );
    let text = world.scratch.read(file);
    let mode = std::os::unix::fs::MetadataExt::mode(&world.scratch.path(file).metadata().unwrap());
    assert_eq!(mode & 0o777, 0o644);
    let samples: Value = serde_json::from_str(&python(TEXT_FORMAT, &text)).unwrap();
    assert_eq!(samples["agentd_document_version{}"], 7.0);
    assert!(samples["agentd_runs_total{}"].as_f64().unwrap() >= 1.0);
    // Who collects reads `*.prom`: nothing else may be left that is called so.
    let directory = world.scratch.path("/var/lib/prometheus/node-exporter");
    assert_eq!(std::fs::read_dir(directory).unwrap().count(), 1);

    drop(agent);
    let said = world.scratch.ctl(&["metrics"]).unwrap();
    let families: Value = serde_json::from_str(&python(OPEN_METRICS, &said.stdout)).unwrap();
    assert_eq!(families["agentd_up"]["samples"][0][2], 0.0);
    assert!(families.get("agentd_runs").is_none(), "{families}");
}

#[test]
fn a_check_is_unknown_when_it_fails_itself() {
    let world = World::new("");
    let agent = world.start(3);
    let well = world.check(&[]);
    assert_eq!(well.code, Some(0), "{well:?}");
    assert!(
        well.stdout
            .starts_with("AGENTD OK - web-1 on test version 3, confirmed "),
        "{well:?}"
    );
    assert_eq!(well.stdout.lines().count(), 1);

    // Ranges as Nagios has them.
    for (limits, code) in [
        (&["-w", "memory=1:"][..], 0),
        (&["-w", "memory=1"], 1),
        (&["-c", "memory=1"], 2),
        (&["-w", "memory=@0:1", "-c", "up=~:5"], 0),
        (&["-c", "-5:-1"], 2),
        (&["--critical=@0:100000"], 2),
        (&["document", "-c", "memory=1"], 0),
    ] {
        let said = world.check(limits);
        assert_eq!(said.code, Some(code), "{limits:?}: {said:?}");
    }
    // What is wrong with the command is UNKNOWN, where Nagios reads it, in one line first.
    for wrong in [
        &["--frob"][..],
        &["-w", "10:5"],
        &["-w", "no_such=1"],
        &["-t", "0"],
        &["nothing"],
        &["-w"],
        &["--host", "x"],
        &["--help"],
        &["-V"],
    ] {
        let said = world.check(wrong);
        assert_eq!(said.code, Some(3), "{wrong:?}: {said:?}");
        assert!(!said.stdout.trim().is_empty(), "{wrong:?}");
        let first = said.stdout.lines().next().unwrap();
        let asked = ["--help", "-V"].contains(&wrong[0]);
        assert!(
            asked || first.starts_with("AGENTD UNKNOWN - ") && first.len() < 80,
            "{first}"
        );
    }

    let program = built("agentctl").unwrap();
    let root = world.scratch.root().to_str().unwrap();
    // Something in it panics.
    let argv = [
        "env",
        "AGENTD_PANIC_AT=check",
        program.to_str().unwrap(),
        "--root",
        root,
        "check",
    ];
    let said = run(&argv, b"", SOON).unwrap();
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(
        said.stdout
            .starts_with("AGENTD UNKNOWN - agentctl itself failed: "),
        "{said:?}"
    );

    // The disk hangs under the status file. What it says is there in time, though strace holds its end up.
    let status = world.scratch.path("/run/agentd/status.json");
    let start = Instant::now();
    let mut hanging = Command::new("strace")
        .args([
            "-f",
            "-o",
            "/dev/null",
            "-e",
            "trace=read",
            "-e",
            "inject=read:delay_enter=15s",
            "-P",
        ])
        .arg(&status)
        .arg(&program)
        .args(["--root", root, "check", "-t", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let out = hanging.stdout.take().unwrap();
    BufReader::new(out).read_line(&mut line).unwrap();
    let took = start.elapsed();
    assert_eq!(hanging.wait().unwrap().code(), Some(3), "{line}");
    assert!(
        line.starts_with("AGENTD UNKNOWN - no answer in time"),
        "{line}"
    );
    assert!(
        took > Duration::from_secs(1) && took < Duration::from_secs(10),
        "{took:?}"
    );

    // A file that is no status, one that is another thing, one that may not be read.
    let kept = world.scratch.read("/run/agentd/status.json");
    drop(agent);
    world
        .scratch
        .write("/run/agentd/status.json", "{\"format\": 1")
        .unwrap();
    let said = world.check(&["-vv"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(
        said.stdout.contains("status.json is not understood"),
        "{said:?}"
    );
    world
        .scratch
        .write("/run/agentd/status.json", &kept)
        .unwrap();
    let said = world.check(&[]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stdout.contains("agentd is not running"), "{said:?}");

    // For programs.
    let said = world.check(&["--output", "json"]);
    let json: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(
        (said.code, &json["code"], &json["format"]),
        (Some(2), &json!(2), &json!(1))
    );
    assert_eq!(json["alarms"][0]["reading"], "up");
    assert_eq!(json["readings"][0]["name"], "up");
}

/// Somebody else's user can ask: what is read is readable by all.
#[test]
fn a_check_needs_no_root() {
    let world = World::new("");
    let _agent = world.start(1);
    // The way to the scratch root is its owner's only.
    let root = world.scratch.root();
    let open = |path: &Path| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(path, mode).unwrap();
    };
    open(root);
    let program = copy_for_all();
    let argv = [
        "setpriv",
        "--reuid=nobody",
        "--regid=nogroup",
        "--clear-groups",
    ];
    for command in [
        &["check"][..],
        &["munin"],
        &["metrics"],
        &["check", "--passive"],
    ] {
        let line = [
            &argv[..],
            &[
                program.path.to_str().unwrap(),
                "--root",
                root.to_str().unwrap(),
            ],
            command,
        ];
        let said = run(&line.concat(), b"", SOON).unwrap();
        assert_eq!(said.code, Some(0), "{command:?}: {said:?}");
        assert_eq!(said.stderr, "", "{command:?}");
    }
}

/// The program, where anybody may run it.
struct ForAll {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

fn copy_for_all() -> ForAll {
    let dir = tempfile::tempdir().unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(), mode).unwrap();
    let path = dir.path().join("agentctl");
    std::fs::copy(built("agentctl").unwrap(), &path).unwrap();
    ForAll { path, _dir: dir }
}

/// Makes things happen that are logged: an accepted document, a refused one, an edit.
fn eventful(format: &str) -> String {
    let world = World::new(&format!("[log]\nformat = \"{format}\"\n"));
    let agent = world.start(1);
    world.put("{\"signed\": \"no | \\\"document\\\" = at all\"}");
    wait_until("the refusal", SOON, || {
        agent.said().contains("document-refused")
    })
    .unwrap();
    let hosts = world
        .scratch
        .read("/etc/hosts")
        .replace("10.0.0.1", "10.0.0.2");
    world.scratch.write("/etc/hosts", &hosts).unwrap();
    wait_until("the repair", SOON, || agent.said().contains("step-changed")).unwrap();
    agent.said()
}

/// The events of these records, each with its level and some field that it must have.
fn has_events(records: &[std::collections::BTreeMap<String, String>]) {
    for (event, level, field) in [
        ("started", "info", "version"),
        ("identified", "info", "node"),
        ("document-accepted", "info", "fleet"),
        ("document-refused", "error", "event"),
        ("step-changed", "info", "took_ms"),
    ] {
        let found = records
            .iter()
            .find(|record| record.get("event").is_some_and(|name| name == event));
        let found = found.unwrap_or_else(|| panic!("no {event} in {records:?}"));
        assert_eq!(found["level"].to_lowercase(), level, "{found:?}");
        assert!(found.contains_key(field), "{found:?}");
    }
}

#[test]
fn json_logs_are_one_object_a_line() {
    let text = eventful("json");
    let records: Vec<_> = text
        .lines()
        .map(|line| {
            let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            let object = value.as_object().unwrap();
            for field in ["timestamp", "level", "message", "event"] {
                assert!(object[field].is_string(), "{field}: {line}");
            }
            let text = |value: &Value| {
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned)
            };
            object
                .iter()
                .map(|(key, value)| (key.clone(), text(value)))
                .collect()
        })
        .collect();
    has_events(&records);
}

/// `key=value`, values bare or quoted with escapes.
fn logfmt(line: &str) -> std::collections::BTreeMap<String, String> {
    let mut record = std::collections::BTreeMap::new();
    let mut rest = line;
    while !rest.is_empty() {
        let (key, value) = rest
            .split_once('=')
            .unwrap_or_else(|| panic!("no =: {line}"));
        assert!(
            key.chars().all(|c| c.is_ascii_lowercase() || c == '_'),
            "{key:?} in {line}"
        );
        let end = if value.starts_with('"') {
            let mut escaped = false;
            let end = value.char_indices().skip(1).find(|(_, c)| {
                let end = *c == '"' && !escaped;
                escaped = *c == '\\' && !escaped;
                end
            });
            end.unwrap_or_else(|| panic!("not closed: {line}")).0 + 1
        } else {
            value.find(' ').unwrap_or(value.len())
        };
        let (value, after) = value.split_at(end);
        assert!(
            record
                .insert(key.to_owned(), value.trim_matches('"').to_owned())
                .is_none(),
            "{line}"
        );
        rest = after.strip_prefix(' ').unwrap_or(after);
        assert!(rest.is_empty() || after.starts_with(' '), "{line}");
    }
    record
}

#[test]
fn logfmt_logs_are_key_and_value() {
    let text = eventful("logfmt");
    let records: Vec<_> = text.lines().map(logfmt).collect();
    for record in &records {
        for field in ["ts", "level", "msg", "event"] {
            assert!(record.contains_key(field), "{record:?}");
        }
    }
    has_events(&records);
}

#[test]
fn the_munin_plugin_of_the_package_runs() {
    // Its wrapper names the installed program; here the built one stands in its place.
    let wrapper = repository().join("packaging/munin/agentd");
    let text = std::fs::read_to_string(&wrapper).unwrap();
    assert!(text.contains("#%# family=auto\n") && text.contains("#%# capabilities=autoconf\n"));
    let world = World::new("");
    let ask = |what: &str| {
        let program = built("agentctl").unwrap();
        let here = format!(
            "{} --root {}",
            program.display(),
            world.scratch.root().display()
        );
        let script = text.replace("/usr/bin/agentctl", &here);
        let said = run(&["sh", "-c", &script, "agentd", what], b"", SOON).unwrap();
        assert!(said.success() && said.stderr.is_empty(), "{said:?}");
        said.stdout
    };
    // Configured, and never run.
    assert_eq!(ask("autoconf"), "yes\n");
    assert!(ask("fetch").contains("\nmultigraph agentd_runs\nruns.value U\n"));
    assert_eq!(ask("suggest"), "");
    std::fs::remove_dir_all(world.scratch.path("/etc/agentd")).unwrap();
    let no = ask("autoconf");
    assert!(
        no.starts_with("no (") && no.ends_with(")\n") && no.lines().count() == 1,
        "{no}"
    );
}
