//! Large fleets: what it takes to check a document and to plan one server of it.

use std::path::Path;

use node_agent_tests::documents;

use crate::measure::{Costs, once, percentile};
use crate::table::{mib, table, time};
use crate::{Result, note};

const SERVERS: [usize; 3] = [1_000, 3_000, 10_000];
const REPETITIONS: u32 = 20;

pub fn report(bin: &Path) -> Result<String> {
    let home = tempfile::Builder::new().prefix("bench-").tempdir()?;
    let ctl = bin.join("agentctl").display().to_string();
    let mut rows = Vec::new();
    for servers in SERVERS {
        note(&format!("scale: {servers} servers"));
        let text = documents::large(servers).to_string();
        let path = home.path().join(format!("{servers}.json"));
        keep(&path, &text)?;
        let path = path.display().to_string();
        let words = |words: &[&str]| {
            words
                .iter()
                .map(|&word| word.to_owned())
                .collect::<Vec<_>>()
        };
        let validate = words(&[&ctl, "validate", &path]);
        let plan = words(&[&ctl, "plan", "--as", "web-0", "--document", &path]);
        let size = f64::from(u32::try_from(text.len())?) / 1024.0 / 1024.0;
        let mut row = vec![
            format!("{servers} servers, {} products", servers / 10),
            mib(size),
        ];
        for (line, code) in [(validate, 0), (plan, 2)] {
            let mut costs = Costs::default();
            for _ in 0..REPETITIONS {
                costs.add(once(&line, code)?);
            }
            let peak = costs.peak_mib();
            row.extend([
                time(percentile(&costs.walls(), 50)),
                mib(peak),
                format!("{:.1}", peak / size),
            ]);
        }
        rows.push(row);
    }
    Ok(table(
        "Large fleets: whole processes, medians of 20",
        &[
            "fleet",
            "document",
            "validate",
            "peak RSS",
            "× document",
            "plan one server",
            "peak RSS",
            "× document",
        ],
        &rows,
    ))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a document in a scratch directory"
)]
fn keep(path: &Path, text: &str) -> Result<()> {
    Ok(std::fs::write(path, text)?)
}
