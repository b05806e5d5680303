//! One run of the agent on a box with 31 managed files: nothing to do, one value changed, everything new.

use std::path::Path;

use node_agent_tests::documents::{self, MANAGED_FILES};
use node_agent_tests::s3::S3Server;
use node_agent_tests::scratch::Scratch;
use serde_json::Value;

use crate::measure::{Costs, once, percentile};
use crate::table::{mib, table, time};
use crate::{Result, note};

const REPETITIONS: u32 = 200;
const FIRST_RUNS: u32 = 30;

/// The head of tables about processes.
pub const HEAD: [&str; 7] = [
    "one run",
    "runs",
    "wall, median",
    "wall, p99",
    "CPU, median",
    "CPU, p99",
    "peak RSS",
];

/// A row of such a table.
pub fn row(name: &str, costs: &Costs) -> Vec<String> {
    let (walls, cpus) = (costs.walls(), costs.cpus());
    vec![
        name.into(),
        costs.count().to_string(),
        time(percentile(&walls, 50)),
        time(percentile(&walls, 99)),
        time(percentile(&cpus, 50)),
        time(percentile(&cpus, 99)),
        mib(costs.peak_mib()),
    ]
}

/// The usual document with one server's address changed.
fn changed(version: u64) -> Value {
    documents::usual_but(version, "web-9", &format!("10.77.9.{}", version % 200 + 1))
}

pub fn report(bin: &Path) -> Result<String> {
    let mut rows = Vec::new();
    let mut floor = Costs::default();
    for _ in 0..REPETITIONS {
        floor.add(once(&["/bin/true".into()], 0)?);
    }
    rows.push(row("`/bin/true`, for comparison", &floor));

    let agentd = bin.join("agentd");
    let scratch = Scratch::with_agent("web-1", &agentd)?;
    scratch.publish(&documents::usual(1))?;
    once(&scratch.once(), 2)?;
    let mut idle = Costs::default();
    for _ in 0..REPETITIONS {
        idle.add(once(&scratch.once(), 0)?);
    }
    rows.push(row("nothing to do, `file://`", &idle));

    note("usual: S3");
    let server = S3Server::start()?;
    server.put("prod/fleet.json", documents::usual(1).to_string());
    let boxed = Scratch::with_agent("web-1", &agentd)?;
    boxed.write(
        "etc/agentd/agentd.toml",
        &format!(
            "fleet = \"s3://fleet/prod\"\n[s3]\nendpoint = \"{}\"\npath_style = true\n",
            server.endpoint
        ),
    )?;
    let mut line = vec!["/usr/bin/env".to_owned()];
    line.extend(server.env().map(|(name, value)| format!("{name}={value}")));
    line.extend(boxed.once_with(&[]));
    once(&line, 2)?;
    let mut idle = Costs::default();
    for _ in 0..REPETITIONS {
        idle.add(once(&line, 0)?);
    }
    rows.push(row("nothing to do, S3 on loopback (304)", &idle));
    drop(server);

    note("usual: changes");
    let mut change = Costs::default();
    for version in 2..2 + u64::from(REPETITIONS) {
        scratch.publish(&changed(version))?;
        change.add(once(&scratch.once(), 2)?);
    }
    rows.push(row("one value changed, `file://`", &change));

    let mut first = Costs::default();
    for _ in 0..FIRST_RUNS {
        let scratch = Scratch::with_agent("web-1", &agentd)?;
        scratch.publish(&documents::usual(1))?;
        first.add(once(&scratch.once(), 2)?);
    }
    rows.push(row("everything new, `file://`", &first));
    let title = format!("`agentd --once` on a box with {MANAGED_FILES} managed files");
    Ok(table(&title, &HEAD, &rows))
}
