//! Promise: each machine says in the bucket how it is, when that is news and not more often; one that no document names shows that
//! it is there; a bucket that does not take it is told, and harms nothing.

#![cfg(test)]

use std::time::Duration;

use node_agent_tests::agent::{Agent, Scratch};
use node_agent_tests::machine::wait_until;
use node_agent_tests::s3::S3Server;
use serde_json::{Value, json};

/// Two reports are ten seconds apart at least.
const SOON: Duration = Duration::from_secs(30);

struct World {
    server: S3Server,
    scratch: Scratch,
}

impl World {
    fn new(node: &str, more: &str) -> Self {
        let server = S3Server::start().unwrap();
        let scratch = Scratch::new(&format!(
            "fleet = \"s3://fleet/prod\"\ntrust = \"none\"\nnode = \"{node}\"\npoll = \"300ms\"\n{more}\
             [s3]\nendpoint = \"{}\"\npath_style = true\n",
            server.endpoint
        ))
        .unwrap();
        scratch.write("/etc/hostname", "ip-10-77-0-11\n").unwrap();
        Self { server, scratch }
    }

    fn start(&self) -> Agent {
        Agent::start(self.scratch.root(), &[], &self.server.env()).unwrap()
    }

    fn publish(&self, version: u8) {
        let sample = include_str!("../fleets/heavy.json");
        let mut document: Value = serde_json::from_str(sample).unwrap();
        document["signed"]["version"] = json!(version);
        self.server.put("prod/fleet.json", document.to_string());
    }

    fn report(&self, name: &str) -> Value {
        let bytes = self.server.get(&format!("prod/nodes/{name}.json"));
        bytes.map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap())
    }

    #[track_caller]
    fn see(&self, agent: &Agent, name: &str, holds: impl Fn(&Value) -> bool) -> Value {
        wait_until("the report", SOON, || holds(&self.report(name)))
            .unwrap_or_else(|e| panic!("{e}\n{:#}\n{}", self.report(name), agent.said()));
        self.report(name)
    }
}

#[test]
fn a_machine_reports_what_is_new_and_no_more() {
    let world = World::new("web-1", "");
    world.publish(1);
    let agent = world.start();
    let report = world.see(&agent, "web-1", |report| report["document"]["version"] == 1);
    assert_eq!(report["health"], "converged", "{report:#}");
    assert_eq!(report["zone"], "us-east-1a");
    assert_eq!(report["machine"]["hostname"], "ip-10-77-0-11");
    assert_eq!(report["last_run"]["version"], 1);
    assert!(report["machine"]["booted"].is_string());
    assert_eq!(report["document"]["trust"], "none");

    // Polls and checks go on; what they find is no news.
    world.server.take_requests();
    std::thread::sleep(Duration::from_secs(12));
    let requests = world.server.take_requests();
    let reports = requests
        .iter()
        .filter(|request| request.key.contains("/nodes/"));
    assert_eq!(reports.count(), 0);

    world
        .server
        .put("prod/fleet.json", "{\"signed\": {}}".to_owned());
    let report = world.see(&agent, "web-1", |report| report["refused"].is_object());
    assert_eq!(report["health"], "degraded");
    assert_eq!(report["document"]["version"], 1);
    assert!(
        report["alarms"][0].as_str().unwrap().len() <= 310,
        "{report:#}"
    );

    world.publish(2);
    let report = world.see(&agent, "web-1", |report| report["document"]["version"] == 2);
    assert_eq!(
        (&report["refused"], &report["health"]),
        (&Value::Null, &json!("converged"))
    );
    let status = world.scratch.status();
    assert_eq!(status["report"]["key"], "nodes/web-1.json");
    assert_eq!(status["report"]["error"], Value::Null);
}

#[test]
fn a_machine_that_no_document_names_shows_that_it_is_there() {
    let world = World::new("web-99", "");
    world.publish(1);
    let agent = world.start();
    let report = world.see(&agent, "unknown/ip-10-77-0-11", |report| {
        report["health"] == "waiting"
    });
    assert_eq!(report["server"], Value::Null);
    assert!(
        report["alarms"].to_string().contains("web-99"),
        "{report:#}"
    );
    assert_eq!(world.report("web-99"), Value::Null);
}

#[test]
fn whoever_wants_none_puts_none() {
    let world = World::new("web-1", "reports = false\n");
    world.publish(1);
    let agent = world.start();
    let converged = || world.scratch.status()["health"] == "converged";
    wait_until("the first run", SOON, converged).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(world.report("web-1"), Value::Null, "{}", agent.said());
}

#[test]
fn a_bucket_that_does_not_take_it_is_told_and_harms_nothing() {
    let scratch = Scratch::new("").unwrap();
    let bucket = scratch.root().join("bucket");
    std::fs::create_dir(&bucket).unwrap();
    // Where the reports would go something else is in the way.
    #[expect(clippy::disallowed_methods, reason = "a person's bucket")]
    let put = |name: &str, text: &str| std::fs::write(bucket.join(name), text).unwrap();
    put("nodes", "");
    put("fleet.json", include_str!("../fleets/heavy.json"));
    let config = format!(
        "fleet = \"file://{}\"\ntrust = \"none\"\nnode = \"web-1\"\npoll = \"300ms\"\n",
        bucket.display()
    );
    scratch.write("/etc/agentd/agentd.toml", &config).unwrap();
    let agent = Agent::start(scratch.root(), &[], &[]).unwrap();
    let told = || scratch.status()["report"]["error"].is_string();
    wait_until("the trouble to be told", SOON, told)
        .unwrap_or_else(|e| panic!("{e}\n{:#}\n{}", scratch.status(), agent.said()));
    assert_eq!(scratch.status()["health"], "converged");
    let said = scratch.ctl(&["status"]).unwrap().stdout;
    assert!(
        said.contains("this machine's report was never put there"),
        "{said}"
    );
}
